//! `Packages`: the index of a component and architecture.
//!
//! In:   the bytes of an index as fetched; the texts of all indexes of one architecture.
//! Out:  the plain text, checked; a [`Universe`] in which names are looked up.
//! Pure: no network, no clock.
//!
//! Debian's main has 60,000 packages, of which a line wants some ten. So a [`Package`] only
//! borrows its paragraph, and fields beyond its name are read when somebody asks for them.

use std::{collections::HashMap, io::Read};

use debversion::Version;
use gapferry_proto::{Digest, limits};

use super::release::Index;
use crate::source::unpack;

/// Why an index is not used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error(
        "{path} has {len_bytes} bytes and SHA-256 {actual}, but Release says {expected_len_bytes} \
         and {expected}; the mirror is changing or lies: try again later, or use another mirror"
    )]
    Mismatch {
        path: String,
        len_bytes: u64,
        expected_len_bytes: u64,
        actual: Digest,
        expected: Digest,
    },
    #[error("{path} unpacks to more than {max} bytes")]
    Bomb { path: String, max: u64 },
    #[error("cannot unpack {path}")]
    Unpack { path: String, source: std::io::Error },
    #[error("a paragraph of {path} is not understood: {what}")]
    Paragraph { path: String, what: String },
}

/// Checks an index against what `Release` lists and unpacks it.
///
/// Bytes that are not UTF-8 become U+FFFD: descriptions of old packages have such.
///
/// # Errors
///
/// [`IndexError::Mismatch`], [`IndexError::Bomb`], [`IndexError::Unpack`].
pub fn open_index(index: &Index, bytes: &[u8]) -> Result<String, IndexError> {
    let (path, listed) = (index.path.to_string(), index.listed);
    let actual = Digest::of(bytes);
    if actual != listed.digest || bytes.len() as u64 != listed.len_bytes {
        return Err(IndexError::Mismatch {
            path,
            len_bytes: bytes.len() as u64,
            expected_len_bytes: listed.len_bytes,
            actual,
            expected: listed.digest,
        });
    }
    let max = index.plain_len_bytes_max.min(limits::INDEX_PLAIN_LEN_BYTES_MAX);
    let mut plain = Vec::new();
    let fail = |source| IndexError::Unpack { path: path.clone(), source };
    unpack::reader(index.packing, bytes)
        .map_err(fail)?
        .take(max + 1)
        .read_to_end(&mut plain)
        .map_err(fail)?;
    if max < plain.len() as u64 {
        return Err(IndexError::Bomb { path, max });
    }
    Ok(String::from_utf8(plain).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into()))
}

/// The number of a package in its [`Universe`].
pub type Id = usize;

/// A package as an index has it.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub architecture: &'a str,
    /// Whether every Debian system has it: `Essential: yes` or `Priority: required`.
    pub base: bool,
    /// Which of the texts it is from.
    pub text: usize,
    /// Its paragraph, verbatim.
    pub paragraph: &'a str,
}

impl<'a> Package<'a> {
    /// A field of the paragraph, with its line ends, without blanks around it.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let mut fields = Fields { rest: self.paragraph };
        fields
            .find_map(|field| field.ok().filter(|(own, _)| own.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value)
    }

    /// Whether a field says yes.
    pub fn says(&self, name: &str) -> bool {
        self.field(name) == Some("yes")
    }

    /// The version, unless it is none.
    pub fn parsed_version(&self) -> Option<Version> {
        Version::parse_lenient(self.version).ok()
    }

    /// Name, version and architecture, as people write a package.
    pub fn words(&self) -> String {
        format!("{} {} {}", self.name, self.version, self.architecture)
    }

    fn parse(paragraph: &'a str, text: usize) -> Result<(Self, &'a str), String> {
        let [mut package, mut version, mut architecture, mut provides] = [None; 4];
        let mut base = false;
        for field in (Fields { rest: paragraph }) {
            let (name, value) = field?;
            let place = match name {
                "Package" => &mut package,
                "Version" => &mut version,
                "Architecture" => &mut architecture,
                "Provides" => &mut provides,
                "Essential" | "Priority" => {
                    base |= matches!(value, "yes" | "required");
                    continue;
                }
                _ => continue,
            };
            place.get_or_insert(value);
        }
        let need = |value: Option<&'a str>, name| {
            value.ok_or_else(|| format!("no {name} in {:?}", paragraph.lines().next()))
        };
        let package = Self {
            name: need(package, "Package")?,
            version: need(version, "Version")?,
            architecture: need(architecture, "Architecture")?,
            base,
            text,
            paragraph,
        };
        Ok((package, provides.unwrap_or_default()))
    }

    /// The names that a package stands in for.
    pub fn provided(&self) -> impl Iterator<Item = Provided<'a>> + use<'a> {
        Provided::parse_all(self.field("Provides").unwrap_or_default())
    }
}

/// The fields of a paragraph (Debian policy, section 5.1); comments are passed over.
struct Fields<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(&'a str, &'a str), String>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.starts_with('#') {
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
        if self.rest.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            let tail = &self.rest[end..];
            end += tail.find('\n').map_or(tail.len(), |at| at + 1);
            if !self.rest[end..].starts_with([' ', '\t']) {
                break;
            }
        }
        let (field, rest) = self.rest.split_at(end);
        self.rest = rest;
        let parts = field
            .split_once(':')
            .filter(|(name, _)| !name.is_empty() && !name.contains(|c: char| c.is_whitespace()));
        let named = parts.map(|(name, value)| (name, value.trim()));
        Some(named.ok_or_else(|| format!("{:?}", field.lines().next().unwrap_or_default())))
    }
}

/// A name that a package stands in for, and as which version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Provided<'a> {
    pub name: &'a str,
    pub version: Option<&'a str>,
}

impl<'a> Provided<'a> {
    fn parse_all(text: &'a str) -> impl Iterator<Item = Self> + use<'a> {
        text.split(',').filter_map(Self::parse)
    }

    /// Reads `name[:arch] [(= version)]` (Debian policy, section 7.5).
    fn parse(text: &'a str) -> Option<Self> {
        let (name, version) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.trim().strip_suffix(')')?.trim().strip_prefix('=')),
            None => (text, None),
        };
        let name = name.trim().split(':').next().filter(|name| !name.is_empty())?;
        Some(Self { name, version: version.map(str::trim) })
    }
}

/// A package that goes by a name: as itself or by `Provides`.
#[derive(Clone, Copy, Debug)]
pub struct Bearer<'a> {
    pub id: Id,
    /// As which version it bears the name; a bare `Provides` says none.
    pub version: Option<&'a str>,
    /// Whether it is the package of that name.
    pub real: bool,
}

/// All packages for one architecture, over all suites of a line.
#[derive(Debug, Default)]
pub struct Universe<'a> {
    pub packages: Vec<Package<'a>>,
    bearers: HashMap<&'a str, Vec<Bearer<'a>>>,
}

impl<'a> Universe<'a> {
    /// Reads the packages of `architecture` and `all` out of the texts, each with its path.
    ///
    /// # Errors
    ///
    /// [`IndexError::Paragraph`].
    pub fn parse(
        texts: impl IntoIterator<Item = (usize, &'a str, &'a str)>,
        architecture: &str,
    ) -> Result<Self, IndexError> {
        let mut universe = Self::default();
        for (number, path, text) in texts {
            for paragraph in paragraphs(text) {
                let (package, provides) = Package::parse(paragraph, number)
                    .map_err(|what| IndexError::Paragraph { path: path.to_owned(), what })?;
                if package.architecture == architecture || package.architecture == "all" {
                    universe.add(package, provides);
                }
            }
        }
        Ok(universe)
    }

    /// Everything that goes by a name, in the order of the indexes.
    pub fn bearers(&self, name: &str) -> &[Bearer<'a>] {
        self.bearers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The packages of a name, in the order of the indexes.
    pub fn named(&self, name: &str) -> impl Iterator<Item = Id> + use<'_, 'a> {
        self.bearers(name).iter().filter(|bearer| bearer.real).map(|bearer| bearer.id)
    }

    /// Every name that a package of the indexes has, in no order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'_, 'a> {
        let real = |bearers: &Vec<Bearer<'_>>| bearers.iter().any(|bearer| bearer.real);
        self.bearers.iter().filter(move |(_, bearers)| real(bearers)).map(|(&name, _)| name)
    }

    /// Of packages the one of the highest version; the first of equals.
    pub fn highest(&self, ids: impl Iterator<Item = Id>) -> Option<Id> {
        let mut ids = ids.peekable();
        let first = ids.next()?;
        if ids.peek().is_none() {
            return self.packages[first].parsed_version().map(|_| first); // as nearly all
        }
        let versions = std::iter::once(first)
            .chain(ids)
            .filter_map(|id| Some((self.packages[id].parsed_version()?, id)));
        let first_highest = |best: (Version, Id), next: (Version, Id)| {
            if best.0 < next.0 { next } else { best }
        };
        versions.reduce(first_highest).map(|(_, id)| id)
    }

    fn add(&mut self, package: Package<'a>, provides: &'a str) {
        let id = self.packages.len();
        self.packages.push(package);
        let own = Bearer { id, version: Some(package.version), real: true };
        self.bearers.entry(package.name).or_default().push(own);
        for Provided { name, version } in Provided::parse_all(provides) {
            self.bearers.entry(name).or_default().push(Bearer { id, version, real: false });
        }
    }
}

/// The paragraphs of an index, verbatim, without the blank lines between them.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(|p| p.trim_matches('\n')).filter(|p| !p.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::source::apt::release::Listed;
    use crate::source::unpack::Packing;

    fn index(packing: Packing, bytes: &[u8], max: u64) -> Index {
        Index {
            path: "main/binary-amd64/Packages".parse().unwrap(),
            packing,
            listed: Listed { digest: Digest::of(bytes), len_bytes: bytes.len() as u64 },
            plain_len_bytes_max: max,
        }
    }

    #[test]
    fn an_index_unpacks_to_its_bound_and_not_beyond() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(b"Package: a\n").unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(b"Package: a\n").unwrap();
        for (packing, bytes) in [
            (Packing::Plain, b"Package: a\n".to_vec()),
            (Packing::Gzip, gz.finish().unwrap()),
            (Packing::Xz, xz.finish().unwrap()),
        ] {
            assert_eq!(open_index(&index(packing, &bytes, 11), &bytes).unwrap(), "Package: a\n");
            let error = open_index(&index(packing, &bytes, 10), &bytes).unwrap_err();
            assert!(matches!(error, IndexError::Bomb { max: 10, .. }), "{error}");
        }
        let error = open_index(&index(Packing::Xz, b"junk", 10), b"junk").unwrap_err();
        assert!(matches!(error, IndexError::Unpack { .. }), "{error}");
    }

    #[test]
    fn an_index_other_than_the_signed_one_is_refused() {
        let expected = index(Packing::Plain, b"Package: a\n", 100);
        for other in [&b"Package: b\n"[..], b"Package: a\n\n", b""] {
            let error = open_index(&expected, other).unwrap_err();
            assert!(matches!(error, IndexError::Mismatch { .. }), "{error}");
        }
    }

    #[test]
    fn paragraphs_stay_verbatim_and_foreign_architectures_are_left_out() {
        let text = "Package: a\nVersion: 1\nArchitecture: amd64\nProvides: x, y:any (= 2),\n\
            Description: d\n more: lines\n\n\nPackage: b\nVersion: 1\nArchitecture: arm64\n\n\
            Package: c\nVersion: 1\nArchitecture: all\nEssential: yes\n";
        let universe = Universe::parse([(0, "P", text)], "amd64").unwrap();
        let names: Vec<_> = universe.packages.iter().map(|p| (p.name, p.base)).collect();
        assert_eq!(names, [("a", false), ("c", true)]);
        assert_eq!(
            universe.packages[0].paragraph,
            "Package: a\nVersion: 1\nArchitecture: amd64\nProvides: x, y:any (= 2),\n\
             Description: d\n more: lines"
        );
        let versions = |name| universe.bearers(name).iter().map(|b| b.version).collect::<Vec<_>>();
        assert_eq!(versions("x"), [None]);
        assert_eq!(versions("y"), [Some("2")]);
        assert_eq!(versions("b"), []);
    }

    #[test]
    fn a_paragraph_that_is_none_is_refused() {
        for bad in ["Package: a\nVersion: 1\n", "no colon\n", " indented: first\n"] {
            let error = Universe::parse([(0, "P", bad)], "amd64").unwrap_err();
            assert!(matches!(error, IndexError::Paragraph { .. }), "{bad}: {error}");
        }
    }
}
