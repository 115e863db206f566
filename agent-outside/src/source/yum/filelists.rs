//! `filelists.xml`: all files of all packages, of which a few are asked for.
//!
//! In:   the document as it is unpacked, the paths that some package requires.
//! Out:  which of the wanted packages have them.
//! Pure; only what is asked for is kept.

use std::{
    collections::{BTreeSet, HashMap},
    io::BufRead,
};

use super::xml::{Item, Xml, XmlError};

/// Whether `primary.xml` lists a path itself, when a package has it (createrepo's own rule).
pub fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/") || path == "/usr/lib/sendmail"
}

/// Finds the packages that have one of `paths`: for each, its checksum as written (`pkgid`) and
/// the path.
///
/// # Errors
///
/// [`XmlError`].
pub fn find(
    document: impl BufRead,
    paths: &BTreeSet<String>,
) -> Result<HashMap<String, Vec<String>>, XmlError> {
    let mut xml = Xml::begin(document, "filelists")?;
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    let mut package = String::new();
    loop {
        match xml.item()? {
            Item::Open(tag) if tag.name() == "package" => {
                package = tag.attribute("pkgid")?.unwrap_or_default().to_ascii_lowercase();
            }
            Item::Open(tag) if tag.name() == "file" => {
                let path = xml.text()?;
                if paths.contains(&path) {
                    found.entry(package.clone()).or_default().push(path);
                }
            }
            Item::Open(_) => xml.skip()?,
            Item::Close => {}
            Item::End => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_are_asked_for_are_found() {
        let text = "<filelists packages=\"2\"><package pkgid=\"AB\" name=\"a\" arch=\"x\">\
            <version epoch=\"0\" ver=\"1\" rel=\"1\"/><file>/usr/share/a</file>\
            <file type=\"dir\">/usr/share/d</file></package>\
            <package pkgid=\"cd\" name=\"b\"><file>/usr/share/&amp;b</file></package></filelists>";
        let paths = ["/usr/share/d", "/usr/share/&b", "/none"].map(str::to_owned).into();
        let expected = [
            ("ab".to_owned(), vec!["/usr/share/d".to_owned()]),
            ("cd".to_owned(), vec!["/usr/share/&b".to_owned()]),
        ];
        assert_eq!(find(text.as_bytes(), &paths).unwrap(), expected.into());
        assert!(find(&b"<filelists><package pkgid=\"a\"><file>"[..], &paths).is_err());
    }

    #[test]
    fn primary_lists_commands_and_settings() {
        for (path, listed) in [
            ("/bin/sh", true),
            ("/usr/sbin/ip", true),
            ("/etc/pki/tls/cert.pem", true),
            ("/usr/lib/sendmail", true),
            ("/usr/share/dict/words", false),
            ("/usr/lib64/libc.so.6", false),
        ] {
            assert_eq!(is_primary(path), listed, "{path}");
        }
    }
}
