//! Reads what images it can out of a chart that nothing renders.
//!
//! In:   a chart, the user's values.
//! Out:  [`Images`], none of them proven.
//! Pure: texts only. No template is run: what a template puts together in its own way is missing
//!       here, and what a value turns off may be in it.

use super::{
    Images, Row,
    likeness::{has_version, in_text, is_plainly_one, is_reference, says_image},
    values::{self, merge},
};
use crate::source::helm::{
    bounds,
    chart::{Chart, Dependency},
    yaml::Value,
};

/// Longest line of a template that is searched, in bytes: nobody writes longer ones.
const LINE_LEN_BYTES_MAX: usize = 4 << 10;

/// Guesses the images of a chart and of the charts in it that are on.
pub fn images_of_chart(chart: &Chart, overlays: &[Value]) -> Images {
    let mut guess = Guess::default();
    let mut values = guess.own_values(chart);
    overlays.iter().for_each(|overlay| merge(&mut values, overlay));
    guess.chart(chart, &values);
    Images::of(guess.rows, guess.unread)
}

#[derive(Default)]
struct Guess {
    rows: Vec<Row>,
    unread: Vec<String>,
    /// How often a chart was looked at; one that has several names counts each time.
    visits: usize,
}

/// What an image of a chart is completed with.
struct Around<'a> {
    folder: &'a str,
    app_version: Option<String>,
    /// The registry that outdoes an image's own, and the one that stands for none.
    registry: Option<&'a str>,
    default_registry: Option<&'a str>,
    /// Keys that belong to subcharts.
    theirs: Vec<&'a str>,
}

impl Guess {
    fn own_values(&mut self, chart: &Chart) -> Value {
        chart.values().unwrap_or_else(|error| {
            self.unread.push(error.to_string());
            Value::default()
        })
    }

    fn chart(&mut self, chart: &Chart, values: &Value) {
        self.visits += 1;
        if bounds::CHARTS_MAX < self.visits {
            self.full();
            return;
        }
        let theirs = chart.subcharts.iter().map(|one| one.meta.name.as_str());
        let aliases = chart.meta.dependencies.iter().map(Dependency::key);
        let around = Around {
            folder: &chart.folder,
            app_version: app_version(chart),
            registry: values.at("global.imageRegistry").and_then(Value::printed),
            default_registry: values.at("global.image.registry").and_then(Value::printed),
            theirs: theirs.chain(aliases).collect(),
        };
        for (key, value) in values.map().into_iter().flatten() {
            if !around.theirs.contains(&key.as_str()) {
                self.value(&around, &mut vec![key], value, None);
            }
        }
        self.templates(chart);
        for (subchart, key) in values::switched_on(chart, values) {
            let own = self.own_values(subchart);
            self.chart(subchart, &values::of_subchart(own, values, &key));
        }
    }

    /// `base` is a registry that stands further out (`baseRepo` of the csi-driver charts).
    fn value<'a>(
        &mut self,
        around: &Around<'_>,
        path: &mut Vec<&'a str>,
        value: &'a Value,
        base: Option<&'a str>,
    ) {
        let key = path.last().copied().unwrap_or_default();
        match value {
            Value::Map(map) => {
                let own = map.iter().find(|(key, _)| key.starts_with("base"));
                let base = own.and_then(|(_, value)| value.text()).or(base);
                let references = joined(key, value, around, base);
                references.iter().for_each(|reference| self.row(around, path, reference));
                for (key, value) in map {
                    if !references.is_empty() && value.text().is_some() {
                        continue; // a part of the image
                    }
                    path.push(key);
                    self.value(around, path, value, base);
                    path.pop();
                }
            }
            Value::List(list) => {
                list.iter().for_each(|item| self.value(around, path, item, base));
            }
            Value::Text(text) => self.text(around, path, key, text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, around: &Around<'_>, path: &[&str], key: &str, text: &str) {
        let text = text.trim();
        let is_named = (key == "image" || says_image(key)) && is_reference(text);
        if is_plainly_one(text) || is_named && (has_version(text) || text.contains('/')) {
            self.row(around, path, text);
            return;
        }
        for reference in in_text(text) {
            self.row(around, path, reference);
        }
    }

    fn row(&mut self, around: &Around<'_>, path: &[&str], reference: &str) {
        let place = format!("{}values.yaml: {}", around.folder, path.join("."));
        self.put(reference, place);
    }

    /// What stands in templates and resource definitions as it is.
    fn templates(&mut self, chart: &Chart) {
        for (path, bytes) in &chart.files {
            let is_template = path.starts_with("templates/") || path.starts_with("crds/");
            let Some(text) = std::str::from_utf8(bytes).ok().filter(|_| is_template) else {
                continue;
            };
            if text.contains("kind: CustomResourceDefinition") {
                continue; // a schema describes fields and holds no image
            }
            for (i, line) in text.lines().enumerate() {
                for reference in literals(line) {
                    self.put(reference, format!("{}{path}:{}", chart.folder, i + 1));
                }
            }
        }
    }

    fn full(&mut self) {
        if self.unread.last().is_none_or(|last| last != super::FULL) {
            self.unread.push(super::FULL.to_owned());
        }
    }

    fn put(&mut self, reference: &str, place: String) {
        if bounds::ROWS_MAX <= self.rows.len() {
            self.full();
            return;
        }
        let reference = reference.to_owned();
        self.rows.push(Row { reference, place, proven: false, hook: None });
    }
}

/// The references of a template's line outside its actions; none beside an action that would
/// complete one.
fn literals(line: &str) -> Vec<&str> {
    let line = line.trim();
    if line.starts_with('#') || LINE_LEN_BYTES_MAX < line.len() {
        return Vec::new();
    }
    let is_cut = |reference: &str| {
        line.contains(&format!("{reference}{{{{"))
            || line.contains(&format!("}}}}{reference}"))
            || line.contains(&format!("{reference}:{{{{"))
    };
    let mut found: Vec<&str> = in_text(line).into_iter().filter(|one| !is_cut(one)).collect();
    // `image: nginx` names no version, and is one all the same.
    let named = line.trim_start_matches("- ").strip_prefix("image:").map(str::trim);
    let named = named.map(|rest| rest.trim_matches(['"', '\'']));
    found.extend(named.filter(|text| is_reference(text) && !found.contains(text)));
    found
}

/// Puts an image together from the parts that charts give it: registry, repository, tag, digest;
/// with its variants, of which a template takes one.
fn joined(key: &str, value: &Value, around: &Around<'_>, base: Option<&str>) -> Vec<String> {
    let said = |key| value.get(key).and_then(Value::printed);
    let (tag, digest) = (said("tag"), said("digest").or_else(|| said("sha256")));
    let registry = said("registry").or_else(|| said("imageRegistry"));
    let has_parts = tag.is_some() || digest.is_some() || registry.is_some();
    let is_image = has_parts || says_image(key) || value.get("pullPolicy").is_some();
    let repository = said("repository").or_else(|| {
        // ingress-nginx calls it so.
        said("image").or_else(|| said("name")).filter(|_| has_parts)
    });
    let Some(repository) = repository.filter(|_| is_image) else { return Vec::new() };
    let registry = around.registry.or(registry).or(around.default_registry);
    let registry = match repository.strip_prefix('/') {
        Some(_) => base.or(registry).map(|host| host.trim_end_matches('/').to_owned()),
        None => registry.map(|host| format!("{}/", host.trim_end_matches('/'))),
    };
    let named = format!("{}{repository}", registry.unwrap_or_default());
    if has_version(&named) {
        return vec![named];
    }
    let default = around.app_version.as_deref().filter(|_| digest.is_none());
    let tag = tag.or(default).map(|tag| format!(":{tag}")).unwrap_or_default();
    let one = format!("{named}{tag}{}", digest.map(pinned).unwrap_or_default());
    let variants = variants(value).map(|(name, digest)| format!("{named}-{name}{tag}{digest}"));
    std::iter::once(one).chain(variants).filter(|reference| is_reference(reference)).collect()
}

fn pinned(digest: &str) -> String {
    format!("@sha256:{}", digest.strip_prefix("sha256:").unwrap_or(digest))
}

/// The variants of an image: `genericDigest` is of `operator-generic`, `digestChroot` of
/// `controller-chroot`.
fn variants(image: &Value) -> impl Iterator<Item = (String, String)> {
    image.map().into_iter().flatten().filter_map(|(key, digest)| {
        let name = key.strip_suffix("Digest").or_else(|| key.strip_prefix("digest"))?;
        let name = name.to_ascii_lowercase();
        (!name.is_empty()).then_some((name, pinned(digest.printed()?)))
    })
}

/// The tag that stands for none: the version of what the chart installs, with the `v` that a
/// template puts before it.
fn app_version(chart: &Chart) -> Option<String> {
    let version = chart.meta.app_version.as_deref()?;
    let puts_v = |bytes: &Vec<u8>| {
        let text = String::from_utf8_lossy(bytes);
        let mut places = text.match_indices(".Chart.AppVersion").map(|(at, _)| at);
        places.any(|at| {
            let before = text.get(..at).unwrap_or_default();
            let before = before.trim_end_matches([' ', '(', '-', '{', '"', '$']);
            before.ends_with("v%s") || before.ends_with(":v") || before.ends_with("\"v")
        })
    };
    let templates = chart.files.iter().filter(|(path, _)| path.starts_with("templates/"));
    let is_prefixed = !version.starts_with('v') && templates.map(|(_, bytes)| bytes).any(puts_v);
    Some(if is_prefixed { format!("v{version}") } else { version.to_owned() })
}
