//! A bucket of an S3-compatible object store.
//!
//! In:   a bucket, a prefix; endpoint, region and keys from the variables `AWS_…`.
//! Out:  objects below the prefix. Large ones go in parts, two at a time.

use std::sync::Arc;
use std::time::Duration;

use gapferry_common::store::Store;
use object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt as _, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    buffered::BufWriter,
    path::Path,
};
use tokio::io::AsyncWriteExt as _;

use super::files::{FileServer, Held, content_type};
use super::http::PushError;
use super::tree::Content;

/// How large a part is, in bytes, and what is sent in one piece.
const PART_LEN_BYTES: u64 = 8 << 20;

/// Most parts of one object: S3 takes 10,000.
const PARTS_MAX: u64 = 9_000;

const TRIES: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

const HINT: &str = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may write";

/// A bucket, and where in it files go.
pub struct Bucket {
    objects: Arc<AmazonS3>,
    name: String,
    prefix: String,
    store: Store,
}

impl Bucket {
    /// # Errors
    ///
    /// [`PushError::Store`]: a variable is not understood.
    pub fn new(
        store: Store,
        name: &str,
        prefix: &str,
        plain_http: bool,
    ) -> Result<Self, PushError> {
        let retry = RetryConfig {
            max_retries: TRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry);
        if plain_http {
            builder = builder.with_allow_http(true);
        }
        let objects = builder.build().map_err(|source| PushError::Store { source })?;
        let (name, prefix) = (name.to_owned(), prefix.to_owned());
        Ok(Self { objects: Arc::new(objects), name, prefix, store })
    }

    /// The key of a path: as it is, so that a server of static pages finds it.
    fn key(&self, path: &str) -> Result<Path, PushError> {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let parsed = Path::parse(format!("{}{slash}{path}", self.prefix));
        parsed.map_err(|source| PushError::Store { source: source.into() })
    }

    fn failed(&self, source: Error) -> PushError {
        let url = format!("s3://{}", self.name);
        match source {
            Error::PermissionDenied { .. } => PushError::Denied { url, status: 403, hint: HINT },
            Error::Unauthenticated { .. } => PushError::Denied { url, status: 401, hint: HINT },
            source => PushError::Store { source },
        }
    }

    async fn write(&self, writer: &mut BufWriter, content: &Content) -> Result<(), PushError> {
        let read = |source| PushError::Read { source };
        let mut pieces = content.stream(&self.store).await.map_err(read)?;
        while let Some(piece) = pieces.next().await.map_err(read)? {
            writer.put(piece).await.map_err(|error| self.failed(error))?;
        }
        writer.shutdown().await.map_err(|error| match error.downcast::<Error>() {
            Ok(source) => self.failed(source),
            Err(source) => PushError::Read { source },
        })
    }
}

impl FileServer for Bucket {
    async fn held(&self, path: &str) -> Result<Option<Held>, PushError> {
        match self.objects.head(&self.key(path)?).await {
            Ok(meta) => Ok(Some(Held { len_bytes: meta.size, digest: None })),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn get(&self, path: &str, len_bytes_max: usize) -> Result<Option<Vec<u8>>, PushError> {
        let found = match self.objects.get(&self.key(path)?).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        if (len_bytes_max as u64) < found.meta.size {
            let url = format!("s3://{}/{path}", self.name);
            return Err(PushError::Answer { url, what: "it is too long" });
        }
        let bytes = found.bytes().await.map_err(|error| self.failed(error))?;
        Ok(Some(bytes.to_vec()))
    }

    async fn put(&self, path: &str, content: &Content) -> Result<(), PushError> {
        content.check(&self.store).map_err(|source| PushError::Read { source })?;
        let part_len_bytes = PART_LEN_BYTES.max(content.len_bytes.div_ceil(PARTS_MAX));
        let capacity = usize::try_from(part_len_bytes).unwrap_or(usize::MAX);
        let types = [(Attribute::ContentType, content_type(path))];
        let objects: Arc<dyn ObjectStore> = Arc::<AmazonS3>::clone(&self.objects);
        let mut writer = BufWriter::with_capacity(objects, self.key(path)?, capacity)
            .with_max_concurrency(2)
            .with_attributes(Attributes::from_iter(types));
        let written = self.write(&mut writer, content).await;
        if written.is_err() {
            // What is left of the upload costs the bucket's owner; that it was not removed
            // changes nothing about the error.
            let _left = writer.abort().await;
        }
        written
    }

    async fn is_gone(&self) -> bool {
        match self.held("current.json").await {
            Err(PushError::Store { source }) => matches!(source, Error::Generic { .. }),
            _ => false,
        }
    }
}
