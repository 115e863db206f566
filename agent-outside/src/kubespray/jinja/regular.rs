//! The filters and tests that take regular expressions of Python.
//!
//! The engine takes time linear in the text; look-around and back-references, which Python has
//! and it has not, are refused by name.

use regex::{Captures, Regex, RegexBuilder};

use super::super::value::Val;
use super::eval::Args;
use super::{Evaluator, Halt, fault};

/// Largest compiled expression, in bytes.
const REGEX_LEN_BYTES_MAX: usize = 1 << 20;

pub(super) fn apply(
    ev: &Evaluator<'_>,
    name: &str,
    value: &Val,
    args: &Args,
) -> Result<Option<Val>, Halt> {
    let text = value.text();
    ev.spend(text.len() / 8 + 100)?;
    Ok(Some(match name {
        "regex_replace" => {
            let regex = compile(args, 0, "pattern")?;
            let replacement = args.text(1, "replacement").unwrap_or_default();
            let count =
                args.get(4, "count").and_then(Val::whole).and_then(|n| usize::try_from(n).ok());
            ev.spend(text.len().saturating_mul(replacement.len() + 1) / 8)?;
            Val::str(
                &regex.replacen(&text, count.unwrap_or(0), |c: &Captures<'_>| {
                    expand(&replacement, c)
                }),
            )
        }
        "regex_search" => {
            let regex = compile(args, 0, "pattern")?;
            let Some(found) = regex.captures(&text) else { return Ok(Some(Val::None)) };
            let groups: Vec<&Val> = args.positional.iter().skip(1).collect();
            if groups.is_empty() {
                return Ok(Some(Val::str(found.get(0).map_or("", |m| m.as_str()))));
            }
            let group = |name: &&Val| Val::str(&expand(&name.text(), &found));
            Val::list(groups.iter().map(group).collect())
        }
        "regex_findall" => {
            let regex = compile(args, 0, "pattern")?;
            let found = regex.captures_iter(&text).map(|c| {
                let groups: Vec<&str> =
                    c.iter().skip(1).map(|m| m.map_or("", |m| m.as_str())).collect();
                match groups.as_slice() {
                    [] => Val::str(c.get(0).map_or("", |m| m.as_str())),
                    [one] => Val::str(one),
                    many => {
                        Val::Tuple(std::sync::Arc::new(many.iter().map(|g| Val::str(g)).collect()))
                    }
                }
            });
            Val::list(found.collect())
        }
        "regex_escape" => Val::str(&regex::escape(&text)),
        _ => return Ok(None),
    }))
}

/// The tests `match`, `search` and `regex`.
pub(super) fn test(name: &str, value: &Val, args: &Args) -> Result<bool, Halt> {
    let regex = compile(args, 0, "pattern")?;
    let text = value.text();
    let found = regex.find(&text);
    Ok(match name {
        "match" => {
            found.is_some_and(|m| m.start() == 0) || {
                let anchored = build(&format!("\\A(?:{})", regex.as_str()), args)?;
                anchored.is_match(&text)
            }
        }
        _ => found.is_some(),
    })
}

fn compile(args: &Args, place: usize, name: &str) -> Result<Regex, Halt> {
    build(&args.need(place, name)?.text(), args)
}

fn build(pattern: &str, args: &Args) -> Result<Regex, Halt> {
    let named = |name: &str| args.named.get(name).is_some_and(Val::truth);
    let built = RegexBuilder::new(&pattern.replace("\\Z", "\\z"))
        .case_insensitive(named("ignorecase"))
        .multi_line(named("multiline"))
        .size_limit(REGEX_LEN_BYTES_MAX)
        .build();
    built.or_else(|_| fault(format!("the regular expression {pattern} is not supported")))
}

/// `\1` and `\g<name>` of Python's replacements.
fn expand(replacement: &str, captures: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some(digit) if digit.is_ascii_digit() => {
                let group = digit.to_digit(10).and_then(|d| usize::try_from(d).ok()).unwrap_or(0);
                out.push_str(captures.get(group).map_or("", |m| m.as_str()));
                rest = chars.as_str();
            }
            Some('g') => {
                let name = after.strip_prefix("g<").and_then(|a| a.split_once('>'));
                let Some((name, more)) = name else {
                    out.push_str("\\g");
                    rest = chars.as_str();
                    continue;
                };
                let found = match name.parse() {
                    Ok(group) => captures.get(group),
                    Err(_) => captures.name(name),
                };
                out.push_str(found.map_or("", |m| m.as_str()));
                rest = more;
            }
            Some('n') => {
                out.push('\n');
                rest = chars.as_str();
            }
            Some(other) => {
                if other != '\\' {
                    out.push('\\');
                }
                out.push(other);
                rest = chars.as_str();
            }
            None => {
                out.push('\\');
                rest = "";
            }
        }
    }
    out.push_str(rest);
    out
}
