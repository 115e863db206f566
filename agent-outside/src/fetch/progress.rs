//! Bars on a terminal: one for each running download, and one for all.
//!
//! In:   what starts, how far it is, what ends.
//! Out:  bars on stderr, when that is a terminal; else nothing.

use std::{
    io::IsTerminal as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where a run shows how far it is.
#[derive(Debug, Default)]
pub struct Progress {
    bars: Option<(MultiProgress, ProgressBar)>,
}

/// How far one download is.
#[derive(Debug)]
pub struct Bar {
    bars: Option<(ProgressBar, ProgressBar)>,
    held: AtomicU64,
}

impl Progress {
    /// Shows nothing.
    pub const fn silent() -> Self {
        Self { bars: None }
    }

    /// Shows bars when stderr is a terminal.
    pub fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::silent();
        }
        let bars = MultiProgress::new();
        let all = bars
            .add(ProgressBar::new(0).with_style(style("all {bar:30} {bytes}/{total_bytes} {eta}")));
        Self { bars: Some((bars, all)) }
    }

    /// Says how many bytes there will be in all.
    pub fn expect(&self, len_bytes: u64) {
        if let Some((_, all)) = &self.bars {
            all.set_length(len_bytes);
        }
    }

    /// Shows the bar of a download.
    pub fn start(&self, name: &str, len_bytes: u64) -> Bar {
        let bars = self.bars.as_ref().map(|(bars, all)| {
            let style = style("{msg:40!} {bar:20} {bytes}/{total_bytes} {bytes_per_sec}");
            let one = ProgressBar::new(len_bytes).with_style(style).with_message(short(name));
            let one = bars.insert_before(all, one);
            one.enable_steady_tick(Duration::from_millis(500));
            (one, all.clone())
        });
        Bar { bars, held: AtomicU64::new(0) }
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        if let Some((_, all)) = &self.bars {
            all.finish_and_clear();
        }
    }
}

impl Bar {
    /// Says how many bytes are there.
    pub fn at(&self, held: u64) {
        let before = self.held.swap(held, Ordering::Relaxed);
        if let Some((one, all)) = &self.bars {
            one.set_position(held);
            all.set_position((all.position() + held).saturating_sub(before));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some((one, _)) = &self.bars {
            one.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The end of a long name, which says more than its beginning.
fn short(name: &str) -> String {
    let count = name.chars().count();
    if count <= 40 {
        return name.to_owned();
    }
    name.chars().skip(count - 40).collect()
}
