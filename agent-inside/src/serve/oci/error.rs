//! Errors as registry clients read them (distribution-spec v1.1.1, "Error Codes").

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gapferry_common::exit::chain;
use serde_json::json;

use crate::local::LocalError;

/// Why a request below `/v2/` gets no bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
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
    #[error("this registry takes no pushes to that name; bring an export to this site")]
    Unsupported,
    #[error("that is not done here; it takes {0}")]
    Method(&'static str),
    #[error("who pushes must log in; `users` of the inside agent makes passwords")]
    Unauthorized,
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    UploadUnknown(String),
    #[error("{0}")]
    UploadInvalid(String),
    #[error("{0}")]
    UploadBusy(String),
    #[error("{held} bytes of this upload have arrived, and the next piece must follow them")]
    OutOfOrder { location: String, held: u64 },
    #[error("{0}")]
    SizeInvalid(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    TooMany(String),
    #[error("{0}")]
    OtherDigest(String),
    #[error("{0}")]
    ManifestInvalid(String),
    #[error("{0}")]
    ManifestBlobUnknown(String),
    #[error("{0}")]
    BlobNeeded(String),
    #[error("that is no endpoint of this registry")]
    NoEndpoint,
    #[error("the store cannot be used; its administrator finds the reason in the log")]
    Store,
}

impl OciError {
    const fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::ManifestUnknown | Self::Ambiguous => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::BlobUnknown => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::NameUnknown => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            Self::NameInvalid => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::DigestInvalid => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::QueryInvalid => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
            Self::PageInvalid => (StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
            Self::Unsupported | Self::Method(_) | Self::BlobNeeded(_) => {
                (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED")
            }
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Denied(_) => (StatusCode::FORBIDDEN, "DENIED"),
            Self::UploadUnknown(_) => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Self::UploadInvalid(_) => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Self::UploadBusy(_) => (StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
            Self::OutOfOrder { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Self::SizeInvalid(_) => (StatusCode::BAD_REQUEST, "SIZE_INVALID"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            Self::OtherDigest(_) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::ManifestInvalid(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Self::ManifestBlobUnknown(_) => (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
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
        let headers = response.headers_mut();
        match self {
            Self::Method(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            Self::Unsupported | Self::BlobNeeded(_) => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            Self::OutOfOrder { location, held } => {
                headers.extend(super::push::progress(&location, held));
            }
            _ => {}
        }
        response
    }
}

/// How those who push log in (RFC 7617).
const CHALLENGE: &str = r#"Basic realm="gapferry", charset="UTF-8""#;

impl From<LocalError> for OciError {
    fn from(error: LocalError) -> Self {
        let text = error.to_string();
        match error {
            LocalError::NameLong => Self::NameInvalid,
            LocalError::Full(_) => Self::Denied(text),
            LocalError::TooManyUploads => Self::TooMany(text),
            LocalError::TooManyTags => Self::Denied(text),
            LocalError::UploadUnknown => Self::UploadUnknown(text),
            LocalError::UploadBusy => Self::UploadBusy(text),
            LocalError::TooLong => Self::TooLarge(text),
            LocalError::OtherDigest(_) => Self::OtherDigest(text),
            LocalError::Manifest(_) | LocalError::NeedLength { .. } => Self::ManifestInvalid(text),
            LocalError::NeedUnknown(_) => Self::ManifestBlobUnknown(text),
            LocalError::ManifestUnknown => Self::ManifestUnknown,
            LocalError::BlobUnknown => Self::BlobUnknown,
            LocalError::BlobNeeded => Self::BlobNeeded(text),
            LocalError::Durable(error) => {
                let (path, source) = (&error.path, &error.source);
                tracing::error!(%path, error = %source, "cannot {} what is pushed", error.what);
                Self::Store
            }
            LocalError::Lock(error) => {
                tracing::error!(error = chain(&error), "cannot change what is pushed");
                Self::Store
            }
        }
    }
}
