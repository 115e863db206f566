//! Real rpm packages and a real yum repository, made and signed by the tools of a distribution.
//!
//! In:   what packages are called, require and hold.
//! Out:  a folder as `rpmbuild`, `rpmsign` and `createrepo_c` leave it.
//! Needs [`Client::Rpm`](crate::clients::Client::Rpm) and `gpg`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Upstream,
    clients::{clean, find},
    process,
};

/// A package to be made, for every architecture.
#[derive(Clone, Debug)]
pub struct Rpm {
    pub name: String,
    pub version: String,
    /// Capabilities and paths, as a spec file has them.
    pub requires: Vec<String>,
    /// The paths of its files.
    pub files: Vec<String>,
}

impl Rpm {
    pub fn new(name: &str, version: &str) -> Self {
        let files = vec![format!("/usr/share/{name}/file")];
        Self { name: name.to_owned(), version: version.to_owned(), requires: vec![], files }
    }

    pub fn requires(mut self, capability: &str) -> Self {
        self.requires.push(capability.to_owned());
        self
    }

    pub fn file(mut self, path: &str) -> Self {
        self.files.push(path.to_owned());
        self
    }

    fn spec(&self) -> String {
        let Self { name, version, requires, files } = self;
        let requires: String = requires.iter().map(|r| format!("Requires: {r}\n")).collect();
        let install: String = files
            .iter()
            .map(|path| {
                let path = format!("%{{buildroot}}{path}");
                format!("mkdir -p $(dirname {path})\necho {name} {version} > {path}\n")
            })
            .collect();
        format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: The {name}\nLicense: MIT\n\
             BuildArch: noarch\n{requires}%description\nThe {name} & its \"files\".\n\
             %install\n{install}%files\n{}\n%changelog\n* Mon Jan 01 2024 V \
             <v@upstream.example> - {version}-1\n- Came to {version}\n",
            files.join("\n")
        )
    }
}

/// An OpenPGP key of its own, in a folder of its own.
#[derive(Debug)]
pub struct Signer {
    folder: PathBuf,
}

impl Signer {
    /// # Panics
    ///
    /// When gpg cannot make a key.
    pub fn new(folder: &Path) -> Self {
        let signer = Self { folder: folder.to_owned() };
        let home = folder.join("gnupg");
        fs::create_dir_all(&home).expect("a folder can be made");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&home, private).expect("a mode can be set");
        let wish = "%no-protection\nKey-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\n\
            Name-Real: Vendor\nName-Email: vendor@upstream.example\nExpire-Date: 0\n%commit\n";
        fs::write(folder.join("wish"), wish).expect("a file can be written");
        done(signer.command("gpg").args(["--batch", "--quiet", "--gen-key", "wish"]));
        signer
    }

    /// The armoured public key.
    pub fn public_key(&self) -> String {
        done(self.command("gpg").args(["--batch", "--armor", "--export"]))
    }

    /// The fingerprint of the key, lower-case hex.
    pub fn fingerprint(&self) -> String {
        let listed = done(self.command("gpg").args(["--batch", "--with-colons", "--fingerprint"]));
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap_or_default();
        line.split(':').nth(9).unwrap_or_default().to_lowercase()
    }

    /// The public keys in one file and the secret ones in another, as Helm reads them.
    pub fn keyrings(&self) -> (PathBuf, PathBuf) {
        let [public, secret] = ["public.gpg", "secret.gpg"].map(|name| self.folder.join(name));
        for (path, what) in [(&public, "--export"), (&secret, "--export-secret-keys")] {
            done(self.command("gpg").args(["--batch", "--yes", "--output"]).arg(path).arg(what));
        }
        (public, secret)
    }

    /// Writes `<file>.asc`.
    fn sign(&self, file: &Path) {
        let arguments = ["--batch", "--yes", "--armor", "--detach-sign"];
        done(self.command("gpg").args(arguments).arg(file));
    }

    fn command(&self, program: &str) -> Command {
        let mut command = clean(program, &self.folder);
        command.env("GNUPGHOME", self.folder.join("gnupg"));
        command
    }
}

/// A repository on disk.
#[derive(Debug)]
pub struct YumRepo {
    folder: PathBuf,
    /// A group of this name with all packages, when it has one.
    pub group: Option<String>,
    /// `modules.yaml` and `updateinfo.xml`, where they have text.
    pub modules: String,
    pub advisories: String,
    /// What makes the metadata: `createrepo_c` packs by gzip, `createrepo_c1` by zstd.
    pub createrepo: &'static str,
}

impl YumRepo {
    pub fn new(folder: &Path) -> Self {
        let (modules, advisories) = (String::new(), String::new());
        let createrepo = "createrepo_c";
        Self { folder: folder.to_owned(), group: None, modules, advisories, createrepo }
    }

    /// Makes packages, signs them, and makes the metadata anew; packages made before stay.
    ///
    /// # Panics
    ///
    /// When a tool fails.
    pub fn build(&self, rpms: &[Rpm], signer: &Signer) {
        let repo = self.folder.join("repo");
        fs::create_dir_all(&repo).expect("a folder can be made");
        let specs = rpms.iter().map(|rpm| {
            let path = self.folder.join(format!("{}.spec", rpm.name));
            fs::write(&path, rpm.spec()).expect("a file can be written");
            path
        });
        let define = |name: &str, value: String| ["--define".to_owned(), format!("{name} {value}")];
        let place = "Packages/%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm".to_owned();
        let mut rpmbuild = signer.command("rpmbuild");
        rpmbuild.args(["-bb", "--quiet"]).args(define("_rpmfilename", place)).args(specs);
        rpmbuild.args(define("_topdir", self.folder.join("top").display().to_string()));
        done(rpmbuild.args(define("_rpmdir", repo.display().to_string())));
        let mut rpmsign = signer.command("rpmsign");
        rpmsign.args(define("__gpg", find("gpg").unwrap_or_default().display().to_string()));
        rpmsign.args(define("_gpg_name", "vendor@upstream.example".to_owned())).arg("--addsign");
        let made =
            |rpm: &Rpm| repo.join(format!("Packages/{}-{}-1.noarch.rpm", rpm.name, rpm.version));
        done(rpmsign.args(rpms.iter().map(made)));
        self.describe(rpms, signer);
    }

    fn describe(&self, rpms: &[Rpm], signer: &Signer) {
        let (repo, repodata) = (self.folder.join("repo"), self.folder.join("repo/repodata"));
        let write = |name: &str, text: &str| {
            let path = self.folder.join(name);
            fs::write(&path, text).expect("a file can be written");
            path
        };
        let mut createrepo = signer.command(self.createrepo);
        createrepo.args(["--quiet", "--no-database"]);
        if let Some(group) = &self.group {
            createrepo.arg("-g").arg(write("comps.xml", &comps(group, rpms)));
        }
        done(createrepo.arg(&repo));
        for (kind, name, text) in [
            ("modules", "modules.yaml", &self.modules),
            ("updateinfo", "updateinfo.xml", &self.advisories),
        ] {
            if !text.is_empty() {
                let mut modify = signer.command("modifyrepo_c");
                modify.arg(format!("--mdtype={kind}")).arg(write(name, text));
                done(modify.arg(&repodata));
            }
        }
        signer.sign(&repodata.join("repomd.xml"));
    }

    /// Offers all of it below `prefix`.
    ///
    /// # Panics
    ///
    /// When the folder cannot be read.
    pub fn put(&self, upstream: &Upstream, prefix: &str) {
        for sub in ["Packages", "repodata"] {
            let entries = fs::read_dir(self.folder.join("repo").join(sub));
            for entry in entries.expect("a folder can be read") {
                let path = entry.expect("a folder can be read").path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let bytes = fs::read(&path).expect("a file can be read");
                upstream.put(&format!("{prefix}/{sub}/{name}"), bytes);
            }
        }
    }
}

fn comps(group: &str, rpms: &[Rpm]) -> String {
    let members: String = rpms
        .iter()
        .map(|rpm| format!("<packagereq type=\"mandatory\">{}</packagereq>", rpm.name))
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<comps><group><id>{group}</id>\
         <name>{group}</name><description>d</description><default>true</default>\
         <uservisible>true</uservisible><packagelist>{members}</packagelist></group></comps>\n"
    )
}

/// Runs a tool that must not fail; what it printed.
fn done(command: &mut Command) -> String {
    let finished = process::run(command);
    assert_eq!(finished.exit_code, 0, "{command:?}: {}{}", finished.stdout, finished.stderr);
    finished.stdout
}
