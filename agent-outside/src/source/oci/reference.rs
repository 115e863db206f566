//! What a waybill line calls an image.
//!
//! In:   `ref` and `as` of a waybill line.
//! Out:  [`Place`]: a registry's image, or a layout on disk and the image's name inside.
//! Pure: text only. The rules for short names are the library's.

use camino::Utf8PathBuf;
use gapferry_proto::{Digest, SafePath};
use oci_spec::distribution::{ParseError, Reference};
use url::Url;

use crate::waybill::ImageLine;

/// An image by its full name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// `host[:port]`.
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Where an image comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Registry(Image),
    Layout { dir: Utf8PathBuf, tag: Option<String>, image: Image },
}

/// Why a line names no image. Exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error(
        "{text:?} is no image reference; write host/repository:tag or host/repository@sha256:…"
    )]
    Parse { text: String, source: ParseError },
    #[error("{0:?} names a digest that is not sha256; use the image's sha256 digest")]
    Digest(String),
    #[error("{0:?} has no name that can be served; use plain path segments")]
    Name(String),
    #[error("{0:?} is a layout on disk; say with `as:` what it is called inside")]
    Unnamed(String),
    #[error("`as:` is for layouts on disk; {0:?} keeps its name")]
    Renamed(String),
}

impl Image {
    fn parse(text: &str) -> Result<Self, ReferenceError> {
        let reference: Reference = text
            .parse()
            .map_err(|source| ReferenceError::Parse { text: text.to_owned(), source })?;
        let bad_digest = |_| ReferenceError::Digest(text.to_owned());
        let digest = reference.digest().map(|d| d.parse().map_err(bad_digest)).transpose()?;
        let image = Self {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            tag: reference.tag().map(str::to_owned),
            digest,
        };
        let bad_name = || ReferenceError::Name(text.to_owned());
        image.path().ok_or_else(bad_name)?;
        image.repository_url("https").ok_or_else(bad_name)?;
        Ok(image)
    }

    /// `<host[:port]>/<repository>`.
    pub fn path(&self) -> Option<SafePath> {
        format!("{}/{}", self.registry, self.repository).parse().ok()
    }

    /// The full name: with the tag, or else with the digest.
    pub fn name(&self) -> String {
        let Self { registry, repository, tag, digest } = self;
        match (tag, digest) {
            (Some(tag), _) => format!("{registry}/{repository}:{tag}"),
            (None, Some(digest)) => format!("{registry}/{repository}@{digest}"),
            (None, None) => format!("{registry}/{repository}"),
        }
    }

    /// What a registry is asked for: the digest when it is known, else the tag.
    pub fn asked(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_else(|| "latest".to_owned()),
        }
    }

    /// `<scheme>://<host>/v2/<repository>`.
    pub fn repository_url(&self, scheme: &str) -> Option<Url> {
        format!("{scheme}://{}/v2/{}", self.registry, self.repository).parse().ok()
    }
}

impl Place {
    /// Reads the reference of a line.
    ///
    /// # Errors
    ///
    /// [`ReferenceError`] says how to write it.
    pub fn of(line: &ImageLine) -> Result<Self, ReferenceError> {
        let Some(rest) = line.reference.strip_prefix("oci:") else {
            return match &line.named {
                Some(_) => Err(ReferenceError::Renamed(line.reference.clone())),
                None => Image::parse(&line.reference).map(Self::Registry),
            };
        };
        let unnamed = || ReferenceError::Unnamed(line.reference.clone());
        let image = Image::parse(line.named.as_deref().ok_or_else(unnamed)?)?;
        let (dir, tag) = match rest.rsplit_once(':') {
            Some((dir, tag)) if !tag.contains('/') => (dir, Some(tag.to_owned())),
            _ => (rest, None),
        };
        Ok(Self::Layout { dir: dir.into(), tag, image })
    }
}

/// The host that answers for `registry`; the library knows the one whose name is another.
pub fn resolved(registry: &str) -> String {
    Reference::with_tag(registry.to_owned(), String::new(), String::new())
        .resolve_registry()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn place(reference: &str, named: Option<&str>) -> Result<Place, ReferenceError> {
        Place::of(&ImageLine { named: named.map(str::to_owned), ..ImageLine::of(reference) })
    }

    #[test]
    fn a_reference_has_a_full_name_and_says_what_to_ask_for() {
        let pinned = format!("r.lan:5000/a/b:1@{OF_ABC}");
        let by_digest = format!("r.lan/a@{OF_ABC}");
        for (text, name, asked) in [
            ("r.lan/a/b:1.0", "r.lan/a/b:1.0", "1.0"),
            ("localhost:5000/a", "localhost:5000/a:latest", "latest"),
            (&*pinned, "r.lan:5000/a/b:1", OF_ABC),
            (&*by_digest, &*by_digest, OF_ABC),
        ] {
            let Ok(Place::Registry(image)) = place(text, None) else { panic!("{text}") };
            assert_eq!((image.name(), image.asked()), (name.to_owned(), asked.to_owned()));
        }
    }

    #[test]
    fn a_layout_has_a_folder_a_tag_and_a_name_inside() {
        for (text, dir, tag) in [
            ("oci:images/a", "images/a", None),
            ("oci:images/a:1.0", "images/a", Some("1.0")),
            ("oci:/srv/x:y/a", "/srv/x:y/a", None),
        ] {
            let image = Image::parse("r.lan/a:1").unwrap();
            let expected = Place::Layout { dir: dir.into(), tag: tag.map(str::to_owned), image };
            assert_eq!(place(text, Some("r.lan/a:1")).unwrap(), expected);
        }
    }

    #[test]
    fn a_line_that_names_no_image_says_how_to_write_it() {
        let sha512 = format!("r.lan/a@sha512:{}", "0".repeat(128));
        for (reference, named) in [
            ("", None),
            ("r.lan/UPPER:1", None),
            ("r.lan/a:1 ", None),
            ("https://r.lan/a", None),
            (&*sha512, None),
            ("oci:images/a", None),
            ("r.lan/a:1", Some("r.lan/b:1")),
        ] {
            assert!(place(reference, named).is_err(), "{reference:?}");
        }
    }
}
