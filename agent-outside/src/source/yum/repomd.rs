//! `repomd.xml`: the list of a repository's documents, on which all trust rests.
//!
//! In:   its bytes, after their signature or digest was checked.
//! Out:  a [`Repomd`]: for each document where it is and which bytes it has.
//! Pure.

use std::{collections::BTreeMap, io};

use gapferry_proto::{Digest, SafePath, limits};
use sha2::{Digest as _, Sha512};

use super::{
    primary::read_checksum,
    universe::Checksum,
    unpack,
    xml::{Item, Xml, XmlError},
};
use crate::source::unpack::Packing;

/// Most documents of a repository; real ones have about 20.
const DOCUMENTS_MAX: usize = 256;

/// What a repository consists of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Repomd {
    /// Seconds since 1970, or any text that its maker chose.
    pub revision: String,
    /// By type: `primary`, `filelists`, `updateinfo`, `group`, `modules` …
    pub documents: BTreeMap<String, Document>,
}

/// A document that `repomd.xml` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    pub location: SafePath,
    pub checksum: Checksum,
    pub packing: Packing,
    /// Length as published, in bytes; some tools leave it out.
    pub len_bytes: Option<u64>,
    /// Length once unpacked, in bytes, at most.
    pub plain_len_bytes_max: u64,
}

/// Why a document is not used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error(
        "{path} is not what repomd.xml names; the mirror is changing or lies: try again later, or use another mirror"
    )]
    Mismatch { path: SafePath },
    #[error(
        "repomd.xml names only {kind:?} for {path}, which vouches for nothing; use another mirror"
    )]
    Weak { path: SafePath, kind: String },
    #[error("{path} has {len_bytes} bytes, more than the {max} accepted")]
    TooLong { path: SafePath, len_bytes: u64, max: u64 },
    #[error("cannot unpack {path}")]
    Unpack { path: SafePath, source: io::Error },
    #[error("{path} is not understood")]
    Xml { path: SafePath, source: XmlError },
}

impl Repomd {
    /// Reads a list. A document whose place leaves the repository, or whose packing is not known,
    /// is not on it.
    ///
    /// # Errors
    ///
    /// [`XmlError`], also when there is no `primary`.
    pub fn parse(bytes: &[u8]) -> Result<Self, XmlError> {
        let mut xml = Xml::begin(bytes, "repomd")?;
        let mut repomd = Self::default();
        let mut number = 0;
        loop {
            match xml.item()? {
                Item::Open(tag) if tag.name() == "data" => {
                    number += 1;
                    if DOCUMENTS_MAX < number {
                        return Err(XmlError::TooMany { what: "documents", max: DOCUMENTS_MAX });
                    }
                    let kind = tag.attribute("type")?.unwrap_or_default();
                    if let Some(document) = read_document(&mut xml)? {
                        repomd.documents.entry(kind).or_insert(document);
                    }
                }
                Item::Open(tag) if tag.name() == "revision" => {
                    xml.text()?.trim().clone_into(&mut repomd.revision);
                }
                Item::Open(_) => xml.skip()?,
                Item::Close => {}
                Item::End => break,
            }
        }
        if !repomd.documents.contains_key("primary") {
            return Err(XmlError::value("it names no primary.xml that can be read", ""));
        }
        Ok(repomd)
    }
}

fn read_document(xml: &mut Xml<&[u8]>) -> Result<Option<Document>, XmlError> {
    let outside = xml.depth() - 1;
    let mut location = None;
    let mut checksum = Checksum::Weak(String::new());
    let (mut len_bytes, mut plain) = (None, None);
    while outside < xml.depth() {
        let Item::Open(tag) = xml.item()? else { continue };
        match tag.name() {
            "location" => location = tag.attribute("href")?,
            "checksum" => {
                let kind = tag.attribute("type")?.unwrap_or_default();
                checksum = read_checksum(&kind, xml.text()?.trim());
            }
            "size" => len_bytes = Some(read_len(&xml.text()?)?),
            "open-size" => plain = Some(read_len(&xml.text()?)?),
            _ => xml.skip()?,
        }
    }
    let location = location.ok_or_else(|| XmlError::value("a document has no location", ""))?;
    let (Ok(path), Some(packing)) = (location.parse::<SafePath>(), Packing::of_name(&location))
    else {
        return Ok(None);
    };
    let plain_len_bytes_max = plain.unwrap_or(limits::INDEX_PLAIN_LEN_BYTES_MAX);
    Ok(Some(Document { location: path, checksum, packing, len_bytes, plain_len_bytes_max }))
}

fn read_len(text: &str) -> Result<u64, XmlError> {
    text.trim().parse().map_err(|_| XmlError::value("a length is not understood", text))
}

impl Document {
    /// How many bytes may be fetched.
    ///
    /// # Errors
    ///
    /// [`DocumentError::TooLong`], [`DocumentError::Weak`]: nothing is fetched in vain.
    pub fn len_bytes_max(&self) -> Result<u64, DocumentError> {
        let (path, max) = (self.location.clone(), limits::INDEX_LEN_BYTES_MAX);
        if let Checksum::Weak(kind) = &self.checksum {
            return Err(DocumentError::Weak { path, kind: kind.clone() });
        }
        match self.len_bytes {
            Some(len_bytes) if max < len_bytes => {
                Err(DocumentError::TooLong { path, len_bytes, max })
            }
            len_bytes => Ok(len_bytes.unwrap_or(max)),
        }
    }

    /// Checks fetched bytes.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Mismatch`], [`DocumentError::Weak`].
    pub fn check(&self, bytes: &[u8]) -> Result<(), DocumentError> {
        let same = match &self.checksum {
            Checksum::Sha256(digest) => Digest::of(bytes) == *digest,
            Checksum::Sha512(digest) => Sha512::digest(bytes)[..] == digest[..],
            Checksum::Weak(kind) => {
                return Err(DocumentError::Weak {
                    path: self.location.clone(),
                    kind: kind.clone(),
                });
            }
        };
        let long = self.len_bytes.is_some_and(|len_bytes| len_bytes != bytes.len() as u64);
        if same && !long {
            return Ok(());
        }
        Err(DocumentError::Mismatch { path: self.location.clone() })
    }

    /// Opens checked bytes.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Unpack`].
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<impl io::BufRead + use<'a>, DocumentError> {
        unpack::open(self.packing, bytes, self.plain_len_bytes_max)
            .map_err(|source| DocumentError::Unpack { path: self.location.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn data(kind: &str, href: &str, checksum: &str) -> String {
        format!(
            "<data type=\"{kind}\">{checksum}<open-checksum type=\"sha256\">00</open-checksum>\
             <location href=\"{href}\"/><timestamp>1</timestamp><size>3</size><open-size>9</open-size></data>"
        )
    }

    fn repomd(inner: &str) -> Result<Repomd, XmlError> {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\
             <revision>1700000000</revision><tags><content>binary</content></tags>{inner}</repomd>"
        );
        Repomd::parse(text.as_bytes())
    }

    #[test]
    fn a_repository_names_its_documents_with_their_bytes() {
        let sum = format!("<checksum type=\"sha256\">{HEX}</checksum>");
        let list = repomd(
            &[
                data("primary", "repodata/a-primary.xml.gz", &sum),
                data("primary_db", "repodata/a-primary.sqlite.bz2", &sum),
                data("group", "../../etc/passwd.xml", &sum),
            ]
            .concat(),
        )
        .unwrap();
        let primary = Document {
            location: "repodata/a-primary.xml.gz".parse().unwrap(),
            checksum: Checksum::Sha256(Digest::of(b"abc")),
            packing: Packing::Gzip,
            len_bytes: Some(3),
            plain_len_bytes_max: 9,
        };
        let expected = Repomd {
            revision: "1700000000".to_owned(),
            documents: BTreeMap::from([("primary".to_owned(), primary.clone())]),
        };
        assert_eq!(list, expected);
        primary.check(b"abc").unwrap();
        assert!(matches!(primary.check(b"abd"), Err(DocumentError::Mismatch { .. })));
        assert!(matches!(primary.check(b""), Err(DocumentError::Mismatch { .. })));
    }

    #[test]
    fn sha512_counts_and_sha1_does_not() {
        let long = data_encoding::HEXLOWER.encode(&Sha512::digest(b"abc"));
        for (kind, hex, good) in [
            ("sha512", long.as_str(), true),
            ("sha512", HEX, false),
            ("sha", "a9993e364706816aba3e25717850c26c9cd0d89d", false),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d", false),
            ("sha256", "zz", false),
        ] {
            let sum = format!("<checksum type=\"{kind}\">{hex}</checksum>");
            let list = repomd(&data("primary", "repodata/p.xml", &sum)).unwrap();
            let primary = &list.documents["primary"];
            assert_eq!(primary.check(b"abc").is_ok(), good, "{kind}");
            assert_eq!(primary.len_bytes_max().is_ok(), good, "{kind}");
        }
    }

    #[test]
    fn hostile_lists_are_refused() {
        let sum = format!("<checksum type=\"sha256\">{HEX}</checksum>");
        for href in
            ["/etc/p.xml", "a/../../p.xml", "a\\p.xml", "p.xml\0", "https://e.example/p.xml", ""]
        {
            assert!(repomd(&data("primary", href, &sum)).is_err(), "{href}");
        }
        let many = data("x", "repodata/p.xml", &sum).repeat(DOCUMENTS_MAX + 1);
        assert!(matches!(repomd(&many), Err(XmlError::TooMany { .. })));
        let huge = data("primary", "p.xml", &sum).replace(">3<", ">99999999999999<");
        let list = repomd(&huge).unwrap();
        let error = list.documents["primary"].len_bytes_max().unwrap_err();
        assert!(matches!(error, DocumentError::TooLong { .. }));
        let beyond = data("primary", "p.xml", &sum).replace(">3<", ">99999999999999999999999<");
        assert!(repomd(&beyond).is_err());
    }
}
