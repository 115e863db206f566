//! A disk with little room, for tests of what happens when there is no more.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{clients::are_required, process};

/// A file system in memory, mounted at a folder until it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one at `folder`; none, and a line on stderr, where this user may not mount.
    ///
    /// # Panics
    ///
    /// When the folder cannot be made, or `GAPFERRY_REQUIRE_CLIENTS=1` and it cannot be mounted.
    pub fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("a folder can be made");
        let done = process::run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(folder));
        if done.exit_code != 0 {
            assert!(!are_required(), "no tmpfs can be mounted: {}", done.stderr);
            let line = b"skipped: this user may not mount a tmpfs\n";
            let _closed = io::stderr().write_all(line);
            return None;
        }
        Some(Self { folder: folder.to_owned() })
    }

    /// Makes it so small, or so large, that this many bytes are free.
    ///
    /// # Panics
    ///
    /// When it cannot be told or done.
    pub fn leave(&self, room_bytes: u64) {
        let asked = ["--output=used", "--block-size=1"];
        let done = process::run(Command::new("df").args(asked).arg(&self.folder));
        let used: u64 = done
            .stdout
            .lines()
            .nth(1)
            .and_then(|line| line.trim().parse().ok())
            .unwrap_or_else(|| panic!("df: {} {}", done.stdout, done.stderr));
        let size = format!("remount,size={}", used + room_bytes);
        let done = process::run(Command::new("mount").args(["-o", &size]).arg(&self.folder));
        assert_eq!(done.exit_code, 0, "{}", done.stderr);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
