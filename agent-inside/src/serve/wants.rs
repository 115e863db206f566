//! `POST /wants`: what apt, dnf, zypper and helm never ask for, since their index lacks it.
//!
//! A form of a page, or a script's: `kind` and `name` (and `version`, `target`), or `message`, the
//! words in which a client said what it could not find. `client` says which node that was.
//!
//! # What a hostile page or client may try
//!
//! | attempt                           | stopped by                                          |
//! |-----------------------------------|-----------------------------------------------------|
//! | a form on another site's page     | `is_foreign`: `Sec-Fetch-Site`, else `Origin`       |
//! | a body without end                | `limits::WANT_POST_LEN_BYTES_MAX`                   |
//! | names to fill the wants with      | `limits::WANTS_MAX` between two switches            |
//! | markup or control characters      | `Want::new`; the pages escape                       |

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gapferry_proto::limits;
use gapferry_proto::want::{self, Want, WantError};
use percent_encoding::percent_decode;

use super::{App, Ask};
use crate::wants::log;

/// Why a form is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("this form was sent by a page of another server")]
    Foreign,
    #[error("send a form: application/x-www-form-urlencoded")]
    Type,
    #[error("the form has more than {} bytes", limits::WANT_POST_LEN_BYTES_MAX)]
    TooLong,
    #[error("the form is not UTF-8")]
    Text,
    #[error("name a `kind` and a `name`, or send a `message`")]
    Empty,
    #[error(transparent)]
    Want(#[from] WantError),
    #[error("so much is wanted already that nothing more is noted before the next import")]
    Full,
}

impl IntoResponse for FormError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::Type => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Full => StatusCode::TOO_MANY_REQUESTS,
            Self::Text | Self::Empty | Self::Want(_) => StatusCode::BAD_REQUEST,
        };
        (status, format!("{self}\n")).into_response()
    }
}

/// `POST /wants`: 303 to the status page.
pub async fn post_want(
    State(app): State<Arc<App>>,
    ask: Ask,
    body: Body,
) -> Result<Response, FormError> {
    if is_foreign(&ask.headers) {
        return Err(FormError::Foreign);
    }
    let content_type = ask.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    if !essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(FormError::Type);
    }
    let bytes = to_bytes(body, limits::WANT_POST_LEN_BYTES_MAX).await;
    let form = parse(&bytes.map_err(|_| FormError::TooLong)?).ok_or(FormError::Text)?;
    let address = ask.client.map(|address| address.to_string());
    for (want, node) in wants(&form)? {
        let client = match (node, &address) {
            (Some(node), Some(address)) => Some(format!("{node} ({address})")),
            (node, address) => node.or_else(|| address.clone()),
        };
        if !app.note(&ask, want, client) {
            return Err(FormError::Full);
        }
    }
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "/#wants")]).into_response())
}

/// The wants of a form, each with the node that it names.
fn wants(form: &BTreeMap<String, String>) -> Result<Vec<(Want, Option<String>)>, FormError> {
    let field = |name: &str| form.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let node = field("client").map(str::to_owned);
    if let (Some(kind), Some(name)) = (field("kind"), field("name")) {
        let want = Want::new(want::kind(kind)?, name, field("version"), field("target"))?;
        return Ok(vec![(want, node)]);
    }
    let message = field("message").ok_or(FormError::Empty)?;
    let told = log::told(message).into_iter();
    Ok(told.map(|told| (told.want, node.clone().or(Some(told.client)))).collect())
}

/// Whether a browser says that a page of another server sends this; scripts say nothing.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), _, _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin), host) => origin.split_once("://").map(|(_, host)| host) != host,
        (None, None, _) => false,
    }
}

/// The fields of a form (URL Standard, "application/x-www-form-urlencoded parsing"), the first of
/// each name; none when it is not UTF-8.
fn parse(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let text = |part: &[u8]| {
        let spaced: Vec<u8> = part.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        percent_decode(&spaced).decode_utf8().ok().map(String::from)
    };
    let mut form = BTreeMap::new();
    for pair in bytes.split(|byte| *byte == b'&') {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (text(&pair[..at])?, text(pair.get(at + 1..).unwrap_or_default())?);
        form.entry(name).or_insert(value);
    }
    Some(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let name = |name: &'static str| header::HeaderName::from_static(name);
        pairs.iter().map(|(key, value)| (name(key), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_form_of_another_servers_page_is_known_by_what_the_browser_says() {
        for (pairs, foreign) in [
            (&[("host", "admin:8080")][..], false),
            (&[("host", "admin:8080"), ("origin", "http://admin:8080")], false),
            (&[("host", "admin:8080"), ("origin", "http://evil.example")], true),
            (&[("host", "admin:8080"), ("origin", "null")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://other")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "none")], false),
        ] {
            assert_eq!(is_foreign(&headers(pairs)), foreign, "{pairs:?}");
        }
    }

    #[test]
    fn a_form_is_decoded_and_its_first_fields_count() {
        let form = parse(b"kind=deb&name=libc6%3Aarm64&name=x&version=%3E%3D+2&&target=").unwrap();
        let field = |name: &str| form[name].as_str();
        assert_eq!((field("name"), field("version")), ("libc6:arm64", ">= 2"));
        let wanted = Want::new(gapferry_proto::Kind::Deb, "libc6:arm64", Some(">= 2"), None);
        assert_eq!(wants(&form).unwrap(), [(wanted.unwrap(), None)]);
        assert_eq!(parse(b"name=%ff"), None);
        assert!(matches!(wants(&parse(b"kind=deb").unwrap()), Err(FormError::Empty)));
        assert!(matches!(wants(&parse(b"kind=x&name=y").unwrap()), Err(FormError::Want(_))));
    }
}
