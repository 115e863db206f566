//! The values that a chart and its subcharts have, as Helm joins them.
//!
//! In:   a chart, the user's values over its own.
//! Out:  which subcharts are on, and the values of each.
//! Pure: values only. Tables in templates are not run.

use std::collections::BTreeMap;

use crate::source::helm::{
    chart::{Chart, Dependency},
    yaml::Value,
};

/// Puts `over` on top of `base`: maps are joined, a null takes a key away, all else is replaced.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Map(base), Value::Map(over)) => {
            for (key, value) in over {
                match (base.get_mut(key), value) {
                    (_, Value::Null) => {
                        base.remove(key);
                    }
                    (Some(held), _) => merge(held, value),
                    (None, _) => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over.clone(),
    }
}

/// Reads `a.b=c` of a waybill; lists, escapes and several in one are not understood.
pub fn of_setting(text: &str) -> Option<Value> {
    let (path, value) = text.split_once('=')?;
    if path.is_empty() || path.contains(['[', '\\', ',']) || value.contains(['{', '\\', ',']) {
        return None;
    }
    let value = match value {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        text => Value::Text(text.to_owned()),
    };
    let wrap = |value, key: &str| Value::Map(BTreeMap::from([(key.to_owned(), value)]));
    Some(path.rsplit('.').fold(value, wrap))
}

/// The values of a subchart: its own, under what `parent` says below `key`, and the globals.
pub fn of_subchart(mut own: Value, parent: &Value, key: &str) -> Value {
    if own.map().is_none() {
        own = Value::Map(BTreeMap::new());
    }
    if let Some(over @ Value::Map(_)) = parent.get(key) {
        merge(&mut own, over);
    }
    if let Some(global @ Value::Map(_)) = parent.get("global") {
        merge(&mut own, &Value::Map(BTreeMap::from([("global".to_owned(), global.clone())])));
    }
    own
}

/// The subcharts of `chart` that are on, each with the key of its values; one that is named
/// twice, under two aliases, comes twice.
pub fn switched_on<'a>(chart: &'a Chart, values: &Value) -> Vec<(&'a Chart, String)> {
    let mut all = Vec::new();
    for subchart in &chart.subcharts {
        let name = &subchart.meta.name;
        let named: Vec<&Dependency> =
            chart.meta.dependencies.iter().filter(|one| one.name == *name).collect();
        if named.is_empty() {
            all.push((subchart, name.clone()));
        }
        let on = named.into_iter().filter(|dependency| is_on(dependency, values));
        all.extend(on.map(|dependency| (subchart, dependency.key().to_owned())));
    }
    all
}

/// Tags turn a dependency off when all that are set are off; a condition outdoes them.
fn is_on(dependency: &Dependency, values: &Value) -> bool {
    let switch = |value: Option<&Value>| match value {
        Some(Value::Bool(is_on)) => Some(*is_on),
        _ => None,
    };
    let tags = values.get("tags");
    let set = dependency.tags.iter().filter_map(|tag| switch(tags.and_then(|tags| tags.get(tag))));
    let set: Vec<bool> = set.collect();
    let by_tags = set.is_empty() || set.contains(&true);
    let paths = dependency.condition.iter().flat_map(|condition| condition.split(','));
    let by_condition = paths.map(|path| switch(values.at(path.trim()))).find_map(|on| on);
    by_condition.unwrap_or(by_tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::helm::yaml::document;

    fn value(text: &str) -> Value {
        document(text.as_bytes()).unwrap()
    }

    #[test]
    fn values_are_joined_key_by_key_and_null_takes_one_away() {
        let mut base = value("{a: {b: 1, c: 2, d: [1]}, e: 1}");
        merge(&mut base, &value("{a: {b: null, c: 3, d: [2]}, f: {g: 1}, e: {h: 1}}"));
        assert_eq!(base, value("{a: {c: 3, d: [2]}, f: {g: 1}, e: {h: 1}}"));
    }

    #[test]
    fn a_setting_is_a_path_and_a_value() {
        assert_eq!(of_setting("a.b=c:1"), Some(value("{a: {b: 'c:1'}}")));
        assert_eq!(of_setting("a=true"), Some(value("{a: true}")));
        for text in ["a", "a[0]=1", "a={1,2}", "a=1,b=2", "=1"] {
            assert_eq!(of_setting(text), None, "{text}");
        }
    }

    #[test]
    fn a_subchart_has_its_own_values_under_those_of_its_parent_and_the_globals() {
        let parent = value("{b: {x: 2}, global: {r: m}, c: 1}");
        let own = of_subchart(value("{x: 1, y: 1}"), &parent, "b");
        assert_eq!(own, value("{x: 2, y: 1, global: {r: m}}"));
    }

    #[test]
    fn a_condition_outdoes_tags_and_one_tag_that_is_on_suffices() {
        let dependency = |condition: Option<&str>, tags: &[&str]| Dependency {
            name: "b".to_owned(),
            version: None,
            repository: None,
            alias: None,
            condition: condition.map(str::to_owned),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        let values = value("{b: {use: false}, c: {use: 1}, tags: {t: true, f: false}}");
        for (condition, tags, on) in [
            (None, &[][..], true),
            (Some("b.use"), &[], false),
            (Some("a.use, b.use"), &["t"], false),
            (Some("c.use"), &["f"], false),
            (None, &["f"], false),
            (None, &["f", "t"], true),
            (None, &["x"], true),
        ] {
            assert_eq!(is_on(&dependency(condition, tags), &values), on, "{condition:?} {tags:?}");
        }
    }
}
