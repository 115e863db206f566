//! A Kubespray line as the files, images, packages, charts and requirements that it means.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use data_encoding::HEXLOWER;
use gapferry_proto::{Digest, Kind as ArtifactKind, KubesprayTree, artifact::Method};

use super::Expanded;
use crate::{
    kubespray::{
        Kind, Node, Nodes,
        nodes::{machine, system},
        question::{Answer, Question},
        supplement::{self, Admin, Item},
    },
    source::{Failure, Verdict, file::Asked},
    waybill::{AptLine, ChartLine, ImageLine, KubesprayLine, PypiLine, RepositoryLines, YumLine},
};

/// The packages of one system and the architectures of its machines.
#[derive(Debug, Default)]
struct System {
    packages: BTreeSet<String>,
    architectures: BTreeSet<String>,
}

/// One line on its way.
struct Expansion<'a> {
    line: &'a KubesprayLine,
    label: String,
    nodes: Nodes,
    systems: BTreeMap<String, System>,
    requirements: BTreeSet<String>,
    into: &'a mut Expanded,
}

impl Expanded {
    /// Adds all that the line numbered `index` means.
    pub(super) fn add_kubespray(&mut self, index: usize, line: &KubesprayLine, base: &Utf8Path) {
        let label = format!("spec.kubespray[{index}]");
        let question = question(line, base);
        match question.answer() {
            Ok(answer) => {
                let version = answer.supplement.version.clone();
                self.trees.push(KubesprayTree { version, tree: answer.tree_digest });
                self.add_answer(label, line, question.nodes, &answer);
            }
            Err(error) => self.fail(ArtifactKind::File, Utf8Path::new(&label), error),
        }
    }

    /// What an answer to the question of `line` means.
    pub fn of_answer(label: String, line: &KubesprayLine, nodes: Nodes, answer: &Answer) -> Self {
        let mut expanded = Self::default();
        expanded.add_answer(label, line, nodes, answer);
        expanded.join_images();
        expanded
    }

    fn add_answer(&mut self, label: String, line: &KubesprayLine, nodes: Nodes, answer: &Answer) {
        let (systems, requirements) = (BTreeMap::new(), BTreeSet::new());
        let mut expansion = Expansion { line, label, nodes, systems, requirements, into: self };
        expansion.problems(answer);
        expansion.unknown(&answer.hosts);
        expansion.rows(answer);
        answer.supplement.items.iter().for_each(|item| expansion.item(item));
        expansion.packages();
        expansion.python(&answer.supplement.python);
    }
}

/// The question that a line asks; paths are relative to the waybill's folder.
pub fn question(line: &KubesprayLine, base: &Utf8Path) -> Question {
    let extra = line.extra_vars.iter().map(|argument| {
        let is_value = argument.contains('=') || argument.starts_with(['{', '@']);
        if is_value { argument.clone() } else { format!("@{argument}") }
    });
    let mut nodes = Nodes::default();
    for node in &line.nodes {
        let what = Node { os: node.os.clone(), arch: node.arch.clone() };
        match &node.host {
            Some(host) => drop(nodes.by_host.insert(host.clone(), what)),
            None => nodes.default = Some(what),
        }
    }
    Question {
        tree: base.join(&line.tree).into_string(),
        inventory: base.join(&line.inventory).into_string(),
        extra: extra.collect(),
        base: base.to_string(),
        nodes,
        admin: Admin { runner: line.runner, os: line.admin.as_ref().map(|admin| admin.os.clone()) },
    }
}

impl Expansion<'_> {
    fn problems(&mut self, answer: &Answer) {
        for problem in &answer.resolved.problems {
            if problem.is_warning() {
                self.into.hints.push(format!("{}: {problem}", self.label));
            } else {
                let label = self.label.clone();
                self.into.fail(ArtifactKind::File, Utf8Path::new(&label), problem.clone());
            }
        }
        for problem in &answer.supplement.problems {
            self.into.hints.push(format!("{}: {}: {}", self.label, problem.name, problem.message));
        }
    }

    /// Names what the line says of hosts and systems that are not there: a slip of the pen leaves
    /// a machine without its packages.
    fn unknown(&mut self, hosts: &[String]) {
        for host in self.line.nodes.iter().filter_map(|node| node.host.as_ref()) {
            if !hosts.contains(host) {
                self.into.hints.push(format!("{}: the inventory has no host {host}", self.label));
            }
        }
        let used = |os: &String| {
            let nodes = self.line.nodes.iter().map(|node| &node.os);
            nodes.chain(self.line.admin.iter().map(|admin| &admin.os)).any(|known| known == os)
        };
        for os in self.line.repositories.keys().filter(|os| !used(os)) {
            self.into.hints.push(format!("{}: no machine is {os}", self.label));
        }
    }

    fn rows(&mut self, answer: &Answer) {
        for row in answer.resolved.rows.iter().filter(|row| !row.hosts.is_empty()) {
            match row.kind {
                Kind::File => {
                    drop(self.file(&row.name, row.url.as_deref(), row.checksum.as_deref()));
                }
                Kind::Container => {
                    let (repo, tag) = (row.repo.as_deref(), row.tag.as_deref());
                    match (repo, tag) {
                        (Some(repo), Some(tag)) => {
                            self.image(&row.name, format!("{repo}:{tag}"), &row.hosts);
                        }
                        _ => self.refuse(ArtifactKind::Image, &row.name, "it has no repo or tag"),
                    }
                }
                Kind::Package => self.package(&row.name, &row.hosts),
            }
        }
        for fetched in &answer.resolved.role_downloads {
            if !fetched.hosts_beyond_downloads.is_empty() {
                let name = format!("{} (roles/{})", fetched.name, fetched.role);
                drop(self.file(&name, fetched.url.as_deref(), fetched.checksum.as_deref()));
            }
        }
    }

    fn item(&mut self, item: &Item) {
        let what = format!("{} ({})", item.name, item.why);
        match item.kind {
            supplement::Kind::File | supplement::Kind::Source => {
                drop(self.file(&what, Some(&item.value), item.checksum.as_deref()));
            }
            supplement::Kind::Manifest => {
                let file = self.file(&what, Some(&item.value), item.checksum.as_deref());
                let insecure = self.line.insecure;
                self.into.manifests.extend(file.map(|file| Asked { insecure, ..file }));
            }
            supplement::Kind::Image => self.image(&what, item.value.clone(), &item.hosts),
            supplement::Kind::Chart => self.chart(&what, item),
            supplement::Kind::Package if item.admin => {
                if let Some(admin) = &self.line.admin {
                    self.add_package(&item.value, &admin.os.clone(), &admin.arch.clone());
                }
                self.package(&item.value, &item.hosts);
            }
            supplement::Kind::Package => self.package(&item.value, &item.hosts),
            supplement::Kind::Python => drop(self.requirements.insert(item.value.clone())),
        }
    }

    /// A file, with the checksum that Kubespray gives it; none when it cannot be asked for.
    fn file(&mut self, name: &str, url: Option<&str>, checksum: Option<&str>) -> Option<Asked> {
        let label = format!("{}: {name}", self.label);
        let Some(url) = url.and_then(|url| url.parse().ok()) else {
            self.refuse(ArtifactKind::File, name, "its URL is none");
            return None;
        };
        let expected = checksum.and_then(|checksum| checksum.parse::<Digest>().ok());
        let sha512 = checksum.and_then(sha512);
        if let (None, None, Some(checksum)) = (expected, sha512, checksum) {
            let what = format!("its checksum {checksum:?} is neither SHA-256 nor SHA-512");
            self.refuse(ArtifactKind::File, name, &what);
            return None;
        }
        let expected = expected.map(|digest| (digest, Method::Kubespray));
        let asked = Asked { url, expected, sha512, label, insecure: false };
        self.into.files.push(asked.clone());
        Some(asked)
    }

    /// What Kubespray wants and nobody can ask for keeps the lock from being written.
    fn refuse(&mut self, kind: ArtifactKind, name: &str, what: &str) {
        let what = format!("{}: {what}", self.label);
        self.into.failures.push(Failure::new(kind, name, Verdict::Configuration, what));
    }

    /// An image for the platforms of its hosts, or of the admin node when it names none.
    fn image(&mut self, name: &str, reference: String, hosts: &[String]) {
        let line = ImageLine {
            platforms: self.platforms(hosts),
            insecure: self.line.insecure,
            ..ImageLine::of(reference)
        };
        self.into.images.push((format!("{}: {name}", self.label), line));
    }

    fn platforms(&self, hosts: &[String]) -> Vec<String> {
        let of_hosts = hosts.iter().filter_map(|host| self.nodes.of(host));
        let mut architectures: BTreeSet<&str> = of_hosts.map(|node| node.arch.as_str()).collect();
        if architectures.is_empty() {
            architectures.extend(self.line.admin.iter().map(|admin| admin.arch.as_str()));
        }
        architectures.into_iter().map(|arch| format!("linux/{arch}")).collect()
    }

    fn chart(&mut self, name: &str, item: &Item) {
        let label = format!("{}: {name}", self.label);
        let Some(repo) = item.repository.clone() else {
            return self.into.hints.push(format!("{label}: nothing tells its repository"));
        };
        let line = ChartLine {
            repo,
            name: Some(item.value.clone()),
            version: item.version.clone(),
            images: item.images,
            insecure: self.line.insecure,
            ..ChartLine::default()
        };
        self.into.charts.push((label, line));
    }

    fn package(&mut self, package: &str, hosts: &[String]) {
        for host in hosts {
            if let Some(Node { os, arch }) = self.nodes.of(host).cloned() {
                self.add_package(package, &os, &arch);
            }
        }
    }

    fn add_package(&mut self, package: &str, os: &str, arch: &str) {
        let system = self.systems.entry(os.to_owned()).or_default();
        system.packages.insert(package.to_owned());
        system.architectures.insert(arch.to_owned());
    }

    /// The packages of each system, from the repositories that the line names for it.
    fn packages(&mut self) {
        for (os, wanted) in std::mem::take(&mut self.systems) {
            let label = format!("{}: packages of {os}", self.label);
            let named = self.line.repositories.get(&os);
            match system(&os).map(|system| (system.pkg_mgr, system)) {
                Some(("apt", system)) => {
                    let apt = apt(named, &os, system.release, &wanted);
                    self.into.apt.extend(apt.into_iter().map(|line| (label.clone(), line)));
                }
                Some(("dnf" | "dnf5" | "yum", system)) => {
                    let major = system.version.split('.').next().unwrap_or_default();
                    let yum = yum(named, &os, major, &wanted);
                    self.into.yum.extend(yum.into_iter().map(|line| (label.clone(), line)));
                }
                _ => {
                    let names = Vec::from_iter(wanted.packages).join(", ");
                    self.into.hints.push(format!("{label} are not carried: {names}"));
                }
            }
        }
    }

    fn python(&mut self, supported: &[String]) {
        if self.requirements.is_empty() {
            return;
        }
        let own = &self.line.python;
        let arch = self.line.admin.as_ref().map_or("amd64", |admin| admin.arch.as_str());
        let line = PypiLine {
            requirements: None,
            packages: self.requirements.iter().cloned().collect(),
            python: if own.is_empty() { supported.to_vec() } else { own.clone() },
            platforms: vec![format!("manylinux_2_17_{}", machine(arch))],
            index: None,
            insecure: self.line.insecure,
        };
        self.into.pypi.push((format!("{}: requirements", self.label), line));
    }
}

/// The bytes of `sha512:` and 128 hex digits.
fn sha512(checksum: &str) -> Option<[u8; 64]> {
    let hex = checksum.strip_prefix("sha512:")?.to_ascii_lowercase();
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

/// The packages of `wanted` that no line names itself.
fn left_over<'a>(wanted: &System, named: impl Iterator<Item = &'a Vec<String>>) -> Vec<String> {
    let named: BTreeSet<&String> = named.flatten().collect();
    wanted.packages.iter().filter(|package| !named.contains(package)).cloned().collect()
}

fn apt(named: Option<&RepositoryLines>, os: &str, suite: &str, wanted: &System) -> Vec<AptLine> {
    let mut lines = named.map(|lines| lines.apt.clone()).unwrap_or_default();
    if lines.is_empty() {
        lines.push(AptLine { suite: suite.to_owned(), ..AptLine::default() });
    }
    let rest = left_over(wanted, lines.iter().map(|line| &line.packages));
    lines[0].packages.extend(rest);
    for line in &mut lines {
        if line.architectures.is_empty() {
            line.architectures = wanted.architectures.iter().cloned().collect();
        }
        line.target = line.target.take().or_else(|| os.parse().ok());
    }
    lines
}

fn yum(named: Option<&RepositoryLines>, os: &str, major: &str, wanted: &System) -> Vec<YumLine> {
    let mut lines = named.map(|lines| lines.yum.clone()).unwrap_or_default();
    if lines.is_empty() {
        lines.push(YumLine { releasever: Some(major.to_owned()), ..YumLine::default() });
    }
    // Any repository of the system may have them: the settings of the first line say the rest.
    let packages = left_over(wanted, lines.iter().map(|line| &line.packages));
    if !packages.is_empty() {
        let first = lines[0].clone();
        if first.packages.is_empty() {
            lines.remove(0);
        }
        lines.insert(0, YumLine { packages, from_all: true, ..first });
    }
    let mut all = vec![];
    for line in lines {
        let own = Some(line.arch.clone()).filter(|arch| !arch.is_empty());
        let every = wanted.architectures.iter().map(|arch| machine(arch).to_owned());
        let arches = own.map_or_else(|| every.collect::<Vec<_>>(), |arch| vec![arch]);
        for arch in arches {
            let target = line.target.clone().or_else(|| os.parse().ok());
            all.push(YumLine { arch, target, ..line.clone() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_no_yum_line_names_are_asked_from_all_of_them() {
        let lines = |text: &str| RepositoryLines {
            yum: serde_saphyr::from_str(text).unwrap(),
            ..RepositoryLines::default()
        };
        let wanted = System {
            packages: ["conntrack-tools", "socat"].map(str::to_owned).into(),
            architectures: ["amd64".to_owned()].into(),
        };
        let told = |text: &str| {
            let all = yum(Some(&lines(text)), "rocky-9", "9", &wanted);
            let told = |line: YumLine| {
                format!("{}: {} {}", line.repos.join(","), line.packages.join(","), line.from_all)
            };
            all.into_iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(
            told("[{repos: [baseos]}, {repos: [appstream]}, {repos: [third], packages: [socat]}]"),
            ["baseos: conntrack-tools true", "appstream:  false", "third: socat false"]
        );
        assert_eq!(
            told("[{repos: [baseos], packages: [vim]}]"),
            ["baseos: conntrack-tools,socat true", "baseos: vim false"]
        );
    }
}
