//! The filters that work on text: case, splitting, paths, encodings.

use std::fmt::Write as _;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::super::literal;
use super::super::value::{Key, Val};
use super::super::yaml;
use super::eval::Args;
use super::{Evaluator, Halt, fault, methods};

pub(super) fn apply(
    ev: &Evaluator<'_>,
    name: &str,
    value: &Val,
    args: &Args,
) -> Result<Option<Val>, Halt> {
    let text = || value.text();
    Ok(Some(match name {
        "lower" | "upper" | "title" | "capitalize" => {
            return methods::call(ev, &Val::str(&text()), name, &Args::default()).map(Some);
        }
        "trim" => match args.text(0, "chars") {
            Some(chars) => Val::str(text().trim_matches(|c| chars.contains(c))),
            None => Val::str(text().trim()),
        },
        "replace" | "split" => {
            let args = Args { positional: args.positional.clone(), named: args.named.clone() };
            return methods::call(ev, &Val::str(&text()), name, &args).map(Some);
        }
        "join" => {
            let between = args.text(0, "d").unwrap_or_default();
            let mut out = String::new();
            for (index, item) in ev.items(value)?.into_iter().enumerate() {
                let item = match args.get(1, "attribute") {
                    Some(key) => ev.item(&item, key)?,
                    None => item,
                };
                if let Val::Undefined(reason) = item {
                    return Err(Halt::Undefined(reason));
                }
                if index > 0 {
                    out.push_str(&between);
                }
                out.push_str(&item.text());
                ev.spend(out.len() / 1024)?;
            }
            Val::str(&out)
        }
        "indent" => {
            let by = match args.get(0, "width") {
                Some(Val::Str(s)) => s.to_string(),
                Some(v) => {
                    " ".repeat(usize::try_from(v.whole().unwrap_or(4)).unwrap_or(4).min(200))
                }
                None => "    ".to_owned(),
            };
            let first = args.flag(1, "first");
            let lines = text().split('\n').enumerate().fold(String::new(), |mut out, (i, line)| {
                if i > 0 {
                    out.push('\n');
                }
                if (i > 0 || first) && !line.is_empty() {
                    out.push_str(&by);
                }
                out.push_str(line);
                out
            });
            Val::str(&lines)
        }
        "quote" => Val::str(&shell_quoted(&text())),
        "basename" => Val::str(text().rsplit('/').next().unwrap_or_default()),
        "dirname" => Val::str(dirname(&text())),
        "splitext" => {
            let text = text();
            let from = text.rfind('/').map_or(0, |at| at + 1);
            let dot = text.get(from..).and_then(|n| n.rfind('.')).filter(|at| *at > 0);
            let (stem, ext) = text.split_at(dot.map_or(text.len(), |at| from + at));
            Val::strings(&[stem, ext])
        }
        "path_join" => Val::str(&path_join(&ev.items(value)?)),
        "b64encode" => Val::str(&base64(text().as_bytes())),
        "b64decode" => match unbase64(&text()).and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(text) => Val::str(&text),
            None => return fault("b64decode gets something else than base64"),
        },
        "to_json" => Val::str(&python_json(value)),
        "to_nice_json" => Val::str(
            &serde_json::to_string_pretty(&value.to_json())
                .unwrap_or_default()
                .replace("  ", "    "),
        ),
        "from_json" => match serde_json::from_str(&text()) {
            Ok(value) => value,
            Err(e) => return fault(format!("from_json: {e}")),
        },
        "from_yaml" => match yaml::parse("from_yaml", text().as_bytes()) {
            Ok(document) => document.value,
            Err(problem) => return fault(problem.to_string()),
        },
        "hash" => Val::str(&hash(&text(), args.text(0, "hashtype").as_deref().unwrap_or("sha1"))?),
        "urlencode" => Val::str(&urlencoded(&text())),
        "urlsplit" => urlsplit(&text(), args.text(0, "query").as_deref())?,
        "length" | "count" => Val::Int(
            i64::try_from(match value {
                Val::Str(s) => s.chars().count(),
                other => ev.items(other)?.len(),
            })
            .unwrap_or(i64::MAX),
        ),
        "literal_eval" => {
            literal::parse(&text(), literal::Words::Python).unwrap_or_else(|| value.clone())
        }
        _ => return Ok(None),
    }))
}

fn dirname(text: &str) -> &str {
    match text.rfind('/') {
        Some(0) => "/",
        Some(at) => text.get(..at).unwrap_or_default().trim_end_matches('/'),
        None => "",
    }
}

fn path_join(parts: &[Val]) -> String {
    parts.iter().fold(String::new(), |mut path, part| {
        let part = part.text();
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(&part);
        path
    })
}

fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    match text {
        "" => "''".to_owned(),
        text if text.chars().all(plain) => text.to_owned(),
        text => format!("'{}'", text.replace('\'', "'\"'\"'")),
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - three.len()));
        for place in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * place) & 63).unwrap_or(0);
            out.push(if place > three.len() { '=' } else { char::from(BASE64[index]) });
        }
    }
    out
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut group, mut bits) = (0_u32, 0);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace() && *c != b'=') {
        let value = BASE64.iter().position(|b| *b == c)?;
        group = (group << 6 | u32::try_from(value).ok()?) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(group >> bits & 0xff).ok()?);
        }
    }
    Some(out)
}

/// JSON with a space behind commas and colons, as Python's `json.dumps` writes it.
fn python_json(value: &Val) -> String {
    match value {
        Val::List(items) | Val::Tuple(items) => {
            format!("[{}]", items.iter().map(python_json).collect::<Vec<_>>().join(", "))
        }
        Val::Map(dict) => {
            let pairs = dict.iter().map(|(key, value)| {
                let key = match key {
                    Key::None => "null".to_owned(),
                    Key::Bool(b) => b.to_string(),
                    other => other.to_val().text(),
                };
                format!("{}: {}", serde_json::Value::from(key), python_json(value))
            });
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_json().to_string(),
    }
}

fn hash(text: &str, kind: &str) -> Result<String, Halt> {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut out, byte| {
            _ = write!(out, "{byte:02x}");
            out
        })
    };
    Ok(match kind {
        "sha224" => hex(&Sha224::digest(text)),
        "sha256" => hex(&Sha256::digest(text)),
        "sha384" => hex(&Sha384::digest(text)),
        "sha512" => hex(&Sha512::digest(text)),
        other => return fault(format!("the hash {other} is not supported")),
    })
}

fn urlencoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn urlsplit(url: &str, query: Option<&str>) -> Result<Val, Halt> {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, search) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let at = if scheme.is_empty() { 0 } else { rest.find('/').unwrap_or(rest.len()) };
    let (netloc, path) = rest.split_at(at);
    let (user, place) = netloc.rsplit_once('@').unwrap_or(("", netloc));
    let (hostname, port) = match place.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (place, ""),
    };
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    let optional = |text: &str| if text.is_empty() { Val::None } else { Val::str(text) };
    let parts = [
        ("scheme", Val::str(scheme)),
        ("netloc", Val::str(netloc)),
        ("path", Val::str(path)),
        ("query", Val::str(search)),
        ("fragment", Val::str(fragment)),
        ("hostname", optional(hostname.trim_matches(['[', ']']))),
        ("port", port.parse().map_or(Val::None, Val::Int)),
        ("username", optional(username)),
        ("password", optional(password)),
    ];
    match query {
        None | Some("") => {
            Ok(Val::map(parts.into_iter().map(|(k, v)| (Key::Str(k.into()), v)).collect()))
        }
        Some(query) => match parts.into_iter().find(|(name, _)| *name == query) {
            Some((_, value)) => Ok(value),
            None => fault(format!("urlsplit has no part {query}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_there_and_back() {
        for (plain, coded) in
            [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("user:pass", "dXNlcjpwYXNz")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(unbase64(coded).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn the_host_of_a_url_is_found_behind_user_and_before_port() {
        let url = "https://me:pw@files.site.example:8443/a/b?x=1#y";
        assert_eq!(urlsplit(url, Some("hostname")).unwrap().text(), "files.site.example");
        assert_eq!(urlsplit(url, Some("port")).unwrap().text(), "8443");
        assert_eq!(urlsplit(url, Some("path")).unwrap().text(), "/a/b");
    }
}
