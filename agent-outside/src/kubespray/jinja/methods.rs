//! The methods of Python's `str`, `dict` and `list` that templates call.

use std::fmt::Write as _;

use super::super::value::{Key, Val};
use super::eval::Args;
use super::{Evaluator, Halt, fault};

/// Calls `value.name(…)`.
pub(super) fn call(ev: &Evaluator<'_>, value: &Val, name: &str, args: &Args) -> Result<Val, Halt> {
    match value {
        Val::Str(text) | Val::Unsafe(text) => of_text(ev, text, name, args),
        Val::Map(dict) => match name {
            "keys" => Ok(Val::list(dict.iter().map(|(key, _)| key.to_val()).collect())),
            "values" => Ok(Val::list(dict.iter().map(|(_, value)| value.clone()).collect())),
            "items" => Ok(Val::list(
                dict.iter().map(|(k, v)| Val::list(vec![k.to_val(), v.clone()])).collect(),
            )),
            "get" => {
                let found = args.need(0, "key")?.key().and_then(|key| dict.get(&key).cloned());
                Ok(found.or_else(|| args.get(1, "default").cloned()).unwrap_or(Val::None))
            }
            _ => unknown(value, name),
        },
        Val::HostVarsOf(_) if name == "get" => {
            let found = ev.item(value, args.need(0, "key")?)?;
            if found.is_undefined() {
                return Ok(args.get(1, "default").cloned().unwrap_or(Val::None));
            }
            Ok(found)
        }
        Val::List(items) | Val::Tuple(items) => match name {
            "count" => {
                let item = args.need(0, "value")?;
                let count = items.iter().filter(|one| one.equals(item)).count();
                Ok(Val::Int(i64::try_from(count).unwrap_or(i64::MAX)))
            }
            "index" => {
                let item = args.need(0, "value")?;
                match items.iter().position(|one| one.equals(item)) {
                    Some(place) => Ok(Val::Int(i64::try_from(place).unwrap_or(i64::MAX))),
                    None => fault("a list has no such item"),
                }
            }
            _ => unknown(value, name),
        },
        _ => unknown(value, name),
    }
}

fn unknown(value: &Val, name: &str) -> Result<Val, Halt> {
    // A key that is missing is nothing to call, as Ansible says too.
    if let Some(dict) = value.as_map()
        && dict.get(&Key::Str(name.into())).is_some()
    {
        return fault(format!("{name} is a value, which cannot be called"));
    }
    fault(format!("the method {name} of a {} is not supported", value.kind()))
}

fn of_text(ev: &Evaluator<'_>, text: &str, name: &str, args: &Args) -> Result<Val, Halt> {
    ev.spend(text.len() / 16 + 1)?;
    let chars = args.text(0, "chars");
    let strips = |c: char| chars.as_deref().map_or(c.is_whitespace(), |set| set.contains(c));
    let any = |test: &dyn Fn(&str) -> bool| -> Result<bool, Halt> {
        let wanted = args.need(0, "prefix")?;
        Ok(match wanted.as_items() {
            Some(items) => items.iter().any(|one| test(&one.text())),
            None => test(&wanted.text()),
        })
    };
    Ok(match name {
        "lower" => Val::str(&text.to_lowercase()),
        "upper" => Val::str(&text.to_uppercase()),
        "capitalize" => {
            let mut letters = text.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            Val::str(&(first + &letters.as_str().to_lowercase()))
        }
        "title" => Val::str(&title(text)),
        "strip" => Val::str(text.trim_matches(strips)),
        "lstrip" => Val::str(text.trim_start_matches(strips)),
        "rstrip" => Val::str(text.trim_end_matches(strips)),
        "startswith" => Val::Bool(any(&|part| text.starts_with(part))?),
        "endswith" => Val::Bool(any(&|part| text.ends_with(part))?),
        "removeprefix" => {
            Val::str(text.strip_prefix(args.need(0, "prefix")?.text().as_str()).unwrap_or(text))
        }
        "removesuffix" => {
            Val::str(text.strip_suffix(args.need(0, "suffix")?.text().as_str()).unwrap_or(text))
        }
        "split" | "rsplit" => split(text, name == "rsplit", args)?,
        "splitlines" => Val::strings(&text.lines().collect::<Vec<_>>()),
        "join" => {
            let items = ev.items(args.need(0, "items")?)?;
            Val::str(&items.iter().map(Val::text).collect::<Vec<_>>().join(text))
        }
        "replace" => {
            let (old, new) = (args.need(0, "old")?.text(), args.need(1, "new")?.text());
            ev.spend(text.len().saturating_mul(new.len() + 1) / 16)?;
            let count = args.get(2, "count").and_then(Val::whole).filter(|n| *n >= 0);
            Val::str(&match count.and_then(|n| usize::try_from(n).ok()) {
                Some(count) => text.replacen(&old, &new, count),
                None => text.replace(&old, &new),
            })
        }
        "find" => {
            let at = text.find(args.need(0, "sub")?.text().as_str());
            let at = at.and_then(|at| text.get(..at)).map(|before| before.chars().count());
            Val::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
        }
        "count" => {
            let count = text.matches(args.need(0, "sub")?.text().as_str()).count();
            Val::Int(i64::try_from(count).unwrap_or(i64::MAX))
        }
        "isdigit" | "isnumeric" | "isdecimal" => {
            Val::Bool(!text.is_empty() && text.chars().all(char::is_numeric))
        }
        "isalpha" => Val::Bool(!text.is_empty() && text.chars().all(char::is_alphabetic)),
        "format" => Val::str(&brace_format(text, args)?),
        "zfill" => {
            let width = args.need(0, "width")?.whole().and_then(|w| usize::try_from(w).ok());
            Val::str(&format!("{text:0>width$}", width = width.unwrap_or(0).min(4096)))
        }
        _ => return unknown(&Val::str(text), name),
    })
}

fn title(text: &str) -> String {
    let mut inside = false;
    text.chars().fold(String::new(), |mut out, c| {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric();
        out
    })
}

fn split(text: &str, from_right: bool, args: &Args) -> Result<Val, Halt> {
    let most = args.get(1, "maxsplit").and_then(Val::whole).and_then(|n| usize::try_from(n).ok());
    let parts: Vec<&str> = match (args.text(0, "sep"), most) {
        (Some(sep), _) if sep.is_empty() => {
            return fault("split takes a separator that is not empty");
        }
        (Some(sep), None) => text.split(sep.as_str()).collect(),
        (Some(sep), Some(most)) if from_right => {
            let mut parts: Vec<_> = text.rsplitn(most.saturating_add(1), sep.as_str()).collect();
            parts.reverse();
            parts
        }
        (Some(sep), Some(most)) => text.splitn(most.saturating_add(1), sep.as_str()).collect(),
        (None, None) => text.split_whitespace().collect(),
        (None, Some(most)) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start();
            while parts.len() < most && !rest.is_empty() {
                let (part, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                parts.push(part);
                rest = more.trim_start();
            }
            if !rest.is_empty() {
                parts.push(rest);
            }
            parts
        }
    };
    Ok(Val::strings(&parts))
}

/// `'%s-%03d' % (a, b)`.
pub(super) fn percent_format(format: &str, args: &[Val]) -> Result<String, Halt> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        let kind = loop {
            match chars.next() {
                Some(c) if c.is_ascii_digit() || matches!(c, '-' | '.') => flags.push(c),
                Some(c) => break c,
                None => return fault("a format ends within %"),
            }
        };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.next() else { return fault("a format has too few values") };
        let shown = match kind {
            's' => arg.text(),
            'd' | 'i' => arg.whole().map_or_else(|| arg.text(), |n| n.to_string()),
            'x' => arg.whole().map_or_else(|| arg.text(), |n| format!("{n:x}")),
            _ => return fault(format!("the format %{flags}{kind} is not supported")),
        };
        let width: usize = flags.trim_start_matches('-').parse().unwrap_or(0).min(4096);
        _ = match (flags.starts_with('-'), flags.starts_with('0')) {
            (true, _) => write!(out, "{shown:<width$}"),
            (_, true) => write!(out, "{shown:0>width$}"),
            _ => write!(out, "{shown:>width$}"),
        };
    }
    Ok(out)
}

/// `'{}/{name}'.format(a, name=b)` without format specifications.
fn brace_format(format: &str, args: &Args) -> Result<String, Halt> {
    let mut out = String::new();
    let mut rest = format;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, code) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = code.strip_prefix("{{").or_else(|| code.strip_prefix("}}")) {
            out.push_str(code.get(..1).unwrap_or_default());
            rest = after;
            continue;
        }
        let Some((field, after)) = code.strip_prefix('{').and_then(|c| c.split_once('}')) else {
            return fault("a format has a single brace");
        };
        let value = match field.parse::<usize>() {
            Ok(place) => args.positional.get(place),
            Err(_) if field.is_empty() => {
                next += 1;
                args.positional.get(next - 1)
            }
            Err(_) => args.named.get(field),
        };
        match value {
            Some(value) => out.push_str(&value.text()),
            None => return fault(format!("the format field {field} is not supported")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_print_as_in_python() {
        let args = [Val::str("a"), Val::Int(7)];
        assert_eq!(percent_format("%s-%03d 100%%", &args).unwrap(), "a-007 100%");
        let args =
            Args { positional: args.to_vec(), named: [("n".to_owned(), Val::Int(1))].into() };
        assert_eq!(brace_format("{}/{1}/{n}{{}}", &args).unwrap(), "a/7/1{}");
    }
}
