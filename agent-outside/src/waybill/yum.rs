//! The `yum` lines of a waybill.

use gapferry_proto::Target;
use serde::Deserialize;
use url::Url;

use super::InstalledAt;

/// Rpm packages and all that they need on an empty machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct YumLine {
    /// Roots of one repository, any of which will do; `$releasever` and `$basearch` stand for
    /// what the line says. With `mirrorlist`, `metalink` and this left out: the repositories
    /// that this machine's own dnf is set to.
    #[serde(default, deserialize_with = "one_or_many")]
    pub baseurl: Vec<String>,
    pub mirrorlist: Option<String>,
    pub metalink: Option<String>,
    /// Which of this machine's own repositories, by id; empty is all that are enabled.
    #[serde(default)]
    pub repos: Vec<String>,
    /// `name`, `name.arch`, `name-version`, `name-version-release`, `@group`, a path, anything
    /// that a package provides, or `*` for all.
    #[serde(default)]
    pub packages: Vec<String>,
    /// `x86_64`, `aarch64` …
    #[serde(default)]
    pub arch: String,
    /// What `$releasever` stands for; this machine's own when left out.
    pub releasever: Option<String>,
    /// The first segment below `/yum/` inside; `releasever` when left out.
    pub target: Option<Target>,
    /// Files of the OpenPGP keys that may sign the repository.
    #[serde(default, deserialize_with = "one_or_many")]
    pub gpg_key: Vec<camino::Utf8PathBuf>,
    /// Whether `repomd.xml` itself must be signed, not only what it leads to.
    #[serde(default)]
    pub repo_gpgcheck: bool,
    /// Whether what packages recommend comes along, as clients do unless told otherwise.
    #[serde(default = "yes")]
    pub weak: bool,
    /// Module streams that are enabled, `name:stream`, besides the default ones.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Names, or patterns with `*` and `?`, that are never taken.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What targets have already.
    #[serde(default)]
    pub minimal: Minimal,
    /// Whether packages come along that a security advisory names.
    #[serde(default)]
    pub security: bool,
    /// The output of `rpm -qa` on targets, in a file or from a site's inventory: its packages are
    /// updated, and those that the repository has in the same version are not carried.
    pub installed: Option<InstalledAt>,
    /// Whether its packages are asked from the repositories of all lines of its target: those that
    /// Kubespray asks for. No waybill says it.
    #[serde(skip)]
    pub from_all: bool,
    /// Whether nothing of `installed` is updated: who wants a package asks for that alone. No waybill
    /// says it.
    #[serde(skip)]
    pub no_updates: bool,
    /// Whether neither a signature nor TLS need vouch for the repository.
    #[serde(default)]
    pub insecure: bool,
    /// PEM files for repositories that want a client certificate.
    pub sslcacert: Option<camino::Utf8PathBuf>,
    pub sslclientcert: Option<camino::Utf8PathBuf>,
    pub sslclientkey: Option<camino::Utf8PathBuf>,
}

/// What every target has before anything is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Minimal {
    /// Nothing: all is carried, down to `glibc` and `filesystem`.
    #[default]
    None,
    /// What the group `core` of the repositories leads to.
    Core,
}

const fn yes() -> bool {
    true
}

fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

impl YumLine {
    /// The rule that this line breaks, if it breaks one.
    pub fn broken_rule(&self) -> Option<&'static str> {
        let places = usize::from(!self.baseurl.is_empty())
            + usize::from(self.mirrorlist.is_some())
            + usize::from(self.metalink.is_some());
        let plain = |text: &String| Url::parse(text).is_ok_and(|url| url.scheme() == "http");
        if self.packages.is_empty() && !self.security && self.installed.is_none() {
            Some("name at least one package, or `security: true`, or an `installed` file")
        } else if self.arch.is_empty() {
            Some("name the architecture in arch, such as x86_64")
        } else if 1 < places {
            Some("name one of baseurl, mirrorlist and metalink")
        } else if places == 1 && !self.repos.is_empty() {
            Some("name either this machine's repos or a place of your own")
        } else if self.sslclientcert.is_some() != self.sslclientkey.is_some() {
            Some("name both sslclientcert and sslclientkey")
        } else if self.baseurl.iter().any(plain) && self.gpg_key.is_empty() && !self.insecure {
            Some(
                "name the key file in gpgKey, use https, or accept any bytes with `insecure: true`",
            )
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_its_rules_are_checked() {
        let read = |text: &str| serde_saphyr::from_str::<YumLine>(text);
        let line = read(
            "{baseurl: \"https://m.example/$releasever\", packages: [socat], arch: x86_64, \
             gpgKey: k.asc, releasever: \"9\", minimal: core}",
        )
        .unwrap();
        assert_eq!(line.baseurl, ["https://m.example/$releasever"]);
        assert_eq!((line.weak, line.minimal, line.gpg_key.len()), (true, Minimal::Core, 1));
        assert_eq!(line.broken_rule(), None);
        for (text, broken) in [
            ("{arch: x86_64}", true),
            ("{arch: x86_64, security: true}", false),
            ("{arch: \"\", packages: [a]}", true),
            ("{arch: a, packages: [a], baseurl: \"http://m.example\"}", true),
            ("{arch: a, packages: [a], baseurl: \"http://m.example\", insecure: true}", false),
            ("{arch: a, packages: [a], baseurl: \"https://m.example\", repos: [b]}", true),
            ("{arch: a, packages: [a], sslclientcert: c}", true),
        ] {
            assert_eq!(read(text).unwrap().broken_rule().is_some(), broken, "{text}");
        }
        assert!(read("{arch: a, packages: [a], gpgkey: k}").is_err());
    }
}
