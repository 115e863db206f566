//! `/helm/<repository>/…`: the chart repositories, each by the host and path it has upstream.
//!
//! The index shows the current generation; charts and their provenance files of every kept one
//! stay, since an index that a client has fetched before leads to them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::Response;
use gapferry_proto::artifact::BlobRef;
use gapferry_proto::{Facts, Kind, SafePath, Snapshot};

use super::body::{Address, Sealed, send, send_loaded};
use super::error::ServeError;
use super::files::content_type;
use super::shared::read;
use super::site::Site;
use super::{App, Ask};
use crate::publish::helm::{INDEX, PROVENANCE};

/// The charts of one generation and their provenance files, by `<repository>/<file name>`.
#[derive(Debug, Default)]
pub(super) struct Charts(HashMap<String, BlobRef>);

impl Charts {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let mut charts = HashMap::new();
        for artifact in snapshot.artifacts() {
            if let Facts::Chart(facts) = &artifact.facts {
                let place = format!("{}/{}", facts.repository, facts.filename);
                for (end, blob) in ["", PROVENANCE].iter().zip(&artifact.blobs) {
                    charts.insert(format!("{place}{end}"), *blob);
                }
            }
        }
        Self(charts)
    }
}

impl Site {
    /// The chart or provenance file at `<repository>/<file name>`.
    fn chart(&self, path: &str) -> Option<BlobRef> {
        self.views().iter().find_map(|view| view.charts.0.get(path).copied())
    }
}

/// `GET /helm/<repository>/<file name>`
pub async fn get_helm(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    ask: Ask,
) -> Result<Response, ServeError> {
    let path = path.parse::<SafePath>().map_err(|_| ServeError::BadPath)?;
    if path.as_str().ends_with(&format!("/{INDEX}")) {
        return index(&app, &ask, &path).await;
    }
    let Some(blob) = ask.site.chart(path.as_str()) else {
        if let Some(chart) = path.as_str().strip_suffix(".tgz") {
            app.want(&ask, Kind::Chart, chart);
        }
        return Err(ServeError::NotFound(format!("chart {path}")));
    };
    let sealed = Sealed::of_blob(&app.blobs, blob, Address::Name, content_type(path.as_str()));
    send(&ask.method, &ask.headers, sealed).await
}

async fn index(app: &App, ask: &Ask, path: &SafePath) -> Result<Response, ServeError> {
    let missing = || ServeError::NotFound(format!("chart repository /helm/{path}"));
    let repository = path.as_str().strip_suffix(INDEX).unwrap_or_default().trim_end_matches('/');
    if !ask.site.chart_repositories.contains(repository) {
        return Err(missing());
    }
    let file = ask.site.documents().join("helm").join(path.as_str());
    let bytes = app.shared.get(&file, read).await.map_err(ServeError::store(file))?;
    let content_type = HeaderValue::from_static("application/yaml");
    Ok(send_loaded(&ask.headers, bytes.ok_or_else(missing)?, content_type))
}
