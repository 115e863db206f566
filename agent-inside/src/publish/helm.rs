//! Charts: an `index.yaml` for each upstream repository.
//!
//! In:   the charts of a snapshot, each with what its `Chart.yaml` says.
//! Out:  `helm/<repository>/index.yaml`.
//! Pure: the same charts give the same bytes.
//!
//! The links are relative, so that a repository works under whatever name the site gives its
//! server. Nothing is dated by a clock: `created` is upstream's, `generated` the latest of them.
//!
//! Format: Helm's `pkg/repo` (`IndexFile`, API version v1). Every value is written as JSON, which
//! is YAML too; Helm itself drops entries that it cannot read with a warning only, so what is
//! written is what it writes itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gapferry_proto::artifact::ChartFacts;
use gapferry_proto::{Artifact, Facts, SafePath, Snapshot, limits};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{PublishError, path};

/// The name of a repository's index in its folder.
pub const INDEX: &str = "index.yaml";

/// What goes after a chart's name for its provenance file.
pub const PROVENANCE: &str = ".prov";

/// The charts of a repository, each with its versions.
type Charts<'a> = BTreeMap<&'a str, Vec<Map<String, Value>>>;

/// The path below the server's root at which a chart is served.
pub fn address(facts: &ChartFacts) -> String {
    format!("helm/{}/{}", facts.repository, facts.filename)
}

/// Refuses a chart whose names cannot stand in an index, or whose metadata are another chart's.
///
/// # Errors
///
/// [`PublishError::Name`], [`PublishError::Chart`].
pub fn check(artifact: &Artifact, facts: &ChartFacts) -> Result<(), PublishError> {
    let filename = facts.filename.as_str();
    if filename.contains('/') || filename == INDEX {
        let (artifact, text) = (artifact.name.clone(), filename.to_owned());
        return Err(PublishError::Name { artifact, what: "file name", text });
    }
    entry(artifact, facts).map(drop)
}

/// Renders the index of every repository.
///
/// # Errors
///
/// As [`check`].
pub fn render(snapshot: &Snapshot) -> Result<Vec<(SafePath, Vec<u8>)>, PublishError> {
    let mut repositories: BTreeMap<&SafePath, Charts<'_>> = BTreeMap::new();
    for artifact in snapshot.artifacts() {
        if let Facts::Chart(facts) = &artifact.facts {
            let charts = repositories.entry(&facts.repository).or_default();
            charts.entry(&facts.chart).or_default().push(entry(artifact, facts)?);
        }
    }
    let document = |(repository, charts)| {
        (path(&format!("helm/{repository}/{INDEX}")), index(&charts).into_bytes())
    };
    Ok(repositories.into_iter().map(document).collect())
}

/// One version of a chart: what `Chart.yaml` says, and where its bytes are.
fn entry(artifact: &Artifact, facts: &ChartFacts) -> Result<Map<String, Value>, PublishError> {
    let wrong = |problem| PublishError::Chart { artifact: artifact.name.clone(), problem };
    let mut entry: Map<String, Value> = match &facts.metadata {
        Some(text) if limits::CHART_METADATA_LEN_BYTES_MAX < text.len() => {
            return Err(wrong("it is too long"));
        }
        Some(text) => serde_json::from_str(text).map_err(|_| wrong("it is no JSON object"))?,
        None => Map::from_iter([("apiVersion".to_owned(), json!("v2"))]),
    };
    for (field, value) in [("name", &facts.chart), ("version", &facts.version)] {
        if *entry.entry(field).or_insert_with(|| json!(value)) != json!(value) {
            return Err(wrong("it is another chart's"));
        }
    }
    if let Some(version) = &facts.app_version {
        entry.entry("appVersion").or_insert_with(|| json!(version));
    }
    if entry.get("created").is_some_and(|created| moment(created).is_none()) {
        entry.remove("created"); // Helm would pass over the whole index
    }
    entry.insert("digest".to_owned(), json!(artifact.blobs[0].id.hex()));
    entry.insert("urls".to_owned(), json!([facts.filename]));
    Ok(entry)
}

fn moment(created: &Value) -> Option<Timestamp> {
    created.as_str()?.parse().ok()
}

fn index(charts: &Charts<'_>) -> String {
    let created = charts.values().flatten().filter_map(|entry| moment(entry.get("created")?));
    let generated = created.max().unwrap_or(Timestamp::UNIX_EPOCH);
    let mut text = "apiVersion: v1\nentries:\n".to_owned();
    for (chart, entries) in charts {
        text += &format!("  {}:\n", scalar(&json!(chart)));
        for entry in entries {
            for (number, (field, value)) in entry.iter().enumerate() {
                let dash = if number == 0 { '-' } else { ' ' };
                writeln!(text, "  {dash} {}: {}", scalar(&json!(field)), scalar(value))
                    .expect("writing to a String does not fail");
            }
        }
    }
    text + &format!("generated: \"{generated}\"\n")
}

/// A value as JSON, in which every character that YAML does not print is written by its number.
fn scalar(value: &Value) -> String {
    let json = value.to_string();
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => text += &format!("\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::fixture::chart;

    fn documents(charts: Vec<Artifact>) -> BTreeMap<String, String> {
        let documents = render(&Snapshot::of(charts).unwrap()).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        documents.into_iter().map(|(path, bytes)| (path.to_string(), text(bytes))).collect()
    }

    #[test]
    fn an_index_says_what_each_chart_says_of_itself() {
        let mut newer = chart("c.example/stable", "web", "1.1.0", b"newer");
        let Facts::Chart(facts) = &mut newer.facts else { unreachable!() };
        facts.metadata = Some(
            r#"{"apiVersion":"v2","name":"web","version":"1.1.0","description":"a\u0085\"b",
                "created":"2026-11-24T10:00:00.5+01:00","dependencies":[{"name":"x"}]}"#
                .to_owned(),
        );
        let charts = vec![
            newer,
            chart("c.example/stable", "web", "1.0.0", b"old"),
            chart("local", "a", "1", b"a"),
        ];
        let (new, old, a) = (b"newer", b"old", b"a");
        let hex = |bytes: &[u8]| gapferry_proto::Digest::of(bytes).hex();
        let web = format!(
            "apiVersion: v1\nentries:\n  \"web\":\n  \
             - \"apiVersion\": \"v2\"\n    \"appVersion\": \"9\"\n    \"digest\": \"{}\"\n    \
             \"name\": \"web\"\n    \"urls\": [\"web-1.0.0.tgz\"]\n    \"version\": \"1.0.0\"\n  \
             - \"apiVersion\": \"v2\"\n    \"appVersion\": \"9\"\n    \
             \"created\": \"2026-11-24T10:00:00.5+01:00\"\n    \
             \"dependencies\": [{{\"name\":\"x\"}}]\n    \"description\": \"a\\u0085\\\"b\"\n    \
             \"digest\": \"{}\"\n    \"name\": \"web\"\n    \"urls\": [\"web-1.1.0.tgz\"]\n    \
             \"version\": \"1.1.0\"\ngenerated: \"2026-11-24T09:00:00.5Z\"\n",
            hex(old),
            hex(new)
        );
        let documents = documents(charts);
        let names: Vec<_> = documents.keys().map(String::as_str).collect();
        assert_eq!(names, ["helm/c.example/stable/index.yaml", "helm/local/index.yaml"]);
        assert_eq!(documents["helm/c.example/stable/index.yaml"], web);
        let local = &documents["helm/local/index.yaml"];
        assert!(
            local.contains(&hex(a)) && local.ends_with("generated: \"1970-01-01T00:00:00Z\"\n")
        );
    }

    #[test]
    fn metadata_of_another_chart_or_of_no_sense_are_refused() {
        for (metadata, problem) in [
            ("[]".to_owned(), "it is no JSON object"),
            ("{\"name\":".to_owned(), "it is no JSON object"),
            (r#"{"name":"web"}"#.to_owned(), "it is another chart's"),
            (r#"{"version":1}"#.to_owned(), "it is another chart's"),
            (" ".repeat(limits::CHART_METADATA_LEN_BYTES_MAX + 1), "it is too long"),
        ] {
            let mut chart = chart("local", "a", "1", b"a");
            let Facts::Chart(facts) = &mut chart.facts else { unreachable!() };
            facts.metadata = Some(metadata);
            let facts = facts.clone();
            let failure = check(&chart, &facts).unwrap_err();
            let PublishError::Chart { problem: found, .. } = failure else { panic!("{failure}") };
            assert_eq!(found, problem);
        }
    }

    #[test]
    fn a_date_that_is_none_is_left_out_and_a_strange_file_name_refused() {
        let mut odd = chart("local", "a", "1", b"a");
        let Facts::Chart(facts) = &mut odd.facts else { unreachable!() };
        facts.metadata = Some(r#"{"created":"yesterday"}"#.to_owned());
        assert!(!documents(vec![odd.clone()])["helm/local/index.yaml"].contains("yesterday"));
        for bad in ["index.yaml", "b/a-1.tgz"] {
            let Facts::Chart(facts) = &mut odd.facts else { unreachable!() };
            facts.filename = bad.parse().unwrap();
            let facts = facts.clone();
            let failure = check(&odd, &facts).unwrap_err();
            assert!(matches!(failure, PublishError::Name { .. }), "{failure}");
        }
    }
}
