//! dnf: the transaction of `dnf --installroot=EMPTY install --assumeno` from a repository made
//! here.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ::tests::{
    Upstream,
    clients::{clean, find},
    process,
    site::Environment,
};

use super::{Bench, Row, last, row, rpms};

/// What is asked for, and whether weak dependencies come along.
const WISHES: [(&[&str], bool); 10] = [
    (&["app"], true),
    (&["app"], false),
    (&["web"], true),
    (&["web", "db"], false),
    (&["db"], true),
    (&["editor"], true),
    (&["editor", "lang-de"], true),
    (&["legacy"], true),
    (&["cluster"], false),
    (&["app", "web", "db", "editor", "cluster"], true),
];

pub fn measure() -> Vec<Row> {
    let lacking = ["dnf", "rpmbuild", "createrepo_c"].into_iter().find(|name| find(name).is_none());
    if let Some(program) = lacking {
        return vec![Row::new("closures: dnf", format!("absent: {program}"), "")];
    }
    let bench = Bench::new(Environment::Clean);
    let repository = match rpms::make(&bench.folder.path().join("rpms")) {
        Ok(repository) => repository,
        Err(error) => {
            return vec![Row::new("closures: dnf", format!("no repository: {error}"), "")];
        }
    };
    let upstream = Upstream::start();
    offer(&upstream, &repository, "/files/yum");
    let dnf = Dnf::new(&bench.folder.path().join("dnf"), &repository);
    let measured = WISHES.map(|(packages, weak)| {
        let spec = format!(
            "  yum: [{{baseurl: \"{}/files/yum\", arch: x86_64, releasever: \"9\", \
             packages: [{}], weak: {weak}, insecure: true}}]\n",
            upstream.url(),
            packages.join(", ")
        );
        let less = if weak { "" } else { ", without weak dependencies" };
        let wish = format!("dnf {}{less}", packages.join(" "));
        row(&wish, bench.carried(&spec), dnf.installed(packages, weak))
    });
    measured.into()
}

fn offer(upstream: &Upstream, folder: &Path, below: &str) {
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let place = format!("{below}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            offer(upstream, &path, &place);
        } else {
            upstream.put(&place, fs::read(&path).expect("a file can be read"));
        }
    }
}

/// dnf that knows one repository, and a root in which nothing is installed.
struct Dnf {
    folder: PathBuf,
}

impl Dnf {
    fn new(folder: &Path, repository: &Path) -> Self {
        for sub in ["root", "repos", "vars"] {
            fs::create_dir_all(folder.join(sub)).expect("a folder can be made");
        }
        let (dir, url) = (folder.display(), repository.display());
        let settings = format!(
            "[main]\ncachedir={dir}/cache\npersistdir={dir}/persist\nlogdir={dir}/log\n\
             reposdir={dir}/repos\nvarsdir={dir}/vars\ngpgcheck=0\nplugins=0\n\
             [made]\nname=made\nbaseurl=file://{url}\n"
        );
        fs::write(folder.join("dnf.conf"), settings).expect("a file can be written");
        Self { folder: folder.to_owned() }
    }

    fn installed(&self, packages: &[&str], weak: bool) -> Result<BTreeSet<String>, String> {
        let mut dnf = clean("dnf", &self.folder);
        dnf.env("LC_ALL", "C.UTF-8").arg("-c").arg(self.folder.join("dnf.conf"));
        dnf.arg(format!("--installroot={}", self.folder.join("root").display()));
        dnf.args(["--releasever=9", "--forcearch=x86_64"]);
        dnf.arg(format!("--setopt=install_weak_deps={}", u8::from(weak)));
        let finished = process::run(dnf.args(["install", "--assumeno"]).args(packages));
        let installed = transaction(&finished.stdout);
        if installed.is_empty() { Err(last(&finished.stderr)) } else { Ok(installed) }
    }
}

/// The packages of dnf's table: ` name  arch  version  repository  size unit`.
fn transaction(text: &str) -> BTreeSet<String> {
    let table = text.split_once("Installing:").map_or("", |(_, table)| table);
    let table = table.split_once("Transaction Summary").map_or(table, |(table, _)| table);
    let row = |line: &str| {
        let words: Vec<&str> = line.strip_prefix(' ')?.split_whitespace().collect();
        let [name, arch, version, _, _, _] = words[..] else { return None };
        Some(format!("{name} {version} {arch}"))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_read_from_the_table() {
        let text = "Dependencies resolved.\n Package Arch Version Repository Size\nInstalling:\n \
                    app    noarch  1:1.0-1   made   6.1 k\nInstalling weak dependencies:\n \
                    doc    x86_64  2-1       made   6.0 M\n\nTransaction Summary\n=====\nInstall  \
                    2 Packages\n";
        let expected = ["app 1:1.0-1 noarch", "doc 2-1 x86_64"].map(str::to_owned);
        assert_eq!(transaction(text), expected.into());
    }
}
