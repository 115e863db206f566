//! How much lies below each prefix, for people.

use std::collections::HashMap;

use camino::Utf8Path;
use gapferry_common::durable::DurableError;
use serde::Serialize;

use super::books::Books;
use super::documents::{Places, Repository};
use super::rules::Prefixes;
use super::{count_known, folder};

/// What lies below one prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Usage {
    pub prefix: String,
    pub repositories: u64,
    /// Images, artifacts and the indexes that lead to them.
    pub manifests: u64,
    pub tags: u64,
    /// As the quota counts them.
    pub bytes: u64,
    pub quota_bytes: u64,
}

/// What lies below each prefix of a home, of what its documents say.
///
/// # Errors
///
/// [`DurableError`]: a folder cannot be listed.
pub fn usage(home: &Utf8Path, prefixes: &Prefixes) -> Result<Vec<Usage>, DurableError> {
    let found = Places::below(folder(home)).read()?;
    let repositories: HashMap<String, Repository> = found.repositories.into_iter().collect();
    let books = Books::new(prefixes.all().iter().map(|prefix| prefix.quota.0));
    for (name, repository) in &repositories {
        if let Some(at) = prefixes.position(name) {
            count_known(&books, at, repository);
        }
    }
    Ok(count(prefixes, &books, &repositories))
}

pub(super) fn count(
    prefixes: &Prefixes,
    books: &Books,
    repositories: &HashMap<String, Repository>,
) -> Vec<Usage> {
    let begin = |(at, prefix): (usize, &super::rules::Prefix)| Usage {
        prefix: prefix.prefix.clone(),
        repositories: 0,
        manifests: 0,
        tags: 0,
        bytes: books.used(at).0,
        quota_bytes: prefix.quota.0,
    };
    let mut all: Vec<Usage> = prefixes.all().iter().enumerate().map(begin).collect();
    for (name, repository) in repositories {
        let Some(at) = prefixes.position(name) else { continue };
        all[at].repositories += 1;
        all[at].manifests += repository.manifests.len() as u64;
        all[at].tags += repository.tags.len() as u64;
    }
    all
}
