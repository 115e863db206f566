//! Reads what a line says that its targets have installed.
//!
//! In:   [`InstalledAt`] of an `apt` or `yum` line.
//! Out:  its [`List`], of packages that the line's own kind can update.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::limit;
use gapferry_proto::{
    Kind, SiteName, Target,
    installed::{InstalledError, List},
    limits,
};

use crate::waybill::InstalledAt;

/// Why it is not known what targets have. Exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error(
        "site {site} has not said what its nodes of {target} have; run `gapferry-inside installed \
         {target} FILE` there, and take its next inventory"
    )]
    NotSaid { site: SiteName, target: Target },
    #[error("{path} does not say what is installed")]
    Content { path: Utf8PathBuf, source: InstalledError },
    #[error("{path} lists {found} packages, and the line is for {wanted}")]
    OtherKind { path: Utf8PathBuf, found: Kind, wanted: Kind },
}

/// Reads the list of a line for `target` whose packages are of `kind`; `base` is the waybill's
/// folder.
///
/// # Errors
///
/// [`ReadError`].
pub fn read(
    at: &InstalledAt,
    base: &Utf8Path,
    target: &Target,
    kind: Kind,
) -> Result<List, ReadError> {
    let path = match at {
        InstalledAt::File(path) => base.join(path),
        InstalledAt::Site(list) => {
            let path = list.path(target).filter(|path| path.is_file());
            path.ok_or_else(|| ReadError::NotSaid {
                site: list.site.clone(),
                target: list.target(target).clone(),
            })?
        }
    };
    let bytes = limit::read_file(&path, limits::INSTALLED_LEN_BYTES_MAX);
    let bytes = bytes.map_err(|source| ReadError::Read { path: path.clone(), source })?;
    match List::parse(&bytes) {
        Ok(list) if list.kind == kind => Ok(list),
        Ok(list) => Err(ReadError::OtherKind { path, found: list.kind, wanted: kind }),
        Err(source) => Err(ReadError::Content { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_beside_the_waybill_and_a_list_in_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::create_dir(base.join("lists")).unwrap();
        std::fs::write(base.join("lists/debian-13.txt"), "a\t1\n").unwrap();
        std::fs::write(base.join("bad.txt"), "<html> of a page\n").unwrap();
        let said = |text: &str| {
            let mut at: InstalledAt = serde_saphyr::from_str(text).unwrap();
            if let InstalledAt::Site(list) = &mut at {
                list.folder = Some(base.join("lists"));
            }
            read(&at, base, &"debian-13".parse().unwrap(), Kind::Deb)
        };
        let expected = List::parse(b"a 1").unwrap();
        for text in ["lists/debian-13.txt", "{site: prod}", "{site: prod, target: debian-13}"] {
            assert_eq!(said(text).unwrap(), expected, "{text}");
        }
        let absent = said("{site: prod, target: el9}").unwrap_err().to_string();
        let expected = "site prod has not said what its nodes of el9 have; run `gapferry-inside \
            installed el9 FILE` there, and take its next inventory";
        assert_eq!(absent, expected);
        assert!(matches!(said("none").unwrap_err(), ReadError::Read { .. }));
        let bad = said("bad.txt").unwrap_err();
        let ReadError::Content { source: InstalledError::Line { line: 1, .. }, .. } = bad else {
            panic!("{bad}")
        };
        std::fs::write(base.join("rpms"), "a-1-1.noarch\n").unwrap();
        assert!(matches!(said("rpms").unwrap_err(), ReadError::OtherKind { .. }));
    }
}
