//! How much memory of its own this process has used.
//!
//! In:   `/proc/self/status`, looked at every few milliseconds while a command runs.
//! Out:  the peak of anonymous memory, which is what the bounds of `limits.rs` are about: mapped
//!       files of our own store are the kernel's to drop, and do not count. The kernel keeps a
//!       peak of both together alone (`VmHWM`).

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Between two looks: often enough to see what lasts, and a thousandth of a core.
const PAUSE: Duration = Duration::from_millis(10);

static PEAK_BYTES: AtomicU64 = AtomicU64::new(0);

/// Looks at this process until it ends. Called once, when a command that tells its peak begins.
pub fn watch() {
    let look = || {
        loop {
            look();
            thread::sleep(PAUSE);
        }
    };
    // Without the thread the peak is what is used when it is asked for.
    let _running = thread::Builder::new().name("memory".to_owned()).spawn(look);
}

/// The peak of anonymous memory of this process since [`watch`], in bytes: private pages and
/// shared ones that no file backs (`RssAnon` and `RssShmem` of proc(5)). Zero where `/proc` is not
/// mounted.
pub fn peak_bytes() -> u64 {
    look();
    PEAK_BYTES.load(Ordering::Relaxed)
}

fn look() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    PEAK_BYTES.fetch_max(anonymous_bytes(&status), Ordering::Relaxed);
}

fn anonymous_bytes(status: &str) -> u64 {
    let counts = |line: &&str| line.starts_with("RssAnon:") || line.starts_with("RssShmem:");
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    status.lines().filter(counts).filter_map(kib).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_read_from_its_lines() {
        let status = "VmHWM:\t 900 kB\nRssAnon:\t 100 kB\nRssFile:\t 700 kB\nRssShmem:\t 1 kB\n";
        assert_eq!(anonymous_bytes(status), 101 * 1024);
        assert_eq!(anonymous_bytes(""), 0);
    }

    #[test]
    fn a_peak_stays_when_its_memory_is_given_back() {
        const LEN_BYTES: u64 = 64 << 20;
        let large = vec![1_u8; usize::try_from(LEN_BYTES).unwrap()];
        assert!(LEN_BYTES <= peak_bytes());
        assert!(large.iter().all(|byte| *byte == 1), "it is used until here");
        drop(large);
        assert!(LEN_BYTES <= peak_bytes());
    }
}
