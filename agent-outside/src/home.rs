//! The home of the outside agent: which file lies where, and its configuration.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    config::{self, ConfigError},
    durable::DurableError,
    keys::{KeyError, SigningKey},
    lock::{HomeLock, LockError},
    store::Store,
};
use gapferry_proto::SiteName;
use serde::Deserialize;

use crate::{
    delta::Places,
    source::http::{Mirror, Network},
};

/// The name of this program, for messages and default folders.
pub const BINARY: &str = "gapferry-outside";

/// `config.toml` of the outside.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub network: Network,
    /// `[[mirror]] from = "…" to = "…"`
    #[serde(default)]
    pub mirror: Vec<Mirror>,
    /// Most bytes of scratch space, for the plain streams of the blobs at work.
    #[serde(default = "scratch_bytes")]
    pub scratch_bytes: u64,
    /// `[site.NAME]`
    #[serde(default)]
    pub site: BTreeMap<SiteName, SiteConfig>,
}

/// 32 GiB: the plain streams of the largest images, twice.
const fn scratch_bytes() -> u64 {
    32 << 30
}

/// What belongs to one site.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Names of the waybills that are for this site.
    #[serde(default)]
    pub waybills: Vec<SiteName>,
    /// Whether what this site wants is carried without a line that asks for it.
    #[serde(default = "yes")]
    pub wants: bool,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self { waybills: vec![], wants: true }
    }
}

const fn yes() -> bool {
    true
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

    /// Keeps other runs out until it is dropped.
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

    /// Where deltas keep what may be thrown away.
    pub fn places(&self) -> Places {
        Places {
            scratch: self.root.join("cache/scratch"),
            scratch_bytes: self.config.scratch_bytes,
            encodings: self.root.join("cache/encodings"),
        }
    }

    /// The key that signs exports.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn publisher_key(&self) -> Result<SigningKey, KeyError> {
        SigningKey::load(&publisher_key_path(&self.root))
    }

    /// Where the keysets and their signatures lie, named as they are on the medium.
    pub fn keysets(&self) -> Utf8PathBuf {
        self.root.join("keysets")
    }

    /// The locks of one waybill.
    pub fn locks(&self, waybill: &SiteName) -> Utf8PathBuf {
        self.root.join("locks").join(waybill.as_str())
    }

    /// What is known of one site.
    pub fn ledger(&self, site: &SiteName) -> Utf8PathBuf {
        self.root.join("ledger").join(site.as_str())
    }

    /// Every site that was paired, sorted.
    pub fn sites(&self) -> Vec<SiteName> {
        names_in(&self.root.join("ledger"))
    }

    /// Every waybill that has a lock, sorted.
    pub fn waybills(&self) -> Vec<SiteName> {
        names_in(&self.root.join("locks"))
    }

    /// This agent's own card as it was written by `init`.
    pub fn publisher_card(&self) -> Utf8PathBuf {
        self.root.join("publisher.card")
    }
}

/// Where the publisher's key lies in a home.
pub fn publisher_key_path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("keys/publisher")
}

fn names_in(folder: &Utf8Path) -> Vec<SiteName> {
    let Ok(entries) = folder.read_dir_utf8() else { return vec![] };
    let mut names: Vec<SiteName> =
        entries.flatten().filter_map(|entry| entry.file_name().parse().ok()).collect();
    names.sort();
    names
}
