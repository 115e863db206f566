//! Lines of a waybill, written for people to take over.
//!
//! In:   what is missing.
//! Out:  [`Line`]: the list of a waybill it belongs to, and its item in one line of YAML.
//! Pure.

use std::fmt;

use gapferry_proto::Digest;
use serde::{Serialize, Serializer};

use crate::waybill::{AptLine, ChartLine, ImageLine, InstalledAt, Minimal, PypiLine, YumLine};

/// One item of a list below `spec:`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Line {
    /// `files`, `images` …
    pub key: &'static str,
    /// In flow style: `{ref: "registry.example/a:1"}`.
    pub item: String,
}

/// `images: [{ref: "registry.example/a:1"}]`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}]", self.key, self.item)
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Line {
    /// A file, whose digest somebody gives.
    pub fn file(url: &str, sha256: Digest) -> Self {
        let mut map = Map::default();
        map.text("url", url).text("sha256", &sha256.hex());
        map.line("files")
    }

    /// An image as a line asks for it.
    pub fn image(line: &ImageLine) -> Self {
        let mut map = Map::default();
        map.text("ref", &line.reference).option("as", line.named.as_deref());
        map.list("platforms", &line.platforms).switch("insecure", line.insecure);
        map.line("images")
    }

    /// `packages` from where `line` gets its own.
    pub fn apt(line: &AptLine, architecture: &str, packages: &[String]) -> Self {
        let mut map = Map::default();
        map.option("uri", line.uri.as_ref().map(url::Url::as_str)).text("suite", &line.suite);
        map.list("components", &line.components);
        map.list("architectures", &[architecture.to_owned()]).list("packages", packages);
        map.option("signedBy", line.signed_by.as_ref().map(|path| path.as_str()));
        map.option("target", line.target.as_ref().map(gapferry_proto::Target::as_str));
        map.switch("insecure", line.insecure);
        map.line("apt")
    }

    /// `packages` from where `line` gets its own, for the same nodes.
    pub fn yum(line: &YumLine, packages: &[String]) -> Self {
        let paths = |paths: &[camino::Utf8PathBuf]| {
            paths.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let path = |path: &Option<camino::Utf8PathBuf>| path.as_ref().map(ToString::to_string);
        let mut map = Map::default();
        map.list("baseurl", &line.baseurl).option("mirrorlist", line.mirrorlist.as_deref());
        map.option("metalink", line.metalink.as_deref()).list("repos", &line.repos);
        map.list("packages", packages).text("arch", &line.arch);
        map.option("releasever", line.releasever.as_deref());
        map.option("target", line.target.as_ref().map(gapferry_proto::Target::as_str));
        map.list("gpgKey", &paths(&line.gpg_key)).switch("repoGpgcheck", line.repo_gpgcheck);
        if !line.weak {
            map.word("weak", "false");
        }
        map.list("modules", &line.modules).list("exclude", &line.exclude);
        if line.minimal == Minimal::Core {
            map.word("minimal", "core");
        }
        match &line.installed {
            Some(InstalledAt::File(path)) => {
                map.text("installed", path.as_str());
            }
            Some(InstalledAt::Site(list)) => {
                let mut site = Map::default();
                site.text("site", list.site.as_str());
                site.option("target", list.target.as_ref().map(gapferry_proto::Target::as_str));
                map.word("installed", &site.item());
            }
            None => {}
        }
        map.switch("insecure", line.insecure);
        map.option("sslcacert", path(&line.sslcacert).as_deref());
        map.option("sslclientcert", path(&line.sslclientcert).as_deref());
        map.option("sslclientkey", path(&line.sslclientkey).as_deref());
        map.line("yum")
    }

    /// `packages` from where `line` gets its own, for the same nodes.
    pub fn pypi(line: &PypiLine, packages: &[String]) -> Self {
        let mut map = Map::default();
        map.list("packages", packages).list("python", &line.python);
        map.list("platforms", &line.platforms);
        map.option("index", line.index.as_ref().map(url::Url::as_str));
        map.switch("insecure", line.insecure);
        map.line("pypi")
    }

    /// A chart as a line asks for it; of its values the files alone.
    pub fn chart(line: &ChartLine) -> Self {
        let mut map = Map::default();
        map.text("repo", &line.repo).option("name", line.name.as_deref());
        map.option("version", line.version.as_deref()).switch("images", line.images);
        let values: Vec<String> = line.values.iter().map(ToString::to_string).collect();
        map.list("values", &values).option("kubeVersion", line.kube_version.as_deref());
        map.switch("insecure", line.insecure);
        map.line("charts")
    }
}

/// A map in flow style.
#[derive(Default)]
struct Map(Vec<String>);

impl Map {
    fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.0.push(format!("{key}: {}", scalar(value)));
        self
    }

    fn option(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.text(key, value);
        }
        self
    }

    fn list(&mut self, key: &str, values: &[String]) -> &mut Self {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| scalar(value)).collect();
            self.0.push(format!("{key}: [{}]", values.join(", ")));
        }
        self
    }

    fn switch(&mut self, key: &str, is_on: bool) -> &mut Self {
        if is_on {
            self.word(key, "true");
        }
        self
    }

    fn word(&mut self, key: &str, word: &str) {
        self.0.push(format!("{key}: {word}"));
    }

    fn item(&self) -> String {
        format!("{{{}}}", self.0.join(", "))
    }

    fn line(&self, key: &'static str) -> Line {
        Line { key, item: self.item() }
    }
}

/// A text in quotes, unless it is a plain word that no reader takes for anything else.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+/".contains(&b));
    let is_other = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    if is_word && !is_other {
        return text.to_owned();
    }
    // A string of JSON is one of YAML.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_what_it_was_written_from() {
        let apt: AptLine = serde_saphyr::from_str(
            "{uri: 'https://m.example/d', suite: trixie, components: [main], \
             architectures: [amd64], packages: [socat], signedBy: keys/a.asc, target: debian-13}",
        )
        .unwrap();
        let line = Line::apt(&apt, "amd64", &["libwrap0".to_owned(), "no".to_owned()]);
        let expected = "apt: [{uri: \"https://m.example/d\", suite: trixie, components: [main], \
            architectures: [amd64], packages: [libwrap0, \"no\"], signedBy: keys/a.asc, \
            target: debian-13}]";
        assert_eq!(line.to_string(), expected);
        let back: AptLine = serde_saphyr::from_str(&line.item).unwrap();
        let packages = vec!["libwrap0".to_owned(), "no".to_owned()];
        assert_eq!(back, AptLine { packages, ..apt });
    }

    #[test]
    fn a_line_of_rpm_packages_reads_back_with_all_that_it_says() {
        for text in [
            "baseurl: ['https://m.example/$releasever', 'https://n.example/9'], releasever: '9', \
             gpgKey: [k.asc, l.asc], repoGpgcheck: true, target: rocky-9, weak: false",
            "metalink: 'https://m.example/l?a=b', modules: ['a:1'], exclude: ['*-devel'], \
             minimal: core, insecure: true, sslcacert: c, sslclientcert: d, sslclientkey: e",
            "repos: [baseos, app], installed: rpms.txt",
            "repos: [baseos], installed: {site: prod, target: el9}",
            "mirrorlist: 'https://m.example/list'",
        ] {
            let text = format!("{{packages: [a], arch: x86_64, {text}}}");
            let yum: YumLine = serde_saphyr::from_str(&text).unwrap();
            let packages = vec!["libc.so.6()(64bit)".to_owned(), "b".to_owned()];
            let line = Line::yum(&yum, &packages);
            let back: YumLine = serde_saphyr::from_str(&line.item).unwrap();
            assert_eq!(back, YumLine { packages, ..yum }, "{line}");
        }
    }

    #[test]
    fn what_is_no_plain_word_stands_in_quotes() {
        for (text, expected) in [
            ("socat", "socat"),
            ("3.11", "\"3.11\""),
            ("True", "\"True\""),
            ("a: b", "\"a: b\""),
            ("a\"b\n", "\"a\\\"b\\n\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), expected);
        }
    }
}
