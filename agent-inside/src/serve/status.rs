//! `/`: what this site holds and the lines that make each client use it; and the key that
//! vouches for its repositories.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use gapferry_proto::Kind;
use gapferry_proto::want::Want;

use super::error::{ServeError, page};
use super::front::Scheme;
use super::{App, Ask, Push, Site};
use crate::local::Usage;
use crate::publish::apt::MERGED;

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'a> {
    site: &'a str,
    /// `http` or `https`.
    scheme: &'a str,
    /// Whether clients need this site's CA.
    has_ca: bool,
    /// As the client calls this server.
    host: &'a str,
    generation: Option<&'a Site>,
    /// Ready lines for a sources list.
    sources: Vec<String>,
    /// Ready `.repo` files, one a target.
    repos: Vec<String>,
    /// Ready commands, one a chart repository.
    charts: Vec<String>,
    /// What users pushed.
    pushed: Vec<Usage>,
    /// What was asked for and is not held, at most [`WANTS_SHOWN_MAX`].
    wants: Vec<Want>,
    wants_count: usize,
    kinds: [Kind; 6],
}

/// Most wants on the page; `gapferry-inside wants` lists all.
const WANTS_SHOWN_MAX: usize = 200;

/// `GET /`
pub async fn get_status(
    State(app): State<Arc<App>>,
    scheme: Option<Extension<Scheme>>,
    headers: HeaderMap,
) -> Response {
    let site = app.site.load_full();
    let host = host(&headers);
    let mut wants = app.wants.all();
    let wants_count = wants.len();
    wants.truncate(WANTS_SHOWN_MAX);
    let scheme = scheme.map_or("http", |Extension(Scheme(scheme))| scheme);
    page(&StatusPage {
        site: app.name.as_str(),
        scheme,
        has_ca: scheme == "https" && app.ca.is_some(),
        host,
        sources: site.as_deref().map(|site| sources(site, scheme, host)).unwrap_or_default(),
        repos: site.as_deref().map(|site| repos(site, scheme, host)).unwrap_or_default(),
        charts: site.as_deref().map(|site| charts(site, scheme, host)).unwrap_or_default(),
        pushed: app.push.as_ref().map(Push::usage).unwrap_or_default(),
        generation: site.as_deref(),
        wants,
        wants_count,
        kinds: Kind::ALL,
    })
}

/// `GET /keys/site.asc`
pub async fn get_key(State(app): State<Arc<App>>, _: Ask) -> Result<Response, ServeError> {
    Ok(([(header::CONTENT_TYPE, "application/pgp-keys")], app.key.clone()).into_response())
}

/// `GET /keys/ca.pem`
pub async fn get_ca(State(app): State<Arc<App>>) -> Result<Response, ServeError> {
    let none = || ServeError::NotFound("a CA of its own".to_owned());
    let pem = app.ca.clone().ok_or_else(none)?;
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response())
}

/// One line for all that a target holds.
fn sources(site: &Site, scheme: &str, host: &str) -> Vec<String> {
    let line = |target| {
        format!(
            "deb [signed-by=/etc/apt/keyrings/gapferry.asc] {scheme}://{host}/apt/{target} \
             {MERGED} main"
        )
    };
    site.apt_targets.iter().map(line).collect()
}

/// A `.repo` file for each target, which names the keys of its metadata and of its packages.
fn repos(site: &Site, scheme: &str, host: &str) -> Vec<String> {
    let file = |(target, keys): (&String, &BTreeSet<String>)| {
        let root = format!("{scheme}://{host}/yum/{target}");
        let keys: String = keys.iter().map(|key| format!(" {root}/keys/{key}.asc")).collect();
        format!(
            "[gapferry]\nname=Gapferry\nbaseurl={root}\nrepo_gpgcheck=1\ngpgcheck=1\n\
             gpgkey={scheme}://{host}/keys/site.asc{keys}"
        )
    };
    site.yum_targets.iter().map(file).collect()
}

fn charts(site: &Site, scheme: &str, host: &str) -> Vec<String> {
    let add = |repository: &String| {
        let name = chart_name(repository, &site.chart_repositories);
        format!("helm repo add {name} {scheme}://{host}/helm/{repository}")
    };
    site.chart_repositories.iter().map(add).collect()
}

/// What helm may call a repository: the last part of its address, all of it where two end alike.
/// helm takes no colon in a name.
fn chart_name(repository: &str, all: &BTreeSet<String>) -> String {
    let last = |of: &str| of.rsplit('/').next().unwrap_or_default().to_owned();
    let is_one = all.iter().filter(|other| last(other) == last(repository)).count() < 2;
    let name = if is_one { last(repository) } else { repository.to_owned() };
    name.replace(['/', ':'], "-")
}

/// The name by which the client reached us; a name that could not be one is not repeated, since
/// people copy these lines.
fn host(headers: &HeaderMap) -> &str {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let fits = (1..=255).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b));
    if fits { host } else { "ADMIN-NODE:8080" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_repository_is_called_by_its_last_part_unless_two_end_alike() {
        let all = ["a.example/stable", "b.example/stable", "c.example/web", "127.0.0.1:9102"];
        let all: BTreeSet<String> = all.map(str::to_owned).into();
        let names: Vec<_> = all.iter().map(|repository| chart_name(repository, &all)).collect();
        assert_eq!(names, ["127.0.0.1-9102", "a.example-stable", "b.example-stable", "web"]);
    }
}
