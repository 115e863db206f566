//! Reads YAML as Ansible does: PyYAML's YAML 1.1, the last of two equal keys, Ansible's tags.
//!
//! In:   the bytes of one file or argument, and its name for messages.
//! Out:  a [`Document`]: the value, the line of every top-level key, and warnings.
//! Pure: opens nothing. Size, depth and the number of nodes are bounded; an alias shares its
//!       anchor's value, so a bomb of aliases costs nothing here (evaluating it costs fuel).

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::problem::{Place, Problem};
use super::value::{Dict, Key, Val};

/// Largest YAML file that is read, in bytes: 16 MiB. Kubespray's largest is 0.2 MiB.
pub(crate) const YAML_LEN_BYTES_MAX: usize = 16 << 20;

/// Deepest nesting of collections.
const DEPTH_MAX: usize = 100;

/// The line of each key of an outermost map.
pub(crate) type Lines = HashMap<Arc<str>, usize>;

/// What a file says.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub value: Val,
    pub lines: Lines,
    pub warnings: Vec<Problem>,
}

impl Document {
    /// The outermost map; an empty file counts as an empty one.
    pub(crate) fn into_dict(self, file: &str) -> Result<(Arc<Dict>, Lines), Problem> {
        match self.value {
            Val::Map(dict) => Ok((dict, self.lines)),
            Val::None => Ok((Arc::default(), self.lines)),
            other => Err(Problem::syntax(
                file,
                1,
                format!("a map of variables is expected, not a {}", other.kind()),
            )),
        }
    }
}

/// Parses one document.
///
/// # Errors
///
/// [`Problem::Syntax`] with its line, [`Problem::VaultedFile`] for a file that is encrypted as a
/// whole, [`Problem::TooLarge`].
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Document, Problem> {
    if bytes.len() > YAML_LEN_BYTES_MAX {
        return Err(Problem::TooLarge { what: file.into(), bound: YAML_LEN_BYTES_MAX as u64 });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::syntax(file, 0, "the file is not UTF-8 text"))?;
    if text.starts_with("$ANSIBLE_VAULT") {
        return Err(Problem::VaultedFile(file.into()));
    }
    // Ansible tries JSON before YAML; the two differ in numbers such as 1e3.
    if text.trim_start().starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(Document { value, lines: HashMap::new(), warnings: Vec::new() });
    }
    let options =
        granit_parser::options! { emit_comments: false, block_scalar_eof_without_line_feed: true };
    let mut composer = Composer {
        file,
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        lines: HashMap::new(),
        warnings: Vec::new(),
    };
    let value = composer.document()?;
    Ok(Document { value, lines: composer.lines, warnings: composer.warnings })
}

struct Composer<'a> {
    file: &'a str,
    events: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Val>,
    lines: Lines,
    warnings: Vec<Problem>,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                Err(Problem::syntax(self.file, error.marker().line(), error.info()))
            }
            None => Err(self.fault(0, "the file ends within a value")),
        }
    }

    fn fault(&self, line: usize, reason: &str) -> Problem {
        Problem::syntax(self.file, line, reason)
    }

    fn document(&mut self) -> Result<Val, Problem> {
        let mut value = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(value.unwrap_or(Val::None)),
                _ if value.is_some() => {
                    return Err(self.fault(span.start.line(), "a second document begins here"));
                }
                event => value = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Val, Problem> {
        let line = span.start.line();
        if depth > DEPTH_MAX {
            return Err(self.fault(line, "values are nested too deeply"));
        }
        let (anchor, value) = match event {
            Event::Alias(id) => {
                return self
                    .anchors
                    .get(&id)
                    .cloned()
                    .ok_or_else(|| self.fault(line, "an alias to itself"));
            }
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, self.scalar(&text, style, tag.as_deref(), line)?)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let items = self.sequence(depth)?;
                (anchor, self.tagged(Val::list(items), tag.as_deref(), line)?)
            }
            Event::MappingStart(_, anchor, tag) => {
                let dict = self.mapping(depth)?;
                (anchor, self.tagged(Val::map(dict), tag.as_deref(), line)?)
            }
            _ => return Err(self.fault(line, "a value is expected")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Val>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Dict, Problem> {
        let mut own = Dict::default();
        let mut merged: Vec<Arc<Dict>> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let line = span.start.line();
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if is_merge {
                merged.extend(self.merge(&value, line)?);
                continue;
            }
            let key = key.key().ok_or_else(|| self.fault(line, "a key is a text or a number"))?;
            if depth == 0
                && let Key::Str(name) = &key
            {
                self.lines.insert(name.clone(), line);
            }
            if own.insert(key.clone(), value) {
                let place = Place::new(self.file, line);
                self.warnings
                    .push(Problem::DuplicateKey { place, key: key.to_val().text().into() });
            }
        }
        if merged.is_empty() {
            return Ok(own);
        }
        let inherited = merged.iter().flat_map(|dict| dict.iter());
        Ok(inherited.chain(own.iter()).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// The maps that `<<` brings in, so that the first of several wins.
    fn merge(&self, value: &Val, line: usize) -> Result<Vec<Arc<Dict>>, Problem> {
        let fault = || self.fault(line, "<< takes a map or a list of maps");
        match value {
            Val::Map(dict) => Ok(vec![dict.clone()]),
            Val::List(items) => items
                .iter()
                .rev()
                .map(|item| match item {
                    Val::Map(dict) => Ok(dict.clone()),
                    _ => Err(fault()),
                })
                .collect(),
            _ => Err(fault()),
        }
    }

    fn tagged(&self, value: Val, tag: Option<&Tag>, line: usize) -> Result<Val, Problem> {
        match tag.map(tag_name).as_deref() {
            None | Some("map" | "seq" | "omap" | "!") => Ok(value),
            Some("!unsafe") => Ok(unsafe_text(&value)),
            Some(other) => Err(self.fault(line, &format!("unknown tag {other}"))),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        line: usize,
    ) -> Result<Val, Problem> {
        match tag.map(tag_name).as_deref() {
            None if style == ScalarStyle::Plain => Ok(plain(text)),
            None | Some("str" | "!") => Ok(Val::str(text)),
            Some("!unsafe") => Ok(Val::Unsafe(text.into())),
            Some("!vault" | "!vault-encrypted") => Ok(Val::Vault),
            Some("null") => Ok(Val::None),
            Some("bool" | "int" | "float") => Ok(plain(text)),
            Some(other) => Err(self.fault(line, &format!("unknown tag {other}"))),
        }
    }
}

/// `str` for `!!str`, `!vault` for `!vault`.
fn tag_name(tag: &Tag) -> String {
    match tag.core_suffix() {
        Some(core) => core.to_owned(),
        None => {
            format!("{}{}", tag.handle().trim_start_matches("tag:yaml.org,2002:"), tag.suffix())
        }
    }
}

fn unsafe_text(value: &Val) -> Val {
    match value {
        Val::Str(s) => Val::Unsafe(s.clone()),
        Val::List(items) => Val::list(items.iter().map(unsafe_text).collect()),
        Val::Map(dict) => {
            Val::map(dict.iter().map(|(key, value)| (key.clone(), unsafe_text(value))).collect())
        }
        other => other.clone(),
    }
}

/// A scalar without quotes and tag, by YAML 1.1's rules as PyYAML has them.
pub(crate) fn plain(text: &str) -> Val {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Val::None,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Val::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Val::Bool(false);
        }
        _ => {}
    }
    int(text)
        .map(Val::Int)
        .or_else(|| float(text).map(Val::Float))
        .unwrap_or_else(|| Val::str(text))
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn int(text: &str) -> Option<i64> {
    let (negative, body) = signed(text);
    if !body.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = body.replace('_', "");
    let radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok();
    let value = if let Some(digits) = plain.strip_prefix("0x") {
        radix(digits, 16)?
    } else if let Some(digits) = plain.strip_prefix("0b") {
        radix(digits, 2)?
    } else if plain.contains(':') {
        if body.starts_with('0') {
            return None;
        }
        sexagesimal(&plain)?
    } else if plain.len() > 1 && plain.starts_with('0') {
        radix(plain.get(1..)?, 8)?
    } else {
        radix(&plain, 10)?
    };
    Some(if negative { -value } else { value })
}

/// `1:30` is 90 in YAML 1.1.
fn sexagesimal(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let mut value: i64 = parts.next().filter(|p| !p.is_empty())?.parse().ok()?;
    for part in parts {
        let digit: i64 = part.parse().ok().filter(|d| (0..60).contains(d) && part.len() <= 2)?;
        value = value.checked_mul(60)?.checked_add(digit)?;
    }
    Some(value)
}

fn float(text: &str) -> Option<f64> {
    let (negative, body) = signed(text);
    let value = match body {
        ".inf" | ".Inf" | ".INF" => f64::INFINITY,
        ".nan" | ".NaN" | ".NAN" if !negative => return Some(f64::NAN),
        _ => {
            let (mantissa, exponent) = match body.find(['e', 'E']) {
                Some(at) => (body.get(..at)?, Some(body.get(at + 1..)?)),
                None => (body, None),
            };
            let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit() || b == b'_');
            let (whole, part) = mantissa.split_once('.')?;
            let starts_well = match whole.chars().next() {
                Some(first) => first.is_ascii_digit(),
                None => text == body && part.starts_with(|c: char| c.is_ascii_digit()),
            };
            let exponent_is_well = exponent.is_none_or(|e| {
                e.strip_prefix(['-', '+'])
                    .is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
            });
            if !starts_well || !digits(whole) || !digits(part) || !exponent_is_well {
                return None;
            }
            body.replace('_', "").parse().ok()?
        }
    };
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        parse("t.yml", text.as_bytes()).map_or_else(|p| p.to_string(), |d| d.value.text())
    }

    #[test]
    fn scalars_are_read_by_the_rules_of_yaml_1_1() {
        assert_eq!(
            read("[yes, Off, y, ~, 0644, 1_000, 0x1f, 1:30, 0o14]"),
            "[True, False, 'y', None, 420, 1000, 31, 90, '0o14']"
        );
        assert_eq!(
            read("[1.10, .5, 1e3, 1.0e+3, 1.2.3, '1.10', 089]"),
            "[1.1, 0.5, '1e3', 1000.0, '1.2.3', '1.10', '089']"
        );
        assert_eq!(
            read("[08:30, 10.0.0.1, 2001-02-03, =]"),
            "['08:30', '10.0.0.1', '2001-02-03', '=']"
        );
    }

    #[test]
    fn the_last_of_two_equal_keys_counts_and_a_warning_says_so() {
        let document = parse("t.yml", b"a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(document.value.text(), "{'a': 3, 'b': 2}");
        assert_eq!(
            document.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["t.yml:3: key a is defined twice; the last one counts, as with Ansible"]
        );
    }

    #[test]
    fn merged_keys_come_first_and_lose() {
        assert_eq!(
            read("x: &x {a: 1, b: 2}\ny: {b: 3, <<: *x}\n"),
            "{'x': {'a': 1, 'b': 2}, 'y': {'a': 1, 'b': 3}}"
        );
    }

    #[test]
    fn tags_of_ansible_are_noticed() {
        let document = parse(
            "t.yml",
            b"a: !unsafe '{{ x }}'\nb: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  66\n",
        )
        .unwrap();
        let dict = document.value.as_map().unwrap();
        assert!(matches!(dict.get_str("a"), Some(Val::Unsafe(_))));
        assert!(matches!(dict.get_str("b"), Some(Val::Vault)));
        assert_eq!(
            read("$ANSIBLE_VAULT;1.1;AES256\n66\n"),
            "t.yml is encrypted with ansible-vault as a whole: its variables are left out; give those that matter with -e"
        );
    }

    #[test]
    fn hostile_files_are_refused_without_harm() {
        assert!(read(&"[".repeat(200_000)).starts_with("t.yml:1: "));
        assert!(read(&"- ".repeat(5_000)).starts_with("t.yml:"));
        assert_eq!(read("a: 1\nb: [\n"), read("a: 1\nb: [\n"));
        let mut bomb = "a0: &a0 [x, x]\n".to_owned();
        for n in 1..60 {
            bomb += &format!("a{n}: &a{n} [*a{p}, *a{p}]\n", p = n - 1);
        }
        assert!(parse("t.yml", bomb.as_bytes()).is_ok());
    }
}
