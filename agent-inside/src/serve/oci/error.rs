//! Errors as registry clients read them (distribution-spec v1.1.1, "Error Codes").

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request below `/v2/` gets no bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OciError {
    #[error("no manifest of that name is held here")]
    ManifestUnknown,
    #[error("several registries have that tag; name the one you mean: /v2/<registry>/<name>")]
    Ambiguous,
    #[error("this repository holds no such blob")]
    BlobUnknown,
    #[error("no repository of that name is held here")]
    NameUnknown,
    #[error("that is no name of a repository")]
    NameInvalid,
    #[error("that is no digest")]
    DigestInvalid,
    #[error("what follows the question mark is not understood")]
    QueryInvalid,
    #[error("n is no number")]
    PageInvalid,
    #[error("this registry takes no pushes; bring an export to this site")]
    Unsupported,
    #[error("that is no endpoint of this registry")]
    NoEndpoint,
    #[error("the store cannot be read; its administrator finds the reason in the log")]
    Store,
}

impl OciError {
    const fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::ManifestUnknown | Self::Ambiguous => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::BlobUnknown => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::NameUnknown => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            Self::NameInvalid => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::DigestInvalid => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::QueryInvalid => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
            Self::PageInvalid => (StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
            Self::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::NoEndpoint => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
            Self::Store => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        }
    }
}

impl IntoResponse for OciError {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        let body = json!({ "errors": [{ "code": code, "message": self.to_string() }] });
        let headers = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (status, headers, body.to_string()).into_response();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
