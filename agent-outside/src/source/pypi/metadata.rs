//! What a distribution depends on.
//!
//! In:   a METADATA or PKG-INFO text, or the archive that holds it.
//! Out:  [`Requirements`] of the distribution, extras and markers still in them.
//! Pure. Archives come from outside: every member is read to a bound and nothing is unpacked.

use std::{
    cell::Cell,
    io::{Cursor, Read, Seek},
};

use flate2::read::GzDecoder;
use gapferry_proto::limits::{INDEX_PLAIN_LEN_BYTES_MAX, WHEEL_METADATA_LEN_BYTES_MAX};
use pep508_rs::{PackageName, VersionOrUrl};
use url::Url;
use zip::ZipArchive;

use super::{ranges::Sparse, wheel::Archive};

/// A requirement as distributions state it.
pub type Requirement = pep508_rs::Requirement<Url>;

/// The requirements of one distribution.
pub type Requirements = Vec<Requirement>;

/// Why the dependencies of a distribution cannot be known. Another version may do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("its archive is damaged: {0}")]
    Archive(String),
    #[error("its archive has no METADATA")]
    Absent,
    #[error("its METADATA has more than {WHEEL_METADATA_LEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("its METADATA is not UTF-8")]
    Text,
    #[error("it requires {0:?}, which is no requirement: {1}")]
    Requirement(String, String),
    #[error("it requires {0:?}, which no index can serve")]
    Address(String),
}

/// What comes of looking into a wheel of which only a part is here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    Found(Vec<u8>),
    /// The byte at this offset is needed first.
    Needs(u64),
}

/// Takes METADATA out of a wheel that may have holes.
///
/// # Errors
///
/// [`MetadataError::Archive`], [`MetadataError::Absent`], [`MetadataError::TooLong`].
pub fn look_into_wheel(wheel: &Sparse, project: &PackageName) -> Result<Look, MetadataError> {
    let missed = Cell::new(None);
    let read = from_wheel(wheel.reader(&missed), project);
    match (missed.get(), read) {
        (Some(at), _) => Ok(Look::Needs(at)),
        (None, read) => read.map(Look::Found),
    }
}

/// Takes METADATA out of a whole wheel.
///
/// # Errors
///
/// As [`look_into_wheel`].
pub fn from_wheel(
    wheel: impl Read + Seek,
    project: &PackageName,
) -> Result<Vec<u8>, MetadataError> {
    member(wheel, |name| {
        let folder = name.strip_suffix(".dist-info/METADATA").filter(|f| !f.contains('/'));
        let named = folder.and_then(|folder| folder.split_once('-'));
        named.is_some_and(|(name, _)| {
            PackageName::new(name.to_owned()).is_ok_and(|name| name == *project)
        })
    })?
    .ok_or(MetadataError::Absent)
}

/// The first member of a zip file whose name is wanted.
fn member(
    archive: impl Read + Seek,
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<Vec<u8>>, MetadataError> {
    // A known offset keeps the reader from searching the whole file for another start.
    let config = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
    let mut zip = ZipArchive::with_config(config, archive).map_err(damaged)?;
    let name =
        zip.file_names().find_map(|name| Some(name.ok()?.into_owned()).filter(|n| wanted(n)));
    let Some(name) = name else { return Ok(None) };
    bounded(zip.by_name(&name).map_err(damaged)?).map(Some)
}

fn damaged(error: impl std::fmt::Display) -> MetadataError {
    MetadataError::Archive(error.to_string())
}

fn bounded(member: impl Read) -> Result<Vec<u8>, MetadataError> {
    let mut bytes = Vec::new();
    member.take(WHEEL_METADATA_LEN_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(damaged)?;
    if WHEEL_METADATA_LEN_BYTES_MAX < bytes.len() as u64 {
        return Err(MetadataError::TooLong);
    }
    Ok(bytes)
}

/// Reads METADATA: RFC 822 headers, of which only `Requires-Dist` matters (core metadata
/// specifications).
///
/// # Errors
///
/// [`MetadataError::Text`], [`MetadataError::Requirement`].
pub fn requirements(metadata: &[u8]) -> Result<Requirements, MetadataError> {
    let headers = Headers::read(metadata)?;
    headers.all("requires-dist").map(requirement).collect()
}

/// Reads one requirement of a distribution.
fn requirement(text: &str) -> Result<Requirement, MetadataError> {
    text.parse().map_err(|error: pep508_rs::Pep508Error<Url>| {
        MetadataError::Requirement(text.to_owned(), error.message.to_string())
    })
}

/// Refuses a requirement that applies but names an address instead of versions.
///
/// # Errors
///
/// [`MetadataError::Address`].
pub fn check_servable(requirement: &Requirement) -> Result<(), MetadataError> {
    match &requirement.version_or_url {
        Some(VersionOrUrl::Url(url)) => {
            Err(MetadataError::Address(format!("{} @ {}", requirement.name, super::plain(url))))
        }
        _ => Ok(()),
    }
}

/// Reads what a source distribution depends on, as far as it can be known without building it.
///
/// PKG-INFO of metadata 2.2 and later is final unless it calls `Requires-Dist` dynamic (PEP
/// 643). Before that, what it says is taken, else what setuptools wrote into `requires.txt`;
/// else nothing is known to be needed.
///
/// # Errors
///
/// Each [`MetadataError`].
pub fn from_source(bytes: &[u8], archive: Archive) -> Result<Requirements, MetadataError> {
    let members = source_members(bytes, archive)?;
    let Some(info) = members.info else { return Ok(Vec::new()) };
    let stated = requirements(&info)?;
    if stated.is_empty()
        && !Headers::read(&info)?.are_final()
        && let Some(text) = members.requires
    {
        return requires_txt(&text);
    }
    Ok(stated)
}

#[derive(Default)]
struct SourceMembers {
    info: Option<Vec<u8>>,
    requires: Option<Vec<u8>>,
}

fn is_info(name: &str) -> bool {
    name.split_once('/').is_some_and(|(_, rest)| rest == "PKG-INFO")
}

fn is_requires(name: &str) -> bool {
    name.ends_with(".egg-info/requires.txt")
}

fn source_members(bytes: &[u8], archive: Archive) -> Result<SourceMembers, MetadataError> {
    if archive == Archive::Zip {
        return Ok(SourceMembers {
            info: member(Cursor::new(bytes), is_info)?,
            requires: member(Cursor::new(bytes), is_requires)?,
        });
    }
    let plain = GzDecoder::new(bytes).take(INDEX_PLAIN_LEN_BYTES_MAX);
    let mut members = SourceMembers::default();
    for entry in tar::Archive::new(plain).entries().map_err(damaged)? {
        let entry: tar::Entry<'_, _> = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if is_info(&name) {
            members.info = Some(bounded(entry)?);
        } else if is_requires(&name) {
            members.requires = Some(bounded(entry)?);
        }
        if members.info.is_some() && members.requires.is_some() {
            break;
        }
    }
    Ok(members)
}

/// Reads `requires.txt` of setuptools: sections `[extra]`, `[:marker]` and `[extra:marker]`.
fn requires_txt(text: &[u8]) -> Result<Requirements, MetadataError> {
    let text = std::str::from_utf8(text).map_err(|_| MetadataError::Text)?;
    let mut condition = String::new();
    let mut requirements = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let (extra, marker) = section.split_once(':').unwrap_or((section, ""));
            let extra = (!extra.is_empty()).then(|| format!("extra == '{extra}'"));
            let marker = (!marker.is_empty()).then(|| format!("({marker})"));
            condition = extra.into_iter().chain(marker).collect::<Vec<_>>().join(" and ");
        } else if condition.is_empty() {
            requirements.push(requirement(line)?);
        } else {
            requirements.push(requirement(&format!("{line} ; {condition}"))?);
        }
    }
    Ok(requirements)
}

/// The headers of a METADATA file, in order, names in lower case.
struct Headers(Vec<(String, String)>);

impl Headers {
    fn read(bytes: &[u8]) -> Result<Self, MetadataError> {
        // The description below the headers is prose of any kind; only the headers must be text.
        let end = [&b"\n\n"[..], b"\r\n\r\n"].into_iter();
        let end = end.filter_map(|gap| bytes.windows(gap.len()).position(|w| w == gap)).min();
        let head = std::str::from_utf8(&bytes[..end.unwrap_or(bytes.len())]);
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in head.map_err(|_| MetadataError::Text)?.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        Ok(Self(headers))
    }

    fn all(&self, wanted: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// Whether `Requires-Dist` holds for whatever is built from the source (PEP 643).
    fn are_final(&self) -> bool {
        let version = self.all("metadata-version").next().and_then(|v| v.split_once('.'));
        let version = version.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        version >= Some((2u32, 2u32))
            && !self.all("dynamic").any(|name| name.eq_ignore_ascii_case("requires-dist"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::Bytes;
    use zip::write::SimpleFileOptions;

    use super::*;

    const METADATA: &[u8] = b"Metadata-Version: 2.1\r\nName: foo\r\nRequires-Dist: bar>=1;\r\n \
        python_version < \"4\"\r\nRequires-Dist: baz[x] (==2); extra == 'y'\r\n\r\n\
        Requires-Dist: not-a-header\xff\r\n";

    fn texts(requirements: &[Requirement]) -> Vec<String> {
        requirements.iter().map(ToString::to_string).collect()
    }

    fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn wheel() -> Vec<u8> {
        let noise: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
        zip(&[
            ("foo/__init__.py", &noise),
            ("vendored/bar-1.dist-info/METADATA", b"Name: bar"),
            ("Foo-1.0.dist-info/METADATA", METADATA),
            ("foo/last.py", &noise),
        ])
    }

    /// Fetches what is missed, as the driver does, and counts the fetches.
    fn look(wheel: &[u8], step: u64) -> (Result<Vec<u8>, MetadataError>, usize, u64) {
        let mut sparse = Sparse::new(wheel.len() as u64);
        for fetches in 0..1000 {
            match look_into_wheel(&sparse, &"foo".parse().unwrap()) {
                Ok(Look::Found(bytes)) => return (Ok(bytes), fetches, sparse.held_bytes()),
                Err(error) => return (Err(error), fetches, sparse.held_bytes()),
                Ok(Look::Needs(at)) => {
                    let range = sparse.missing_around(at, step);
                    assert!(range.contains(&at), "{range:?} lacks {at}");
                    let [start, end] =
                        [range.start, range.end].map(|at| usize::try_from(at).unwrap());
                    let range = start..end.min(wheel.len());
                    sparse.fill(range.start as u64, Bytes::copy_from_slice(&wheel[range]));
                }
            }
        }
        panic!("no end after 1000 fetches");
    }

    #[test]
    fn headers_are_read_and_prose_is_not() {
        assert_eq!(
            texts(&requirements(METADATA).unwrap()),
            ["bar>=1 ; python_full_version < '4'", "baz[x]==2 ; extra == 'y'"]
        );
    }

    #[test]
    fn metadata_comes_out_of_a_wheel_by_a_few_ranges() {
        let wheel = wheel();
        let (found, fetches, held_bytes) = look(&wheel, 4096);
        assert_eq!(found.unwrap(), METADATA);
        assert!(fetches <= 4 && held_bytes < 20_000, "{fetches} fetches, {held_bytes} bytes");
        assert_eq!(look(&wheel, 7).0.unwrap(), METADATA);
        assert_eq!(look(&wheel, 1 << 30).0.unwrap(), METADATA);
    }

    #[test]
    fn a_damaged_wheel_is_an_error_and_never_a_panic_or_an_endless_search() {
        let good = wheel();
        for len in [0, 1, 21, 22, 100, good.len() / 2, good.len() - 1] {
            look(&good[..len], 1 << 16).0.unwrap_err();
        }
        let directory = good.len() - 400;
        for at in directory..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = look(&bad, 1 << 16);
        }
        look(&vec![0; 100_000], 1 << 12).0.unwrap_err();
    }

    #[test]
    fn a_wheel_without_metadata_or_with_too_much_says_so() {
        let other =
            zip(&[("bar-1.dist-info/METADATA", b"x"), ("a/foo-1.dist-info/METADATA", b"x")]);
        assert_eq!(look(&other, 1 << 16).0, Err(MetadataError::Absent));
        let bomb = vec![b' '; usize::try_from(WHEEL_METADATA_LEN_BYTES_MAX).unwrap() + 1];
        let bomb = zip(&[("foo-1.dist-info/METADATA", &bomb)]);
        assert_eq!(look(&bomb, 1 << 16).0, Err(MetadataError::TooLong));
    }

    #[test]
    fn a_line_that_is_no_requirement_is_named() {
        let error = requirements(b"Requires-Dist: foo >=1.0.*\n\n").unwrap_err();
        assert!(matches!(&error, MetadataError::Requirement(text, _) if text == "foo >=1.0.*"));
        assert_eq!(requirements(b"Requires-Dist: \xff\n\n"), Err(MetadataError::Text));
    }

    #[test]
    fn an_address_is_only_wrong_where_it_applies() {
        let metadata = b"Requires-Dist: foo @ https://u:p@x.example/foo.whl ; extra == 'dev'\n";
        let read = requirements(metadata).unwrap();
        let expected = MetadataError::Address("foo @ https://x.example/foo.whl".to_owned());
        assert_eq!(check_servable(&read[0]), Err(expected));
    }

    fn source(members: &[(&str, &str)]) -> Vec<u8> {
        let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gz);
        for (name, text) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn a_source_is_believed_as_far_as_its_metadata_binds() {
        const REQUIRES: &str =
            "a>1\n\n[x]\nb\n\n[:python_version < '3']\nc\n[y:os_name=='nt']\nd\n";
        let requires = ("foo-1/src/foo.egg-info/requires.txt", REQUIRES);
        let from_requires = [
            "a>1",
            "b ; extra == 'x'",
            "c ; python_full_version < '3'",
            "d ; os_name == 'nt' and extra == 'y'",
        ];
        for (info, expected) in [
            ("Metadata-Version: 2.2\nRequires-Dist: z\n", &["z"][..]),
            ("Metadata-Version: 2.2\n", &[]),
            ("Metadata-Version: 2.2\nDynamic: Requires-Dist\n", &from_requires),
            ("Metadata-Version: 2.1\n", &from_requires),
            ("Metadata-Version: 1.0\nRequires-Dist: z\n", &["z"]),
        ] {
            let bytes = source(&[("foo-1/PKG-INFO", info), requires]);
            assert_eq!(texts(&from_source(&bytes, Archive::TarGz).unwrap()), expected, "{info}");
            let bytes =
                zip(&[("foo-1/PKG-INFO", info.as_bytes()), (requires.0, REQUIRES.as_bytes())]);
            assert_eq!(texts(&from_source(&bytes, Archive::Zip).unwrap()), expected, "{info}");
        }
        assert_eq!(from_source(&source(&[("foo-1/setup.py", "")]), Archive::TarGz), Ok(Vec::new()));
    }

    #[test]
    fn a_damaged_source_is_an_error() {
        let good = source(&[("foo-1/PKG-INFO", "Name: foo\n")]);
        from_source(&good[..good.len() / 2], Archive::TarGz).unwrap_err();
        from_source(b"no gzip", Archive::TarGz).unwrap_err();
        from_source(b"no zip", Archive::Zip).unwrap_err();
    }
}
