//! The waybill: what the user wants carried.
//!
//! In:   the text of `waybill.yaml`.
//! Out:  a [`Waybill`], or an error with line and column.
//! Pure: relative paths stay as written; whoever opens them joins them to the waybill's folder.

pub mod apt;
mod chart;
mod installed;
mod kubespray;
mod yum;

use gapferry_proto::{Digest, SafePath, SiteName};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::Url;

pub use self::{
    apt::AptLine,
    chart::ChartLine,
    installed::InstalledAt,
    kubespray::{KubesprayLine, RepositoryLines},
    yum::{Minimal, YumLine},
};
use crate::lists::ListsLine;

/// Why a text is no waybill.
#[derive(Debug, thiserror::Error)]
pub enum WaybillError {
    #[error("waybill is not understood: {0}")]
    Yaml(Box<serde_saphyr::Error>),
    #[error("waybill says apiVersion {0:?}; this agent reads \"gapferry.dev/v1\"")]
    ApiVersion(String),
    #[error("this is a {0:?}, not a Waybill")]
    NotAWaybill(String),
    #[error("{line}: {rule}")]
    Rule { line: String, rule: &'static str },
}

/// A whole waybill.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Waybill {
    pub api_version: String,
    pub kind: String,
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: Spec,
}

/// What identifies a waybill.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    pub name: SiteName,
}

/// The lines of a waybill.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Which sites it is for; empty is all of them.
    #[serde(default)]
    pub sites: Vec<SiteName>,
    /// How many earlier locks stay part of the snapshot.
    #[serde(default = "one")]
    pub keep: u32,
    #[serde(default)]
    pub kubespray: Vec<KubesprayLine>,
    #[serde(default)]
    pub files: Vec<FileLine>,
    #[serde(default)]
    pub images: Vec<ImageLine>,
    #[serde(default)]
    pub apt: Vec<AptLine>,
    #[serde(default)]
    pub pypi: Vec<PypiLine>,
    #[serde(default)]
    pub yum: Vec<YumLine>,
    #[serde(default)]
    pub charts: Vec<ChartLine>,
    #[serde(default)]
    pub lists: ListsLine,
}

const fn one() -> u32 {
    1
}

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileLine {
    pub url: Url,
    pub sha256: HexDigest,
}

/// Sixty-four hex digits, with or without `sha256:` before them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct HexDigest(pub Digest);

impl TryFrom<String> for HexDigest {
    type Error = gapferry_proto::digest::ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hex = text.strip_prefix("sha256:").unwrap_or(&text);
        format!("sha256:{}", hex.to_ascii_lowercase()).parse().map(Self)
    }
}

/// One image.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageLine {
    /// `registry.k8s.io/pause:3.10.1`, `name@sha256:…`, or `oci:DIR[:TAG]` for a layout on disk.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What the image is called inside when `ref` is a layout on disk.
    #[serde(rename = "as")]
    pub named: Option<String>,
    /// `linux/amd64`, `linux/arm64/v8` …; empty is every platform of the index.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Whether plain HTTP may be used though no digest stands in `ref`.
    #[serde(default)]
    pub insecure: bool,
    /// Whether signatures, attestations, SBOMs and whatever else refers to it come along.
    #[serde(default = "yes")]
    pub referrers: bool,
    /// Whose signature the image must have.
    pub require: Option<Require>,
}

/// What an image must have to be carried.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Require {
    /// File of the public key with which cosign must have signed it.
    pub cosign_key: camino::Utf8PathBuf,
}

impl ImageLine {
    /// The line that says nothing but a reference.
    pub fn of(reference: impl Into<String>) -> Self {
        Self {
            reference: reference.into(),
            named: None,
            platforms: Vec::new(),
            insecure: false,
            referrers: true,
            require: None,
        }
    }

    /// The rule of waybills that this line breaks.
    fn broken_rule(&self) -> Option<&'static str> {
        (self.require.is_some() && !self.referrers)
            .then_some("`require` needs the signature that `referrers: false` leaves behind")
    }
}

const fn yes() -> bool {
    true
}

/// Python requirements and all that they depend on.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PypiLine {
    /// A requirements file.
    pub requirements: Option<camino::Utf8PathBuf>,
    /// Requirements given here.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Python versions, `3.11`.
    pub python: Vec<String>,
    /// Wheel platforms, `manylinux_2_17_x86_64`; each stands for the older ones that it runs.
    #[serde(default = "manylinux")]
    pub platforms: Vec<String>,
    /// Left out: the index that this machine's own pip is set to.
    pub index: Option<Url>,
    /// Whether plain HTTP may be used.
    #[serde(default)]
    pub insecure: bool,
}

fn manylinux() -> Vec<String> {
    vec!["manylinux_2_17_x86_64".to_owned()]
}

impl Waybill {
    /// Reads a waybill and checks what the types cannot say.
    ///
    /// # Errors
    ///
    /// [`WaybillError`] says where and what; exit code 1.
    pub fn parse(text: &str) -> Result<Self, WaybillError> {
        let waybill: Self =
            serde_saphyr::from_str(text).map_err(|e| WaybillError::Yaml(Box::new(e)))?;
        if waybill.api_version != "gapferry.dev/v1" {
            return Err(WaybillError::ApiVersion(waybill.api_version));
        }
        if waybill.kind != "Waybill" {
            return Err(WaybillError::NotAWaybill(waybill.kind));
        }
        waybill.spec.check()?;
        Ok(waybill)
    }
}

impl Spec {
    /// Says in which folder the lists of a site's inventory lie, to every line that means one.
    pub fn bind(&mut self, folder: &dyn Fn(&SiteName) -> camino::Utf8PathBuf) {
        let own = self.kubespray.iter_mut().flat_map(|line| line.repositories.values_mut());
        let (mut apt, mut yum): (Vec<_>, Vec<_>) =
            own.map(|lines| (&mut lines.apt, &mut lines.yum)).unzip();
        apt.push(&mut self.apt);
        yum.push(&mut self.yum);
        let apt = apt.into_iter().flatten().map(|line| &mut line.installed);
        let yum = yum.into_iter().flatten().map(|line| &mut line.installed);
        for installed in apt.chain(yum).flatten() {
            if let InstalledAt::Site(list) = installed {
                list.folder = Some(folder(&list.site));
            }
        }
    }

    fn check(&self) -> Result<(), WaybillError> {
        for (i, line) in self.pypi.iter().enumerate() {
            let rule = if line.requirements.is_none() && line.packages.is_empty() {
                "name a requirements file or packages"
            } else if line.python.is_empty() {
                "name at least one Python version, such as \"3.11\""
            } else {
                continue;
            };
            return Err(WaybillError::Rule { line: format!("spec.pypi[{i}]"), rule });
        }
        for (i, line) in self.apt.iter().enumerate() {
            if let Some(rule) = line.broken_rule() {
                return Err(WaybillError::Rule { line: format!("spec.apt[{i}]"), rule });
            }
        }
        for (i, line) in self.kubespray.iter().enumerate() {
            if let Some(rule) = line.broken_rule() {
                return Err(WaybillError::Rule { line: format!("spec.kubespray[{i}]"), rule });
            }
        }
        for (i, line) in self.images.iter().enumerate() {
            if let Some(rule) = line.broken_rule() {
                return Err(WaybillError::Rule { line: format!("spec.images[{i}]"), rule });
            }
        }
        for (i, line) in self.yum.iter().enumerate() {
            if let Some(rule) = line.broken_rule() {
                return Err(WaybillError::Rule { line: format!("spec.yum[{i}]"), rule });
            }
        }
        for (i, line) in self.charts.iter().enumerate() {
            if let Some(rule) = line.rule() {
                return Err(WaybillError::Rule { line: format!("spec.charts[{i}]"), rule });
            }
        }
        Ok(())
    }
}

/// Where a file is served inside: `<host[:port]>/<path>`, as `wget -x` names it, without its
/// query. The path is decoded, since servers look up what a request's path means: however a client
/// spells the URL, it asks for this file, and a rule for its address covers it.
///
/// None when the URL has no host, or its path leaves the folder or is no UTF-8.
pub fn file_path(url: &Url) -> Option<SafePath> {
    place(url)?.parse().ok()
}

/// Host, port and decoded path of a URL; none when it has no host, or its path is no UTF-8.
pub fn place(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    let path = percent_decode_str(url.path()).decode_utf8().ok()?;
    Some(format!("{host}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_what_the_path_of_its_url_means() {
        let path = |url: &str| Some(file_path(&url.parse().unwrap())?.to_string());
        for (url, expected) in [
            ("https://h.example/a/b.tar.gz?key=1#x", Some("h.example/a/b.tar.gz")),
            ("https://h.example:8443/v1.2%2Brke2/a", Some("h.example:8443/v1.2+rke2/a")),
            ("https://h.example/v1.2+rke2/a", Some("h.example/v1.2+rke2/a")),
            ("https://h.example/a b/%C3%A9%25", Some("h.example/a b/é%")),
            ("https://h.example/a%2Fb", Some("h.example/a/b")),
            ("https://h.example/get%3Fv", Some("h.example/get?v")),
            ("https://h.example/a%2F%2E%2E%2Fb", None),
            ("https://h.example/a%5Cb", None),
            ("https://h.example/a%00", None),
            ("https://h.example/%FF", None),
            ("https://h.example/", None),
        ] {
            assert_eq!(path(url).as_deref(), expected, "{url}");
        }
    }
}
