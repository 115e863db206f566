//! Reads YAML of strangers within bounds.
//!
//! In:   bytes of an index, a chart's files, a rendered manifest.
//! Out:  a type of ours, or [`Value`], where scalars are as Helm's templates print them.
//! Pure: bytes only. Aliases, depth, nodes and lengths are bounded before anything is kept.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    Options,
    options::{DuplicateKeyPolicy, NonFiniteFloatPolicy},
};

use super::bounds;

/// Why bytes are no YAML that we read.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    #[error("has {len_bytes} bytes, more than {max}")]
    TooLong { len_bytes: u64, max: u64 },
    #[error("is not UTF-8")]
    NotText,
    #[error("is not understood: {0}")]
    Yaml(Box<serde_saphyr::Error>),
}

/// Any YAML node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    /// As Go prints a `float64`, which is what Helm makes of every number.
    Number(String),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// The value at a key of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.map()?.get(key)
    }

    /// The value at the end of a path such as `controller.image.tag`.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |value, key| value.get(key))
    }

    /// The map, when this is one.
    pub const fn map(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items, when this is a list.
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// The text, when this is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What a template prints for a text or a number; none when that is empty.
    pub fn printed(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text).filter(|text| !text.is_empty()),
            _ => None,
        }
        .map(String::as_str)
    }
}

/// Reads one document of at most `len_bytes_max` bytes and `nodes_max` nodes.
///
/// Of two equal keys the later counts, as with Helm.
///
/// # Errors
///
/// [`YamlError`].
pub fn read<T: DeserializeOwned + Default>(
    bytes: &[u8],
    len_bytes_max: u64,
    nodes_max: usize,
) -> Result<T, YamlError> {
    let len_bytes = bytes.len() as u64;
    if len_bytes_max < len_bytes {
        return Err(YamlError::TooLong { len_bytes, max: len_bytes_max });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| YamlError::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read: Option<T> = serde_saphyr::from_str_with_options(text, options(text.len(), nodes_max))
        .map_err(|e| YamlError::Yaml(Box::new(e)))?;
    Ok(read.unwrap_or_default())
}

/// Reads one file of a chart, or one document of what it renders to.
///
/// # Errors
///
/// [`YamlError`].
pub fn document(bytes: &[u8]) -> Result<Value, YamlError> {
    read(bytes, bounds::MEMBER_LEN_BYTES_MAX, bounds::DOCUMENT_NODES_MAX)
}

fn options(len_bytes: usize, nodes_max: usize) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: nodes_max,
            max_events: nodes_max.saturating_mul(3),
            max_depth: 64,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 1,
            // An alias writes its text again, so twice the text is the room for aliases.
            max_total_scalar_bytes: len_bytes.saturating_mul(2).saturating_add(1 << 10),
        },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        emit_comments: false,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML node")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(printed(&value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(printed(&value.to_string())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Number(printed(&value.to_string())))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(printed(&value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(go_float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut held = BTreeMap::new();
        while let Some((Key(key), value)) = map.next_entry()? {
            held.insert(key, value);
        }
        Ok(Value::Map(held))
    }
}

/// A key of a map: what JSON makes of a scalar.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Any)? {
            Value::Text(text) | Value::Number(text) => Ok(Self(text)),
            Value::Bool(value) => Ok(Self(value.to_string())),
            Value::Null => Ok(Self("null".to_owned())),
            Value::List(_) | Value::Map(_) => {
                Err(serde::de::Error::custom("a key must be a scalar"))
            }
        }
    }
}

fn printed(integer: &str) -> String {
    integer.parse().map_or_else(|_| integer.to_owned(), go_float)
}

/// A number as Go's `%v` writes it: the shortest digits, an exponent from a million on.
///
/// Go, `strconv.FormatFloat` with format `g` and the smallest precision, which decides as if the
/// precision were 6. So the tag `20240101`, not quoted, is `2.0240101e+07` in a rendered chart.
fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_a_template_prints_them() {
        for (text, expected) in [
            ("8", "8"),
            ("1.10", "1.1"),
            ("-0.5", "-0.5"),
            ("100000", "100000"),
            ("1000000", "1e+06"),
            ("20240101", "2.0240101e+07"),
            ("0.00001", "1e-05"),
            ("123456789", "1.23456789e+08"),
        ] {
            let value = document(text.as_bytes()).unwrap();
            assert_eq!(value, Value::Number(expected.to_owned()), "{text}");
        }
        assert_eq!(document(b"'8'").unwrap(), Value::Text("8".to_owned()));
        assert_eq!(document(b"0755").unwrap(), Value::Text("0755".to_owned()));
    }

    #[test]
    fn of_two_equal_keys_the_later_counts_and_nothing_is_null() {
        let value = document(b"\xef\xbb\xbfa: {b: 1}\na: {c: x}\n").unwrap();
        assert_eq!(value.at("a.c").and_then(Value::text), Some("x"));
        assert_eq!(value.at("a.b"), None);
        for empty in [&b""[..], b"# only words\n", b"---\n", b"null"] {
            assert_eq!(document(empty).unwrap(), Value::Null);
        }
    }

    #[test]
    fn texts_that_grow_or_never_end_are_refused() {
        let wide = format!("[{}]", "1,".repeat(600_000));
        let deep = "a: ".to_owned() + &"[".repeat(200);
        let block = (0..200).map(|i| " ".repeat(i) + "a:\n").collect::<String>();
        let text = format!("a: &a '{}'\nb: [{}]", "x".repeat(1000), "*a,".repeat(900));
        let long = "a: ".to_owned() + &"x".repeat(6 << 20);
        for bad in [wide, deep, block, text, long, "a: *b".to_owned(), "a: 1\n---\nb: 1".to_owned()]
        {
            assert!(document(bad.as_bytes()).is_err(), "{bad:.40}");
        }
    }
}
