//! `modules.yaml`: which packages belong to module streams, and which streams a client uses.
//!
//! In:   the text, the streams that the line enables.
//! Out:  a [`Filter`] that tells which packages a client does not see.
//! Pure. The document itself travels along as it is.
//!
//! A client sees the packages of default and enabled streams and of what these require. Of the
//! packages outside all modules it does not see those whose names an active stream has. Of
//! several contexts of a stream, those count whose requirements the active streams meet, in
//! their highest version.
//!
//! Source: "Modularity" in the Fedora documentation; `modulemd_stream_v2.yaml`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Deserialize;

/// Why a document is not used.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    #[error("modules.yaml is not understood: {0}")]
    Yaml(Box<serde_saphyr::Error>),
    #[error("{0:?} does not name a module stream; write name:stream")]
    Name(String),
    #[error("no repository of this line has the module stream {0}; check its name")]
    Unknown(String),
    #[error("the lines of this target enable two streams of module {0}; name one, or two targets")]
    Twice(String),
}

/// All modules of all repositories of a line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Modules {
    streams: Vec<Stream>,
    defaults: BTreeMap<String, String>,
}

/// One context of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stream {
    name: String,
    stream: String,
    version: u64,
    arch: Option<String>,
    /// Alternatives; each a list of modules with the streams that will do.
    requires: Vec<BTreeMap<String, Vec<String>>>,
    artifacts: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    document: String,
    #[serde(rename = "data")]
    content: Option<Content>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Content {
    name: Option<String>,
    module: Option<String>,
    stream: Option<String>,
    version: Option<u64>,
    arch: Option<String>,
    dependencies: Vec<Dependency>,
    artifacts: Option<Artifacts>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Dependency {
    requires: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Artifacts {
    rpms: Vec<String>,
}

impl Modules {
    /// Adds the modules of a document; documents of other sorts and versions are passed over.
    ///
    /// # Errors
    ///
    /// [`ModulesError::Yaml`].
    pub fn read(&mut self, text: &str) -> Result<(), ModulesError> {
        for part in documents(text) {
            let document: Document =
                serde_saphyr::from_str(part).map_err(|e| ModulesError::Yaml(Box::new(e)))?;
            let Some(content) = document.content else { continue };
            match (document.document.as_str(), content.name, content.module, content.stream) {
                ("modulemd", Some(name), _, Some(stream)) => self.streams.push(Stream {
                    name,
                    stream,
                    version: content.version.unwrap_or(0),
                    arch: content.arch,
                    requires: content.dependencies.into_iter().map(|d| d.requires).collect(),
                    artifacts: content.artifacts.unwrap_or_default().rpms,
                }),
                ("modulemd-defaults", _, Some(module), Some(stream)) => {
                    self.defaults.insert(module, stream);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Decides which packages clients of an architecture do not see, with these streams enabled.
    ///
    /// # Errors
    ///
    /// [`ModulesError::Name`], [`ModulesError::Unknown`], [`ModulesError::Twice`].
    pub fn filter(&self, enabled: &[String], arch: &str) -> Result<Filter, ModulesError> {
        let mut chosen: BTreeMap<String, String> = BTreeMap::new();
        for entry in enabled {
            let Some((name, stream)) = entry.split_once(':') else {
                return Err(ModulesError::Name(entry.clone()));
            };
            if !self.streams.iter().any(|s| s.name == name && s.stream == stream) {
                return Err(ModulesError::Unknown(entry.clone()));
            }
            let before = chosen.insert(name.to_owned(), stream.to_owned());
            if before.is_some_and(|before| before != stream) {
                return Err(ModulesError::Twice(name.to_owned()));
            }
        }
        let mut active = self.defaults.clone();
        active.extend(chosen);
        self.follow(&mut active);
        let mut filter = Filter::default();
        let here = |stream: &&Stream| stream.arch.as_deref().is_none_or(|a| a == arch);
        for stream in &self.streams {
            filter.modular.extend(stream.artifacts.iter().cloned());
        }
        for (name, stream) in &active {
            let mut contexts: Vec<&Stream> = self
                .streams
                .iter()
                .filter(|s| s.name == *name && s.stream == *stream)
                .filter(here)
                .filter(|s| is_met(&s.requires, &active))
                .collect();
            let highest = contexts.iter().map(|s| s.version).max();
            contexts.retain(|s| Some(s.version) == highest);
            for artifact in contexts.into_iter().flat_map(|s| &s.artifacts) {
                filter.seen.insert(artifact.clone());
                filter.names.extend(name_of(artifact).map(str::to_owned));
            }
        }
        Ok(filter)
    }

    /// Adds the streams that active ones require, where only one will do.
    fn follow(&self, active: &mut BTreeMap<String, String>) {
        loop {
            let mut wanted = BTreeMap::new();
            for stream in &self.streams {
                if active.get(&stream.name) != Some(&stream.stream) {
                    continue;
                }
                let [requires] = stream.requires.as_slice() else { continue };
                for (module, streams) in requires {
                    if let [only] = streams.as_slice()
                        && module != "platform"
                        && !only.starts_with('-')
                        && !active.contains_key(module)
                    {
                        wanted.insert(module.clone(), only.clone());
                    }
                }
            }
            if wanted.is_empty() {
                return;
            }
            active.extend(wanted);
        }
    }
}

/// The documents of a YAML stream; markers stand at the beginning of a line.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    let is_marker = |line: &str| matches!(line.trim_end(), "---" | "...");
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        if is_marker(line) {
            parts.push(&text[start..at]);
            start = at + line.len();
        }
        at += line.len();
    }
    parts.push(&text[start..]);
    let is_content = |part: &&str| {
        part.lines().any(|line| !matches!(line.trim_start().chars().next(), None | Some('#')))
    };
    parts.into_iter().filter(is_content)
}

fn is_met(requires: &[BTreeMap<String, Vec<String>>], active: &BTreeMap<String, String>) -> bool {
    let met = |module: &String, streams: &[String]| {
        if module == "platform" {
            return true; // the repository is of one platform
        }
        let Some(stream) = active.get(module) else { return false };
        let (without, with): (Vec<_>, Vec<_>) =
            streams.iter().map(String::as_str).partition(|s| s.starts_with('-'));
        !without.iter().any(|s| s[1..] == **stream)
            && (with.is_empty() || with.contains(&stream.as_str()))
    };
    requires.is_empty()
        || requires.iter().any(|one| one.iter().all(|(module, streams)| met(module, streams)))
}

/// The name in `name-epoch:version-release.arch`.
fn name_of(nevra: &str) -> Option<&str> {
    let (rest, _release) = nevra.rsplit_once('-')?;
    Some(rest.rsplit_once('-')?.0)
}

/// What clients see of modules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    modular: HashSet<String>,
    seen: HashSet<String>,
    names: BTreeSet<String>,
}

impl Filter {
    /// Whether clients do not see a package, `name-epoch:version-release.arch` with its epoch.
    ///
    /// `hotfix` is the repository's `module_hotfixes`: all of it is seen.
    pub fn hides(&self, name: &str, nevra: &str, hotfix: bool) -> bool {
        if hotfix || self.seen.contains(nevra) {
            return false;
        }
        self.modular.contains(nevra) || self.names.contains(name)
    }

    /// Whether a package belongs to a module.
    pub fn is_modular(&self, nevra: &str) -> bool {
        self.modular.contains(nevra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str, stream: &str, version: u64, requires: &str, rpm: &str) -> String {
        format!(
            "---\ndocument: modulemd\nversion: 2\ndata:\n  name: {name}\n  stream: {stream}\n  \
             version: {version}\n  context: c{version}\n  arch: x86_64\n  summary: >-\n    S\n  \
             dependencies:\n  - buildrequires:\n      platform: [el8]\n    requires:\n      \
             platform: [el8]\n{requires}  artifacts:\n    rpms:\n    - {rpm}\n...\n"
        )
    }

    #[test]
    fn clients_see_default_and_enabled_streams_alone() {
        let text = [
            "# made by a tool\n".to_owned(),
            stream("node", "1.10", 1, "", "node-1:1.10-1.x86_64"),
            stream("node", "1.10", 2, "", "node-1:1.10-2.x86_64"),
            stream("node", "18", 3, "", "node-1:18-1.x86_64"),
            stream("app", "1", 4, "      node: [18]\n", "app-0:1-1.x86_64"),
            "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: node\n  \
             stream: 1.10\n  profiles:\n    1.10: [common]\n...\n"
                .to_owned(),
            "---\ndocument: modulemd-obsoletes\nversion: 1\ndata:\n  module: node\n".to_owned(),
        ]
        .concat();
        let mut modules = Modules::default();
        modules.read(&text).unwrap();
        let seen = |enabled: &[&str]| {
            let enabled: Vec<String> = enabled.iter().map(|&e| e.to_owned()).collect();
            let filter = modules.filter(&enabled, "x86_64").unwrap();
            let all = [
                ("node", "node-1:1.10-1.x86_64"),
                ("node", "node-1:1.10-2.x86_64"),
                ("node", "node-1:18-1.x86_64"),
                ("node", "node-0:20-1.x86_64"),
                ("app", "app-0:1-1.x86_64"),
                ("bash", "bash-0:5-1.x86_64"),
            ];
            let shown = all.into_iter().filter(|(n, nevra)| !filter.hides(n, nevra, false));
            shown.map(|(_, nevra)| nevra).collect::<Vec<_>>()
        };
        assert_eq!(seen(&[]), ["node-1:1.10-2.x86_64", "bash-0:5-1.x86_64"]);
        assert_eq!(seen(&["node:18"]), ["node-1:18-1.x86_64", "bash-0:5-1.x86_64"]);
        assert_eq!(
            seen(&["node:18", "app:1"]),
            ["node-1:18-1.x86_64", "app-0:1-1.x86_64", "bash-0:5-1.x86_64"]
        );
        // app needs another stream of node than the active one: none of its contexts counts
        assert_eq!(seen(&["app:1"]), ["node-1:1.10-2.x86_64", "bash-0:5-1.x86_64"]);
        let hotfix = modules.filter(&[], "x86_64").unwrap();
        assert!(!hotfix.hides("node", "node-0:20-1.x86_64", true));
    }

    #[test]
    fn a_stream_that_is_none_is_refused() {
        let mut modules = Modules::default();
        modules.read(&stream("node", "18", 3, "", "node-1:18-1.x86_64")).unwrap();
        modules.read(&stream("node", "20", 4, "", "node-1:20-1.x86_64")).unwrap();
        let both = ["node:18", "node:20"].map(str::to_owned);
        let error = modules.filter(&both, "x86_64").unwrap_err();
        assert!(matches!(error, ModulesError::Twice(name) if name == "node"));
        for (entry, unknown) in [("node", false), ("node:22", true), ("x:18", true)] {
            let error = modules.filter(&[entry.to_owned()], "x86_64").unwrap_err();
            assert_eq!(matches!(error, ModulesError::Unknown(_)), unknown, "{error}");
        }
        for bad in ["document: [", "---\nx: 1\n", "a: &a [*a, *a]\nb: 1"] {
            assert!(Modules::default().read(bad).is_err(), "{bad}");
        }
    }
}
