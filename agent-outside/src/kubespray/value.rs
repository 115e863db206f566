//! The values that variables of Ansible have, and how Python writes and compares them.
//!
//! In:   what YAML, JSON, INI and templates give.
//! Out:  [`Val`], ordered as written; text as Python's `str` and `repr` would print it.
//! Pure: never reads anything; sharing is by reference count, so a copy costs nothing.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

use super::problem::Place;

/// One value of a variable, raw or evaluated.
#[derive(Debug, Clone)]
pub(crate) enum Val {
    /// Nothing is defined here; says what was looked for. Chains, and fails when used.
    Undefined(Arc<Missing>),
    /// What an inline `if` without `else` gives: prints as nothing.
    Nothing,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    /// Text tagged `!unsafe`, which is never a template.
    Unsafe(Arc<str>),
    /// Text tagged `!vault`, whose plain form only the owner of the password knows.
    Vault,
    List(Arc<Vec<Val>>),
    Tuple(Arc<Vec<Val>>),
    Map(Arc<Dict>),
    /// The variables of every host, by name.
    HostVars,
    /// The variables of one host, evaluated when asked for.
    HostVarsOf(Arc<str>),
}

/// What was looked for and is not there.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    pub reason: String,
    /// The innermost variable whose definition asks for it.
    pub at: Option<(Arc<str>, Place)>,
}

/// A key of a [`Dict`]; Python tells `8` from `'8'`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    None,
    Bool(bool),
    Int(i64),
    /// The bits of the number.
    Float(u64),
    Str(Arc<str>),
}

/// A map that keeps the order in which keys were first written, as Python's does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dict {
    entries: Vec<(Key, Val)>,
    places: HashMap<Key, usize>,
}

impl Dict {
    pub(crate) fn get(&self, key: &Key) -> Option<&Val> {
        self.places.get(key).and_then(|&place| self.entries.get(place)).map(|(_, value)| value)
    }

    pub(crate) fn get_str(&self, key: &str) -> Option<&Val> {
        self.get(&Key::Str(key.into()))
    }

    /// Sets a key and says whether it was there before; its place stays the first one.
    pub(crate) fn insert(&mut self, key: Key, value: Val) -> bool {
        if let Some(&place) = self.places.get(&key)
            && let Some(entry) = self.entries.get_mut(place)
        {
            entry.1 = value;
            return true;
        }
        self.places.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
        false
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Val)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<(Key, Val)> for Dict {
    fn from_iter<I: IntoIterator<Item = (Key, Val)>>(entries: I) -> Self {
        let mut dict = Self::default();
        for (key, value) in entries {
            dict.insert(key, value);
        }
        dict
    }
}

impl Key {
    /// The key as a value, as iterating over a dict gives it.
    pub(crate) fn to_val(&self) -> Val {
        match self {
            Self::None => Val::None,
            Self::Bool(b) => Val::Bool(*b),
            Self::Int(i) => Val::Int(*i),
            Self::Float(bits) => Val::Float(f64::from_bits(*bits)),
            Self::Str(s) => Val::Str(s.clone()),
        }
    }
}

impl Val {
    pub(crate) fn undefined(reason: impl Into<String>) -> Self {
        Self::Undefined(Arc::new(Missing { reason: reason.into(), at: None }))
    }

    pub(crate) fn str(text: &str) -> Self {
        Self::Str(text.into())
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(items))
    }

    pub(crate) fn map(dict: Dict) -> Self {
        Self::Map(Arc::new(dict))
    }

    pub(crate) fn strings<S: AsRef<str>>(items: &[S]) -> Self {
        Self::list(items.iter().map(|s| Self::str(s.as_ref())).collect())
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) | Self::Unsafe(s) => Some(s),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&Dict> {
        match self {
            Self::Map(dict) => Some(dict),
            _ => None,
        }
    }

    pub(crate) fn as_items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_) | Self::Nothing)
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Bool(_) | Self::Int(_) | Self::Float(_))
    }

    pub(crate) fn key(&self) -> Option<Key> {
        Some(match self {
            Self::None => Key::None,
            Self::Bool(b) => Key::Bool(*b),
            Self::Int(i) => Key::Int(*i),
            Self::Float(f) => Key::Float(f.to_bits()),
            Self::Str(s) | Self::Unsafe(s) => Key::Str(s.clone()),
            _ => return None,
        })
    }

    /// Python's name for the type, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined(_) | Self::Nothing => "undefined",
            Self::None => "none",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Float(_) => "number",
            Self::Str(_) | Self::Unsafe(_) => "string",
            Self::Vault => "vaulted value",
            Self::List(_) | Self::Tuple(_) => "list",
            Self::Map(_) | Self::HostVars | Self::HostVarsOf(_) => "mapping",
        }
    }

    /// Whether Python's `if` takes it, for a value that is defined.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::Nothing | Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) | Self::Unsafe(s) => !s.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.is_empty(),
            Self::Map(dict) => !dict.is_empty(),
            Self::Vault | Self::HostVars | Self::HostVarsOf(_) => true,
        }
    }

    /// The text that Python's `str` gives.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Str(s) | Self::Unsafe(s) => s.to_string(),
            Self::Undefined(_) | Self::Nothing => String::new(),
            _ => {
                let mut out = String::new();
                self.write_repr(&mut out);
                out
            }
        }
    }

    fn write_repr(&self, out: &mut String) {
        match self {
            Self::Undefined(_) => out.push_str("AnsibleUndefined"),
            Self::Nothing => out.push_str("Undefined"),
            Self::None => out.push_str("None"),
            Self::Bool(b) => out.push_str(if *b { "True" } else { "False" }),
            Self::Int(i) => _ = write!(out, "{i}"),
            Self::Float(f) => out.push_str(&float_repr(*f)),
            Self::Str(s) | Self::Unsafe(s) => write_str_repr(s, out),
            Self::Vault => out.push_str("'<vaulted>'"),
            Self::List(items) => write_items(items, '[', ']', false, out),
            Self::Tuple(items) => write_items(items, '(', ')', items.len() == 1, out),
            Self::Map(dict) => {
                out.push('{');
                for (index, (key, value)) in dict.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    key.to_val().write_repr(out);
                    out.push_str(": ");
                    value.write_repr(out);
                }
                out.push('}');
            }
            Self::HostVars | Self::HostVarsOf(_) => out.push_str("<hostvars>"),
        }
    }

    /// The value as JSON; what has no JSON form becomes null.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(i) => Json::from(*i),
            Self::Float(f) => Number::from_f64(*f).map_or(Json::Null, Json::Number),
            Self::Str(s) | Self::Unsafe(s) => Json::String(s.to_string()),
            Self::List(items) | Self::Tuple(items) => {
                Json::Array(items.iter().map(Self::to_json).collect())
            }
            Self::Map(dict) => Json::Object(
                dict.iter()
                    .map(|(key, value)| (key_text(key), value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
            _ => Json::Null,
        }
    }

    /// Python's `==`.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (a, b) if a.is_number() && b.is_number() => match (a.whole(), b.whole()) {
                (Some(x), Some(y)) => x == y,
                _ => a.number() == b.number(),
            },
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| x.equals(y))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, x)| b.get(key).is_some_and(|y| x.equals(y)))
            }
            (a, b) => matches!((a.as_str(), b.as_str()), (Some(x), Some(y)) if x == y),
        }
    }

    /// Python's `<`, where it has one for the two.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (a, b) if a.is_number() && b.is_number() => match (a.whole(), b.whole()) {
                (Some(x), Some(y)) => Some(x.cmp(&y)),
                _ => a.number().partial_cmp(&b.number()),
            },
            (a, b) => {
                if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
                    return Some(x.cmp(y));
                }
                let (x, y) = (a.as_items()?, b.as_items()?);
                for (p, q) in x.iter().zip(y) {
                    match p.order(q)? {
                        Ordering::Equal => {}
                        unequal => return Some(unequal),
                    }
                }
                Some(x.len().cmp(&y.len()))
            }
        }
    }

    /// The number as a float; zero for what is no number.
    #[expect(clippy::cast_precision_loss, reason = "Python compares such numbers as floats too")]
    pub(crate) fn number(&self) -> f64 {
        match self {
            Self::Bool(b) => f64::from(*b),
            Self::Int(i) => *i as f64,
            Self::Float(f) => *f,
            _ => 0.0,
        }
    }

    /// The number, if it is a whole one.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self {
            Self::Bool(b) => Some(i64::from(*b)),
            Self::Int(i) => Some(*i),
            _ => None,
        }
    }
}

/// Reads JSON into values, maps in the order in which they are written.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Val;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Val, E> {
        Ok(Val::None)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Val, E> {
        Ok(Val::Bool(b))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Val, E> {
        Ok(Val::Int(i))
    }

    fn visit_u64<E: serde::de::Error>(self, u: u64) -> Result<Val, E> {
        i64::try_from(u).map(Val::Int).map_err(|_| E::custom("a number is too large"))
    }

    fn visit_f64<E>(self, f: f64) -> Result<Val, E> {
        Ok(Val::Float(f))
    }

    fn visit_str<E>(self, s: &str) -> Result<Val, E> {
        Ok(Val::str(s))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Val, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element()? {
            out.push(item);
        }
        Ok(Val::list(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Val, A::Error> {
        let mut out = Dict::default();
        while let Some((key, value)) = entries.next_entry::<String, Val>()? {
            out.insert(Key::Str(key.into()), value);
        }
        Ok(Val::map(out))
    }
}

impl<'de> Deserialize<'de> for Val {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

fn key_text(key: &Key) -> String {
    match key {
        Key::None => "null".to_owned(),
        Key::Bool(b) => b.to_string(),
        other => other.to_val().text(),
    }
}

fn write_items(items: &[Val], open: char, close: char, comma: bool, out: &mut String) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        item.write_repr(out);
    }
    if comma {
        out.push(',');
    }
    out.push(close);
}

fn write_str_repr(s: &str, out: &mut String) {
    let quote = if s.contains('\'') && !s.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in s.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_control() => _ = write!(out, "\\x{:02x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// A float as Python's `repr` prints it.
pub(crate) fn float_repr(f: f64) -> String {
    if f.is_nan() {
        return "nan".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = f.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{f:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, places) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        return format!("{digits}e{sign}{places:0>2}");
    }
    let text = f.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_python_prints_them() {
        let inner = [(Key::Str("a".into()), Val::Bool(true)), (Key::Int(8), Val::None)];
        let list = Val::list(vec![
            Val::map(inner.into_iter().collect()),
            Val::str("it's"),
            Val::Tuple(Arc::new(vec![Val::Float(1.0)])),
        ]);
        assert_eq!(list.text(), "[{'a': True, 8: None}, \"it's\", (1.0,)]");
        assert_eq!(float_repr(20_260_406.0), "20260406.0");
        assert_eq!(float_repr(1e22), "1e+22");
        assert_eq!(float_repr(1.37), "1.37");
    }

    #[test]
    fn json_keeps_the_order_of_its_keys() {
        let value: Val =
            serde_json::from_str(r#"{"z": [1, 2.5, null], "a": {"y": true}}"#).unwrap();
        assert_eq!(value.text(), "{'z': [1, 2.5, None], 'a': {'y': True}}");
        assert!(serde_json::from_str::<Val>(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_key_keeps_its_first_place_and_gets_its_last_value() {
        let pairs = [("b", 1), ("a", 2), ("b", 3)];
        let dict: Dict =
            pairs.iter().map(|(key, value)| (Key::Str((*key).into()), Val::Int(*value))).collect();
        assert_eq!(Val::map(dict).text(), "{'b': 3, 'a': 2}");
    }
}
