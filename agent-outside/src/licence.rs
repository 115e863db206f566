//! What upstream says of an artifact's licence, where it says something.
//!
//! In:   an artifact, and the store that holds its blobs.
//! Out:  the licence in upstream's words; none where nothing tells it.
//! Never fails: a blob that is not there or not understood tells nothing.

use std::{fs::File, io::Read as _};

use gapferry_common::store::Store;
use gapferry_proto::{Artifact, BlobId, Digest, Facts, limits};
use serde_json::Value;

/// Longest licence that is shown, in bytes; some projects put the whole text there.
const LICENCE_LEN_BYTES_MAX: usize = 200;

/// Longest `METADATA` that is read, in bytes.
const METADATA_LEN_BYTES_MAX: u64 = 4 << 20;

/// The licence of an artifact: from an rpm's entry in its index, a wheel's `METADATA`, a label of
/// an image.
pub fn of(artifact: &Artifact, store: &Store) -> Option<String> {
    let licence = match &artifact.facts {
        Facts::Rpm(facts) => of_element(&facts.element),
        Facts::Pypi(_) => of_wheel(store, artifact.blobs.first()?.id),
        Facts::Image(facts) => {
            of_image(store, &facts.manifests.iter().map(|m| m.id).collect::<Vec<_>>())
        }
        Facts::File(_) | Facts::Deb(_) | Facts::YumDocument(_) | Facts::Chart(_) => None,
    }?;
    let first = licence.lines().next()?.trim().to_owned();
    let is_one = !first.is_empty() && first.len() <= LICENCE_LEN_BYTES_MAX;
    (is_one && !matches!(first.as_str(), "UNKNOWN" | "None")).then_some(first)
}

fn of_element(element: &str) -> Option<String> {
    let (_, rest) = element.split_once("<rpm:license>")?;
    let (licence, _) = rest.split_once("</rpm:license>")?;
    Some(licence.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
}

fn of_wheel(store: &Store, id: BlobId) -> Option<String> {
    let file = File::open(store.path(id)).ok()?;
    let mut archive = zip::ZipArchive::new(file).ok()?;
    let mut names = archive.file_names().flatten();
    let name = names.find(|name| is_metadata(name))?.into_owned();
    drop(names);
    let mut text = String::new();
    let member = archive.by_name(&name).ok()?;
    member.take(METADATA_LEN_BYTES_MAX).read_to_string(&mut text).ok()?;
    of_metadata(&text)
}

fn is_metadata(name: &str) -> bool {
    name.strip_suffix(".dist-info/METADATA").is_some_and(|folder| !folder.contains('/'))
}

/// `License-Expression` (core metadata 2.4), else `License`.
fn of_metadata(text: &str) -> Option<String> {
    let fields = || text.lines().take_while(|line| !line.is_empty());
    let field = |name: &str| fields().find_map(|line| line.strip_prefix(name));
    field("License-Expression: ").or_else(|| field("License: ")).map(str::to_owned)
}

/// The label `org.opencontainers.image.licenses` of the first manifest's configuration.
fn of_image(store: &Store, manifests: &[BlobId]) -> Option<String> {
    let document = |id: BlobId| -> Option<Value> {
        let mut bytes = vec![];
        let file = File::open(store.path(id)).ok()?;
        file.take(limits::OCI_MANIFEST_LEN_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    manifests.iter().find_map(|&manifest| {
        let digest: Digest = document(manifest)?["config"]["digest"].as_str()?.parse().ok()?;
        let label =
            &document(digest.into())?["config"]["Labels"]["org.opencontainers.image.licenses"];
        label.as_str().map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheels_expression_counts_more_than_its_free_text() {
        let text = "Name: alpha\nLicense: see the file\nLicense-Expression: MIT\n\nLicense: body\n";
        assert_eq!(of_metadata(text), Some("MIT".to_owned()));
        assert_eq!(of_metadata("Name: alpha\n\nLicense: body\n"), None);
        assert!(is_metadata("alpha-1.dist-info/METADATA"));
        assert!(!is_metadata("vendor/alpha-1.dist-info/METADATA"));
    }

    #[test]
    fn an_rpms_licence_stands_in_its_entry() {
        let element = "<package><format><rpm:license>GPL-2.0 &amp; MIT</rpm:license></format>";
        assert_eq!(of_element(element), Some("GPL-2.0 & MIT".to_owned()));
        assert_eq!(of_element("<package/>"), None);
    }
}
