//! What the index of a repository says of a chart, as `helm repo index` would write it.
//!
//! In:   the files of a chart, and when upstream's index says that it was made.
//! Out:  one JSON object: Helm's own fields of `Chart.yaml`, each in its type.
//! Pure: values only. Fields that Helm does not know are left out, as it does.
//!
//! Source: `chart.Metadata`, `chart.Dependency` and `chart.Maintainer` of Helm 3.

use gapferry_proto::limits;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::{
    archive::Files,
    yaml::{self, Value},
};

/// Fields of one text each.
const TEXTS: [&str; 11] = [
    "apiVersion",
    "appVersion",
    "condition",
    "description",
    "home",
    "icon",
    "kubeVersion",
    "name",
    "tags",
    "type",
    "version",
];

/// What an index says of a chart besides where its bytes are; nothing when it has no
/// `Chart.yaml`, or says more than may be carried.
pub fn of(files: &Files, created: Option<&str>) -> Option<String> {
    let read = |name: &str| yaml::document(files.get(name)?).ok();
    let chart = read("Chart.yaml")?;
    let mut entry = Map::new();
    for field in TEXTS {
        put(&mut entry, field, chart.get(field).and_then(text));
    }
    entry.entry("apiVersion").or_insert_with(|| json!("v1")); // as of Helm 2
    for field in ["keywords", "sources"] {
        put(&mut entry, field, texts(chart.get(field)));
    }
    put(
        &mut entry,
        "deprecated",
        chart.get("deprecated").filter(|v| is_true(v)).map(|_| true.into()),
    );
    put(&mut entry, "annotations", chart.get("annotations").and_then(annotations));
    put(&mut entry, "maintainers", each(chart.get("maintainers"), maintainer));
    let requirements = read("requirements.yaml").unwrap_or_default();
    let listed = [&chart, &requirements]
        .into_iter()
        .find_map(|file| each(file.get("dependencies"), dependency));
    put(&mut entry, "dependencies", listed);
    let created = created.filter(|created| created.parse::<Timestamp>().is_ok());
    put(&mut entry, "created", created.map(Json::from));
    let text = Json::Object(entry).to_string();
    (text.len() <= limits::CHART_METADATA_LEN_BYTES_MAX).then_some(text)
}

fn put(entry: &mut Map<String, Json>, field: &str, value: Option<Json>) {
    if let Some(value) = value {
        entry.insert(field.to_owned(), value);
    }
}

/// A scalar as the text that Helm makes of it; none when it is empty.
fn verbatim(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        value => value.printed().map(str::to_owned),
    }
}

/// A scalar as Helm shows it: white space is a space, what cannot be printed is left out.
fn text(value: &Value) -> Option<Json> {
    let shown = |c: char| match c {
        c if c.is_whitespace() => Some(' '),
        c if c.is_control() => None,
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => None,
        c => Some(c),
    };
    Some(verbatim(value)?.chars().filter_map(shown).collect::<String>().into())
}

fn texts(list: Option<&Value>) -> Option<Json> {
    each(list, text)
}

fn each(list: Option<&Value>, one: impl Fn(&Value) -> Option<Json>) -> Option<Json> {
    let items: Vec<Json> = list?.list().iter().filter_map(one).collect();
    (!items.is_empty()).then(|| items.into())
}

fn is_true(value: &Value) -> bool {
    matches!(value, Value::Bool(true))
}

fn annotations(value: &Value) -> Option<Json> {
    let pair = |(key, value): (&String, &Value)| Some((key.clone(), verbatim(value)?.into()));
    let pairs: Map<String, Json> = value.map()?.iter().filter_map(pair).collect();
    (!pairs.is_empty()).then(|| pairs.into())
}

fn object(value: &Value, fields: &[&str]) -> Map<String, Json> {
    let mut object = Map::new();
    for field in fields {
        put(&mut object, field, value.get(field).and_then(text));
    }
    object
}

fn maintainer(value: &Value) -> Option<Json> {
    let object = object(value, &["name", "email", "url"]);
    (!object.is_empty()).then(|| object.into())
}

fn dependency(value: &Value) -> Option<Json> {
    let mut object = object(value, &["name", "version", "repository", "condition", "alias"]);
    object.get("name")?;
    object.entry("repository").or_insert_with(|| json!(""));
    put(&mut object, "tags", texts(value.get("tags")));
    put(&mut object, "enabled", value.get("enabled").filter(|v| is_true(v)).map(|_| true.into()));
    put(&mut object, "import-values", each(value.get("import-values"), imported));
    Some(object.into())
}

/// A key of values, or a pair of such.
fn imported(value: &Value) -> Option<Json> {
    verbatim(value).map(Json::from).or_else(|| Some(object(value, &["child", "parent"]).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn entry(list: &[(&str, &str)], created: Option<&str>) -> Json {
        serde_json::from_str(&of(&files(list), created).unwrap()).unwrap()
    }

    #[test]
    fn an_entry_has_every_field_that_helm_knows_in_its_type() {
        let chart = "apiVersion: v2\nname: web\nversion: 1.2.0\nappVersion: 1.10\ntype: application\n\
            description: |\n  Two\n  li\u{200b}nes\nkubeVersion: '>=1.25'\nhome: https://c.example\nunknown: x\n\
            keywords: [a, 2]\nsources: [https://s.example]\ndeprecated: true\nicon: ''\n\
            annotations: {a/b: true, c: \"x\\ny\"}\n\
            maintainers: [{name: A, email: a@c.example}, {}]\n\
            dependencies:\n- {name: db, version: ^2, tags: [t], condition: db.on, enabled: true, \
            import-values: [x, {child: a, parent: b}]}\n- {version: 1}\n";
        assert_eq!(
            entry(&[("Chart.yaml", chart)], Some("2026-11-24T10:00:00.123+01:00")),
            json!({
                "apiVersion": "v2", "name": "web", "version": "1.2.0", "appVersion": "1.1",
                "type": "application", "description": "Two lines ", "kubeVersion": ">=1.25",
                "home": "https://c.example", "keywords": ["a", "2"],
                "sources": ["https://s.example"], "deprecated": true,
                "annotations": {"a/b": "true", "c": "x\ny"},
                "maintainers": [{"name": "A", "email": "a@c.example"}],
                "dependencies": [{
                    "name": "db", "version": "^2", "repository": "", "condition": "db.on",
                    "tags": ["t"], "enabled": true,
                    "import-values": ["x", {"child": "a", "parent": "b"}],
                }],
                "created": "2026-11-24T10:00:00.123+01:00",
            })
        );
    }

    #[test]
    fn a_chart_of_helm_2_has_its_dependencies_elsewhere() {
        let list = [
            ("Chart.yaml", "name: a\nversion: 1.0.0"),
            ("requirements.yaml", "dependencies: [{name: b, repository: 'https://c.example'}]"),
        ];
        assert_eq!(
            entry(&list, Some("yesterday")),
            json!({
                "apiVersion": "v1", "name": "a", "version": "1.0.0",
                "dependencies": [{"name": "b", "repository": "https://c.example"}],
            })
        );
    }

    #[test]
    fn what_is_too_long_or_no_chart_is_left_out() {
        let long =
            format!("name: a\ndescription: {}", "x".repeat(limits::CHART_METADATA_LEN_BYTES_MAX));
        for chart in [long.as_str(), "a: ["] {
            assert_eq!(of(&files(&[("Chart.yaml", chart)]), None), None);
        }
        assert_eq!(of(&files(&[]), None), None);
    }
}
