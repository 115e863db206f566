//! `/pypi/simple/` and `/pypi/packages/`: the simple repository API.
//!
//! HTML or JSON as the client's `Accept` asks (PEP 691); names that are not normalised, and
//! addresses without the slash at their end, lead to the one address that is (PEP 503).

use std::fs::File;
use std::io;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use camino::Utf8Path;
use gapferry_common::map;
use gapferry_proto::{BlobRef, Kind};

use super::body::{Address, Loaded, Sealed, send, send_loaded};
use super::error::ServeError;
use super::files::content_type;
use super::shared::read;
use super::{App, Ask, Site};
use crate::publish::pypi::{is_normal, normalise};
use crate::publish::wheel::{self, METADATA};

/// A form of an index page: the types that name it, the first being the one we answer with.
#[derive(PartialEq, Eq, Debug)]
struct Form {
    suffix: &'static str,
    types: &'static [&'static str],
}

/// In the order of our choice where the client has none: browsers and old pips say `*/*`.
const FORMS: [Form; 3] = [
    Form { suffix: "html", types: &["text/html"] },
    Form {
        suffix: "json",
        types: &["application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json"],
    },
    Form {
        suffix: "html",
        types: &["application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.latest+html"],
    },
];

/// `GET /pypi/simple`
pub async fn to_index(_: Ask) -> Redirect {
    Redirect::permanent("/pypi/simple/")
}

/// `GET /pypi/simple/`
pub async fn get_index(State(app): State<Arc<App>>, ask: Ask) -> Result<Response, ServeError> {
    let form = choose(&ask.headers).ok_or(ServeError::NotAcceptable)?;
    let site = app.goes_on(&ask, Some("/pypi/simple/")); // no sweep takes it while it is read
    let path = site.pypi_page(None, form.suffix);
    let page = read_page(&app, &path).await?;
    let missing = || ServeError::store(path)(io::ErrorKind::NotFound.into());
    Ok(index_page(&ask, page.ok_or_else(missing)?, form))
}

/// `GET /pypi/simple/<project>`
pub async fn to_project(Path(project): Path<String>, _: Ask) -> Result<Redirect, ServeError> {
    let name = normalise(&project);
    if !is_normal(&name) {
        return Err(ServeError::BadPath);
    }
    Ok(Redirect::permanent(&format!("/pypi/simple/{name}/")))
}

/// `GET /pypi/simple/<project>/`
pub async fn get_project(
    State(app): State<Arc<App>>,
    Path(project): Path<String>,
    ask: Ask,
) -> Result<Response, ServeError> {
    if !is_normal(&project) {
        return Ok(to_project(Path(project), ask).await?.into_response());
    }
    let form = choose(&ask.headers).ok_or(ServeError::NotAcceptable)?;
    let site = app.in_turn(&ask, &project, |site| site.has_project(&project));
    match project_page(&app, &site, &ask.site, &project, form).await? {
        Some(page) => Ok(index_page(&ask, page, form)),
        None => {
            app.want(&ask, Kind::Pypi, &project);
            Err(ServeError::NotFound(format!("project {project}")))
        }
    }
}

/// `GET /pypi/packages/<filename>`
pub async fn get_distribution(
    State(app): State<Arc<App>>,
    Path(filename): Path<String>,
    ask: Ask,
) -> Result<Response, ServeError> {
    let site = app.goes_on(&ask, None);
    let held = |name: &str| site.distribution(name).or_else(|| ask.site.distribution(name));
    let blob = held(&filename);
    let of_wheel = filename.strip_suffix(METADATA).filter(|_| blob.is_none());
    let of_wheel = of_wheel.filter(|name| name.ends_with(".whl")); // other archives are not opened
    if let Some(wheel) = of_wheel.and_then(held) {
        return metadata(&app, &ask, wheel, filename).await;
    }
    let blob = blob.ok_or_else(|| ServeError::NotFound(format!("distribution {filename}")))?;
    let sealed = Sealed::of_blob(&app.blobs, blob, Address::Name, content_type(&filename));
    send(&ask.method, &ask.headers, sealed).await
}

/// What a wheel says of itself, taken out of it (PEP 658).
async fn metadata(
    app: &App,
    ask: &Ask,
    wheel: BlobRef,
    filename: String,
) -> Result<Response, ServeError> {
    let path = app.blobs.path(&wheel.id.digest());
    let unpack = |path: &Utf8Path| {
        let bytes = map::map(&File::open(path)?)?;
        Ok(wheel::metadata(&bytes).map(Bytes::from))
    };
    let said = app.shared.get(&path, unpack).await.map_err(ServeError::store(path))?;
    let said = said.ok_or_else(|| ServeError::NotFound(format!("distribution {filename}")))?;
    Ok(send_loaded(&ask.headers, said, HeaderValue::from_static("application/octet-stream")))
}

/// The page of a project in the site that the client goes on with. One that is only in the current
/// site is shown from there: the client has read of it on another connection.
async fn project_page(
    app: &App,
    site: &Site,
    current: &Site,
    project: &str,
    form: &Form,
) -> Result<Option<Loaded>, ServeError> {
    let Some(site) = [site, current].into_iter().find(|site| site.has_project(project)) else {
        return Ok(None);
    };
    read_page(app, &site.pypi_page(Some(project), form.suffix)).await
}

async fn read_page(app: &App, path: &Utf8Path) -> Result<Option<Loaded>, ServeError> {
    app.shared.get(path, read).await.map_err(ServeError::store(path.to_owned()))
}

fn index_page(ask: &Ask, page: Loaded, form: &Form) -> Response {
    let content_type = HeaderValue::from_static(form.types[0]);
    let mut response = send_loaded(&ask.headers, page, content_type);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// The form that the client likes best; the first of [`FORMS`] when it likes several the same.
fn choose(headers: &HeaderMap) -> Option<&'static Form> {
    let values: Vec<_> = headers.get_all(header::ACCEPT).iter().collect();
    if values.is_empty() {
        return FORMS.first();
    }
    let accept: Vec<_> = values.iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accept.join(",");
    let ranges: Vec<_> = accept.split(',').map(parse_range).collect();
    let rated = FORMS.iter().rev().map(|form| (quality(&ranges, form), form));
    rated.filter(|(quality, _)| 0 < *quality).max_by_key(|(quality, _)| *quality).map(|(_, f)| f)
}

/// A media range and its weight in thousandths (RFC 9110, section 12.4.2).
fn parse_range(text: &str) -> (String, u32) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    (range, weight.map_or(1000, thousandths))
}

/// `0.123` as 123; what is no weight counts as none.
fn thousandths(weight: &str) -> u32 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let fraction = format!("{fraction:0<3}");
    match (whole, fraction.parse::<u32>()) {
        ("1", Ok(0)) => 1000,
        ("0", Ok(fraction)) if fraction < 1000 => fraction,
        _ => 0,
    }
}

/// How much the client likes a form: what the most particular range says that covers it.
fn quality(ranges: &[(String, u32)], form: &Form) -> u32 {
    let of = |wanted: &str| ranges.iter().find(|(range, _)| range == wanted).map(|(_, q)| *q);
    let family = form.types[0].split('/').next().unwrap_or_default();
    let exact = form.types.iter().filter_map(|name| of(name)).max();
    exact.or_else(|| of(&format!("{family}/*"))).or_else(|| of("*/*")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> Option<&'static str> {
        let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
        choose(&headers).map(|form| form.types[0])
    }

    #[test]
    fn the_client_gets_the_form_it_likes_best() {
        const JSON: &str = "application/vnd.pypi.simple.v1+json";
        let pip = format!("{JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01");
        for (accept, expected) in [
            (pip.as_str(), Some(JSON)),
            ("text/html", Some("text/html")),
            ("*/*", Some("text/html")),
            ("application/*", Some(JSON)),
            ("application/vnd.pypi.simple.latest+json", Some(JSON)),
            (
                "text/html;q=0.2, application/vnd.pypi.simple.v1+html;q=0.3",
                Some("application/vnd.pypi.simple.v1+html"),
            ),
            ("text/html;q=0, */*;q=0.5", Some(JSON)),
            ("image/png", None),
            ("text/html;q=nonsense", None),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
        assert_eq!(choose(&HeaderMap::new()), Some(&FORMS[0]));
    }

    #[test]
    fn a_weight_is_read_to_the_thousandth() {
        let table = [("1", 1000), ("1.000", 1000), ("0.5", 500), ("0.123", 123), ("0", 0)];
        for (text, expected) in table {
            assert_eq!(thousandths(text), expected, "{text}");
        }
        for bad in ["2", "1.1", "-1", "0.1234", "", "x"] {
            assert_eq!(thousandths(bad), 0, "{bad}");
        }
    }
}
