//! A chart with the charts in it.
//!
//! In:   the bytes of an archive, or the files of a folder.
//! Out:  [`Chart`]: what `Chart.yaml` says, the files, the subcharts.
//! Pure: bytes only. No template is run.

use std::collections::BTreeMap;

use super::{
    archive::{self, ArchiveError, Files, Room},
    bounds,
    version::Version,
    yaml::{self, Value, YamlError},
};

/// Why bytes are no chart.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("{file} {source}")]
    Yaml { file: String, source: YamlError },
    #[error("{0} has no Chart.yaml")]
    NoChartFile(String),
    #[error("{file} says no {field}")]
    Field { file: String, field: &'static str },
    #[error("{file} says {name:?}, which is no name of a chart")]
    Name { file: String, name: String },
    #[error("more than {} charts in one", bounds::CHARTS_MAX)]
    TooMany,
    #[error("charts within charts more than {} deep", bounds::CHARTS_DEPTH_MAX)]
    TooDeep,
    #[error("Chart.yaml says {actual}, and {expected} was asked for")]
    Other { expected: String, actual: String },
}

/// A chart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chart {
    pub meta: Meta,
    /// All files but those below `charts/`.
    pub files: Files,
    pub subcharts: Vec<Chart>,
    /// Where it stands, `charts/common/`; empty for the outermost.
    pub folder: String,
}

/// What `Chart.yaml` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    pub name: String,
    pub version: String,
    pub app_version: Option<String>,
    pub kube_version: Option<String>,
    pub dependencies: Vec<Dependency>,
}

/// A chart that another one names as part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dependency {
    pub name: String,
    /// A constraint on its version.
    pub version: Option<String>,
    pub repository: Option<String>,
    pub alias: Option<String>,
    /// Paths of values, of which the first that is there turns it on or off.
    pub condition: Option<String>,
    pub tags: Vec<String>,
}

impl Dependency {
    /// The key of its values in the chart that names it.
    pub fn key(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }
}

impl Chart {
    /// Opens an archive with all charts in it.
    ///
    /// # Errors
    ///
    /// [`ChartError`].
    pub fn open(bytes: &[u8]) -> Result<Self, ChartError> {
        let mut room = Room::default();
        let files = archive::read(bytes, &mut room)?;
        assemble(files, String::new(), 0, &mut room)
    }

    /// Puts a chart together from the files of its folder.
    ///
    /// # Errors
    ///
    /// [`ChartError`].
    pub fn of_files(files: Files) -> Result<Self, ChartError> {
        assemble(files, String::new(), 0, &mut Room::default())
    }

    /// Checks that this is the chart that was asked for. A version counts as written with or
    /// without `v`.
    ///
    /// # Errors
    ///
    /// [`ChartError::Other`]: upstream gave another chart under this name.
    pub fn check(&self, name: Option<&str>, version: Option<&str>) -> Result<(), ChartError> {
        let Meta { name: own_name, version: own_version, .. } = &self.meta;
        let same_name = name.is_none_or(|name| name == own_name);
        let same_version = version.is_none_or(|version| {
            let parsed = [version, own_version].map(Version::parse);
            version == own_version || matches!(parsed, [Some(a), Some(b)] if a == b)
        });
        if same_name && same_version {
            return Ok(());
        }
        let asked = [name.unwrap_or(own_name), version.unwrap_or(own_version)];
        let (expected, actual) = (asked.join(" "), format!("{own_name} {own_version}"));
        Err(ChartError::Other { expected, actual })
    }

    /// The dependencies that `Chart.yaml` names and `charts/` does not hold. Helm does not render
    /// such a chart.
    pub fn missing(&self) -> Vec<&Dependency> {
        let held = |name: &str| self.subcharts.iter().any(|chart| chart.meta.name == name);
        self.meta.dependencies.iter().filter(|one| !held(&one.name)).collect()
    }

    /// The chart's own values.
    ///
    /// # Errors
    ///
    /// [`ChartError::Yaml`].
    pub fn values(&self) -> Result<Value, ChartError> {
        self.files.get("values.yaml").map_or(Ok(Value::default()), |bytes| {
            yaml::document(bytes).map_err(|source| ChartError::Yaml {
                file: format!("{}values.yaml", self.folder),
                source,
            })
        })
    }
}

/// Whether a text may name a chart: one plain segment of a path.
pub fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty()
        && text.len() <= 250
        && text.bytes().all(is_plain)
        && !text.starts_with(['.', '-'])
}

fn assemble(
    mut files: Files,
    folder: String,
    depth: usize,
    room: &mut Room,
) -> Result<Chart, ChartError> {
    if depth == bounds::CHARTS_DEPTH_MAX {
        return Err(ChartError::TooDeep);
    }
    room.charts = room.charts.checked_sub(1).ok_or(ChartError::TooMany)?;
    let meta = meta(&files, &folder)?;
    let below = files.split_off("charts/");
    let (below, after): (Files, Files) =
        below.into_iter().partition(|(path, _)| path.starts_with("charts/"));
    files.extend(after);
    let mut subcharts = Vec::new();
    for (name, content) in parted(below) {
        let folder = format!("{folder}charts/{name}/");
        let files = match content {
            Content::Folder(files) => files,
            Content::Archive(bytes) => archive::read(&bytes, room)?,
        };
        subcharts.push(assemble(files, folder, depth + 1, room)?);
    }
    Ok(Chart { meta, files, subcharts, folder })
}

enum Content {
    Folder(Files),
    Archive(Vec<u8>),
}

/// The charts below `charts/`, by the name of their folder or archive; what is neither, and what
/// begins with `_` or `.`, is passed over.
fn parted(below: Files) -> BTreeMap<String, Content> {
    let mut parted = BTreeMap::new();
    for (path, bytes) in below {
        let rest = path.strip_prefix("charts/").unwrap_or(&path);
        if rest.starts_with(['_', '.']) {
            continue;
        }
        match rest.split_once('/') {
            Some((name, rest)) => {
                let empty = || Content::Folder(Files::new());
                if let Content::Folder(files) = parted.entry(name.to_owned()).or_insert_with(empty)
                {
                    files.insert(rest.to_owned(), bytes);
                }
            }
            None if rest.ends_with(".tgz") => {
                parted.insert(rest.to_owned(), Content::Archive(bytes));
            }
            None => {}
        }
    }
    parted
}

fn meta(files: &Files, folder: &str) -> Result<Meta, ChartError> {
    let file = format!("{folder}Chart.yaml");
    let of = |name: &str| -> Result<Option<Value>, ChartError> {
        let read = |bytes: &Vec<u8>| {
            let file = format!("{folder}{name}");
            yaml::document(bytes).map_err(|source| ChartError::Yaml { file, source })
        };
        files.get(name).map(read).transpose()
    };
    let chart = of("Chart.yaml")?.ok_or_else(|| {
        let place = folder.strip_suffix('/').filter(|folder| !folder.is_empty());
        ChartError::NoChartFile(place.unwrap_or("the chart").to_owned())
    })?;
    let said = |field| chart.get(field).and_then(Value::printed).map(str::to_owned);
    let needed = |field| said(field).ok_or_else(|| ChartError::Field { file: file.clone(), field });
    let name = needed("name")?;
    if !is_name(&name) {
        return Err(ChartError::Name { file, name });
    }
    // Helm 2 wrote them into a file of their own.
    let requirements = of("requirements.yaml")?.unwrap_or_default();
    let listed = [&chart, &requirements].map(|document| document.get("dependencies"));
    let listed = listed.into_iter().flatten().flat_map(Value::list);
    Ok(Meta {
        name,
        version: needed("version")?,
        app_version: said("appVersion"),
        kube_version: said("kubeVersion"),
        dependencies: listed.filter_map(dependency).collect(),
    })
}

fn dependency(value: &Value) -> Option<Dependency> {
    let said = |field| value.get(field).and_then(Value::printed).map(str::to_owned);
    let tags = value.get("tags").map(Value::list).unwrap_or_default();
    Some(Dependency {
        name: said("name")?,
        version: said("version"),
        repository: said("repository"),
        alias: said("alias"),
        condition: said("condition"),
        tags: tags.iter().filter_map(|tag| tag.text().map(str::to_owned)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::helm::pack::pack;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    const CHART: &str = "name: a\nversion: 1.2.0";

    #[test]
    fn a_chart_has_what_its_file_says_and_the_charts_in_it() {
        let inner =
            pack("b", &files(&[("Chart.yaml", "name: b\nversion: v2"), ("x", "1")])).unwrap();
        let mut list = files(&[
            (
                "Chart.yaml",
                "name: a\nversion: 1.2.0+b\nappVersion: 1.10\nkubeVersion: '>=1.25'\n\
                 dependencies: [{name: b, version: ^2, repository: 'https://c.example', \
                 alias: bb, condition: 'b.on,on', tags: [t]}, {name: gone}]",
            ),
            ("charts/_c/x", "1"),
            ("charts/README.md", "1"),
            ("charts/d/Chart.yaml", "name: d\nversion: 1.0.0"),
            ("templates/x.yaml", "x"),
            ("values.yaml", "a: 1"),
        ]);
        list.insert("charts/b-2.tgz".to_owned(), inner);
        let chart = Chart::open(&pack("a", &list).unwrap()).unwrap();
        let b = Dependency {
            name: "b".to_owned(),
            version: Some("^2".to_owned()),
            repository: Some("https://c.example".to_owned()),
            alias: Some("bb".to_owned()),
            condition: Some("b.on,on".to_owned()),
            tags: vec!["t".to_owned()],
        };
        let gone = Dependency {
            name: "gone".to_owned(),
            version: None,
            repository: None,
            alias: None,
            condition: None,
            tags: Vec::new(),
        };
        assert_eq!(chart.missing(), [&gone]);
        let meta = Meta {
            name: "a".to_owned(),
            version: "1.2.0+b".to_owned(),
            app_version: Some("1.1".to_owned()),
            kube_version: Some(">=1.25".to_owned()),
            dependencies: vec![b, gone],
        };
        assert_eq!(chart.meta, meta);
        let told: Vec<_> = chart.subcharts.iter().map(|c| (&*c.meta.name, &*c.folder)).collect();
        assert_eq!(told, [("b", "charts/b-2.tgz/"), ("d", "charts/d/")]);
        let paths: Vec<_> = chart.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["Chart.yaml", "templates/x.yaml", "values.yaml"]);
    }

    #[test]
    fn another_chart_than_the_one_asked_for_is_refused() {
        let chart = Chart::of_files(files(&[("Chart.yaml", CHART)])).unwrap();
        for (name, version, right) in [
            (Some("a"), Some("1.2.0"), true),
            (Some("a"), Some("v1.2.0"), true),
            (None, None, true),
            (Some("b"), Some("1.2.0"), false),
            (Some("a"), Some("1.2.0+x"), false),
            (Some("a"), Some("1.2.1"), false),
        ] {
            assert_eq!(chart.check(name, version).is_ok(), right, "{name:?} {version:?}");
        }
        let error = chart.check(Some("b"), Some("2")).unwrap_err().to_string();
        assert_eq!(error, "Chart.yaml says a 1.2.0, and b 2 was asked for");
    }

    #[test]
    fn what_is_no_chart_is_refused() {
        let laughs = format!(
            "name: a\nversion: 1.0.0\na: &a [x,x,x,x,x,x,x,x,x]\n{}",
            (b'b'..b'l')
                .map(|c| {
                    let (c, p) = (char::from(c), char::from(c - 1));
                    format!("{c}: &{c} [{}*{p}]\n", format!("*{p},").repeat(8))
                })
                .collect::<String>()
        );
        for (list, said) in [
            (files(&[("x", "")]), "the chart has no Chart.yaml"),
            (files(&[("Chart.yaml", "a: [")]), "Chart.yaml is not understood"),
            (files(&[("Chart.yaml", "name: a")]), "Chart.yaml says no version"),
            (files(&[("Chart.yaml", "{name: ../a, version: 1.0.0}")]), "no name of a chart"),
            (files(&[("Chart.yaml", "- 1")]), "Chart.yaml says no name"),
            (files(&[("Chart.yaml", &laughs)]), "Chart.yaml is not understood"),
            (files(&[("Chart.yaml", CHART), ("charts/b/x", "")]), "charts/b has no Chart.yaml"),
            (files(&[("Chart.yaml", CHART), ("charts/b.tgz", "")]), "no tar within gzip"),
        ] {
            let error = Chart::of_files(list).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn a_thousand_charts_in_one_are_refused_beside_and_within_each_other() {
        let mut beside = files(&[("Chart.yaml", CHART)]);
        let mut within = beside.clone();
        for i in 0..1000 {
            beside.insert(format!("charts/c{i}/Chart.yaml"), CHART.as_bytes().to_vec());
            within.insert("charts/c/".repeat(i) + "Chart.yaml", CHART.as_bytes().to_vec());
        }
        assert!(matches!(Chart::of_files(beside), Err(ChartError::TooMany)));
        assert!(matches!(Chart::of_files(within), Err(ChartError::TooDeep)));
        let mut packed = pack("c", &files(&[("Chart.yaml", CHART)])).unwrap();
        for _ in 0..20 {
            let mut list = files(&[("Chart.yaml", CHART)]);
            list.insert("charts/c.tgz".to_owned(), packed);
            packed = pack("c", &list).unwrap();
        }
        assert!(matches!(Chart::open(&packed), Err(ChartError::TooDeep)));
    }
}
