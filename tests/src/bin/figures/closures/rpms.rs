//! Makes a repository of rpm packages with every sort of relation.
//!
//! In:   a table of packages.
//! Out:  rpms by `rpmbuild`, an index by `createrepo_c`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use ::tests::{Content, clients::clean, process};

use super::last;

/// Name, epoch:version-release, tags of a spec file; `Files` is no tag of rpm.
type Package = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Every package has a file of its own with random bytes besides.
const PACKAGES: &[Package] = &[
    // The ground: a circle, as in every distribution.
    ("base", "12-1", &[("Requires", "setup"), ("Requires", "layout"), ("Provides", "system")]),
    ("setup", "2.14-5", &[("Requires", "base")]),
    ("layout", "3.18-2", &[("Requires", "setup"), ("Files", "/bin/none")]),
    ("libc", "2.38-10", &[("Requires", "base"), ("Provides", "libc.so.6(X_2.38)(64bit)")]),
    ("libc", "2.39-1", &[("Requires", "base"), ("Provides", "libc.so.6(X_2.38)(64bit)")]),
    ("shell", "5.2-1", &[("Requires", "libc.so.6(X_2.38)(64bit)"), ("Files", "/bin/gsh")]),
    ("shell-extras", "5.2-1", &[("Requires", "shell = 5.2-1")]),
    // Versions, epochs, virtual packages, paths.
    ("app", "1.0-1", &[("Requires", "lib >= 1")]),
    (
        "app",
        "1:0.9-3",
        &[
            ("Requires", "lib >= 2"),
            ("Requires", "mta"),
            ("Requires", "/usr/libexec/gtool"),
            ("Recommends", "app-doc"),
            ("Suggests", "games"),
        ],
    ),
    ("app-doc", "1.0-1", &[("Requires", "viewer")]),
    ("viewer", "3-1", &[("Conflicts", "(viewer-old unless games)")]),
    ("games", "1-1", &[]),
    ("lib", "1.9-1", &[]),
    ("lib", "1.10-1", &[]),
    ("lib", "2.0~rc1-1", &[("Requires", "nowhere")]),
    ("lib", "2.0-1", &[("Requires", "libc >= 2.39"), ("Requires(pre)", "shell")]),
    (
        "mailer",
        "3.8-1",
        &[("Provides", "mta = 3"), ("Requires", "/bin/gsh"), ("Conflicts", "exmail")],
    ),
    ("exmail", "4.97-1", &[("Provides", "mta"), ("Requires", "nowhere-either")]),
    ("tools", "7-1", &[("Files", "/usr/libexec/gtool"), ("Requires", "libc")]),
    // Rich dependencies.
    (
        "web",
        "2.4-1",
        &[
            ("Requires", "(web-tls if tls)"),
            ("Requires", "(logd or journald)"),
            ("Requires", "web-files = 2.4-1"),
            ("Recommends", "tls"),
        ],
    ),
    ("web-files", "2.4-1", &[]),
    ("web-files", "2.3-1", &[]),
    ("web-tls", "1-1", &[("Requires", "(tls >= 3 with tls < 4)")]),
    ("tls", "3.2-1", &[]),
    ("tls", "4.0-1", &[("Requires", "nowhere")]),
    ("logd", "8-1", &[("Requires", "libc")]),
    (
        "db",
        "16-1",
        &[
            ("Requires", "(db-server and db-client)"),
            ("Requires", "(db-tuned if db-server else web)"),
        ],
    ),
    ("db-server", "16.2-1", &[("Requires", "db-client = 16.2"), ("Recommends", "db-contrib")]),
    ("db-client", "16.2-1", &[("Requires", "libc")]),
    ("db-client", "16.1-1", &[]),
    ("db-contrib", "16.2-1", &[("Requires", "lib")]),
    ("db-tuned", "2-1", &[]),
    // Weak in reverse.
    ("editor", "9-1", &[("Requires", "shell"), ("Recommends", "(editor-plugins if plugins-core)")]),
    ("editor-plugins", "1-1", &[]),
    ("plugins-core", "1-1", &[("Supplements", "editor")]),
    ("editor-lang-de", "9-1", &[("Supplements", "(editor and lang-de)")]),
    ("lang-de", "1-1", &[]),
    ("extra-theme", "1-1", &[("Enhances", "editor")]),
    // What was renamed.
    ("legacy", "1-1", &[("Requires", "oldname >= 1")]),
    ("oldname", "1-1", &[]),
    ("newname", "2-1", &[("Obsoletes", "oldname < 2"), ("Provides", "oldname = 2")]),
    // A wide one.
    (
        "cluster",
        "1.30-1",
        &[
            ("Requires", "runtime"),
            ("Requires", "cni >= 1.4"),
            ("Requires", "conntrack-x"),
            ("Requires", "shell-extras"),
            ("Requires", "db-client"),
        ],
    ),
    ("runtime", "1.7-1", &[("Requires", "runc-x"), ("Requires", "libc")]),
    ("runc-x", "1.1-1", &[("Requires", "libseccomp-x")]),
    ("libseccomp-x", "2.5-1", &[("Requires", "libc")]),
    ("cni", "1.4-2", &[]),
    ("cni", "1.3-9", &[]),
    ("conntrack-x", "1.4-1", &[("Requires", "libnet-x(x86-64)")]),
    ("libnet-x", "1.0-1", &[("Provides", "libnet-x(x86-64) = 1.0")]),
];

/// Makes the repository below `folder`; where it lies.
pub fn make(folder: &Path) -> Result<PathBuf, String> {
    for sub in ["SOURCES", "RPMS"] {
        fs::create_dir_all(folder.join(sub)).map_err(|e| e.to_string())?;
    }
    for (number, packages) in editions().iter().enumerate() {
        let spec = folder.join(format!("made-{number}.spec"));
        fs::write(&spec, self::spec(number, packages)).map_err(|e| e.to_string())?;
        for (seed, (name, version, _)) in (1..).zip(packages) {
            let content = Content::new(seed, 20_000 + 3_000 * (seed % 11)).bytes();
            let path = folder.join("SOURCES").join(source(name, version));
            fs::write(path, content).map_err(|e| e.to_string())?;
        }
        let mut rpmbuild = clean("rpmbuild", folder);
        rpmbuild.args(["-bb", "--quiet", "--target", "x86_64", "--define"]);
        rpmbuild.arg(format!("_topdir {}", folder.display())).arg(&spec);
        let finished = process::run(&mut rpmbuild);
        if finished.exit_code != 0 {
            return Err(last(&finished.stderr));
        }
    }
    let repository = folder.join("RPMS");
    let finished = process::run(clean("createrepo_c", folder).arg("--quiet").arg(&repository));
    if finished.exit_code == 0 { Ok(repository) } else { Err(last(&finished.stderr)) }
}

/// The packages in groups in which each name is once: one spec file has no more of a name.
fn editions() -> Vec<Vec<Package>> {
    let mut editions: Vec<Vec<Package>> = vec![];
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for package in PACKAGES {
        let count = seen.entry(package.0).or_default();
        if editions.len() == *count {
            editions.push(vec![]);
        }
        editions[*count].push(*package);
        *count += 1;
    }
    editions
}

fn spec(number: usize, packages: &[Package]) -> String {
    let mut spec = format!(
        "%define debug_package %{{nil}}\n%define __os_install_post %{{nil}}\n\
         %define _build_id_links none\nName: made-{number}\nVersion: 1\nRelease: 1\n\
         Summary: Made for a measurement\nLicense: None\nAutoReqProv: no\n%description\nNone.\n"
    );
    let (mut install, mut files) = (String::new(), String::new());
    for (name, version, tags) in packages {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, release) = rest.split_once('-').unwrap_or((rest, "1"));
        let own = format!("/usr/share/{name}/content");
        let mut paths = BTreeSet::from([&*own]);
        let mut head = format!("%package -n {name}\nVersion: {upstream}\nRelease: {release}\n");
        if epoch != "0" {
            head += &format!("Epoch: {epoch}\n");
        }
        head += "Summary: Made\nAutoReqProv: no\n";
        for (tag, value) in *tags {
            match *tag {
                "Files" => _ = paths.insert(value),
                _ => head += &format!("{tag}: {value}\n"),
            }
        }
        spec += &format!("{head}%description -n {name}\nNone.\n");
        let content = source(name, version);
        _ = writeln!(files, "%files -n {name}");
        for path in paths {
            _ = writeln!(install, "install -D %{{_sourcedir}}/{content} %{{buildroot}}{path}");
            _ = writeln!(files, "{path}");
        }
    }
    format!("{spec}%install\n{install}{files}")
}

fn source(name: &str, version: &str) -> String {
    format!("{name}-{}", version.replace(':', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_edition_has_a_name_once_and_all_have_every_package() {
        let editions = editions();
        assert_eq!(editions.iter().map(Vec::len).sum::<usize>(), PACKAGES.len());
        for packages in &editions {
            let names: BTreeSet<&str> = packages.iter().map(|package| package.0).collect();
            assert_eq!(names.len(), packages.len());
        }
        let spec = spec(0, &editions[0]);
        assert!(spec.contains("%package -n lib\nVersion: 1.9\nRelease: 1\n"), "{spec}");
    }
}
