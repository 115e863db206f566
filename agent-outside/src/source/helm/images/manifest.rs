//! Reads the images out of rendered manifests.
//!
//! In:   what `helm template` printed.
//! Out:  [`Images`].
//! Pure: text only. A document that is not understood is searched as text and told of.

use super::{
    Images, Row,
    likeness::{has_version, in_text, is_plainly_one, is_reference, says_image},
};
use crate::source::helm::{
    bounds,
    yaml::{self, Value},
};

/// Reads every document of `text`.
///
/// Proven are the containers of pods, the image volumes of pods, and `image:` of any other
/// resource where it holds a reference. Flags, variables and texts that hold one are not.
pub fn images_of_manifest(text: &str) -> Images {
    let mut walk = Walk::default();
    for document in documents(text) {
        walk.document(document);
    }
    Images::of(walk.rows, walk.unread)
}

/// Documents are parted by `---` at the beginning of a line, which no scalar can hold.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let is_mark = |at: usize| {
            let before = at == 0 || whole.as_bytes().get(at - 1) == Some(&b'\n');
            let after = whole.as_bytes().get(at + 3).is_none_or(u8::is_ascii_whitespace);
            before && after
        };
        let Some(at) = whole.match_indices("---").map(|(at, _)| at).find(|at| is_mark(*at)) else {
            rest = None;
            return Some(whole);
        };
        rest = whole.get(at + 3..);
        whole.get(..at)
    })
    .filter(|document| !document.trim().is_empty())
}

#[derive(Default)]
struct Walk {
    rows: Vec<Row>,
    unread: Vec<String>,
    source: String,
    place: String,
    hook: Option<String>,
}

impl Walk {
    fn document(&mut self, text: &str) {
        let source = text.lines().find_map(|line| line.strip_prefix("# Source: "));
        source.unwrap_or("(no source)").trim().clone_into(&mut self.source);
        self.place.clone_from(&self.source);
        self.hook = None;
        match yaml::document(text.as_bytes()) {
            Ok(value) => self.resource(&value),
            Err(error) => {
                self.unread.push(format!("{} {error}", self.source));
                self.text(text);
            }
        }
    }

    /// A resource, or a list of them.
    fn resource(&mut self, value: &Value) {
        let kind = value.get("kind").and_then(Value::text).unwrap_or("(no kind)");
        // Its schema describes fields and holds no image.
        if kind == "CustomResourceDefinition" {
            return;
        }
        let items = value.get("items").map(Value::list).unwrap_or_default();
        if kind.ends_with("List") && !items.is_empty() {
            items.iter().for_each(|item| self.resource(item));
            return;
        }
        let name = value.at("metadata.name").and_then(Value::printed).unwrap_or("(no name)");
        self.place = format!("{}: {kind}/{name}", self.source);
        let annotations = value.at("metadata.annotations");
        let hook = annotations.and_then(|annotations| annotations.get("helm.sh/hook"));
        self.hook = hook.and_then(Value::text).map(str::to_owned);
        self.node("", value, false);
    }

    /// `in_container`: every field below belongs to one container of a pod.
    fn node(&mut self, key: &str, value: &Value, in_container: bool) {
        match value {
            Value::Map(map) => {
                if key == "image" {
                    self.image_map(value);
                }
                // A variable's name says what its value is.
                let name = map.get("name").and_then(Value::text).filter(|name| says_image(name));
                for (key, value) in map {
                    let key = name.filter(|_| key == "value").unwrap_or(key);
                    self.node(key, value, in_container);
                }
            }
            Value::List(list) => {
                let is_containers =
                    matches!(key, "containers" | "initContainers" | "ephemeralContainers");
                list.iter().for_each(|item| self.node(key, item, in_container || is_containers));
            }
            Value::Text(text) => self.scalar(key, text, in_container),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn scalar(&mut self, key: &str, text: &str, in_container: bool) {
        let text = text.trim();
        match key {
            // A container's image is one whatever it looks like.
            "image" if in_container && !text.is_empty() => self.row(text, true),
            "image" if is_reference(text) && (has_version(text) || text.contains('/')) => {
                self.row(text, true);
            }
            _ if says_image(key) && is_reference(text) && has_version(text) => {
                self.row(text, false);
            }
            _ if is_plainly_one(text) => self.row(text, false),
            _ => self.text(text),
        }
    }

    /// An image as a map: a volume of a pod, or the way in which an operator wants it.
    fn image_map(&mut self, value: &Value) {
        let said = |key| value.get(key).and_then(Value::printed);
        if let Some(reference) = said("reference").filter(|text| is_reference(text)) {
            self.row(reference, true);
        }
        let Some(repository) = said("repository") else { return };
        let registry = said("registry").map(|registry| format!("{registry}/"));
        let tag = said("tag").or_else(|| said("version")).map(|tag| format!(":{tag}"));
        let digest = said("digest")
            .or_else(|| said("sha256"))
            .map(|digest| format!("@sha256:{}", digest.strip_prefix("sha256:").unwrap_or(digest)));
        let parts = [registry, Some(repository.to_owned()), tag, digest];
        let reference: String = parts.into_iter().flatten().collect();
        if is_reference(&reference) && has_version(&reference) {
            self.row(&reference, false);
        }
    }

    fn text(&mut self, text: &str) {
        for reference in in_text(text) {
            self.row(reference, false);
        }
    }

    fn row(&mut self, reference: &str, proven: bool) {
        if bounds::ROWS_MAX <= self.rows.len() {
            if self.unread.last().is_none_or(|last| last != super::FULL) {
                self.unread.push(super::FULL.to_owned());
            }
            return;
        }
        let (place, hook) = (self.place.clone(), self.hook.clone());
        self.rows.push(Row { reference: reference.to_owned(), place, proven, hook });
    }
}
