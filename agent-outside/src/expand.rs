//! Expands what a waybill says in few words into the files and images that it means.
//!
//! In:   a waybill, the files beside it that it names: lists, Kubespray trees and inventories.
//! Out:  [`Expanded`]: files, images, charts and packages with the line that wants each, and all
//!       that is wrong. Nothing is fetched.

pub mod kubespray;

pub use kubespray::question;

use camino::Utf8Path;
use gapferry_proto::{Kind, KubesprayTree, artifact::Method};

use crate::{
    lists::{self, Checksum, FileEntry, ListError, ListsLine, NameEntry},
    source::{Failure, Verdict, file::Asked},
    waybill::{AptLine, ChartLine, ImageLine, PypiLine, Waybill, YumLine},
};

/// What a waybill means.
#[derive(Debug, Default)]
pub struct Expanded {
    pub files: Vec<Asked>,
    /// Each with the line that wants it.
    pub images: Vec<(String, ImageLine)>,
    /// Files among those above whose images come along.
    pub manifests: Vec<Asked>,
    pub charts: Vec<(String, ChartLine)>,
    pub apt: Vec<(String, AptLine)>,
    pub yum: Vec<(String, YumLine)>,
    pub pypi: Vec<(String, PypiLine)>,
    /// The trees that all of this is for.
    pub trees: Vec<KubesprayTree>,
    pub failures: Vec<Failure>,
    /// What is doubtful, and what no list can hold; for people.
    pub hints: Vec<String>,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
struct ReadError {
    path: camino::Utf8PathBuf,
    source: std::io::Error,
}

/// A reader of lists of one kind.
type Parse<T> = fn(&str, &[u8]) -> Result<Vec<T>, Vec<ListError>>;

/// Expands the lines of `waybill`, which lies in the folder `base`.
pub fn expand(waybill: &Waybill, base: &Utf8Path) -> Expanded {
    let spec = &waybill.spec;
    let mut expanded = Expanded::default();
    let files = spec.files.iter().enumerate();
    expanded.files.extend(files.map(|(index, line)| Asked::of_line(index, line)));
    expanded.images.extend(labelled("images", &spec.images));
    expanded.charts.extend(labelled("charts", &spec.charts));
    expanded.apt.extend(labelled("apt", &spec.apt));
    expanded.yum.extend(labelled("yum", &spec.yum));
    expanded.pypi.extend(labelled("pypi", &spec.pypi));
    expanded.add_lists(&spec.lists, base);
    for (index, line) in spec.kubespray.iter().enumerate() {
        expanded.add_kubespray(index, line, base);
    }
    expanded.join_images();
    expanded
}

fn labelled<'a, T: Clone>(
    what: &'a str,
    lines: &'a [T],
) -> impl Iterator<Item = (String, T)> + use<'a, T> {
    lines.iter().enumerate().map(move |(i, line)| (format!("spec.{what}[{i}]"), line.clone()))
}

impl Expanded {
    /// Lines that ask for one reference ask for all their platforms together: two artifacts of one
    /// name could not have different blobs.
    fn join_images(&mut self) {
        let mut joined: Vec<(String, ImageLine)> = vec![];
        for (label, line) in std::mem::take(&mut self.images) {
            let same = |(_, other): &&mut (String, ImageLine)| {
                let platforms = line.platforms.clone();
                ImageLine { platforms, ..other.clone() } == line
            };
            match joined.iter_mut().find(same) {
                Some((labels, other)) => {
                    let is_all = other.platforms.is_empty() || line.platforms.is_empty();
                    other.platforms.extend(line.platforms);
                    other.platforms.sort();
                    other.platforms.dedup();
                    if is_all {
                        other.platforms.clear();
                    }
                    *labels = format!("{labels}, {label}");
                }
                None => joined.push((label, line)),
            }
        }
        self.images = joined;
    }

    fn add_lists(&mut self, lists: &ListsLine, base: &Utf8Path) {
        if let Some(path) = &lists.files {
            let entries = self.entries(Kind::File, path, base, lists::files);
            let insecure = lists.insecure;
            self.files.extend(entries.into_iter().map(|entry| file(path, &entry, insecure)));
        }
        if let Some(path) = &lists.images {
            let entries = self.entries(Kind::Image, path, base, lists::images);
            self.images.extend(entries.into_iter().map(|entry| image(path, entry, lists.insecure)));
        }
    }

    /// The entries of a list; none of a list with an error.
    fn entries<T>(
        &mut self,
        kind: Kind,
        path: &Utf8Path,
        base: &Utf8Path,
        parse: Parse<T>,
    ) -> Vec<T> {
        let place = base.join(path);
        let bytes = match lists::read(&place) {
            Ok(bytes) => bytes,
            Err(source) => {
                self.fail(kind, path, ReadError { path: place, source });
                return vec![];
            }
        };
        parse(path.as_str(), &bytes).unwrap_or_else(|errors| {
            errors.into_iter().for_each(|error| self.fail(kind, path, error));
            vec![]
        })
    }

    fn fail(
        &mut self,
        kind: Kind,
        path: &Utf8Path,
        error: impl std::error::Error + Send + Sync + 'static,
    ) {
        self.failures.push(Failure::new(kind, path.as_str(), Verdict::Configuration, error));
    }
}

fn file(path: &Utf8Path, entry: &FileEntry, insecure: bool) -> Asked {
    let expected = match entry.checksum {
        Checksum::None => None,
        Checksum::Sha256(digest) => Some((digest, Method::Waybill)),
    };
    let label = format!("{path}:{}", entry.line);
    Asked { url: entry.url.clone(), expected, sha512: None, label, insecure }
}

fn image(path: &Utf8Path, entry: NameEntry, insecure: bool) -> (String, ImageLine) {
    let line = ImageLine { insecure, ..ImageLine::of(entry.name) };
    (format!("{path}:{}", entry.line), line)
}

#[cfg(test)]
mod tests {
    use gapferry_proto::Digest;

    use super::*;

    fn waybill(spec: &str) -> Waybill {
        let head = "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: w}\nspec:\n";
        Waybill::parse(&format!("{head}{spec}")).unwrap()
    }

    #[test]
    fn lists_become_files_and_images_that_say_which_line_wants_them() {
        let folder = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(folder.path()).unwrap();
        let sum = "ab".repeat(32);
        let files = format!("# kubespray\nhttps://h.example/a\n{sum}  https://h.example/b\n");
        std::fs::write(base.join("files.list"), files).unwrap();
        std::fs::write(base.join("images.list"), "registry.example/pause:3.10\n").unwrap();
        let expanded =
            expand(&waybill("  lists: {files: files.list, images: images.list}\n"), base);
        let asked = |label: &str, url: &str, expected| Asked {
            url: url.parse().unwrap(),
            expected,
            sha512: None,
            label: label.to_owned(),
            insecure: false,
        };
        let digest: Digest = format!("sha256:{sum}").parse().unwrap();
        let expected = [
            asked("files.list:2", "https://h.example/a", None),
            asked("files.list:3", "https://h.example/b", Some((digest, Method::Waybill))),
        ];
        assert_eq!(expanded.files, expected);
        let image = ImageLine::of("registry.example/pause:3.10");
        assert_eq!(expanded.images, [("images.list:1".to_owned(), image)]);
        assert!(expanded.failures.is_empty());
    }

    #[test]
    fn every_error_of_every_list_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::write(base.join("f"), "ftp://h.example/a\nnot a url at all\n").unwrap();
        let expanded = expand(&waybill("  lists: {files: f, images: none}\n"), base);
        let told: Vec<_> = expanded.failures.iter().map(|f| (f.kind, f.name.as_str())).collect();
        assert_eq!(told, [(Kind::File, "f"), (Kind::File, "f"), (Kind::Image, "none")]);
    }
}
