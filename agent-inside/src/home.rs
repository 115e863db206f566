//! The home of the inside agent: which file lies where, and its configuration.

use std::num::NonZeroU32;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    config::{self, ConfigError},
    durable::DurableError,
    keys::{Identity, KeyError, SigningKey},
    lock::{HomeLock, LockError},
    store::Store,
};
use gapferry_proto::{ExportId, SiteName};
use serde::Deserialize;

use crate::{
    local::Prefixes,
    settings::{AccessRule, Aliases, Listen, TlsSettings},
};

/// The name of this program, for messages and default folders.
pub const BINARY: &str = "gapferry-inside";

/// `config.toml` of the inside.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub site: SiteName,
    /// Where `serve` listens.
    #[serde(default)]
    pub listen: Listen,
    #[serde(default)]
    pub tls: TlsSettings,
    /// Who may read what; everybody everything when there is no rule.
    #[serde(default)]
    pub access: Vec<AccessRule>,
    /// Whether the kubespray-offline layout is served too.
    #[serde(default)]
    pub aliases: Aliases,
    /// Most bytes of scratch space, for the plain streams of the blobs that are rebuilt.
    #[serde(default = "scratch_bytes")]
    pub scratch_bytes: u64,
    /// How many of the newest generations a sweep leaves.
    #[serde(default = "keep")]
    pub keep: NonZeroU32,
    /// What users may push; nothing when left out.
    #[serde(default)]
    pub push: Push,
}

/// `[push]` of `config.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    pub prefixes: Prefixes,
}

/// 32 GiB: the plain streams of the largest images, twice.
const fn scratch_bytes() -> u64 {
    32 << 30
}

/// The one that is served, and two to go back to.
const fn keep() -> NonZeroU32 {
    NonZeroU32::new(3).expect("it is not zero")
}

/// An initialised home.
#[derive(Clone, Debug)]
pub struct Home {
    root: Utf8PathBuf,
    config: Config,
}

impl Home {
    /// Opens a home that `init` made.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: there is none, or its `config.toml` is wrong.
    pub fn open(root: Utf8PathBuf) -> Result<Self, ConfigError> {
        let config = config::load(&root, BINARY)?;
        Ok(Self { root, config })
    }

    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    pub const fn config(&self) -> &Config {
        &self.config
    }

    pub const fn site(&self) -> &SiteName {
        &self.config.site
    }

    /// Keeps other writers out until it is dropped.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    pub fn lock(&self) -> Result<HomeLock, LockError> {
        HomeLock::take(&self.root)
    }

    /// # Errors
    ///
    /// [`DurableError`]: the home cannot be written.
    pub fn store(&self) -> Result<Store, DurableError> {
        Store::open(self.root.join("store"))
    }

    /// The key that signs inventories.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn identity_key(&self) -> Result<SigningKey, KeyError> {
        SigningKey::load(&identity_path(&self.root))
    }

    /// The key that opens packs.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn age_identity(&self) -> Result<Identity, KeyError> {
        Identity::load(&age_path(&self.root))
    }

    /// This site's own card.
    pub fn site_card(&self) -> Utf8PathBuf {
        self.root.join("site.card")
    }

    /// The publisher's card whose root is pinned.
    pub fn publisher_card(&self) -> Utf8PathBuf {
        self.root.join("state/keys/publisher.card")
    }

    /// Where plain streams lie while blobs are rebuilt.
    pub fn scratch(&self) -> Utf8PathBuf {
        self.root.join("scratch")
    }

    /// Most bytes of scratch space.
    pub const fn scratch_bytes(&self) -> u64 {
        self.config.scratch_bytes
    }

    /// How many of the newest generations a sweep leaves.
    pub const fn keep(&self) -> NonZeroU32 {
        self.config.keep
    }

    /// The names that may be pushed to.
    pub const fn push_prefixes(&self) -> &Prefixes {
        &self.config.push.prefixes
    }

    /// Where packs of an export wait while they are checked.
    pub fn staging(&self, export: &ExportId) -> Utf8PathBuf {
        self.root.join("staging").join(export.as_str())
    }
}

/// Where the key lies that signs inventories.
pub fn identity_path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("keys/identity")
}

/// Where the key lies that opens packs.
pub fn age_path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("keys/age")
}

/// Where the OpenPGP key lies that signs repositories.
pub fn repository_key_path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("keys/repository.asc")
}
