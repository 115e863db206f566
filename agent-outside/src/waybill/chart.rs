//! The `charts` lines of a waybill.

use serde::Deserialize;

/// One chart, and the images it names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChartLine {
    /// `https://…` of a classic repository, `oci://host/path`, a folder of a chart, or the path
    /// of a `.tgz`; paths are relative to the waybill's folder.
    pub repo: String,
    /// Left out where `repo` is the chart itself: a path, or `oci://` with the chart's name.
    pub name: Option<String>,
    /// A version or a constraint such as `~1.19`; left out, the newest release.
    pub version: Option<String>,
    /// Whether the images of the rendered chart are carried too.
    #[serde(default)]
    pub images: bool,
    /// The platforms of those images; empty is every platform of each.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// Values files, the later over the earlier.
    #[serde(default)]
    pub values: Vec<camino::Utf8PathBuf>,
    /// Single values, `a.b=c`, over the files.
    #[serde(default)]
    pub set: Vec<String>,
    /// The Kubernetes version that the chart is rendered for.
    pub kube_version: Option<String>,
    /// Further API versions that the cluster has, `monitoring.coreos.com/v1`.
    #[serde(default)]
    pub api_versions: Vec<String>,
    /// The namespace that the chart is rendered for.
    pub namespace: Option<String>,
    /// File of the OpenPGP keys that must have signed the chart's provenance.
    pub keyring: Option<camino::Utf8PathBuf>,
    /// Whether plain HTTP may be used though no digest vouches for the bytes.
    #[serde(default)]
    pub insecure: bool,
}

impl ChartLine {
    /// The rule of waybills that this line breaks.
    pub fn rule(&self) -> Option<&'static str> {
        let is_web = self.repo.starts_with("https://") || self.repo.starts_with("http://");
        if is_web && self.name.is_none() {
            return Some("name the chart of the repository");
        }
        let only_for_images = !self.values.is_empty()
            || !self.set.is_empty()
            || !self.api_versions.is_empty()
            || self.kube_version.is_some()
            || self.namespace.is_some();
        (only_for_images && !self.images)
            .then_some("values, set, kubeVersion, apiVersions and namespace need `images: true`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> ChartLine {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn a_chart_line_is_read_as_the_design_writes_it() {
        let text = "{repo: 'https://c.example', name: cilium, version: 1.19.3, images: true, \
            values: [prod.yaml], kubeVersion: 1.35.4}";
        let expected = ChartLine {
            repo: "https://c.example".to_owned(),
            name: Some("cilium".to_owned()),
            version: Some("1.19.3".to_owned()),
            images: true,
            platforms: Vec::new(),
            values: vec!["prod.yaml".into()],
            set: Vec::new(),
            kube_version: Some("1.35.4".to_owned()),
            api_versions: Vec::new(),
            namespace: None,
            keyring: None,
            insecure: false,
        };
        assert_eq!(line(text), expected);
        assert_eq!(line(text).rule(), None);
        assert!(serde_saphyr::from_str::<ChartLine>("{repo: a, nam: b}").is_err());
    }

    #[test]
    fn a_line_that_says_too_little_or_too_much_breaks_a_rule() {
        for text in ["{repo: 'https://c.example'}", "{repo: ./a, values: [a.yaml]}"] {
            assert!(line(text).rule().is_some(), "{text}");
        }
        assert_eq!(line("{repo: 'oci://r.example/charts/a', version: 1}").rule(), None);
    }
}
