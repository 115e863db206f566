//! How a registry asks who is there: the challenges of a `WWW-Authenticate`.
//!
//! In:   the header's value; what a token server answers.
//! Out:  the ways in that we know; the token.
//! Pure: text only.

use std::collections::HashMap;

use serde::Deserialize;

/// One way in that a registry offers (RFC 9110, section 11.6.1; distribution token spec).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Challenge {
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    Basic,
}

/// The challenges of a `WWW-Authenticate` that we can answer, `Bearer` before `Basic`.
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, HashMap<String, String>)> = Vec::new();
    let mut rest = header;
    while let Some((word, after)) = next_word(rest) {
        rest = after.trim_start();
        if let Some(value) = rest.strip_prefix('=') {
            let (value, after) = next_value(value.trim_start());
            rest = after;
            if let Some((_, values)) = found.last_mut() {
                values.insert(word.to_ascii_lowercase(), value);
            }
        } else {
            found.push((word.to_ascii_lowercase(), HashMap::new()));
        }
    }
    let mut known: Vec<_> = found.into_iter().filter_map(known_challenge).collect();
    known.sort_by_key(|challenge| matches!(challenge, Challenge::Basic));
    known
}

/// What a token server answers (distribution token spec, "Token Response Fields").
#[derive(Deserialize)]
struct TokenDocument {
    token: Option<String>,
    access_token: Option<String>,
}

/// The token of a token server's answer, under either of its names.
pub fn parse_token(bytes: &[u8]) -> Option<String> {
    let document: TokenDocument = serde_json::from_slice(bytes).ok()?;
    document.token.or(document.access_token).filter(|token| !token.is_empty())
}

fn known_challenge((scheme, mut values): (String, HashMap<String, String>)) -> Option<Challenge> {
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: values.remove("realm")?,
            service: values.remove("service"),
            scope: values.remove("scope"),
        }),
        _ => None,
    }
}

/// The next word, past commas and spaces; none at the end or where there is no word.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([',', ' ', '\t']);
    let end = text.find([',', ' ', '\t', '=', '"']).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The value behind `=`, quoted or not, and what follows it.
fn next_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[at + 1..]),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: text(service), scope: text(scope) }
    }

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://a.lan/token",service="r.lan",scope="repository:a/b:pull,push""#,
                vec![bearer(
                    "https://a.lan/token",
                    Some("r.lan"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            (
                r#"bearer realm=https://a.lan , service = "r\"x""#,
                vec![bearer("https://a.lan", Some("r\"x"), None)],
            ),
            (
                r#"Basic realm="x", Bearer realm="y""#,
                vec![bearer("y", None, None), Challenge::Basic],
            ),
            (r#"Negotiate, Basic realm="x""#, vec![Challenge::Basic]),
            ("Bearer", vec![]),
            (r#"Bearer realm="open"#, vec![bearer("open", None, None)]),
            (r#"="x""#, vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse_challenges(header), expected, "{header}");
        }
    }
}
