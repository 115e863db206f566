//! The `apt` lines of a waybill.

use gapferry_proto::{Target, name::NameError};
use serde::Deserialize;
use url::Url;

use super::InstalledAt;

/// Debian packages and all that they need on an empty machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AptLine {
    /// Left out: the sources that this machine's own apt is set to.
    pub uri: Option<Url>,
    /// `bookworm`; with `uri` left out, also its `-updates` and `-security`.
    pub suite: String,
    #[serde(default)]
    pub components: Vec<String>,
    /// Any, whatever this machine is; left out below `kubespray`, where the nodes say it.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// `name`, `name=version`, `name:arch`, or `*` for all.
    #[serde(default)]
    pub packages: Vec<String>,
    /// A file with names of packages.
    pub list: Option<camino::Utf8PathBuf>,
    /// File of the OpenPGP keys that may sign the repository.
    pub signed_by: Option<camino::Utf8PathBuf>,
    /// The first segment below `/apt/` inside; the suite when left out.
    pub target: Option<Target>,
    /// Whether what packages recommend comes along.
    #[serde(default)]
    pub recommends: bool,
    /// What targets have already.
    #[serde(default)]
    pub minimal: Minimal,
    /// Whether suites whose `Release` calls itself security are carried: with `installed` their
    /// updates of what is listed, else all of their packages.
    #[serde(default)]
    pub security: bool,
    /// The output of `dpkg-query -W` on targets, in a file or from a site's inventory: what is
    /// newer is carried, and packages that it lists in the same version are not.
    pub installed: Option<InstalledAt>,
    /// Whether an unsigned repository is accepted.
    #[serde(default)]
    pub insecure: bool,
}

/// What every target has before anything is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Minimal {
    /// Nothing: all is carried, down to `libc6`.
    #[default]
    None,
    /// What is `Essential: yes` or `Priority: required`, with what that needs, in the versions
    /// of the release.
    Required,
}

impl AptLine {
    /// The folder below `/apt/`: as named, else the suite.
    ///
    /// # Errors
    ///
    /// [`NameError`]: the suite cannot be one.
    pub fn target(&self) -> Result<Target, NameError> {
        self.target.clone().map_or_else(|| self.suite.parse(), Ok)
    }

    /// The rule that this line breaks, if it breaks one.
    pub fn broken_rule(&self) -> Option<&'static str> {
        let names_none = self.packages.is_empty() && self.list.is_none();
        if names_none && !self.security && self.installed.is_none() {
            Some("name at least one package, or `security: true`, or an `installed` file")
        } else if self.architectures.is_empty() {
            Some("name at least one architecture")
        } else if self.suite.trim_matches('/') == "merged" {
            Some("a site serves all that a target holds as the suite merged; name another suite")
        } else if self.uri.is_some() && self.signed_by.is_none() && !self.insecure {
            Some("name the key file in signedBy, or accept any bytes with `insecure: true`")
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
        let read = |text: &str| serde_saphyr::from_str::<AptLine>(text);
        let line = read(
            "{suite: trixie, architectures: [arm64], packages: ['*'], minimal: required, \
             recommends: true, security: true, installed: nodes.txt}",
        )
        .unwrap();
        let expected = AptLine {
            uri: None,
            suite: "trixie".to_owned(),
            components: Vec::new(),
            architectures: vec!["arm64".to_owned()],
            packages: vec!["*".to_owned()],
            list: None,
            signed_by: None,
            target: None,
            recommends: true,
            minimal: Minimal::Required,
            security: true,
            installed: Some(InstalledAt::File("nodes.txt".into())),
            insecure: false,
        };
        assert_eq!(line, expected);
        for (text, broken) in [
            ("{suite: s, architectures: [a]}", true),
            ("{suite: s, architectures: [a], security: true}", false),
            ("{suite: s, architectures: [a], installed: f}", false),
            ("{suite: s, architectures: [a], list: f}", false),
            ("{suite: s, architectures: [], packages: [a]}", true),
            ("{suite: merged, architectures: [a], packages: [a]}", true),
            ("{suite: s, architectures: [a], packages: [a], uri: 'http://m.example'}", true),
        ] {
            assert_eq!(read(text).unwrap().broken_rule().is_some(), broken, "{text}");
        }
        let plain = read("{suite: s, architectures: [a], packages: [a]}").unwrap();
        assert_eq!((plain.recommends, plain.minimal), (false, Minimal::None));
        assert!(read("{suite: s, architectures: [a], packages: [a], minimal: core}").is_err());
    }
}
