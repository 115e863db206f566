//! One writer a home, and doors between processes: locks that end with their process, however that
//! ends.

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

/// A door that some go through together, or one alone.
#[derive(Debug)]
pub struct Door {
    file: File,
    path: Utf8PathBuf,
}

/// Is in the door until it is dropped.
#[derive(Debug)]
pub struct Inside<'a>(&'a File);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // An error leaves it locked until the file is closed.
        let _closed = self.0.unlock();
    }
}

impl Door {
    /// Opens the file that stands for a door; its folder exists.
    ///
    /// # Errors
    ///
    /// [`LockError::Io`].
    pub fn open(path: Utf8PathBuf) -> Result<Self, LockError> {
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        match opened {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// Waits until nobody is alone in it. One at a time for each opened door.
    ///
    /// # Errors
    ///
    /// [`LockError::Io`].
    pub fn together(&self) -> Result<Inside<'_>, LockError> {
        self.file.lock_shared().map_err(|source| self.failed(source))?;
        Ok(Inside(&self.file))
    }

    /// Waits until nobody else is in it.
    ///
    /// # Errors
    ///
    /// [`LockError::Io`].
    pub fn alone(&self) -> Result<Inside<'_>, LockError> {
        self.file.lock().map_err(|source| self.failed(source))?;
        Ok(Inside(&self.file))
    }

    fn failed(&self, source: std::io::Error) -> LockError {
        LockError::Io { path: self.path.clone(), source }
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

    #[test]
    fn many_go_through_a_door_together_and_one_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(temp.path()).unwrap().join("door");
        let [first, second, third] = [(); 3].map(|()| Door::open(path.clone()).unwrap());
        let together = (first.together().unwrap(), second.together().unwrap());
        assert!(matches!(third.file.try_lock(), Err(TryLockError::WouldBlock)));
        drop(together);
        let _alone = third.alone().unwrap();
        assert!(matches!(first.file.try_lock_shared(), Err(TryLockError::WouldBlock)));
    }
}
