//! Runs Kubespray: everything that its resolver says it would ask for.
//!
//! In:   rows of the resolver, of every release of a route.
//! Out:  those that are not carried.
//! Pure but for the manifests of images. It resolves nothing: whoever has a tree makes the rows.

use gapferry_proto::{Digest, Facts, Kind};
use url::Url;

use super::{Ground, Line, Missing, Report, oci};
use crate::waybill::{ImageLine, file_path};

/// Something that Kubespray asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub kind: Kind,
    /// What people call it, `kubelet`, `conntrack`.
    pub name: String,
    /// A URL, an image's reference, the name of a package, a project or a chart.
    pub reference: String,
    /// Which task and variable of which tree want it.
    pub why: String,
    /// A file's digest, where the tree's checksums have it.
    pub sha256: Option<Digest>,
}

/// Checks all rows.
#[cfg_attr(not(test), expect(dead_code, reason = "waybills name no Kubespray trees yet"))]
pub fn check(ground: &Ground<'_>, rows: &[Wanted], report: &mut Report) {
    for row in rows {
        report.count(row.kind);
        report.missing.extend(missing(ground, row));
    }
}

fn missing(ground: &Ground<'_>, row: &Wanted) -> Option<Missing> {
    match row.kind {
        Kind::File => file(ground, row),
        Kind::Image => image(ground, row),
        Kind::Deb | Kind::Rpm | Kind::Pypi | Kind::Chart => package(ground, row),
    }
}

fn file(ground: &Ground<'_>, row: &Wanted) -> Option<Missing> {
    let path = row.reference.parse::<Url>().ok().as_ref().and_then(file_path);
    let path = path.as_ref().map_or(&*row.reference, |path| path.as_str());
    let held = ground.held.get(Kind::File, path);
    let is_held = held.is_some_and(|file| {
        let digest = file.blobs.first().map(|blob| blob.id.digest());
        row.sha256.is_none() || digest == row.sha256
    });
    if is_held {
        return None;
    }
    let reason = match held {
        Some(_) => "the site would have other bytes under this path",
        None => ground.held.absent(Kind::File, path),
    };
    let missing = Missing::new(Kind::File, path, &row.why, reason);
    Some(match row.sha256 {
        Some(sha256) => missing.with_line(Line::file(&row.reference, sha256)),
        None => missing,
    })
}

fn image(ground: &Ground<'_>, row: &Wanted) -> Option<Missing> {
    let reference = row.reference.clone();
    let line = ImageLine { reference, named: None, platforms: vec![], insecure: false };
    let absent = oci::pull(ground, &line).err()?;
    let missing = Missing::new(Kind::Image, absent.name, &row.why, absent.reason);
    Some(missing.with_line(Line::image(&line)))
}

/// A package counts as carried when any target has it: closures are checked elsewhere.
fn package(ground: &Ground<'_>, row: &Wanted) -> Option<Missing> {
    let is_it = |facts: &Facts| match facts {
        Facts::Deb(facts) => facts.package == row.reference,
        Facts::Rpm(facts) => facts.package == row.reference,
        Facts::Pypi(facts) => facts.project == row.reference,
        Facts::Chart(facts) => facts.chart == row.reference,
        Facts::File(_) | Facts::Image(_) | Facts::YumDocument(_) => false,
    };
    let mut held = ground.held.artifacts();
    if held.any(|artifact| artifact.kind() == row.kind && is_it(&artifact.facts)) {
        return None;
    }
    let reason = format!("no line brings {} for {}", row.reference, row.name);
    Some(Missing::new(row.kind, &*row.reference, &row.why, reason))
}
