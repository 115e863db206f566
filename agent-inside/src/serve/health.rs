//! `/healthz`: whether this process answers, and with which generation. Always 200, so that a
//! new site whose first export is on its way counts as healthy.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::json;

use super::App;

pub async fn get_health(State(app): State<Arc<App>>) -> impl IntoResponse {
    let site = app.site.load();
    let sequence = site.as_ref().map(|site| site.sequence);
    let activation = site.as_ref().map(|site| site.activation);
    let health = json!({ "site": app.name, "sequence": sequence, "activation": activation });
    ([(header::CONTENT_TYPE, "application/json")], health.to_string())
}
