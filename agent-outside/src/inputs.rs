//! The files that a waybill names, by their digests: whether a lock was made from these.
//!
//! In:   a waybill, its folder, and what lies there.
//! Out:  [`Inputs`]: one digest a file, folder or tree, by its path as the waybill writes it.
//!
//! What proves who we are (client certificates, logins) changes nothing that is carried, and is
//! none of them; nor are this machine's own settings, which no waybill names.

use std::{collections::BTreeMap, fs::File, io};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::hashing;
use gapferry_proto::{Digest, Target};

use crate::{
    expand::question,
    source::{helm, oci::reference, pypi::requirements::Reading, yum},
    waybill::{
        AptLine, ChartLine, ImageLine, InstalledAt, KubesprayLine, PypiLine, Waybill, YumLine,
    },
};

/// Digests by path.
pub type Inputs = BTreeMap<String, Digest>;

/// Reads all that `waybill`, which lies in the folder `base`, names. What cannot be read is left
/// out: resolving says why.
pub fn of(waybill: &Waybill, base: &Utf8Path) -> Inputs {
    let mut reading = Files { base, inputs: Inputs::new() };
    let spec = &waybill.spec;
    reading.files([&spec.lists.files, &spec.lists.images]);
    spec.kubespray.iter().for_each(|line| reading.kubespray(line));
    spec.images.iter().for_each(|line| reading.image(line));
    spec.charts.iter().for_each(|line| reading.chart(line));
    spec.apt.iter().for_each(|line| reading.apt(line));
    spec.yum.iter().for_each(|line| reading.yum(line));
    spec.pypi.iter().for_each(|line| reading.pypi(line));
    reading.inputs
}

/// What differs, each with a word on how.
pub fn changes(then: &Inputs, now: &Inputs) -> Vec<String> {
    let changed = then.iter().filter_map(|(path, digest)| match now.get(path) {
        None => Some(format!("{path} (gone, or not to be read)")),
        Some(now) if now != digest => Some(format!("{path} (changed)")),
        Some(_) => None,
    });
    let added = now.keys().filter(|path| !then.contains_key(*path));
    changed.chain(added.map(|path| format!("{path} (new)"))).collect()
}

/// Inputs as they are read.
struct Files<'a> {
    base: &'a Utf8Path,
    inputs: Inputs,
}

impl Files<'_> {
    fn add(&mut self, path: &str, digest: Option<Digest>) {
        self.inputs.extend(digest.map(|digest| (path.to_owned(), digest)));
    }

    fn file(&mut self, path: &Utf8Path) {
        let digest = file_digest(&self.base.join(path)).ok();
        self.add(path.as_str(), digest);
    }

    fn files<'p>(&mut self, paths: impl IntoIterator<Item = &'p Option<Utf8PathBuf>>) {
        paths.into_iter().flatten().for_each(|path| self.file(path));
    }

    fn kubespray(&mut self, line: &KubesprayLine) {
        let question = question(line, self.base);
        self.add(&line.tree, question.tree_digest().ok());
        self.add(line.inventory.as_str(), question.inventory_digest().ok());
        for argument in &question.extra {
            if let Some(path) = argument.strip_prefix('@') {
                self.file(Utf8Path::new(path));
            }
        }
        for repositories in line.repositories.values() {
            repositories.apt.iter().for_each(|line| self.apt(line));
            repositories.yum.iter().for_each(|line| self.yum(line));
        }
    }

    fn image(&mut self, line: &ImageLine) {
        if let Some(require) = &line.require {
            self.file(&require.cosign_key);
        }
        if let Ok(reference::Place::Layout { dir, .. }) = reference::Place::of(line) {
            self.file(&dir.join("index.json"));
        }
    }

    fn chart(&mut self, line: &ChartLine) {
        self.files([&line.keyring]);
        line.values.iter().for_each(|path| self.file(path));
        match helm::reference::Place::of(line) {
            Ok(helm::reference::Place::Archive(path)) => self.file(&path),
            Ok(helm::reference::Place::Folder(path)) => {
                let packed = helm::archive_on_disk(&self.base.join(&path)).ok();
                self.add(path.as_str(), packed.map(|(bytes, _)| Digest::of(&bytes)));
            }
            _ => {}
        }
    }

    fn apt(&mut self, line: &AptLine) {
        self.files([&line.list, &line.signed_by]);
        self.installed(line.installed.as_ref(), line.target().ok());
    }

    fn yum(&mut self, line: &YumLine) {
        line.gpg_key.iter().for_each(|path| self.file(path));
        self.installed(line.installed.as_ref(), yum::target(line).ok());
    }

    fn installed(&mut self, at: Option<&InstalledAt>, target: Option<Target>) {
        match (at, target) {
            (Some(InstalledAt::File(path)), _) => self.file(path),
            (Some(InstalledAt::Site(list)), Some(target)) => {
                let digest = list.path(&target).and_then(|path| file_digest(&path).ok());
                let name = format!("installed at {} {}", list.site, list.target(&target));
                self.add(&name, digest);
            }
            _ => {}
        }
    }

    /// A requirements file and all that it includes.
    fn pypi(&mut self, line: &PypiLine) {
        let Some(file) = &line.requirements else { return };
        let mut reading = Reading::default();
        reading.file(&self.base.join(file));
        self.file(file);
        for path in reading.files().filter(|path| **path != self.base.join(file)) {
            let below = path.strip_prefix(self.base).unwrap_or(path);
            self.add(below.as_str(), file_digest(path).ok());
        }
    }
}

/// The digest of a plain file; a pipe would never end.
fn file_digest(path: &Utf8Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    hashing::hash(&mut file).map(|(digest, _)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "
  lists: {files: f.list}
  pypi: [{requirements: ./r/one.txt, python: ['3.12']}]
  apt: [{suite: s, architectures: [amd64], packages: [a], signedBy: keys/a, installed: dpkg.txt}]
  yum: [{arch: x86_64, packages: [a], gpgKey: [keys/y], sslclientcert: c, sslclientkey: c,
         target: el9, installed: {site: prod}}]
  charts: [{repo: ./chart, images: true, values: [v.yaml]}]
  images: [{ref: 'oci:layout:1', as: r.example/a:1}]
  kubespray: [{tree: ./tree, inventory: inv/hosts.yaml, extraVars: [e.yml, a=1, '@f.yml']}]
";

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        for path in [
            "f.list",
            "r/one.txt",
            "r/two.txt",
            "keys/a",
            "keys/y",
            "dpkg.txt",
            "c",
            "v.yaml",
            "layout/index.json",
            "tree/roles/a/tasks/main.yml",
            "inv/hosts.yaml",
            "inv/group_vars/all/a.yml",
            "inv/artifacts/admin.conf",
            "e.yml",
            "f.yml",
            "chart/Chart.yaml",
            "ledger/prod/el9.txt",
        ] {
            std::fs::create_dir_all(base.join(path).parent().unwrap()).unwrap();
            std::fs::write(base.join(path), "a: 1\n").unwrap();
        }
        std::fs::write(base.join("r/one.txt"), "-r two.txt\n").unwrap();
        std::fs::write(base.join("inv/hosts.yaml"), "all: {hosts: {a: {}}}\n").unwrap();
        std::fs::write(base.join("chart/Chart.yaml"), "name: a\nversion: 1.0.0\n").unwrap();
        (dir, base)
    }

    fn waybill(base: &Utf8Path) -> Waybill {
        let head = "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: w}\nspec:\n";
        let mut waybill = Waybill::parse(&format!("{head}{SPEC}")).unwrap();
        waybill.spec.bind(&|site| base.join("ledger").join(site.as_str()));
        waybill
    }

    #[test]
    fn everything_that_is_named_counts_under_its_written_name() {
        let (_dir, base) = folder();
        let inputs = of(&waybill(&base), &base);
        let names: Vec<_> = inputs.keys().map(String::as_str).collect();
        let expected = [
            "./chart",
            "./r/one.txt",
            "./tree",
            "dpkg.txt",
            "e.yml",
            "f.list",
            "f.yml",
            "installed at prod el9",
            "inv/hosts.yaml",
            "keys/a",
            "keys/y",
            "layout/index.json",
            "r/two.txt",
            "v.yaml",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn each_change_is_noticed_and_what_a_run_leaves_behind_is_none() {
        let (_dir, base) = folder();
        let then = of(&waybill(&base), &base);
        assert_eq!(changes(&then, &of(&waybill(&base), &base)), Vec::<String>::new());
        for (path, named) in [
            ("f.list", "f.list"),
            ("r/two.txt", "r/two.txt"),
            ("keys/y", "keys/y"),
            ("dpkg.txt", "dpkg.txt"),
            ("ledger/prod/el9.txt", "installed at prod el9"),
            ("v.yaml", "v.yaml"),
            ("layout/index.json", "layout/index.json"),
            ("chart/templates/a.yaml", "./chart"),
            ("tree/roles/a/tasks/main.yml", "./tree"),
            ("inv/group_vars/all/a.yml", "inv/hosts.yaml"),
            ("e.yml", "e.yml"),
        ] {
            let place = base.join(path);
            let before = std::fs::read(&place).ok();
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(&place, "b: 2\n").unwrap();
            assert_eq!(changes(&then, &of(&waybill(&base), &base)), [format!("{named} (changed)")]);
            match before {
                Some(bytes) => std::fs::write(&place, bytes).unwrap(),
                None => std::fs::remove_file(&place).unwrap(),
            }
        }
        std::fs::write(base.join("inv/artifacts/admin.conf"), "other").unwrap();
        std::fs::write(base.join("c"), "a new certificate").unwrap();
        assert_eq!(changes(&then, &of(&waybill(&base), &base)), Vec::<String>::new());
        std::fs::remove_file(base.join("keys/a")).unwrap();
        std::fs::write(base.join("r/one.txt"), "-r two.txt\n-r three.txt\n").unwrap();
        std::fs::write(base.join("r/three.txt"), "").unwrap();
        let expected =
            ["./r/one.txt (changed)", "keys/a (gone, or not to be read)", "r/three.txt (new)"];
        assert_eq!(changes(&then, &of(&waybill(&base), &base)), expected);
    }
}
