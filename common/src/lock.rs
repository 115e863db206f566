//! One writer a home: a lock that ends with its process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};

use camino::{Utf8Path, Utf8PathBuf};

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another gapferry is at work in {0}; wait for it to end")]
    Held(Utf8PathBuf),
    #[error("cannot lock {path}")]
    Io { path: Utf8PathBuf, source: std::io::Error },
}

/// Holds a home until it is dropped.
#[derive(Debug)]
pub struct HomeLock(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

impl HomeLock {
    /// Takes the lock of `home`, or says that somebody has it.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`]: try again later; [`LockError::Io`]: the home cannot be written.
    pub fn take(home: &Utf8Path) -> Result<Self, LockError> {
        let path = home.join("lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(|source| LockError::Io { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(home.to_owned())),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_writer_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(temp.path()).unwrap();
        let first = HomeLock::take(home).unwrap();
        assert!(matches!(HomeLock::take(home), Err(LockError::Held(_))));
        drop(first);
        assert!(HomeLock::take(home).is_ok());
    }
}
