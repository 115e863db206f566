//! What happens to files between two machines.

use std::{fs, io, path::Path};

/// One way to damage a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// One bit in the middle is not what it was.
    FlipBit,
    /// The second half is missing.
    Truncate,
    /// It is there, but empty.
    Empty,
    /// A byte too many at the end.
    Grow,
    /// It is not there.
    Delete,
    /// It and another file have changed places.
    Swap,
    /// Another file stands in its place.
    Foreign,
}

impl Damage {
    pub const ALL: [Self; 7] = [
        Self::FlipBit,
        Self::Truncate,
        Self::Empty,
        Self::Grow,
        Self::Delete,
        Self::Swap,
        Self::Foreign,
    ];

    /// Damages `file`; `other` is the one to swap with or to put in its place.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn apply(self, file: &Path, other: &Path) -> io::Result<()> {
        let mut bytes = fs::read(file)?;
        let middle = bytes.len() / 2;
        match self {
            Self::FlipBit => bytes[middle] ^= 1,
            Self::Truncate => bytes.truncate(middle),
            Self::Empty => bytes.clear(),
            Self::Grow => bytes.push(0),
            Self::Delete => return fs::remove_file(file),
            Self::Swap => {
                let theirs = fs::read(other)?;
                fs::write(other, &bytes)?;
                bytes = theirs;
            }
            Self::Foreign => bytes = fs::read(other)?,
        }
        fs::write(file, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_damage_does_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let [file, other] = ["file", "other"].map(|name| folder.path().join(name));
        let after = |damage: Damage| {
            fs::write(&file, [0, 1, 2, 3]).unwrap();
            fs::write(&other, [9]).unwrap();
            damage.apply(&file, &other).unwrap();
            (fs::read(&file).ok(), fs::read(&other).unwrap())
        };
        let expected = [
            (Some(vec![0, 1, 3, 3]), vec![9]),
            (Some(vec![0, 1]), vec![9]),
            (Some(vec![]), vec![9]),
            (Some(vec![0, 1, 2, 3, 0]), vec![9]),
            (None, vec![9]),
            (Some(vec![9]), vec![0, 1, 2, 3]),
            (Some(vec![9]), vec![9]),
        ];
        assert_eq!(Damage::ALL.map(after), expected);
    }
}
