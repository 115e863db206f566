//! apt: `apt-get -s install` on an empty status file, against this machine's own mirror.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ::tests::{clients::find, process, site::Environment};

use super::{Bench, Row, last, row};

/// What is asked for, and whether Recommends come along.
const WISHES: [(&[&str], bool); 8] = [
    (&["socat"], false),
    (&["curl", "rsync"], false),
    (&["conntrack", "ipset", "ipvsadm", "ebtables", "socat"], false),
    (&["openssh-server"], false),
    (&["python3-venv", "python3-pip", "git", "sshpass"], false),
    (&["haproxy", "keepalived"], false),
    (&["podman"], false),
    (&["nginx"], true),
];

pub fn measure() -> Vec<Row> {
    let (Some(suite), Some(_)) = (codename(), find("apt-get")) else {
        return vec![Row::new("closures: apt", "absent: apt-get, or a release with a name", "")];
    };
    let bench = Bench::new(Environment::Machine);
    let apt = Apt::new(&bench.folder.path().join("apt"));
    if let Err(error) = apt.update() {
        return vec![Row::new("closures: apt", format!("the mirror cannot be read: {error}"), "")];
    }
    let architecture = apt.architecture();
    let measured = WISHES.map(|(packages, recommends)| {
        let spec = format!(
            "  apt: [{{suite: {suite}, architectures: [{architecture}], packages: [{}], \
             recommends: {recommends}}}]\n",
            packages.join(", ")
        );
        let more = if recommends { ", with Recommends" } else { "" };
        let wish = format!("apt {}{more}", packages.join(" "));
        row(&wish, bench.carried(&spec), apt.installed(packages, recommends))
    });
    measured.into()
}

/// apt with the machine's sources, and a state of its own in which nothing is installed.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path) -> Self {
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(sub)).expect("a folder can be made");
        }
        fs::write(folder.join("status"), "").expect("a file can be written");
        Self { folder: folder.to_owned() }
    }

    fn command(&self) -> Command {
        let mut apt = Command::new("apt-get");
        let folder = self.folder.display();
        for setting in [
            format!("Dir::State={folder}/state"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            "Debug::NoLocking=1".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "APT::Update::Error-Mode=any".to_owned(),
        ] {
            apt.args(["-o", &setting]);
        }
        apt.env("LC_ALL", "C");
        apt
    }

    fn update(&self) -> Result<(), String> {
        let finished = process::run(self.command().arg("update"));
        if finished.exit_code == 0 { Ok(()) } else { Err(last(&finished.stderr)) }
    }

    fn architecture(&self) -> String {
        let mut dpkg = Command::new("dpkg");
        dpkg.current_dir(&self.folder);
        process::run(dpkg.arg("--print-architecture")).stdout.trim().to_owned()
    }

    fn installed(&self, packages: &[&str], recommends: bool) -> Result<BTreeSet<String>, String> {
        let mut apt = self.command();
        apt.args(["-s", "-y", "-o", &format!("APT::Install-Recommends={recommends}"), "install"]);
        let finished = process::run(apt.args(packages));
        match finished.exit_code {
            0 => Ok(finished.stdout.lines().filter_map(installed).collect()),
            _ => Err(last(&finished.stderr)),
        }
    }
}

/// The package of `Inst socat (1.7.4.4-2 Debian:12.11/oldstable [amd64])`.
fn installed(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let name = name.split(':').next()?;
    let inner = rest.split_once('(')?.1.split(')').next()?;
    let (version, origin) = inner.split_once(' ')?;
    let architecture = origin.rsplit_once('[')?.1.trim_end_matches(']');
    Some(format!("{name} {version} {architecture}"))
}

fn codename() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim_matches('"').to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_installation_is_read() {
        let line = "Inst socat (1.7.4.4-2 Debian:12.11/oldstable [amd64])";
        assert_eq!(installed(line).as_deref(), Some("socat 1.7.4.4-2 amd64"));
        let line = "Inst libc6:i386 (2.36-9 A:1/b, C:2/d [i386]) [libgcc-s1:amd64 ]";
        assert_eq!(installed(line).as_deref(), Some("libc6 2.36-9 i386"));
        assert_eq!(installed("Conf socat (1.7.4.4-2 D [amd64])"), None);
    }
}
