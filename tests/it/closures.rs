//! What is carried for a line is what apt itself would install, and apt needs nothing else for it.

use tests::{
    Site, Upstream,
    clients::{Apt, Client},
    fixtures::{AptRepo, Deb},
};

use crate::first_transfer::apt_key;

/// Packages with every sort of relation, as they meet in Debian.
fn debs() -> Vec<Deb> {
    vec![
        Deb::new("app", "1:1.0-1")
            .depends("mta | none, lib (>= 2~), x | y, left | right")
            .field("Multi-Arch", "allowed")
            .field("Recommends", "doc"),
        Deb::new("mail", "3.1").field("Provides", "mta, smtp (= 2)").field("Conflicts", "mta"),
        Deb::new("lib", "1.9"),
        Deb::new("lib", "1.10"),
        Deb::new("lib", "2.0").field("Pre-Depends", "libc (>= 2.36)"),
        Deb::new("libc", "2.36").field("Breaks", "lib (<< 1.9)"),
        Deb::new("tool", "1.0").depends("y, app:any (>= 1:0), smtp (>= 2)"),
        Deb::new("x", "1.0"),
        Deb::new("y", "1.0"),
        Deb::new("left", "1.0").field("Conflicts", "right"),
        Deb::new("right", "1.0").field("Conflicts", "left").depends("lib"),
        Deb::new("doc", "1.0").architecture("all"),
    ]
}

/// The file names that apt downloads for `package` on an empty target.
fn taken(uri: &str, key: &str, package: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let apt = Apt::new(folder.path(), uri, "trixie", key);
    for finished in [apt.update(), apt.download(&[package])] {
        assert_eq!(finished.exit_code, 0, "{package}: {}{}", finished.stdout, finished.stderr);
    }
    let name = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.replace("%3a", ":")
    };
    apt.archives().iter().map(name).collect()
}

#[test]
fn apt_takes_the_same_from_the_inside_as_from_upstream_and_little_else_is_carried() {
    if !Client::AptGet.usable() {
        return;
    }
    let upstream = Upstream::start();
    let repo = debs().into_iter().fold(AptRepo::new("trixie"), AptRepo::with);
    upstream.put_apt(&repo);
    let site = Site::new();
    site.outside.write("upstream.asc", repo.public_key());
    let uri = format!("{}/apt", upstream.url());
    let packages = ["tool", "app", "left", "right"];
    site.outside.write_waybill(&format!(
        "  apt: [{{uri: \"{uri}\", suite: trixie, architectures: [amd64], \
         packages: [{}], signedBy: upstream.asc}}]\n",
        packages.join(", ")
    ));
    site.carry();
    let server = site.inside.serve();
    let (inside, key) = (format!("{}/apt/trixie", server.url), apt_key(&server));
    let mut all = Vec::new();
    for package in packages {
        let expected = taken(&uri, &repo.public_key(), package);
        assert_eq!(taken(&inside, &key, package), expected, "{package}");
        all.extend(expected);
    }
    all.sort();
    all.dedup();
    assert_eq!(site.inside.status()["artifacts"]["deb"], all.len(), "{all:?}");
}
