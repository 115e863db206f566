//! How a request can fail, as a sentence for whoever reads the client's log.
//!
//! `/v2/` has errors of its own ([`super::oci::OciError`]), since its clients read codes.

use std::io;

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use camino::Utf8PathBuf;

/// Why a request outside of `/v2/` gets no bytes.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("nothing has been imported yet; bring an export to this site")]
    NothingImported,
    #[error("this site does not hold {0}")]
    NotFound(String),
    #[error("this is no path of this server")]
    BadPath,
    #[error("none of the types the client accepts is to be had here")]
    NotAcceptable,
    #[error("the store cannot be read; its administrator finds the reason in the log")]
    Store { path: Utf8PathBuf, source: io::Error },
}

impl ServeError {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NothingImported => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::BadPath => StatusCode::BAD_REQUEST,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Store { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Makes the error of a file that cannot be read.
    pub fn store(path: impl Into<Utf8PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Store { path: path.into(), source }
    }

    /// Tells the log what the client is not told.
    pub fn log(&self) {
        if let Self::Store { path, source } = self {
            tracing::error!(%path, error = %source, "cannot read the store");
        }
    }
}

impl IntoResponse for ServeError {
    fn into_response(self) -> Response {
        self.log();
        (self.status(), format!("{self}\n")).into_response()
    }
}

/// Answers with a rendered page that runs no script and is never kept.
pub fn page(template: &impl Template) -> Response {
    let Ok(html) = template.render() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                 frame-ancestors 'none'",
            ),
        ),
    ];
    (headers, html).into_response()
}
