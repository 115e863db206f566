//! Reads Python literals out of text, as `ast.literal_eval` does.
//!
//! In:   text that a template printed, or a value of an INI inventory.
//! Out:  the value, or nothing if the text is no literal.
//! Pure: no names are looked up and nothing is called; depth is bounded.

use std::sync::Arc;

use super::value::{Dict, Val};

/// Deepest nesting that is read; deeper text stays text.
const DEPTH_MAX: usize = 64;

/// Whether the JSON words `true`, `false` and `null` count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Python,
    /// Ansible reads them too where a template's result looks like a list or a dict.
    PythonAndJson,
}

/// The value that `text` is a literal of.
pub(crate) fn parse(text: &str, words: Words) -> Option<Val> {
    let text = text.trim_matches([' ', '\t']);
    let mut reader = Reader { rest: text.trim_end(), words };
    let value = reader.value(0)?;
    reader.space();
    if reader.rest.starts_with(',') {
        return reader.open_tuple(value);
    }
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    words: Words,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, c: char) -> bool {
        self.space();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Val> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.rest.chars().next()? {
            '[' => {
                self.eat('[');
                Some(Val::list(self.items(']', depth)?.0))
            }
            '(' => {
                self.eat('(');
                let (mut items, comma) = self.items(')', depth)?;
                if items.len() == 1 && !comma {
                    return items.pop();
                }
                Some(Val::Tuple(Arc::new(items)))
            }
            '{' => self.dict(depth),
            '\'' | '"' => self.strings(),
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            _ => self.word(),
        }
    }

    /// The items up to `close`, and whether a comma stood behind the last.
    fn items(&mut self, close: char, depth: usize) -> Option<(Vec<Val>, bool)> {
        let mut items = Vec::new();
        let mut comma = true;
        loop {
            if self.eat(close) {
                return Some((items, comma));
            }
            if !comma {
                return None;
            }
            items.push(self.value(depth + 1)?);
            comma = self.eat(',');
        }
    }

    fn open_tuple(&mut self, first: Val) -> Option<Val> {
        let mut items = vec![first];
        while self.eat(',') {
            self.space();
            if self.rest.is_empty() {
                break;
            }
            items.push(self.value(0)?);
        }
        self.space();
        self.rest.is_empty().then(|| Val::Tuple(Arc::new(items)))
    }

    fn dict(&mut self, depth: usize) -> Option<Val> {
        self.eat('{');
        let mut dict = Dict::default();
        let mut items = Vec::new();
        loop {
            if self.eat('}') {
                // A set has no order; Ansible makes a list of one in the end.
                return Some(if items.is_empty() { Val::map(dict) } else { Val::list(items) });
            }
            let key = self.value(depth + 1)?;
            if items.is_empty() && self.eat(':') {
                dict.insert(key.key()?, self.value(depth + 1)?);
            } else if dict.is_empty() {
                items.push(key);
            } else {
                return None;
            }
            if !self.eat(',') {
                self.space();
                if !self.rest.starts_with('}') {
                    return None;
                }
            }
        }
    }

    /// One string or several beside each other, which Python joins.
    fn strings(&mut self) -> Option<Val> {
        let mut out = String::new();
        loop {
            self.space();
            let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
                return Some(Val::str(&out));
            };
            self.string(quote, &mut out)?;
        }
    }

    fn string(&mut self, quote: char, out: &mut String) -> Option<()> {
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => {
                    let (_, escaped) = chars.next()?;
                    match escaped {
                        'n' => out.push('\n'),
                        't' => out.push('\t'),
                        'r' => out.push('\r'),
                        '\n' => {}
                        '\\' | '\'' | '"' => out.push(escaped),
                        'x' | 'u' | 'U' => {
                            let digits = match escaped {
                                'x' => 2,
                                'u' => 4,
                                _ => 8,
                            };
                            let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                            out.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                        }
                        other => {
                            out.push('\\');
                            out.push(other);
                        }
                    }
                }
                '\n' => return None,
                c if c == quote => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(());
                }
                c => out.push(c),
            }
        }
        None
    }

    fn number(&mut self) -> Option<Val> {
        let end = self
            .rest
            .char_indices()
            .find(|&(at, c)| {
                let after_exponent = at > 0
                    && self.rest.get(..at).is_some_and(|t| t.ends_with(['e', 'E']))
                    && !self.rest.get(..at).is_some_and(|t| t.contains(['x', 'X']));
                !(c.is_ascii_alphanumeric()
                    || matches!(c, '.' | '_')
                    || (matches!(c, '-' | '+') && (at == 0 || after_exponent)))
            })
            .map_or(self.rest.len(), |(at, _)| at);
        let text = self.rest.get(..end)?;
        self.rest = self.rest.get(end..)?;
        number(text)
    }

    fn word(&mut self) -> Option<Val> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let word = self.rest.get(..end)?;
        let json = self.words == Words::PythonAndJson;
        let value = match word {
            "None" => Val::None,
            "True" => Val::Bool(true),
            "False" => Val::Bool(false),
            "null" if json => Val::None,
            "true" if json => Val::Bool(true),
            "false" if json => Val::Bool(false),
            _ => return None,
        };
        self.rest = self.rest.get(end..)?;
        Some(value)
    }
}

/// A number as Python writes them: no leading zeros, underscores between digits.
fn number(text: &str) -> Option<Val> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let plain = digits.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(body) = lower.strip_prefix(prefix) {
            let value = i64::from_str_radix(body, radix).ok()?;
            return Some(Val::Int(if negative { -value } else { value }));
        }
    }
    if !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit()) {
        if plain.len() > 1 && plain.starts_with('0') && plain.bytes().any(|b| b != b'0') {
            return None;
        }
        let value: i64 = plain.parse().ok()?;
        return Some(Val::Int(if negative { -value } else { value }));
    }
    let ok =
        plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'))
            && plain.bytes().any(|b| b.is_ascii_digit());
    let value: f64 = if ok { plain.parse().ok()? } else { return None };
    Some(Val::Float(if negative { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        parse(text, Words::Python).map(|value| format!("{} {}", value.kind(), value.text()))
    }

    #[test]
    fn literals_are_values_and_anything_else_is_not() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("['a', \"b\", 1, 2.50, None]"), some("list ['a', 'b', 1, 2.5, None]"));
        assert_eq!(read("{'a': (1,), 'b': {}}"), some("mapping {'a': (1,), 'b': {}}"));
        assert_eq!(read("0x10"), some("number 16"));
        assert_eq!(read("007"), None);
        assert_eq!(read("10.0.0.1"), None);
        assert_eq!(read("true"), None);
        assert_eq!(read("'a"), None);
        assert_eq!(read("1.34.2"), None);
        assert_eq!(read("[1, x]"), None);
    }

    #[test]
    fn json_words_count_only_where_asked_for() {
        let json = parse("{\"a\": [true, null]}", Words::PythonAndJson).unwrap();
        assert_eq!(json.text(), "{'a': [True, None]}");
        assert!(parse("[true]", Words::Python).is_none());
    }

    #[test]
    fn nesting_without_end_is_refused() {
        assert!(parse(&"[".repeat(100_000), Words::Python).is_none());
    }
}
