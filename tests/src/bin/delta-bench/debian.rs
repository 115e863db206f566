//! Debian packages, from the hosts that this machine's own apt is set to.
//!
//! In:   packages with explicit versions; the machine's sources, which say where the archive is.
//! Out:  the `.deb` files. apt keeps a state of its own below the corpus: nothing of the
//!       machine's is changed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::{
    measure::{command, run},
    python::find,
};

/// The stable suites whose packages are in the corpus.
const SUITES: [&str; 2] = ["bookworm", "trixie"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring";

/// A package of exactly this version; fetched when `folder` has none.
///
/// # Errors
///
/// apt's: the version is no longer to be had, or the machine is no Debian.
pub fn package(folder: &Path, name: &str, version: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let prefix = format!("{name}_{}_", version.replace(':', "%3a"));
    if let Some(deb) = find(folder, &prefix) {
        return Ok(deb);
    }
    let apt = Apt::new(&folder.join("apt"))?;
    let part = tempfile::tempdir_in(folder)?;
    let download = ["download", &format!("{name}={version}")];
    run(apt.command().current_dir(part.path()).args(download))
        .inspect_err(|_| apt.read_anew_next_time())?;
    let fetched = find(part.path(), &prefix).context("apt-get left no package")?;
    let deb = folder.join(fetched.file_name().unwrap_or_default());
    fs::rename(fetched, &deb)?;
    Ok(deb)
}

/// apt with a state of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Sets apt up in `folder` and has it read the indexes, unless that was done before.
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let apt = Self { folder: folder.to_owned() };
        if folder.join("updated").exists() {
            return Ok(apt);
        }
        for sub in ["state/lists/partial", "cache/archives/partial", "sources"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        fs::write(folder.join("apt.conf"), settings(folder))?;
        fs::write(folder.join("sources/corpus.sources"), machine_sources()?)?;
        run(apt.command().arg("update"))?;
        fs::write(folder.join("updated"), "")?;
        Ok(apt)
    }

    /// What is missing may be in indexes that are newer than ours.
    fn read_anew_next_time(&self) {
        let _gone = fs::remove_file(self.folder.join("updated"));
    }

    fn command(&self) -> Command {
        let mut apt = command("apt-get", ["--quiet=2"]);
        apt.env("APT_CONFIG", self.folder.join("apt.conf"));
        apt
    }
}

/// Read beside the machine's own settings, so that its proxies and the like still count.
fn settings(folder: &Path) -> String {
    let dir = folder.display();
    format!(
        "Dir::State \"{dir}/state\";\nDir::State::lists \"{dir}/state/lists\";\n\
         Dir::Cache \"{dir}/cache\";\nDir::Etc::SourceList \"/dev/null\";\n\
         Dir::Etc::SourceParts \"{dir}/sources\";\nAPT::Architecture \"amd64\";\n\
         APT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\nDebug::NoLocking \"1\";\n"
    )
}

/// The machine's sources of its own release, for every suite of the corpus.
fn machine_sources() -> anyhow::Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("this machine is no Debian")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("this machine's release has no name")?.trim_matches('"');
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let listed = run(&mut command("apt-get", ["indextargets", "--format", format]))?.stdout;
    let keyring = ["gpg", "pgp"].map(|end| format!("{KEYRING}.{end}"));
    let keyring = keyring.into_iter().find(|path| Path::new(path).exists());
    let sources = sources_of(&listed, codename, keyring.as_deref());
    ensure!(!sources.is_empty(), "this machine's apt has no source of {codename}");
    Ok(sources)
}

fn sources_of(listed: &str, codename: &str, keyring: Option<&str>) -> String {
    let signed_by = keyring.map_or(String::new(), |path| format!("Signed-By: {path}\n"));
    let rows: BTreeSet<&str> = listed.lines().collect();
    let mut stanzas = String::new();
    for row in rows {
        let [uri, suite, "main"] = row.split(' ').collect::<Vec<_>>()[..] else { continue };
        let Some(pocket) = suite.strip_prefix(codename) else { continue };
        for release in SUITES {
            stanzas += &format!(
                "Types: deb\nURIs: {uri}\nSuites: {release}{pocket}\nComponents: main\n{signed_by}\n"
            );
        }
    }
    stanzas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_sources_are_asked_for_both_suites() {
        let listed = "http://h/debian/ trixie main\nhttp://h/debian/ trixie main\n\
                      http://h/sec/ trixie-security main\nhttp://other/ stable main\n";
        let stanza = |path: &str, suite: &str| {
            format!(
                "Types: deb\nURIs: http://h/{path}/\nSuites: {suite}\nComponents: main\nSigned-By: k\n\n"
            )
        };
        let expected = [
            stanza("debian", "bookworm"),
            stanza("debian", "trixie"),
            stanza("sec", "bookworm-security"),
            stanza("sec", "trixie-security"),
        ];
        assert_eq!(sources_of(listed, "trixie", Some("k")), expected.concat());
    }
}
