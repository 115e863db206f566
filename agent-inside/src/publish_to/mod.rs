//! Publishes the current generation into servers that the site has already.
//!
//! In:   an [`Edition`] read from the home, a [`Destination`], and [`How`].
//! Out:  a [`Report`]: what was pushed, how much was there already, and every failure.
//! Never: keys of this site, but the public one; anything that `serve` shows; a deletion on a
//!        server. The folder, which is ours alone, loses generations that nobody sees any more.
//!
//! Planners are pure ([`tree`] for files, [`images`] for registries); the edges are thin and know
//! one protocol each. All of them ask before they push, so that a second run goes on where the
//! first ended, and one after it pushes nothing.
//!
//! # What a server may try
//!
//! | attempt                                   | stopped by                                |
//! |-------------------------------------------|-------------------------------------------|
//! | to lead a password elsewhere              | redirects are not followed; `auth`        |
//! | to lead from TLS to plain HTTP            | `auth::may_follow`                        |
//! | an answer without end                     | `Client::read`                            |
//! | to keep a manifest under another digest   | `Repository::push_manifest`               |
//! | links in the folder that lead out of it   | `cap-std`                                 |

#[cfg(feature = "s3")]
mod bucket;
mod content;
mod dest;
mod files;
mod folder;
mod http;
mod images;
mod registry;
mod tally;
mod tree;
mod web;

use std::collections::BTreeSet;

use gapferry_common::store::Store;
use gapferry_proto::{Digest, Kind};
use indicatif::ProgressBar;

pub use content::read_documents;
pub use dest::{Destination, DestinationError};
pub use folder::FolderError;
pub use http::PushError;
pub use images::ShipmentError;
pub use tally::Report;
pub use tree::{Content, Document, Edition, Shown};

use dest::RegistryPlace;
use files::{FileServer, Files};
use folder::Folder;
use http::Client;
use registry::Registry;
use tally::Tally;
use tree::Item;
use web::Web;

/// How to publish.
#[derive(Clone, Debug)]
pub struct How {
    /// The kinds to publish; all that the destination takes when empty.
    pub only: BTreeSet<Kind>,
    /// Ask, and push nothing.
    pub dry_run: bool,
    /// Whether the upstream host stands in the names of images.
    pub with_host: bool,
    /// How much is pushed at a time.
    pub jobs: usize,
}

/// Why nothing was published, or not all.
#[derive(Debug, thiserror::Error)]
pub enum PublishToError {
    #[error(transparent)]
    Push(#[from] PushError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Shipment(#[from] ShipmentError),
    #[error("this agent was built without support for buckets")]
    #[cfg(not(feature = "s3"))]
    NoBuckets,
}

/// Publishes an edition.
///
/// # Errors
///
/// [`PublishToError`]: the destination cannot be reached or refuses the login, so that nothing
/// else was tried. What fails by itself stands in the report.
pub async fn publish(
    edition: &Edition,
    store: &Store,
    to: &Destination,
    how: &How,
    bar: ProgressBar,
) -> Result<Report, PublishToError> {
    let tally = Tally::new(bar);
    match to {
        Destination::Folder(path) => {
            let items = tree::plan(edition, &how.only, true);
            lay(edition, store, path, &items, how, &tally)?;
        }
        Destination::Registry(place) => ship(edition, store, place, how, &tally).await?,
        Destination::Web(base) => {
            let web = Web::new(Client::new(store.clone())?, base.clone())?;
            push(web, edition, how, &tally).await?;
        }
        #[cfg(feature = "s3")]
        Destination::Bucket { bucket, prefix, plain_http } => {
            let bucket = bucket::Bucket::new(store.clone(), bucket, prefix, *plain_http)?;
            push(bucket, edition, how, &tally).await?;
        }
        #[cfg(not(feature = "s3"))]
        Destination::Bucket { .. } => return Err(PublishToError::NoBuckets),
    }
    Ok(tally.finish())
}

fn lay(
    edition: &Edition,
    store: &Store,
    path: &camino::Utf8Path,
    items: &[Item],
    how: &How,
    tally: &Tally,
) -> Result<(), PublishToError> {
    let name = folder_name(edition, &how.only);
    let Some(folder) = Folder::open(path, how.dry_run)? else {
        folder::note_all(items, tally);
        return Ok(());
    };
    folder.lay(&name, items, store, how.dry_run, tally)?;
    if !how.dry_run && !tally.has_failures() {
        folder.switch(&name)?;
    }
    Ok(())
}

/// The name of a generation's folder: `<sequence>-<activation>-<12 hex digits>`, and the kinds when
/// not all. The digits are of the snapshot and the signed heads, so that another site, or a home
/// that was made anew, never lays its files among these.
fn folder_name(edition: &Edition, only: &BTreeSet<Kind>) -> String {
    let heads = edition.heads.iter().map(|head| head.content.digest.hex());
    let whole: String = std::iter::once(edition.id.to_string()).chain(heads).collect();
    let mark = Digest::of(whole.as_bytes()).hex();
    let kinds: Vec<_> = only.iter().map(|kind| kind.word()).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!("-{}", kinds.join("+")) };
    format!("{}-{}-{}{kinds}", edition.sequence, edition.activation, &mark[..12])
}

async fn ship(
    edition: &Edition,
    store: &Store,
    place: &RegistryPlace,
    how: &How,
    tally: &Tally,
) -> Result<(), PublishToError> {
    let shipment = images::plan(&edition.current.snapshot, &place.prefix, how.with_host)?;
    let registry = Registry::reach(store.clone(), place, how).await?;
    registry.push(&shipment, how.jobs, tally).await;
    Ok(())
}

async fn push(
    server: impl FileServer,
    edition: &Edition,
    how: &How,
    tally: &Tally,
) -> Result<(), PublishToError> {
    let items = tree::plan(edition, &how.only, false);
    let files = Files::reach(server, how.dry_run).await?;
    files.push(&items, edition, how.jobs, tally).await?;
    Ok(())
}
