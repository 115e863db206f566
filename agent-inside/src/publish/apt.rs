//! Debian packages: the suites of each target as upstream names them, and one that merges all.
//!
//! In:   the debs of a snapshot, each with the paragraph that upstream signed for it.
//! Out:  `apt/<target>/dists/<suite>/<component>/binary-<arch>/Packages`, `.gz` and `.xz`, and
//!       `Release.undated`, the head but for its date; from that the signed heads.
//! Pure: the same debs give the same bytes, whatever order they come in.
//!
//! A line of upstream keeps working with another base: `deb BASE/apt/<target> <suite>
//! <component>`. A node needs one line alone for all that its target holds, from whatever
//! repository it came: `deb BASE/apt/<target> merged main`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

use gapferry_common::openpgp::sign::SiteKey;
use gapferry_proto::artifact::DebFacts;
use gapferry_proto::{Artifact, Digest, Facts, SafePath, Snapshot, Target};
use jiff::Timestamp;

use super::PublishError;
use super::packing::gzip;

/// The name of the document that becomes `Release` once it has a date.
pub const UNDATED: &str = "Release.undated";

/// The suite of each target that lists all its packages, in one component, `main`.
pub const MERGED: &str = "merged";

/// What a target's suite consists of: for each component and architecture, its paragraphs.
type Sections<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a DebFacts>>;

/// One document that a `Release` lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Below the folder of the `Release`.
    pub path: SafePath,
    pub digest: Digest,
    pub len_bytes: u64,
}

/// The path below the server's root at which a package is served.
pub fn address(facts: &DebFacts) -> String {
    format!("apt/{}/{}", facts.target, facts.filename)
}

/// The suite that a node names: upstream's. A flat repository (`./`) has no suite of its own and
/// is called `flat`.
pub fn suite(suite: &str) -> &str {
    let suite = suite.trim_start_matches("./").trim_matches('/');
    if matches!(suite, "" | ".") { "flat" } else { suite }
}

/// The component that a node names; a flat repository has none, and gets `main`.
pub fn component(component: &str) -> &str {
    if component.is_empty() { "main" } else { component }
}

/// The folders of the heads that list a package: `apt/<target>/dists/<suite>` for upstream's suite
/// and for the merged one.
pub fn suite_folders(facts: &DebFacts) -> [String; 2] {
    [suite(&facts.suite), MERGED].map(|suite| format!("apt/{}/dists/{suite}", facts.target))
}

/// Refuses a package whose paragraph or names would tear the index or lead out of its folder.
///
/// # Errors
///
/// [`PublishError::Paragraph`], [`PublishError::Name`].
pub fn check(artifact: &Artifact, facts: &DebFacts) -> Result<(), PublishError> {
    check_paragraph(artifact, facts)?;
    check_names(artifact, facts)
}

/// Renders the documents of every target.
///
/// # Errors
///
/// As [`check`].
pub fn render(snapshot: &Snapshot) -> Result<Vec<(SafePath, Vec<u8>)>, PublishError> {
    let mut suites: BTreeMap<(&Target, &str), Vec<&DebFacts>> = BTreeMap::new();
    for artifact in snapshot.artifacts() {
        if let Facts::Deb(facts) = &artifact.facts {
            check(artifact, facts)?;
            for suite in [suite(&facts.suite), MERGED] {
                suites.entry((&facts.target, suite)).or_default().push(facts);
            }
        }
    }
    let mut documents = Vec::new();
    for ((target, suite), debs) in suites {
        documents.extend(render_suite(target, suite, debs));
    }
    Ok(documents)
}

fn render_suite(target: &Target, suite: &str, debs: Vec<&DebFacts>) -> Vec<(SafePath, Vec<u8>)> {
    let sections = if suite == MERGED {
        sections(debs, |_| component(""))
    } else {
        sections(debs, |deb| component(&deb.component))
    };
    let mut documents = Vec::new();
    let mut listed = Vec::new();
    for ((component, arch), debs) in &sections {
        let packages = packages(debs);
        for (suffix, bytes) in
            [("", packages.clone()), (".gz", gzip(&packages)), (".xz", xz(&packages))]
        {
            let path = path(&format!("{component}/binary-{arch}/Packages{suffix}"));
            listed.push(Listed {
                path: path.clone(),
                digest: Digest::of(&bytes),
                len_bytes: bytes.len() as u64,
            });
            documents.push((self::path(&format!("apt/{target}/dists/{suite}/{path}")), bytes));
        }
    }
    let undated = undated(target, suite, &sections, &listed);
    documents.push((path(&format!("apt/{target}/dists/{suite}/{UNDATED}")), undated.into_bytes()));
    documents
}

/// Sorts debs into every component and architecture of the suite; packages for `all` stand in
/// each, as apt expects of a repository that does not list `all` by itself.
fn sections<'a>(
    mut debs: Vec<&'a DebFacts>,
    component: impl Fn(&'a DebFacts) -> &'a str,
) -> Sections<'a> {
    debs.sort_by_key(|d| (&d.package, &d.version, &d.architecture));
    let mut archs: BTreeSet<_> =
        debs.iter().map(|d| d.architecture.as_str()).filter(|arch| *arch != "all").collect();
    if archs.is_empty() {
        archs.insert("all");
    }
    let mut sections = Sections::new();
    for deb in debs {
        for arch in &archs {
            let section = sections.entry((component(deb), *arch)).or_default();
            if deb.architecture == *arch || deb.architecture == "all" {
                section.push(deb);
            }
        }
    }
    sections
}

/// The paragraphs as upstream wrote them, each followed by a blank line.
fn packages(debs: &[&DebFacts]) -> Vec<u8> {
    let mut packages = String::new();
    for deb in debs {
        packages.push_str(deb.paragraph.trim_end_matches('\n'));
        packages.push_str("\n\n");
    }
    packages.into_bytes()
}

/// A `Release` without its date: what it lists is fixed with the generation, its date is not.
///
/// No `Valid-Until`: nobody inside could renew it. Only SHA-256: apt asks for the strongest hash
/// that is listed, so one is enough (Debian repository format, "Release" files).
fn undated(target: &Target, suite: &str, sections: &Sections<'_>, listed: &[Listed]) -> String {
    let join = |words: BTreeSet<&str>| words.into_iter().collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "Origin: Gapferry\nLabel: {target}\nSuite: {suite}\nCodename: {suite}\n\
         Architectures: {}\nComponents: {}\nAcquire-By-Hash: yes\nSHA256:\n",
        join(sections.keys().map(|(_, arch)| *arch).collect()),
        join(sections.keys().map(|(component, _)| *component).collect()),
    );
    for Listed { path, digest, len_bytes } in listed {
        writeln!(text, " {} {len_bytes:>10} {path}", digest.hex())
            .expect("writing to a String does not fail");
    }
    text
}

/// The unsigned `Release` of every suite among `documents`, dated.
///
/// # Errors
///
/// [`PublishError::Document`]: a `Release.undated` is not of our making.
pub fn release(
    documents: &BTreeMap<SafePath, Vec<u8>>,
    date: Timestamp,
) -> Result<BTreeMap<SafePath, String>, PublishError> {
    let mut releases = BTreeMap::new();
    for (path, folder, text) in super::undated(documents, UNDATED) {
        let text = text.and_then(|text| dated(text, date));
        let text = text.ok_or_else(|| PublishError::Document(path.clone()))?;
        releases.insert(self::path(&format!("{folder}Release")), text);
    }
    Ok(releases)
}

/// Puts `Date:` before the architectures, in the form of RFC 2822 with `UTC` for the zone, as
/// the Debian repository format demands.
fn dated(undated: &str, date: Timestamp) -> Option<String> {
    let at = undated.find("Architectures: ")?;
    let date = date.strftime("%a, %d %b %Y %H:%M:%S UTC");
    Some(format!("{}Date: {date}\n{}", &undated[..at], &undated[at..]))
}

pub(super) fn heads(
    documents: &BTreeMap<SafePath, Vec<u8>>,
    date: Timestamp,
    signer: &SiteKey,
) -> Result<BTreeMap<SafePath, Vec<u8>>, PublishError> {
    let mut heads = BTreeMap::new();
    for (path, text) in release(documents, date)? {
        let sign = |source| PublishError::Sign { path: path.clone(), source };
        let folder = path.as_str().trim_end_matches("Release");
        let signed = signer.cleartext_sign(&text, date).map_err(sign)?;
        let detached = signer.detached_sign(text.as_bytes(), date).map_err(sign)?;
        heads.insert(self::path(&format!("{folder}InRelease")), signed.into_bytes());
        heads.insert(self::path(&format!("{folder}Release.gpg")), detached.into_bytes());
        heads.insert(path.clone(), text.into_bytes());
    }
    Ok(heads)
}

/// What a `Release`, dated or not, lists under `SHA256`; none when it is not of our making.
pub fn listed(release: &str) -> Option<Vec<Listed>> {
    let (_, list) = release.split_once("\nSHA256:\n")?;
    list.lines().map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Listed> {
    let mut words = line.split_ascii_whitespace();
    let digest = format!("sha256:{}", words.next()?).parse().ok()?;
    let len_bytes = words.next()?.parse().ok()?;
    let path = words.next()?.parse().ok()?;
    words.next().is_none().then_some(Listed { path, digest, len_bytes })
}

/// Refuses a paragraph that would tear the index or lead clients to other bytes than ours.
fn check_paragraph(artifact: &Artifact, facts: &DebFacts) -> Result<(), PublishError> {
    let field = |name: &str| {
        let lines = facts.paragraph.lines();
        lines.filter_map(|l| l.split_once(':')).find(|(n, _)| *n == name).map(|(_, v)| v.trim())
    };
    let blob = artifact.blobs[0];
    let problem = if facts.paragraph.trim_end_matches('\n').split('\n').any(|l| l.trim().is_empty())
    {
        "it has a blank line"
    } else if field("Package") != Some(&*facts.package) || field("Version") != Some(&*facts.version)
    {
        "it names another package or version"
    } else if field("Filename").map(|f| f.trim_start_matches("./")) != Some(facts.filename.as_str())
    {
        "it names another file"
    } else if field("SHA256").is_some_and(|hex| hex != blob.id.hex()) {
        "it names another SHA256"
    } else if field("Size").is_some_and(|size| size != blob.len_bytes.to_string()) {
        "it names another size"
    } else {
        return Ok(());
    };
    Err(PublishError::Paragraph { artifact: artifact.name.clone(), problem })
}

fn check_names(artifact: &Artifact, facts: &DebFacts) -> Result<(), PublishError> {
    let bad = |what, text: &str| {
        Err(PublishError::Name { artifact: artifact.name.clone(), what, text: text.to_owned() })
    };
    if suite(&facts.suite) == MERGED {
        return bad("suite", MERGED);
    }
    let names = [
        ("suite", suite(&facts.suite)),
        ("component", component(&facts.component)),
        ("architecture", &facts.architecture),
    ];
    for (what, text) in names {
        // A white space would end the name within the Release, a long one overflow a path.
        let fits = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        if !fits || text.parse::<SafePath>().is_err() {
            return bad(what, text);
        }
    }
    Ok(())
}

fn path(text: &str) -> SafePath {
    text.parse().expect("target, suite, component and architecture were checked, each 128 bytes")
}

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(plain).expect("writing to a Vec does not fail");
    encoder.finish().expect("writing to a Vec does not fail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::fixture::deb;

    fn two_suites() -> Snapshot {
        Snapshot::of([
            deb("bookworm-updates", "socat", "2", "amd64", b"socat 2"),
            deb("bookworm", "socat", "1", "amd64", b"socat 1"),
            deb("bookworm-security", "tzdata", "3", "all", b"zones"),
            deb("bookworm", "socat", "1", "arm64", b"socat arm"),
        ])
        .unwrap()
    }

    fn documents(snapshot: &Snapshot) -> BTreeMap<SafePath, Vec<u8>> {
        render(snapshot).unwrap().into_iter().collect()
    }

    fn text<'a>(documents: &'a BTreeMap<SafePath, Vec<u8>>, path: &str) -> &'a str {
        std::str::from_utf8(&documents[&path.parse().unwrap()]).unwrap()
    }

    #[test]
    fn each_suite_is_there_by_its_name_and_the_merged_one_has_all() {
        let documents = documents(&two_suites());
        let packages = |suite, arch| {
            let path = format!("apt/bookworm/dists/{suite}/main/binary-{arch}/Packages");
            let text = text(&documents, &path).to_owned();
            assert!(text.ends_with("\n\n"), "{text:?}");
            let lines = text.lines().filter(|l| l.starts_with("Filename: "));
            lines.map(|l| l["Filename: pool/main/".len()..].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            packages("merged", "amd64"),
            ["socat_1_amd64.deb", "socat_2_amd64.deb", "tzdata_3_all.deb"]
        );
        assert_eq!(packages("merged", "arm64"), ["socat_1_arm64.deb", "tzdata_3_all.deb"]);
        assert_eq!(packages("bookworm", "amd64"), ["socat_1_amd64.deb"]);
        assert_eq!(packages("bookworm", "arm64"), ["socat_1_arm64.deb"]);
        assert_eq!(packages("bookworm-updates", "amd64"), ["socat_2_amd64.deb"]);
        assert_eq!(packages("bookworm-security", "all"), ["tzdata_3_all.deb"]);
    }

    #[test]
    fn components_keep_their_names_and_are_one_in_the_merged_suite() {
        let mut docker = deb("bookworm", "docker-ce", "1", "amd64", b"docker");
        let Facts::Deb(facts) = &mut docker.facts else { unreachable!() };
        facts.component = "stable".to_owned();
        let debs = [docker, deb("bookworm", "socat", "1", "amd64", b"socat")];
        let documents = documents(&Snapshot::of(debs).unwrap());
        let packages = |path: &str| {
            let text = text(&documents, &format!("apt/bookworm/dists/{path}/Packages"));
            let lines = text.lines().filter_map(|l| l.strip_prefix("Package: "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(packages("bookworm/stable/binary-amd64"), ["docker-ce"]);
        assert_eq!(packages("bookworm/main/binary-amd64"), ["socat"]);
        assert_eq!(packages("merged/main/binary-amd64"), ["docker-ce", "socat"]);
    }

    #[test]
    fn a_paragraph_is_served_as_upstream_wrote_it() {
        let snapshot = Snapshot::of([deb("bookworm", "socat", "1", "amd64", b"socat")]).unwrap();
        let golden = format!(
            "Package: socat\nVersion: 1\nArchitecture: amd64\n\
             Filename: pool/main/socat_1_amd64.deb\nSize: 5\nSHA256: {}\n\
             Description: socat\n\n",
            Digest::of(b"socat").hex()
        );
        let documents = documents(&snapshot);
        let packages = text(&documents, "apt/bookworm/dists/bookworm/main/binary-amd64/Packages");
        assert_eq!(packages, golden);
    }

    #[test]
    fn the_head_lists_every_index_in_every_form_with_the_date_it_is_given() {
        let documents = documents(&two_suites());
        let date = "2026-11-22T21:42:03Z".parse().unwrap();
        let releases = release(&documents, date).unwrap();
        let paths: Vec<_> = releases.keys().map(SafePath::as_str).collect();
        let suites = ["bookworm-security", "bookworm-updates", "bookworm", "merged"];
        assert_eq!(paths, suites.map(|suite| format!("apt/bookworm/dists/{suite}/Release")));
        let text = releases.values().next_back().unwrap();
        let (head, _) = text.split_once("SHA256:\n").unwrap();
        assert_eq!(
            head,
            "Origin: Gapferry\nLabel: bookworm\nSuite: merged\nCodename: merged\n\
             Date: Sun, 22 Nov 2026 21:42:03 UTC\nArchitectures: amd64 arm64\n\
             Components: main\nAcquire-By-Hash: yes\n"
        );
        let listed = listed(text).unwrap();
        assert_eq!(listed.len(), 6);
        for Listed { path, digest, len_bytes } in listed {
            let bytes = &documents[&format!("apt/bookworm/dists/merged/{path}").parse().unwrap()];
            assert_eq!((Digest::of(bytes), bytes.len() as u64), (digest, len_bytes), "{path}");
        }
    }

    #[test]
    fn the_same_debs_give_the_same_bytes_and_the_compressed_forms_hold_the_plain_one() {
        let documents = documents(&two_suites());
        assert_eq!(documents, self::documents(&two_suites()));
        let folder = "apt/bookworm/dists/merged/main/binary-amd64";
        let plain = &documents[&format!("{folder}/Packages").parse().unwrap()];
        let mut unpacked = Vec::new();
        let xz = &documents[&format!("{folder}/Packages.xz").parse().unwrap()];
        liblzma::copy_decode(&xz[..], &mut unpacked).unwrap();
        assert_eq!(&unpacked, plain);
        let gz = &documents[&format!("{folder}/Packages.gz").parse().unwrap()];
        let mut reader = flate2::read::GzDecoder::new(&gz[..]);
        unpacked.clear();
        std::io::Read::read_to_end(&mut reader, &mut unpacked).unwrap();
        assert_eq!((&unpacked, &gz[4..8]), (plain, &[0; 4][..]), "the gzip has a time");
    }

    #[test]
    fn a_suite_has_the_name_that_upstream_gives_it() {
        for (upstream, expected) in [
            ("bookworm-security", "bookworm-security"),
            ("stable/updates", "stable/updates"),
            ("./", "flat"),
            ("/", "flat"),
            ("", "flat"),
        ] {
            assert_eq!(suite(upstream), expected, "{upstream:?}");
        }
    }

    #[test]
    fn a_suite_of_upstream_that_is_called_merged_is_refused() {
        let deb = deb("merged", "socat", "1", "amd64", b"socat");
        let failure = render(&Snapshot::of([deb]).unwrap()).unwrap_err();
        assert!(matches!(failure, PublishError::Name { what: "suite", .. }), "{failure}");
    }

    #[test]
    fn a_paragraph_that_lies_about_its_package_is_refused() {
        type Change = fn(&str) -> String;
        let changes: [(&str, Change); 5] = [
            ("it has a blank line", |p| p.replace("Size", "\nSize")),
            ("it names another package or version", |p| p.replace("Version: 1", "Version: 2")),
            ("it names another file", |p| p.replace("pool/", "pond/")),
            ("it names another SHA256", |p| p.replace("SHA256: ", "SHA256: 0")),
            ("it names another size", |p| p.replace("Size: ", "Size: 1")),
        ];
        for (expected, change) in changes {
            let mut deb = deb("bookworm", "socat", "1", "amd64", b"socat");
            let Facts::Deb(facts) = &mut deb.facts else { unreachable!() };
            facts.paragraph = change(&facts.paragraph);
            let failure = render(&Snapshot::of([deb]).unwrap()).unwrap_err();
            let PublishError::Paragraph { problem, .. } = failure else { panic!("{failure}") };
            assert_eq!(problem, expected);
        }
    }

    #[test]
    fn a_suite_or_component_that_leaves_its_folder_is_refused() {
        for bad in ["../../etc", "a b", "a\nb", "a//b"] {
            let mut deb = deb("bookworm", "socat", "1", "amd64", b"socat");
            let Facts::Deb(facts) = &mut deb.facts else { unreachable!() };
            facts.component = bad.to_owned();
            let failure = render(&Snapshot::of([deb]).unwrap()).unwrap_err();
            assert!(matches!(failure, PublishError::Name { what: "component", .. }), "{failure}");
        }
    }

    #[test]
    fn a_release_of_foreign_make_is_not_taken() {
        for bad in ["", "SHA256:\n", "\nSHA256:\n xyz 1 a", "\nSHA256:\n 00 1"] {
            assert_eq!(listed(bad), None, "{bad:?}");
        }
        let documents = [("apt/t/dists/s/Release.undated".parse().unwrap(), b"\xff".to_vec())];
        let failure = release(&documents.into(), Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(matches!(failure, PublishError::Document(_)), "{failure}");
    }
}
