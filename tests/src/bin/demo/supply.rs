//! Where the packages come from: this machine's own indexes, or packages made here.
//!
//! The versions are those of two releases of Kubespray, 2.30.0 and 2.31.0.

use std::{env, fs, path::Path, process::Command};

use tests::{
    Content, Upstream,
    clients::{Client, clean},
    fixtures::{AptRepo, Deb, Image, Wheel},
    process,
};

use crate::show::say;

/// `requirements.txt` of Kubespray by round.
const REQUIREMENTS: [&[(&str, &str)]; 2] = [
    &[
        ("ansible", "10.7.0"),
        ("cryptography", "46.0.3"),
        ("jmespath", "1.1.0"),
        ("netaddr", "1.3.0"),
    ],
    &[
        ("ansible", "11.13.0"),
        ("cryptography", "46.0.7"),
        ("jmespath", "1.1.0"),
        ("netaddr", "1.3.0"),
    ],
];

/// Debian packages that a node needs, by round.
const DEBS: [&[&str]; 2] = [
    &["conntrack", "socat", "ipset", "ebtables"],
    &["conntrack", "socat", "ipset", "ebtables", "ipvsadm"],
];

/// The lines of the waybill that depend on the machine.
#[derive(Debug)]
pub struct Supply {
    pub pypi: Pypi,
    pub apt: Apt,
    pub python: String,
    pub architecture: String,
    /// Tars of the image's layers, a further one each round.
    layers: Vec<Vec<u8>>,
}

/// Where wheels come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pypi {
    Machine,
    Made,
}

/// Where Debian packages come from.
#[derive(Clone, Debug)]
pub enum Apt {
    /// This machine's sources, which are of this suite.
    Machine {
        suite: String,
    },
    Made(Box<AptRepo>),
}

/// A file that little changes in.
pub fn tool(round: u8) -> Vec<u8> {
    let mut bytes = Content::new(1, 8 << 20).bytes();
    bytes[4_000_000..4_001_000].fill(round);
    bytes
}

impl Supply {
    /// Looks at what this machine has, and says what it lacks.
    pub fn choose(offline: bool, upstream: &Upstream, folder: &Path) -> Self {
        let mut supply = Self {
            pypi: Pypi::Machine,
            apt: machine_apt().map_or_else(made_apt, |suite| Apt::Machine { suite }),
            python: python_version(folder),
            architecture: architecture(),
            layers: vec![],
        };
        if offline {
            say("Offline, as asked: small, real packages are made here.");
        }
        if offline || !Client::Pip.present() {
            supply.make_wheels(upstream);
        }
        if offline {
            supply.apt = made_apt();
        }
        if let Apt::Made(repo) = &supply.apt {
            upstream.put_apt(repo);
        }
        supply.layers = ["conntrack", "socat"].map(|package| supply.layer(package, folder)).into();
        supply
    }

    /// Turns to packages made here for a kind whose upstream does not answer; false when that
    /// has been done before or there is no such kind.
    pub fn fall_back(&mut self, kind: &str, upstream: &Upstream) -> bool {
        match (kind, &self.apt) {
            ("pypi", _) if self.pypi == Pypi::Machine => self.make_wheels(upstream),
            ("deb", Apt::Machine { .. }) => {
                self.apt = made_apt();
                if let Apt::Made(repo) = &self.apt {
                    upstream.put_apt(repo);
                }
            }
            _ => return false,
        }
        let what = if kind == "pypi" { "Python index" } else { "apt sources" };
        say(&format!("This machine's {what} cannot be reached: small packages are made instead."));
        true
    }

    fn make_wheels(&mut self, upstream: &Upstream) {
        self.pypi = Pypi::Made;
        for (project, version) in REQUIREMENTS.into_iter().flatten() {
            let wheel = Wheel::new(project, version).payload(Content::new(3, 1 << 20).bytes());
            upstream.put_pypi(wheel.make());
        }
    }

    /// The image of a round, made of the first `round` packages.
    pub fn image(&self, round: u8) -> Image {
        Image::of_tars(&self.layers[..usize::from(round).min(self.layers.len())])
    }

    /// `ansible==10.7.0` and so on.
    pub fn requirements(round: u8) -> Vec<String> {
        let rows = REQUIREMENTS[usize::from(round) - 1].iter();
        rows.map(|(project, version)| format!("{project}=={version}")).collect()
    }

    pub fn debs(round: u8) -> &'static [&'static str] {
        DEBS[usize::from(round) - 1]
    }

    /// The spec of the waybill.
    pub fn spec(&self, round: u8, upstream: &Upstream) -> String {
        let (url, host, python) = (upstream.url(), upstream.host(), &self.python);
        let sha256 = tests::fixtures::sha256(&tool(round));
        let index = match self.pypi {
            Pypi::Machine => String::new(),
            Pypi::Made => format!(", index: \"{url}/simple/\""),
        };
        let source = match &self.apt {
            Apt::Machine { suite } => format!("suite: {suite}"),
            Apt::Made(repo) => {
                format!(
                    "uri: \"{url}/apt\", suite: {}, components: [main], signedBy: upstream.asc",
                    repo.suite
                )
            }
        };
        let (debs, architecture) = (Self::debs(round).join(", "), &self.architecture);
        format!(
            "  files:\n    - {{url: \"{url}/files/tool-1.{round}\", sha256: {sha256}}}\n  \
             images:\n    - {{ref: \"{host}/demo/conntrack:1.{round}\", insecure: true}}\n  \
             pypi:\n    - {{requirements: requirements.txt, python: [\"{python}\"], \
             platforms: [manylinux_2_28_{machine}]{index}}}\n  \
             apt:\n    - {{{source}, architectures: [{architecture}], packages: [{debs}], \
             minimal: required, \
             target: nodes}}\n",
            machine = env::consts::ARCH,
        )
    }

    /// The files of a package as a tar: the machine's own where apt has it, else one made here.
    fn layer(&self, package: &str, folder: &Path) -> Vec<u8> {
        if let Apt::Machine { .. } = self.apt
            && let Some(tar) = machine_layer(package, &folder.join("layers"))
        {
            return tar;
        }
        Deb::new(package, "1.0").payload(Content::new(9, 500_000).bytes()).data_tar()
    }
}

fn made_apt() -> Apt {
    let mut repo = AptRepo::new("made-here");
    repo.architectures = vec![architecture()];
    for package in DEBS[1] {
        let deb = Deb::new(package, "1.0").architecture(&architecture()).depends("libdemo");
        repo.debs.push(deb.payload(Content::new(5, 300_000).bytes()));
    }
    repo.debs.push(Deb::new("libdemo", "1.0").architecture("all"));
    Apt::Made(Box::new(repo))
}

/// The suite that this machine's apt is of; none on machines of another kind.
fn machine_apt() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let line = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Client::AptGet.present().then(|| line.trim_matches('"').to_owned())
}

/// Debian's word for this machine's processor.
fn architecture() -> String {
    match env::consts::ARCH {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    }
}

/// The version that wheels are taken for: python3's own, so that its pip can fetch them back.
fn python_version(folder: &Path) -> String {
    let mut python = clean("python3", folder);
    python.args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]);
    let version = tests::clients::find("python3").map(|_| process::run(&mut python));
    version.filter(|v| v.exit_code == 0).map_or("3.11".to_owned(), |v| v.stdout.trim().to_owned())
}

/// Asks the machine's own apt for a package and unpacks it with the machine's own dpkg.
fn machine_layer(package: &str, folder: &Path) -> Option<Vec<u8>> {
    fs::create_dir_all(folder).ok()?;
    let mut apt = Command::new("apt-get");
    apt.args(["download", "--quiet=2", package]).current_dir(folder);
    if process::run(&mut apt).exit_code != 0 {
        return None;
    }
    let mut names = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let deb = names.find(|path| {
        path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{package}_")))
    })?;
    let output = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).output().ok()?;
    output.status.success().then_some(output.stdout)
}
