//! What `config.toml` says about serving: where to listen, TLS, who may read what, old layouts.
//!
//! In:   TOML, through serde; unknown keys are errors.
//! Out:  values that are well formed by themselves. Whether a file can be read or a user exists
//!       is found where it is used.

use std::fmt;

use camino::Utf8PathBuf;
use serde::{Deserialize, Deserializer};

use crate::users::UserName;

/// Where `serve` listens: `listen = "ADDR"`, or a table of several listeners.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(untagged)]
pub enum Listen {
    /// Main and registry on their usual ports.
    #[default]
    Usual,
    /// This one address and no other.
    One(String),
    Table(ListenTable),
}

/// `[listen]`: each an address, several of them, or `[]` for none.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenTable {
    #[serde(default = "main_usual")]
    pub main: Addresses,
    #[serde(default = "registry_usual")]
    pub registry: Addresses,
    /// Ports of the kubespray-offline layout, whose nodes know no TLS: always plain HTTP.
    #[serde(default)]
    pub kubespray_offline: Addresses,
}

impl Default for ListenTable {
    fn default() -> Self {
        Self {
            main: main_usual(),
            registry: registry_usual(),
            kubespray_offline: Addresses::default(),
        }
    }
}

fn main_usual() -> Addresses {
    Addresses::One("0.0.0.0:8080".to_owned())
}

fn registry_usual() -> Addresses {
    Addresses::One("0.0.0.0:5000".to_owned())
}

/// One address or several.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Addresses {
    One(String),
    Many(Vec<String>),
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Addresses {
    fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(address) => std::slice::from_ref(address).iter(),
            Self::Many(addresses) => addresses.iter(),
        }
        .map(String::as_str)
    }
}

/// An address to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    pub address: String,
    /// Whether it speaks plain HTTP even when TLS is on.
    pub always_plain: bool,
}

impl Listen {
    /// All listeners, the main one first.
    pub fn listeners(&self) -> Vec<Listener> {
        let plain = |always_plain| {
            move |address: &str| Listener { address: address.to_owned(), always_plain }
        };
        let of_table = |table: &ListenTable| {
            let follow_tls = table.main.iter().chain(table.registry.iter()).map(plain(false));
            follow_tls.chain(table.kubespray_offline.iter().map(plain(true))).collect()
        };
        match self {
            Self::Usual => of_table(&ListenTable::default()),
            Self::One(address) => vec![plain(false)(address)],
            Self::Table(table) => of_table(table),
        }
    }
}

/// `[tls]`
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    pub mode: TlsMode,
    /// With `files`: the certificate, followed by the ones between it and its root, in PEM.
    pub cert: Option<Utf8PathBuf>,
    /// With `files`: its private key in PEM, without a passphrase.
    pub key: Option<Utf8PathBuf>,
    /// With `site-ca`: the names and addresses by which clients call this server.
    pub names: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    #[default]
    Off,
    /// A certificate of the CA that this site made itself.
    SiteCa,
    /// A certificate that the operator gives.
    Files,
}

/// `[[access]]`: who may read below a path.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "AccessTable")]
pub struct AccessRule {
    pub path: String,
    pub readers: Readers,
}

/// Who may read something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readers {
    Everyone,
    Users(Vec<UserName>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessTable {
    path: String,
    users: Option<Vec<UserName>>,
    #[serde(default)]
    anonymous: bool,
}

impl TryFrom<AccessTable> for AccessRule {
    type Error = AccessRuleError;

    fn try_from(table: AccessTable) -> Result<Self, AccessRuleError> {
        let AccessTable { path, users, anonymous } = table;
        if !path.starts_with('/') {
            return Err(AccessRuleError::NoPath(path));
        }
        let readers = match (users, anonymous) {
            (None, true) => Readers::Everyone,
            (Some(users), false) => Readers::Users(users),
            _ => return Err(AccessRuleError::Who(path)),
        };
        Ok(Self { path, readers })
    }
}

/// Why an access rule is none.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccessRuleError {
    #[error("the path of an access rule begins with a slash, not as {0:?}")]
    NoPath(String),
    #[error("an access rule has either users or anonymous = true; the one for {0} does not")]
    Who(String),
}

/// `aliases = true`, or a table that says which target the old paths without one mean.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Aliases {
    pub on: bool,
    /// The target of `/rpms/local/`; the only one that is held when left out.
    pub rpms: Option<String>,
    /// The target of `/debs/local/`, likewise.
    pub debs: Option<String>,
}

impl<'de> Deserialize<'de> for Aliases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            rpms: Option<String>,
            debs: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Switch(bool),
            Table(Table),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Switch(on) => Self { on, ..Self::default() },
            Form::Table(Table { rpms, debs }) => Self { on: true, rpms, debs },
        })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        #[serde(default)]
        listen: Listen,
        #[serde(default)]
        tls: TlsSettings,
        #[serde(default)]
        access: Vec<AccessRule>,
        #[serde(default)]
        aliases: Aliases,
    }

    fn addresses(text: &str) -> Vec<(String, bool)> {
        let document: Document = toml::from_str(text).unwrap();
        let listeners = document.listen.listeners().into_iter();
        listeners.map(|listener| (listener.address, listener.always_plain)).collect()
    }

    #[test]
    fn listeners_are_usual_or_one_or_as_the_table_says() {
        let main = ("0.0.0.0:8080".to_owned(), false);
        let registry = ("0.0.0.0:5000".to_owned(), false);
        assert_eq!(addresses(""), [main.clone(), registry.clone()]);
        assert_eq!(addresses("listen = \"[::]:80\""), [("[::]:80".to_owned(), false)]);
        assert_eq!(addresses("[listen]\nregistry = []"), std::slice::from_ref(&main));
        let old = "[listen]\nkubespray_offline = [\"0.0.0.0:80\", \"0.0.0.0:35000\"]";
        let expected =
            [main, registry, ("0.0.0.0:80".to_owned(), true), ("0.0.0.0:35000".to_owned(), true)];
        assert_eq!(addresses(old), expected);
        assert!(toml::from_str::<Document>("[listen]\nregstry = \"x\"").is_err());
    }

    #[test]
    fn an_access_rule_says_who_and_exactly_once() {
        let text = "[[access]]\npath = \"/files/\"\nusers = [\"a\"]\n\
                    [[access]]\npath = \"/\"\nanonymous = true";
        let document: Document = toml::from_str(text).unwrap();
        let of = |path: &str, readers| AccessRule { path: path.to_owned(), readers };
        let users = Readers::Users(vec!["a".parse().unwrap()]);
        assert_eq!(document.access, [of("/files/", users), of("/", Readers::Everyone)]);
        for bad in [
            "path = \"/x\"",
            "path = \"x\"\nanonymous = true",
            "path = \"/x\"\nanonymous = true\nusers = [\"a\"]",
            "path = \"/x\"\nusers = [\"a:b\"]",
        ] {
            assert!(toml::from_str::<Document>(&format!("[[access]]\n{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn tls_and_aliases_are_off_unless_asked_for() {
        let document: Document = toml::from_str("").unwrap();
        assert_eq!((document.tls.mode, document.aliases.on), (TlsMode::Off, false));
        let text = "aliases = true\n[tls]\nmode = \"site-ca\"\nnames = [\"a.lan\"]";
        let document: Document = toml::from_str(text).unwrap();
        assert_eq!((document.tls.mode, document.aliases.on), (TlsMode::SiteCa, true));
        let document: Document = toml::from_str("[aliases]\ndebs = \"debian-13\"").unwrap();
        let debs = Some("debian-13".to_owned());
        assert_eq!(document.aliases, Aliases { on: true, rpms: None, debs });
    }
}
