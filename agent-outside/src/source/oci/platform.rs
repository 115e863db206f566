//! Which children of an image index are wanted.
//!
//! In:   `platforms` of a waybill line, the children of an index.
//! Out:  the children to follow, and which platforms each of them answers.
//! Pure: values only.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::manifest::Child;

/// A platform, `os/architecture[/variant]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    /// In a wish, none takes any.
    pub variant: Option<String>,
}

/// Why a text is no platform.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no platform; write os/architecture, such as linux/amd64 or linux/arm/v7")]
pub struct PlatformError(String);

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<_> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err(PlatformError(text.to_owned())),
        };
        if parts.iter().any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
            return Err(PlatformError(text.to_owned()));
        }
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl Platform {
    /// Whether `offered` is what this wish asks for.
    pub fn takes(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.variant() == offered.variant())
    }

    /// The variant; 64-bit ARM is `v8` also where it is not said.
    fn variant(&self) -> Option<&str> {
        let usual = (self.architecture == "arm64").then_some("v8");
        self.variant.as_deref().or(usual)
    }
}

/// The children of one index to follow, in its order, and the wishes that they answer.
///
/// No wishes are all children. Else those of the platforms wished for, nested indexes that name
/// no platform, and the attestations of the children kept.
pub fn choose<'a>(
    children: &'a [Child],
    wishes: &[Platform],
) -> (Vec<&'a Child>, BTreeSet<Platform>) {
    if wishes.is_empty() {
        return (children.iter().collect(), BTreeSet::new());
    }
    let mut answered = BTreeSet::new();
    let mut kept = BTreeSet::new();
    for child in children {
        match &child.platform {
            Some(offered) => {
                let taken: Vec<_> = wishes.iter().filter(|wish| wish.takes(offered)).collect();
                if !taken.is_empty() {
                    kept.insert(child.blob.id);
                }
                answered.extend(taken.into_iter().cloned());
            }
            None if child.is_index() => drop(kept.insert(child.blob.id)),
            None => {}
        }
    }
    let wanted = |child: &&Child| {
        kept.contains(&child.blob.id) || child.attests.is_some_and(|of| kept.contains(&of))
    };
    (children.iter().filter(wanted).collect(), answered)
}

#[cfg(test)]
mod tests {
    use gapferry_proto::{BlobId, BlobRef};

    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn child(name: &str, of: Option<&str>, attests: Option<&str>) -> Child {
        Child {
            blob: BlobRef { id: BlobId::of(name.as_bytes()), len_bytes: 1 },
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            platform: of.map(platform),
            attests: attests.map(|name| BlobId::of(name.as_bytes())),
            tag: None,
        }
    }

    #[test]
    fn a_platform_is_two_or_three_words() {
        assert_eq!(platform("linux/arm/v7").to_string(), "linux/arm/v7");
        for bad in ["", "linux", "linux/", "/amd64", "linux/amd64/", "a/b/c/d", "linux/am d64"] {
            assert_eq!(bad.parse::<Platform>(), Err(PlatformError(bad.to_owned())));
        }
    }

    #[test]
    fn a_wish_without_variant_takes_any_and_arm64_is_v8() {
        for (wish, offered, takes) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm/v7", "linux/arm", false),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/amd64", "windows/amd64", false),
        ] {
            assert_eq!(platform(wish).takes(&platform(offered)), takes, "{wish} {offered}");
        }
    }

    #[test]
    fn attestations_follow_the_children_that_are_kept() {
        let children = [
            child("amd", Some("linux/amd64"), None),
            child("arm", Some("linux/arm64"), None),
            child("amd-att", Some("unknown/unknown"), Some("amd")),
            child("arm-att", Some("unknown/unknown"), Some("arm")),
            child("loose", None, None),
        ];
        let wishes = [platform("linux/amd64"), platform("linux/s390x")];
        let (kept, answered) = choose(&children, &wishes);
        assert_eq!(kept, [&children[0], &children[2]]);
        assert_eq!(answered, BTreeSet::from([platform("linux/amd64")]));
        assert_eq!(choose(&children, &[]).0.len(), 5);
    }
}
