//! The approval list as an SPDX 2.3 document in JSON: a bill of materials.
//!
//! In:   an approval list, the snapshot that it leads to, the time.
//! Out:  a package for everything that the inside shall hold; what is removed is left out.
//! Pure: the same list, snapshot and time give the same bytes.
//!
//! SPDX 2.3, sections 6 (document), 7 (package), 10 (other licences), 11 (relationships). What
//! nobody looked at says `NOASSERTION`: files inside packages, concluded licences, copyrights.

use std::collections::BTreeMap;

use gapferry_proto::{Digest, Kind, SnapshotId};
use serde::Serialize;

use super::{
    Approval, Change, Row,
    purl::{last_segment, web_url},
};

/// What a document says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About<'a> {
    /// The name of the document: the site's.
    pub name: &'a str,
    pub snapshot: SnapshotId,
    /// Written to the second.
    pub created: jiff::Timestamp,
    /// Name and version of the program, `gapferry-outside-0.1.0`.
    pub tool: &'a str,
}

/// The document, to be serialised as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<ExtractedLicence>,
    relationships: Vec<Relationship>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct CreationInfo {
    created: String,
    creators: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_file_name: Option<String>,
    supplier: &'static str,
    download_location: String,
    files_analyzed: bool,
    checksums: Vec<Checksum>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    comment: String,
    external_refs: Vec<ExternalRef>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtractedLicence {
    license_id: String,
    name: String,
    extracted_text: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: &'static str,
    relationship_type: &'static str,
    related_spdx_element: String,
}

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const NO_ASSERTION: &str = "NOASSERTION";

/// Makes the document. Its memory is about 1 KiB a row.
pub fn document(approval: &Approval, about: &About<'_>) -> Document {
    let mut extracted = BTreeMap::new();
    let held = approval.rows.iter().filter(|row| row.change != Change::Removed);
    let packages: Vec<Package> = held.map(|row| package(row, &mut extracted)).collect();
    let relationships = packages.iter().map(|package| Relationship {
        spdx_element_id: DOCUMENT,
        relationship_type: "DESCRIBES",
        related_spdx_element: package.id.clone(),
    });
    Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: about.name.to_owned(),
        document_namespace: format!("https://gapferry.dev/spdx/snapshot-{}", about.snapshot.hex()),
        creation_info: CreationInfo {
            created: about.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            creators: vec![format!("Tool: {}", about.tool)],
        },
        relationships: relationships.collect(),
        packages,
        has_extracted_licensing_infos: extracted.into_values().collect(),
    }
}

impl Document {
    /// The document as a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a document is plain JSON");
        bytes.push(b'\n');
        bytes
    }
}

fn package(row: &Row, extracted: &mut BTreeMap<String, ExtractedLicence>) -> Package {
    let file_name = (row.kind != Kind::Image).then(|| last_segment(&row.file_name).to_owned());
    Package {
        id: format!("SPDXRef-{}-{}", row.kind, short_hash(&format!("{}\0{}", row.kind, row.name))),
        name: row.package.clone(),
        version_info: row.version.clone(),
        package_file_name: file_name,
        supplier: NO_ASSERTION,
        // Section 7.7: no assertion where there is no URL, as for an image from a layout on disk.
        download_location: web_url(&row.origin).unwrap_or(NO_ASSERTION).to_owned(),
        files_analyzed: false,
        checksums: row.digest.iter().map(sha256).collect(),
        license_concluded: NO_ASSERTION,
        license_declared: declared(row.licence.as_deref(), extracted),
        copyright_text: NO_ASSERTION,
        comment: comment(row),
        external_refs: vec![ExternalRef {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: row.purl.clone(),
        }],
    }
}

fn comment(row: &Row) -> String {
    match &row.why[..] {
        [] => row.proof(),
        why => format!("{}; wanted by {}", row.proof(), why.join("; ")),
    }
}

fn sha256(digest: &Digest) -> Checksum {
    Checksum { algorithm: "SHA256", checksum_value: digest.hex() }
}

/// Half a SHA-256: enough that nobody finds two names with one id.
fn short_hash(text: &str) -> String {
    Digest::of(text.as_bytes()).hex()[..32].to_owned()
}

/// A licence expression, or a reference to the words that upstream uses.
fn declared(licence: Option<&str>, extracted: &mut BTreeMap<String, ExtractedLicence>) -> String {
    let Some(licence) = licence.map(str::trim).filter(|licence| !licence.is_empty()) else {
        return NO_ASSERTION.to_owned();
    };
    if is_expression(licence) {
        return licence.to_owned();
    }
    let id = format!("LicenseRef-{}", short_hash(licence));
    extracted.entry(id.clone()).or_insert_with(|| ExtractedLicence {
        license_id: id.clone(),
        name: NO_ASSERTION.to_owned(),
        extracted_text: licence.to_owned(),
    });
    id
}

/// Whether these are identifiers of [`KNOWN`] with `AND` or `OR` between them.
fn is_expression(licence: &str) -> bool {
    licence.split(' ').enumerate().all(|(i, word)| match i % 2 {
        0 => KNOWN.contains(&word),
        _ => matches!(word, "AND" | "OR"),
    }) && licence.split(' ').count() % 2 == 1
}

/// Identifiers of the SPDX licence list that occur among a cluster's packages. Others are
/// carried as words, so that no document names a licence that the list lacks.
const KNOWN: [&str; 30] = [
    "0BSD",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "EPL-2.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Vim",
    "X11",
    "Zlib",
    "curl",
];
