//! Installs charts and manifests: which images would their pods pull?
//!
//! In:   the carried archives of the charts that a waybill names, the carried YAML files.
//! Out:  proven images that are not carried, and all that nobody can prove.
//!
//! A chart is rendered by the `helm` of this machine with the user's values. Without one, every
//! image is a guess. What a hook runs, and what stands in a flag, a variable or the text of a
//! config map, is not proven either: an image line of the waybill settles it.

use camino::Utf8Path;
use gapferry_proto::{Artifact, BlobId, Facts, Kind};

use super::{
    Ground, Line, Missing, NotProven, Report,
    oci::{self, Absent},
};
use crate::{
    source::{
        helm::{
            self, bounds,
            chart::Chart,
            images::{Images, Row, manifest::images_of_manifest},
            oci::ChartManifest,
            reference::{Place, Wish},
            version::Version,
        },
        oci::reference::Place as ImagePlace,
    },
    waybill::{ChartLine, ImageLine},
};

/// Longest YAML file that is searched for images, in bytes: 16 MiB. The largest manifests that
/// projects publish have two.
pub const MANIFEST_LEN_BYTES_MAX: u64 = 16 << 20;

/// Checks the charts of a waybill.
pub fn check(
    ground: &Ground<'_>,
    base: &Utf8Path,
    lines: &[(String, ChartLine)],
    report: &mut Report,
) {
    for (label, line) in lines {
        report.count(Kind::Chart);
        let name = line.name.as_deref().unwrap_or(&line.repo);
        let archive = match carried(ground, line) {
            Ok(Some(archive)) => archive,
            Ok(None) => {
                let reason = "no version that the line takes would be there";
                let missing = Missing::new(Kind::Chart, name, label, reason);
                report.missing.push(missing.asked_for(Line::chart(line)));
                continue;
            }
            Err(error) => {
                report.missing.push(Missing::new(Kind::Chart, name, label, error));
                continue;
            }
        };
        if line.images {
            check_images(ground, base, line, archive, label, report);
        }
    }
}

/// Checks the images of the YAML files that are carried.
pub fn check_manifests(ground: &Ground<'_>, report: &mut Report) {
    for file in ground.held.artifacts() {
        let is_yaml = file.name.ends_with(".yaml") || file.name.ends_with(".yml");
        let Some(blob) = file.blobs.first().filter(|_| file.kind() == Kind::File && is_yaml) else {
            continue;
        };
        let bytes = ground.store.read(blob.id, MANIFEST_LEN_BYTES_MAX).ok();
        let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            let reason = "it cannot be searched for images: it is not here, too long or no text";
            report.not_proven.push(NotProven::new(Kind::File, &*file.name, "its images", reason));
            continue;
        };
        let images = images_of_manifest(&text);
        let asker = Asker { name: &file.name, platforms: &[], insecure: false };
        asker.check(ground, images, report);
    }
}

fn check_images(
    ground: &Ground<'_>,
    base: &Utf8Path,
    line: &ChartLine,
    archive: BlobId,
    label: &str,
    report: &mut Report,
) {
    let Ok(bytes) = ground.store.read(archive, bounds::CHART_LEN_BYTES_MAX) else {
        let reason = "its archive is not here, so its images are not known";
        report.not_proven.push(NotProven::new(Kind::Chart, &*line.repo, label, reason));
        return;
    };
    let chart = Chart::open(&bytes).map_err(|error| error.to_string());
    let found = chart.and_then(|chart| {
        let images = helm::images_of(line, base, &bytes, &chart);
        Ok((images.map_err(|error| error.to_string())?, chart.meta))
    });
    match found {
        Ok((images, meta)) => {
            let name = format!("chart {} {}", meta.name, meta.version);
            let (platforms, insecure) = (&line.platforms[..], line.insecure);
            Asker { name: &name, platforms, insecure }.check(ground, images, report);
        }
        Err(error) => {
            let name = line.name.as_deref().unwrap_or(&line.repo);
            let reason = format!("its images cannot be found: {error}");
            report.missing.push(Missing::new(Kind::Chart, name, label, reason));
        }
    }
}

/// A chart or a manifest whose images are asked for.
struct Asker<'a> {
    name: &'a str,
    platforms: &'a [String],
    insecure: bool,
}

impl Asker<'_> {
    fn check(&self, ground: &Ground<'_>, images: Images, report: &mut Report) {
        for row in &images.rows {
            report.count(Kind::Image);
            let line = ImageLine {
                platforms: self.platforms.to_vec(),
                insecure: self.insecure,
                ..ImageLine::of(row.reference.clone())
            };
            if let Err(absent) = oci::pull(ground, &line) {
                self.report(row, absent, &line, report);
            }
        }
        let unread = images.unread.into_iter();
        let row = |reason| NotProven::new(Kind::Image, "", self.name, reason);
        report.not_proven.extend(unread.map(row));
    }

    fn report(&self, row: &Row, absent: Absent, line: &ImageLine, report: &mut Report) {
        let by = format!("{}, {}", self.name, row.place);
        let Absent { name, reason } = absent;
        // What has no kind is no resource, so nobody knows what reads it.
        let is_resource = !row.place.contains(": (no kind)/");
        let why = match &row.hook {
            Some(hook) => format!("it runs as hook {hook}"),
            None if !row.proven => "it stands where a cluster may not pull it from".to_owned(),
            None if !is_resource => "it stands in no Kubernetes resource".to_owned(),
            None => {
                let missing = Missing::new(Kind::Image, name, &by, reason);
                report.missing.push(missing.with_line(Line::image(line)));
                return;
            }
        };
        let reason = format!("{why}; {reason}: name it under `images:` if it is needed");
        report.not_proven.push(NotProven::new(Kind::Image, name, &by, reason));
    }
}

/// The archive of the carried chart that a line takes.
fn carried(ground: &Ground<'_>, line: &ChartLine) -> Result<Option<BlobId>, String> {
    Ok(match Place::of(line).map_err(|error| error.to_string())? {
        Place::Web { repo, name, wish } => {
            let repository = helm::served_as(&repo).map_err(|error| error.to_string())?;
            chosen(ground, repository.as_str(), &name, &wish)
        }
        Place::Archive(path) | Place::Folder(path) => {
            let origin = format!("file:{path}");
            let is_meant = |one: &&Artifact| one.kind() == Kind::Chart && one.origin == origin;
            let chart = ground.held.artifacts().find(is_meant);
            chart.and_then(|chart| Some(chart.blobs.first()?.id))
        }
        Place::Registry { repository, wish, .. } => {
            let tag = wish.tag().ok_or("name one whole version")?;
            in_registry(ground, format!("{repository}:{tag}"))
        }
    })
}

/// Of the carried versions of a chart the one that a line takes.
fn chosen(ground: &Ground<'_>, repository: &str, name: &str, wish: &Wish) -> Option<BlobId> {
    let version = |artifact: &Artifact| {
        let Facts::Chart(facts) = &artifact.facts else { return None };
        let is_meant = facts.repository.as_str() == repository && facts.chart == name;
        let version = Version::parse(&facts.version).filter(|_| is_meant)?;
        Some((facts.version.clone(), version, artifact.blobs.first()?.id))
    };
    let mut versions: Vec<_> = ground.held.artifacts().filter_map(version).collect();
    versions.sort_by(|a, b| b.1.order(&a.1));
    wish.choose(&versions, |(text, version, _)| (text, version)).map(|(_, _, archive)| *archive)
}

/// The archive of a chart that is carried as the image it is in its registry.
fn in_registry(ground: &Ground<'_>, reference: String) -> Option<BlobId> {
    let line = ImageLine::of(reference);
    let ImagePlace::Registry(image) = ImagePlace::of(&line).ok()? else { return None };
    let artifact = ground.held.get(Kind::Image, &image.name())?;
    let Facts::Image(facts) = &artifact.facts else { return None };
    let root = ground.store.read(facts.root, bounds::MEMBER_LEN_BYTES_MAX).ok()?;
    Some(ChartManifest::parse(&root).ok()?.archive.id)
}
