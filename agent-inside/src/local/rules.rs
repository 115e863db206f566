//! Who may push to which names, and that no carried name is among them.
//!
//! In:   `[push]` of `config.toml`. Out: [`Prefixes`]. Pure.

use gapferry_common::config::Bytes;
use gapferry_proto::limits;
use serde::Deserialize;

/// Names that may be pushed to: all below `prefix`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// With a slash at its end, as `apps/`.
    pub prefix: String,
    /// Most bytes below it.
    pub quota: Bytes,
    /// Who may push.
    pub users: Vec<String>,
    /// Whether a manifest is taken whose blobs or manifests are not held, as an index of which
    /// some platforms were left out.
    #[serde(default)]
    pub allow_missing: bool,
}

/// All prefixes, the longest first. None when nothing may be pushed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(try_from = "Vec<Prefix>")]
pub struct Prefixes(Vec<Prefix>);

/// A prefix and a carried repository that lies below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overlap {
    pub prefix: String,
    pub repository: String,
}

impl TryFrom<Vec<Prefix>> for Prefixes {
    type Error = String;

    fn try_from(mut prefixes: Vec<Prefix>) -> Result<Self, Self::Error> {
        for Prefix { prefix, users, .. } in &prefixes {
            let name = prefix.strip_suffix('/').unwrap_or_default();
            if name.len() > limits::PUSHED_NAME_LEN_BYTES_MAX / 2 || !name.split('/').all(is_part) {
                return Err(format!("{prefix:?} is no prefix of repositories such as \"apps/\""));
            }
            if users.iter().all(String::is_empty) {
                return Err(format!("nobody may push below {prefix:?}: name its users"));
            }
        }
        prefixes.sort_by(|a, b| (b.prefix.len(), &b.prefix).cmp(&(a.prefix.len(), &a.prefix)));
        match prefixes.windows(2).find(|pair| pair[0].prefix == pair[1].prefix) {
            Some(pair) => Err(format!("{:?} stands there twice", pair[0].prefix)),
            None => Ok(Self(prefixes)),
        }
    }
}

impl Prefixes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn all(&self) -> &[Prefix] {
        &self.0
    }

    /// The place of the longest prefix that `repository` lies below.
    pub fn position(&self, repository: &str) -> Option<usize> {
        self.0.iter().position(|prefix| repository.starts_with(&prefix.prefix))
    }

    /// The first of the carried `repositories` that answers to a name below a prefix, with its
    /// registry's host before it or without.
    pub fn overlap<'a>(&self, repositories: impl IntoIterator<Item = &'a str>) -> Option<Overlap> {
        repositories.into_iter().find_map(|repository| {
            let hostless = repository.split_once('/').map_or("", |(_, name)| name);
            let at = self.position(repository).or_else(|| self.position(hostless))?;
            let prefix = self.0[at].prefix.clone();
            Some(Overlap { prefix, repository: repository.to_owned() })
        })
    }
}

/// A part of a name between slashes, or a host with its port: safe as the name of a folder, and
/// never one of our own, which begin with an underscore.
/// Whether a part of a name can be a folder of the local space: neither dots nor `_tags`.
pub(super) fn is_part(part: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-:".contains(&b);
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    part.bytes().all(fits) && ends(part.bytes().next()) && ends(part.bytes().next_back())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn prefix(prefix: &str, quota: u64, users: &[&str]) -> Prefix {
        let users = users.iter().map(|&user| user.to_owned()).collect();
        Prefix { prefix: prefix.to_owned(), quota: Bytes(quota), users, allow_missing: false }
    }

    #[test]
    fn the_longest_prefix_counts_and_its_own_name_is_not_below_it() {
        let all = vec![prefix("apps/", 1, &["a"]), prefix("apps/team/", 2, &["b"])];
        let prefixes = Prefixes::try_from(all).unwrap();
        let quota = |name| prefixes.position(name).map(|at| prefixes.all()[at].quota.0);
        assert_eq!(
            ["apps/x", "apps/team/x", "apps/team", "apps", "app", "x/apps/y"].map(quota),
            [Some(1), Some(2), Some(1), None, None, None]
        );
    }

    #[test]
    fn a_prefix_without_slash_users_or_sense_is_refused() {
        for wrong in
            ["", "/", "apps", "/apps/", "apps//", "../", "a/../", "_tags/", "Apps/", "a b/"]
        {
            assert!(Prefixes::try_from(vec![prefix(wrong, 1, &["a"])]).is_err(), "{wrong}");
        }
        assert!(Prefixes::try_from(vec![prefix("apps/", 1, &[])]).is_err());
        let twice = vec![prefix("apps/", 1, &["a"]), prefix("apps/", 2, &["b"])];
        assert!(Prefixes::try_from(twice).is_err());
    }

    #[test]
    fn a_carried_name_overlaps_with_and_without_its_registry() {
        let all = vec![prefix("apps/", 1, &["a"]), prefix("r.example/own/", 1, &["a"])];
        let prefixes = Prefixes::try_from(all).unwrap();
        let overlap = |name| prefixes.overlap([name]).map(|overlap| overlap.prefix);
        assert_eq!(overlap("docker.io/apps/x"), Some("apps/".to_owned()));
        assert_eq!(overlap("apps/x"), Some("apps/".to_owned()));
        assert_eq!(overlap("r.example/own/x"), Some("r.example/own/".to_owned()));
        for other in ["r.example/apps", "r.example/x/apps/y", "r.example/ownx", "own/x"] {
            assert_eq!(overlap(other), None, "{other}");
        }
    }
}
