//! How far the making of an export is: one bar, for one stage after the other.
//!
//! In:   each blob that a stage is done with.
//! Out:  a bar on stderr, when that is a terminal and not `--quiet`.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use gapferry_common::cli::Global;
use gapferry_proto::BlobRef;
use indicatif::{ProgressBar, ProgressStyle};

use crate::delta::Stage;

/// The bar, and the stage that it shows.
#[derive(Debug)]
pub struct Stages {
    bar: ProgressBar,
    now: Mutex<Option<Stage>>,
}

impl Stages {
    /// A bar for blobs of `total_bytes` together, as they are published.
    pub fn new(global: &Global, total_bytes: u64) -> Self {
        let bar = if global.quiet { ProgressBar::hidden() } else { ProgressBar::new(total_bytes) };
        let style =
            ProgressStyle::with_template("{msg:9} {bar:40} {bytes}/{total_bytes} {elapsed}");
        let bar = bar.with_style(style.expect("the template is fixed"));
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar, now: Mutex::new(None) }
    }

    /// Counts a blob; the first of a stage begins the bar anew.
    pub fn tell(&self, stage: Stage, blob: &BlobRef) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != Some(stage) {
            *now = Some(stage);
            self.bar.set_message(word(stage));
            self.bar.set_position(0);
        }
        self.bar.inc(blob.len_bytes);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

const fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Open => "opening",
        Stage::Encode => "encoding",
        Stage::Rehearse => "rehearsing",
    }
}
