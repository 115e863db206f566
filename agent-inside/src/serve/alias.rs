//! Addresses of the kubespray-offline layout, for sites that move from it without touching their
//! nodes.
//!
//! In:   a path, what is held, and which targets the old paths mean.
//! Out:  the address of ours that means the same, or nothing.
//! Pure: no files, no clock. A path that is held under its own name is never another's.
//!
//! | there                     | here                                                         |
//! |---------------------------|--------------------------------------------------------------|
//! | `/files/kubernetes/v1.34.3/kubeadm` | the held file of that name whose path has that version |
//! | `/rpms/local/…`           | `/yum/<target>/…`                                            |
//! | `/debs/local/./Packages…` | the one index of the target; without a Release, as there     |
//! | `/debs/local/…`           | `/apt/<target>/…`                                            |
//! | `/pypi/<project>/`        | a redirect to `/pypi/simple/<project>/`                      |
//!
//! Its registry, port 35000, has images by their names without a host, as `/v2/` has them anyway.

use std::env::consts::ARCH;

use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::files::LINK;
use super::site::Site;
use crate::publish::apt::MERGED;
use crate::settings::Aliases;

/// What an old address comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alias {
    /// This path is served in its place.
    Same(String),
    /// The client is sent there, since links of the page are relative to where it lies.
    Sent(String),
}

/// What a path as it stands in a request means in the old layout.
pub fn resolve(aliases: &Aliases, site: &Site, path: &str) -> Option<Alias> {
    if !aliases.on {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    if let Some(rest) = decoded.strip_prefix("/files/") {
        return file(site, rest).map(|path| Alias::Same(encoded(&format!("/files/{path}"))));
    }
    if let Some(rest) = decoded.strip_prefix("/rpms/local/") {
        let only = || site.yum_targets.keys().next().filter(|_| site.yum_targets.len() == 1);
        let target = aliases.rpms.as_ref().or_else(only)?;
        return Some(Alias::Same(encoded(&format!("/yum/{target}/{rest}"))));
    }
    if let Some(rest) = decoded.strip_prefix("/debs/local/") {
        let rest = rest.trim_start_matches("./");
        return deb(aliases, site, rest).map(|path| Alias::Same(encoded(&path)));
    }
    let project = decoded.strip_prefix("/pypi/")?.trim_end_matches('/');
    let is_ours = project.contains('/') || matches!(project, "simple" | "packages");
    let slash = if project.is_empty() { "" } else { "/" };
    (!is_ours).then(|| Alias::Sent(encoded(&format!("/pypi/simple/{project}{slash}"))))
}

fn encoded(path: &str) -> String {
    utf8_percent_encode(path, LINK).to_string()
}

/// The held file that is meant, of the first generation that has one.
fn file(site: &Site, wanted: &str) -> Option<String> {
    let (first, _) = wanted.split_once('/').unwrap_or((wanted, ""));
    if site.file(wanted).is_some() || !site.folder(first).is_empty() {
        return None;
    }
    let mut picked = site.views().iter().map(|view| pick(wanted, view.file_paths()));
    picked.find_map(|path| path).map(str::to_owned)
}

/// The only one of `held` that has the name of `wanted`, every version among its folders, and
/// more of its other folders than any other has. Where only the architecture differs, this
/// machine's counts, for the old layout had no other.
fn pick<'a>(wanted: &str, held: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (folders, name) = wanted.rsplit_once('/').unwrap_or(("", wanted));
    let folders: Vec<&str> = folders.split('/').filter(|folder| !folder.is_empty()).collect();
    let mut best: Vec<&str> = Vec::new();
    let mut most = 0;
    for path in held {
        let Some(rest) = path.strip_suffix(name).and_then(|rest| rest.strip_suffix('/')) else {
            continue;
        };
        let has = |folder: &str| rest.split('/').any(|f| bare(f) == bare(folder));
        if !folders.iter().filter(|folder| is_version(folder)).all(|folder| has(folder)) {
            continue;
        }
        let count = folders.iter().filter(|folder| has(folder)).count();
        if best.is_empty() || most < count {
            (best, most) = (vec![path], count);
        } else if most == count {
            best.push(path);
        }
    }
    if 1 < best.len() {
        best.retain(|path| path.split('/').any(is_this_machine));
    }
    match best[..] {
        [path] => Some(path),
        _ => None,
    }
}

/// A version with or without the v before it.
fn bare(folder: &str) -> &str {
    folder.strip_prefix('v').filter(|rest| is_version(rest)).unwrap_or(folder)
}

fn is_version(folder: &str) -> bool {
    let rest = folder.strip_prefix('v').unwrap_or(folder);
    rest.starts_with(|c: char| c.is_ascii_digit())
}

fn is_this_machine(folder: &str) -> bool {
    match ARCH {
        "x86_64" => matches!(folder, "amd64" | "x86_64"),
        "aarch64" => matches!(folder, "arm64" | "aarch64"),
        other => folder == other,
    }
}

/// What lies in a flat apt repository. Ours have suites, and a suite's Release lists other paths
/// than a flat one's, so there is none; sources of the old layout say `[trusted=yes]` and ask for
/// the index all the same.
fn deb(aliases: &Aliases, site: &Site, rest: &str) -> Option<String> {
    let only = || site.apt_targets.first().filter(|_| site.apt_targets.len() == 1);
    let target = aliases.debs.as_ref().or_else(only)?;
    if !matches!(rest, "Packages" | "Packages.gz" | "Packages.xz") {
        return Some(format!("/apt/{target}/{rest}"));
    }
    let index = |arch| format!("{target}/dists/{MERGED}/main/binary-{arch}/{rest}");
    let native = if ARCH == "aarch64" { ["arm64", "amd64"] } else { ["amd64", "arm64"] };
    let held = native.map(index).into_iter().find(|path| site.index(path).is_some())?;
    Some(format!("/apt/{held}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths as `wget -x` names them, for what kubespray-offline puts into its own folders.
    const HELD: [&str; 9] = [
        "dl.k8s.io/release/v1.33.7/bin/linux/amd64/kubeadm",
        "dl.k8s.io/release/v1.34.3/bin/linux/amd64/kubeadm",
        "dl.k8s.io/release/v1.34.3/bin/linux/arm64/kubeadm",
        "get.helm.sh/helm-v3.18.4-linux-amd64.tar.gz",
        "github.com/containernetworking/plugins/releases/download/v1.8.0/cni-plugins.tgz",
        "github.com/opencontainers/runc/releases/download/v1.3.4/runc.amd64",
        "github.com/other/thing/archive/v3.30.6.tar.gz",
        "github.com/projectcalico/calico/archive/v3.30.6.tar.gz",
        "storage.googleapis.com/gvisor/releases/release/20260112/x86_64/runsc",
    ];

    #[test]
    fn a_file_is_found_by_its_name_and_the_versions_in_its_path() {
        let machine = if ARCH == "aarch64" { 2 } else { 1 };
        for (wanted, expected) in [
            ("kubernetes/v1.34.3/kubeadm", Some(HELD[machine])),
            ("kubernetes/1.33.7/kubeadm", Some(HELD[0])),
            ("kubernetes/v1.35.0/kubeadm", None),
            ("kubeadm", None),
            ("helm-v3.18.4-linux-amd64.tar.gz", Some(HELD[3])),
            ("kubernetes/cni/cni-plugins.tgz", Some(HELD[4])),
            ("runc/v1.3.4/runc.amd64", Some(HELD[5])),
            ("runc/v1.3.3/runc.amd64", None),
            ("kubernetes/calico/v3.30.6.tar.gz", Some(HELD[7])),
            ("v3.30.6.tar.gz", None),
            ("gvisor/20260112/x86_64/runsc", Some(HELD[8])),
            ("unsc", None),
            ("", None),
        ] {
            assert_eq!(pick(wanted, HELD.into_iter()), expected, "{wanted}");
        }
    }
}
