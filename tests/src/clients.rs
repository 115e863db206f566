//! Real clients, where this machine has them.
//!
//! Each runs with a clean environment and a scratch home, so that no setting of the machine
//! helps it or gets in its way. With `GAPFERRY_REQUIRE_CLIENTS=1` a missing one is a failure, but
//! for those that take minutes to build: see [`Client::is_extra`].

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

mod ansible;
mod containerd;
mod dnf;
mod helm;
mod podman;
mod uv;
mod zypper;

pub use ansible::{ansible, ansible_with};
pub use containerd::Containerd;
pub use dnf::Dnf;
pub use helm::Helm;
pub use podman::Podman;
pub use uv::uv_pip;
pub use zypper::Zypper;

use crate::process::{self, Finished};

/// The interpreter that packages of the system bring modules for.
pub const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// A client that the tests know how to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    Pip,
    AptGet,
    Skopeo,
    Crane,
    Curl,
    Dnf,
    /// What makes packages and repositories for dnf: `rpmbuild`, `rpmsign`, `createrepo_c`.
    Rpm,
    /// The one that packs metadata by zstd.
    Createrepo1,
    Helm,
    Gpg,
    Oras,
    Regctl,
    OciConformance,
    AnsiblePlaybook,
    /// What Ansible's module `apt` reads lists with.
    PythonApt,
    /// What makes certificates and reads them.
    Openssl,
    /// containerd 1.6 and its `ctr`, which want root.
    Containerd,
    /// containerd 2 and its `ctr`, by names of their own beside those of 1.6.
    Containerd2,
    Podman,
    Uv,
    Zypper,
    Cosign,
    /// A registry with the referrers API, to sign images in.
    RegistryReferrers,
}

/// Whether what a test needs of this machine may not be missing: `GAPFERRY_REQUIRE_CLIENTS=1`.
pub fn are_required() -> bool {
    env::var("GAPFERRY_REQUIRE_CLIENTS").is_ok_and(|value| value == "1")
}

impl Client {
    /// Those that the demo uses, and does without where they are missing.
    const OF_THE_DEMO: [Self; 5] = [Self::Pip, Self::AptGet, Self::Skopeo, Self::Crane, Self::Curl];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::AptGet => "apt-get",
            Self::Skopeo => "skopeo",
            Self::Crane => "crane",
            Self::Curl => "curl",
            Self::Dnf => "dnf",
            Self::Rpm => "rpmbuild",
            Self::Createrepo1 => "createrepo_c1",
            Self::Helm => "helm",
            Self::Gpg => "gpg",
            Self::AnsiblePlaybook => "ansible-playbook",
            Self::Openssl => "openssl",
            Self::Oras => "oras",
            Self::Regctl => "regctl",
            Self::OciConformance => "oci-conformance",
            Self::PythonApt => "python3-apt",
            Self::Containerd => "containerd",
            Self::Containerd2 => "containerd2",
            Self::Podman => "podman",
            Self::Uv => "uv",
            Self::Zypper => "zypper",
            Self::Cosign => "cosign",
            Self::RegistryReferrers => "registry-referrers",
        }
    }

    /// Whether a test may go on without it even where clients are required. These are built from
    /// source for minutes, so CI has them not; whoever changes what they read has to install them
    /// and run their tests.
    pub const fn is_extra(self) -> bool {
        matches!(self, Self::Containerd2 | Self::Cosign)
    }

    /// Whether this machine has it.
    pub fn present(self) -> bool {
        match self {
            Self::Pip => {
                find("python3").is_some()
                    && process::run(python(&env::temp_dir()).arg("--version")).exit_code == 0
            }
            Self::Rpm => ["rpmbuild", "rpmsign", "createrepo_c", "modifyrepo_c"]
                .into_iter()
                .all(|name| find(name).is_some()),
            Self::Helm => Helm::program().is_some(),
            Self::Containerd | Self::Containerd2 => Containerd::present(self),
            Self::PythonApt => {
                let mut python = clean(SYSTEM_PYTHON, &env::temp_dir());
                Path::new(SYSTEM_PYTHON).is_file()
                    && process::run(python.args(["-c", "import apt"])).exit_code == 0
            }
            _ => find(self.name()).is_some(),
        }
    }

    /// Whether a test can use it; says so when not. Each test that needs a client asks here.
    ///
    /// # Panics
    ///
    /// When it is missing, no extra, and `GAPFERRY_REQUIRE_CLIENTS=1`.
    pub fn usable(self) -> bool {
        let required = are_required();
        let Some(skipped) = self.skipped(self.present(), required) else { return true };
        // Not eprintln: of a test that passes, cargo test keeps that to itself. In one piece, for
        // other tests write too.
        let _closed = io::stderr().write_all(format!("{skipped}\n").as_bytes());
        false
    }

    /// What is said when a client is missing, if a test may go on without it.
    fn skipped(self, present: bool, required: bool) -> Option<String> {
        let (name, is_extra) = (self.name(), self.is_extra());
        let may_miss = is_extra || !required;
        assert!(present || may_miss, "{name} is missing, and GAPFERRY_REQUIRE_CLIENTS=1");
        let extra = if is_extra { ", an extra client that CI has not" } else { "" };
        (!present).then(|| format!("skipped: no {name}{extra}"))
    }
}

/// The clients of the demo that this machine lacks.
pub fn absent() -> Vec<Client> {
    Client::OF_THE_DEMO.into_iter().filter(|client| !client.present()).collect()
}

/// Where `PATH` has a program.
pub fn find(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    let mut paths = env::split_paths(&folders).map(|folder| folder.join(name));
    // nginx and the like lie where only root's PATH leads.
    paths.find(|p| p.is_file()).or_else(|| {
        ["/usr/sbin", "/sbin"]
            .map(|folder| Path::new(folder).join(name))
            .into_iter()
            .find(|p| p.is_file())
    })
}

/// A program with nothing but `PATH` and a home folder.
pub fn clean(program: &str, home: &Path) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    let path = env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("HOME", home).current_dir(home);
    command
}

/// `pip` with no settings but ours.
fn python(home: &Path) -> Command {
    let mut command = clean("python3", home);
    command.args(["-m", "pip", "--isolated", "--no-cache-dir", "--disable-pip-version-check"]);
    command
}

/// Downloads requirements and all that they depend on from `<server>/pypi/simple/`.
pub fn pip_download(server: &str, requirements: &[&str], folder: &Path) -> Finished {
    let index = format!("{server}/pypi/simple/");
    let mut pip = python(folder);
    pip.args(["download", "--no-input", "--retries", "0", "--index-url", &index, "--dest"]);
    process::run(pip.arg(folder).args(requirements))
}

/// apt with a state of its own, which knows one repository.
#[derive(Clone, Debug)]
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Sets apt up in `folder` for the repository at `uri`, vouched for by the armoured `key`.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written.
    pub fn new(folder: &Path, uri: &str, suite: &str, key: &str) -> Self {
        for sub in ["state", "lists/partial", "archives/partial", "sources", "trusted", "log"] {
            fs::create_dir_all(folder.join(sub)).expect("a folder can be made");
        }
        let armour: String = key
            .lines()
            .map(|line| match line.trim_end() {
                "" => " .\n".to_owned(),
                line => format!(" {line}\n"),
            })
            .collect();
        let source = format!(
            "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By:\n{armour}"
        );
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text).expect("a file can be written");
        };
        write("state/status", "");
        write("sources/site.sources", &source);
        write("apt.conf", &apt_settings(folder));
        Self { folder: folder.to_owned() }
    }

    /// Has apt believe that the base system of this machine's release is installed, as on a node.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written.
    #[must_use]
    pub fn on_base_system(self) -> Self {
        fs::write(self.folder.join("state/status"), base_system()).expect("a file can be written");
        self
    }

    pub fn update(&self) -> Finished {
        process::run(self.command().arg("update"))
    }

    /// Downloads packages into the folder `archives`, with all that they depend on.
    pub fn download(&self, packages: &[&str]) -> Finished {
        let mut apt = self.command();
        process::run(apt.args(["install", "--download-only", "--yes"]).args(packages))
    }

    /// What was downloaded, sorted by name.
    ///
    /// # Panics
    ///
    /// When the folder cannot be read.
    pub fn archives(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("archives")).expect("a folder can be read");
        let mut debs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        debs.retain(|path| path.extension().is_some_and(|end| end == "deb"));
        debs.sort();
        debs
    }

    /// The file of settings, for programs that use apt; what they install is downloaded only.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn settings_for_downloads(&self) -> PathBuf {
        let text = apt_settings(&self.folder) + "APT::Get::Download-Only \"true\";\n";
        let path = self.folder.join("download.conf");
        fs::write(&path, text).expect("a file can be written");
        path
    }

    fn command(&self) -> Command {
        let mut apt = clean("apt-get", &self.folder);
        apt.env("APT_CONFIG", self.folder.join("apt.conf"));
        apt.args(["-o", "Dpkg::Use-Pty=0", "--no-install-recommends"]);
        apt
    }
}

/// The packages that every system of this machine's release has (`Priority: required`), with
/// what they depend on: what a site's nodes bring along. Empty on a machine without dpkg.
fn base_system() -> String {
    let Ok(status) = fs::read_to_string("/var/lib/dpkg/status") else { return String::new() };
    let paragraphs: Vec<&str> = status.split("\n\n").collect();
    let field = |paragraph: &str, name: &str| {
        let line = paragraph.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let name = |paragraph: &&str| field(paragraph, "Package:");
    let by_name: BTreeMap<String, &str> =
        paragraphs.iter().filter_map(|p| Some((name(p)?, *p))).collect();
    let required = |p: &&&str| field(p, "Priority:").as_deref() == Some("required");
    let mut open: Vec<String> = paragraphs.iter().filter(required).filter_map(name).collect();
    let mut base = BTreeMap::new();
    while let Some(package) = open.pop() {
        let Some(paragraph) = by_name.get(&package) else { continue };
        if base.insert(package, *paragraph).is_some() {
            continue;
        }
        for relations in ["Depends:", "Pre-Depends:"] {
            let relations = field(paragraph, relations).unwrap_or_default();
            let names = relations.split([',', '|']).filter_map(|r| r.split_whitespace().next());
            open.extend(names.map(|n| n.split(':').next().unwrap_or(n).to_owned()));
        }
    }
    base.into_values().map(|paragraph| format!("{paragraph}\n\n")).collect()
}

/// `Error-Mode any`: without it `update` exits 0 on a bad signature when old lists exist.
fn apt_settings(folder: &Path) -> String {
    let dir = folder.display();
    format!(
        "Dir \"{dir}/\";\nDir::State \"{dir}/state\";\nDir::State::status \"{dir}/state/status\";\n\
         Dir::State::lists \"{dir}/lists\";\nDir::Cache \"{dir}\";\n\
         Dir::Cache::archives \"{dir}/archives\";\nDir::Etc::SourceList \"/dev/null\";\n\
         Dir::Etc::SourceParts \"{dir}/sources\";\nDir::Etc::Trusted \"/dev/null\";\n\
         Dir::Etc::TrustedParts \"{dir}/trusted\";\nDir::Etc::Parts \"/dev/null\";\n\
         Dir::Log \"{dir}/log\";\n\
         APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
         APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
         Acquire::Retries \"0\";\nAcquire::http::Proxy \"false\";\nDebug::NoLocking \"1\";\n\
         APT::Update::Error-Mode \"any\";\n"
    )
}

/// Copies an image from a server without TLS into an OCI layout folder, every platform.
pub fn skopeo_copy(host: &str, image: &str, folder: &Path) -> Finished {
    let mut skopeo = clean("skopeo", folder);
    skopeo.args(["--insecure-policy", "copy", "--all", "--src-tls-verify=false"]);
    let target = format!("oci:{}:copy", folder.display());
    process::run(skopeo.args([&format!("docker://{host}/{image}"), &target]))
}

/// The digest that crane resolves an image to.
pub fn crane_digest(host: &str, image: &str, home: &Path) -> Finished {
    process::run(clean("crane", home).args(["digest", "--insecure", &format!("{host}/{image}")]))
}

/// Downloads a URL.
pub fn curl(url: &str, file: &Path, home: &Path) -> Finished {
    let mut curl = clean("curl", home);
    process::run(
        curl.args(["--fail", "--silent", "--show-error", "--noproxy", "*"])
            .arg(url)
            .arg("-o")
            .arg(file),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{AptRepo, Deb, Wheel, sha256},
        upstream::Upstream,
    };

    #[test]
    fn a_missing_client_is_named_and_skipped() {
        assert_eq!(Client::Skopeo.skipped(false, false).as_deref(), Some("skipped: no skopeo"));
        assert_eq!(Client::Skopeo.skipped(true, false), None);
        assert_eq!(Client::Skopeo.skipped(true, true), None);
    }

    #[test]
    fn an_extra_client_is_skipped_even_where_clients_are_required() {
        let said = "skipped: no cosign, an extra client that CI has not";
        assert_eq!(Client::Cosign.skipped(false, true).as_deref(), Some(said));
        assert_eq!(Client::Cosign.skipped(true, true), None);
        let some = [Client::Containerd, Client::Containerd2, Client::Podman, Client::Uv];
        assert_eq!(some.map(Client::is_extra), [false, true, false, false]);
    }

    #[test]
    #[should_panic(expected = "skopeo is missing, and GAPFERRY_REQUIRE_CLIENTS=1")]
    fn a_missing_client_that_is_required_is_a_failure() {
        Client::Skopeo.skipped(false, true);
    }

    #[test]
    fn apt_takes_a_package_and_its_dependency_from_our_repository() {
        if !Client::AptGet.usable() {
            return;
        }
        let upstream = Upstream::start();
        let library = Deb::new("libwrap0", "7.6").architecture("all");
        let socat = Deb::new("socat", "1.8").depends("libwrap0 (>= 7)");
        let repo = AptRepo::new("trixie").with(socat.clone()).with(library);
        upstream.put_apt(&repo);
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("{}/apt", upstream.url());
        let apt = Apt::new(folder.path(), &uri, "trixie", &repo.public_key());
        for finished in [apt.update(), apt.download(&["socat"])] {
            assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
        }
        let archives = apt.archives();
        assert_eq!(archives.len(), 2, "{archives:?}");
        assert_eq!(sha256(&fs::read(&archives[1]).unwrap()), sha256(&socat.make()));
        let other = tempfile::tempdir().unwrap();
        let foreign = AptRepo::new("trixie").public_key();
        assert_eq!(Apt::new(other.path(), &uri, "trixie", &foreign).update().exit_code, 100);
    }

    #[test]
    fn pip_takes_a_wheel_and_its_dependency_from_our_index() {
        if !Client::Pip.usable() {
            return;
        }
        let upstream = Upstream::start();
        let beta = Wheel::new("beta", "2.0").make();
        upstream.put_pypi(Wheel::new("alpha", "1.0").requires("beta>=2").make());
        upstream.put_pypi(beta.clone());
        let folder = tempfile::tempdir().unwrap();
        let index = upstream.url();
        let mut pip = python(folder.path());
        pip.args(["download", "--index-url", &format!("{index}/simple/"), "alpha==1.0"]);
        let finished = process::run(&mut pip);
        assert_eq!(finished.exit_code, 0, "{}", finished.stderr);
        let bytes = fs::read(folder.path().join("beta-2.0-py3-none-any.whl")).unwrap();
        assert_eq!(sha256(&bytes), beta.sha256());
    }
}
