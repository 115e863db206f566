//! Small repositories for tests.

use std::{fmt::Write as _, sync::LazyLock};

use gapferry_proto::Digest;

use super::{
    comps::Groups,
    primary,
    rules::Habits,
    universe::{Id, Universe},
    updateinfo::Advisories,
};

/// No group.
pub static NO_GROUPS: LazyLock<Groups> = LazyLock::new(Groups::default);

/// No advisory.
pub static NO_ADVISORIES: LazyLock<Advisories> = LazyLock::new(Advisories::default);

/// The element of a package, `name-evr.arch`; below it lines as `requires: a >= 1, (b if c)`.
pub fn element(nevra: &str, lines: &str) -> String {
    let (rest, arch) = nevra.rsplit_once('.').unwrap();
    let (rest, release) = rest.rsplit_once('-').unwrap();
    let (name, version) = rest.rsplit_once('-').unwrap();
    let (epoch, version) = version.split_once(':').unwrap_or(("0", version));
    let mut xml = format!(
        "<package type=\"rpm\"><name>{name}</name><arch>{arch}</arch>\
         <version epoch=\"{epoch}\" ver=\"{version}\" rel=\"{release}\"/>\
         <checksum type=\"sha256\" pkgid=\"YES\">{}</checksum><summary>a &amp; b</summary>\
         <size package=\"10\" installed=\"20\" archive=\"30\"/>\
         <location href=\"Packages/{name}-{version}-{release}.{arch}.rpm\"/>\
         <format><rpm:sourcerpm>{name}.src.rpm</rpm:sourcerpm>\
         <rpm:header-range start=\"100\" end=\"200\"/>",
        Digest::of(nevra.as_bytes()).hex()
    );
    let own = format!("{name} = {}", rpm_evr(epoch, version, release));
    let provides = format!("provides: {own}");
    for line in std::iter::once(provides.as_str()).chain(lines.lines().map(str::trim)) {
        let Some((bond, list)) = line.split_once(": ") else { continue };
        if bond == "files" {
            for path in list.split(", ") {
                write!(xml, "<file>{path}</file>").unwrap();
            }
            continue;
        }
        write!(xml, "<rpm:{bond}>").unwrap();
        for entry in list.split(", ") {
            xml.push_str(&relation(entry));
        }
        write!(xml, "</rpm:{bond}>").unwrap();
    }
    xml + "</format></package>\n"
}

fn rpm_evr(epoch: &str, version: &str, release: &str) -> String {
    super::evr::join(epoch, version, release)
}

fn relation(entry: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let words: Vec<&str> = entry.split(' ').collect();
    let [name, sign, evr] = words[..] else {
        return format!("<rpm:entry name=\"{}\"/>", escape(entry));
    };
    if name.starts_with('(') {
        return format!("<rpm:entry name=\"{}\"/>", escape(entry));
    }
    let flags = match sign {
        "<" => "LT",
        "<=" => "LE",
        "=" => "EQ",
        ">=" => "GE",
        _ => "GT",
    };
    let (epoch, version, release) = super::evr::split(evr);
    let release = if release.is_empty() { String::new() } else { format!(" rel=\"{release}\"") };
    format!(
        "<rpm:entry name=\"{name}\" flags=\"{flags}\" epoch=\"{epoch}\" ver=\"{version}\"{release}/>"
    )
}

/// A `primary.xml`.
pub fn primary(packages: &[(&str, &str)]) -> String {
    let elements: String = packages.iter().map(|(nevra, lines)| element(nevra, lines)).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata \
         xmlns=\"http://linux.duke.edu/metadata/common\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{}\">\n{elements}</metadata>\n",
        packages.len()
    )
}

/// One repository, read.
pub fn universe(packages: &[(&str, &str)]) -> Universe {
    let mut universe = Universe::default();
    primary::read(primary(packages).as_bytes(), 0, |_| true, &mut universe).unwrap();
    universe.index();
    universe
}

/// The habits of a client that nobody changed.
pub fn habits() -> Habits {
    Habits { weak: true, ..Habits::default() }
}

/// Packages as people write them.
pub fn words(universe: &Universe, ids: impl IntoIterator<Item = Id>) -> Vec<String> {
    let mut words: Vec<String> = ids.into_iter().map(|id| universe.words(id)).collect();
    words.sort();
    words
}
