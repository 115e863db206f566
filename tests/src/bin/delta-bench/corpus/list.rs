//! The list of the corpus, every version pinned.

use super::{Source, Wanted, toolchains};
use crate::{
    charts,
    forms::Form,
    golang::{GO, NEXT_GO, Program},
    gzip::Encoder,
};

/// A plain and a packed form, where all six would only repeat what patch hops show.
const TWO_FORMS: [Form; 2] = [Form::Bare, Form::TarGz(Encoder::Go)];

/// Every hop, those of the small corpus marked.
pub fn wanted() -> Vec<Wanted> {
    [wheels(), debs(), programs(), sources(), charts()].concat()
}

fn hop(name: impl Into<String>, sources: Vec<(Option<Source>, Source)>) -> Wanted {
    Wanted { name: name.into(), small: false, sources }
}

fn small(name: impl Into<String>, sources: Vec<(Option<Source>, Source)>) -> Wanted {
    Wanted { small: true, ..hop(name, sources) }
}

fn wheels() -> Vec<Wanted> {
    let rows = [
        ("ansible", "9.13.0", "10.7.0", false),
        ("ansible", "10.7.0", "11.13.0", false),
        ("ansible-core", "2.16.13", "2.16.14", true),
        ("ansible-core", "2.17.13", "2.17.14", true),
        ("ansible-core", "2.17.14", "2.18.12", false),
        ("cryptography", "45.0.2", "46.0.2", true),
        ("cryptography", "46.0.2", "46.0.3", true),
        ("cryptography", "46.0.3", "46.0.7", true),
    ];
    let wanted = rows.map(|(project, old, new, is_small)| {
        let wheel = |version| Source::Wheel { project, version };
        let wanted = hop(format!("wheel {project} {old} {new}"), one(wheel(old), wheel(new)));
        Wanted { small: is_small, ..wanted }
    });
    wanted.into()
}

fn one(old: Source, new: Source) -> Vec<(Option<Source>, Source)> {
    vec![(Some(old), new)]
}

/// Of one source package or of one stable suite: what moves together is one hop.
type DebRow = (&'static str, &'static [&'static str], &'static str, &'static str);

/// A stable suite and its security updates.
const SECURITY: [DebRow; 7] = [
    ("openssl", &["openssl", "libssl3"], "3.0.20-1~deb12u2", "3.0.22-1~deb12u2"),
    ("openssl", &["openssl", "libssl3t64"], "3.5.7-1~deb13u3", "3.5.9-1~deb13u1"),
    ("linux-libc-dev", &["linux-libc-dev"], "6.1.176-1", "6.1.192-3"),
    ("linux-libc-dev", &["linux-libc-dev"], "6.12.107-1", "6.12.117-1"),
    (
        "python3.11",
        &["python3.11", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"],
        "3.11.2-6+deb12u8",
        "3.11.2-6+deb12u9",
    ),
    ("containerd", &["containerd"], "1.6.20~ds1-1+deb12u2", "1.6.20~ds1-1+deb12u3"),
    ("docker.io", &["docker.io"], "26.1.5+dfsg1-9+deb13u1", "26.1.5+dfsg1-9+deb13u1+b1"),
];

/// One stable suite and the next.
const RELEASES: [(&str, &str, &str); 7] = [
    ("containerd", "1.6.20~ds1-1+deb12u3", "1.7.24~ds1-6+deb13u1"),
    ("runc", "1.1.5+ds1-1+deb12u1", "1.1.15+ds1-2+b4"),
    ("containernetworking-plugins", "1.1.1+ds1-3+b5", "1.1.1+ds1-3+b17"),
    ("skopeo", "1.9.3+ds1-1+b10", "1.18.0+ds1-1+b5"),
    ("podman", "4.3.1+ds1-8+deb12u1+b3", "5.4.2+ds1-2+b2"),
    ("docker.io", "20.10.24+dfsg1-1+deb12u1+b6", "26.1.5+dfsg1-9+deb13u1+b1"),
    ("conntrack", "1:1.4.7-1+b2", "1:1.4.8-2"),
];

fn debs() -> Vec<Wanted> {
    let deb = |package, version| Source::Deb { package, version };
    let security = SECURITY.iter().enumerate().map(|(at, &(name, packages, old, new))| {
        let pair = |&package: &&'static str| (Some(deb(package, old)), deb(package, new));
        let sources = packages.iter().map(pair).collect();
        Wanted { small: at == 0, ..hop(format!("deb {name} {old} {new}"), sources) }
    });
    let releases = RELEASES.iter().map(|&(package, old, new)| {
        hop(format!("deb {package} {old} {new}"), one(deb(package, old), deb(package, new)))
    });
    security.chain(releases).collect()
}

/// A program, without version and toolchain.
type Named = (&'static str, &'static str, &'static str);

const YQ: Named = ("yq", "github.com/mikefarah/yq/v4", "github.com/mikefarah/yq/v4");
const CRANE: Named = (
    "crane",
    "github.com/google/go-containerregistry/cmd/crane",
    "github.com/google/go-containerregistry",
);
const COREDNS: Named = ("coredns", "github.com/coredns/coredns", "github.com/coredns/coredns");
const ORAS: Named = ("oras", "oras.land/oras/cmd/oras", "oras.land/oras");
const HELM: Named = ("helm", "helm.sh/helm/v3/cmd/helm", "helm.sh/helm/v3");
const BUILDX: Named = ("buildx", "github.com/docker/buildx/cmd/buildx", "github.com/docker/buildx");
const CONTAINERD_MODULE: &str = "github.com/containerd/containerd/v2";
/// The largest first: it is a base of the others.
const CONTAINERD: [Named; 3] = [
    ("containerd", "github.com/containerd/containerd/v2/cmd/containerd", CONTAINERD_MODULE),
    ("ctr", "github.com/containerd/containerd/v2/cmd/ctr", CONTAINERD_MODULE),
    (
        "containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        CONTAINERD_MODULE,
    ),
];

const fn program(
    (name, package, module): Named,
    version: &'static str,
    toolchain: &'static str,
) -> Program {
    Program { name, package, module, version, toolchain }
}

/// Patch hops in every form, hops to a new minor version or toolchain in two.
fn programs() -> Vec<Wanted> {
    let small_forms = |family: &[Named], old, new, forms: &[Form]| {
        let mut wanted = family_hop(family, (old, GO), (new, GO), &Form::ALL);
        let is_small = |hop: &Wanted| forms.iter().any(|form| hop.name.ends_with(form.name()));
        wanted.iter_mut().for_each(|hop| hop.small = is_small(hop));
        wanted
    };
    let patch = |family: &[Named], old, new| small_forms(family, old, new, &[]);
    let moved = |family: &[Named], old, new| family_hop(family, old, new, &TWO_FORMS);
    [
        small_forms(&[YQ], "4.44.2", "4.44.3", &Form::ALL),
        moved(&[YQ], ("4.44.3", GO), ("4.44.3", NEXT_GO)),
        moved(&[YQ], ("4.44.3", GO), ("4.45.1", GO)),
        small_forms(&[CRANE], "0.20.2", "0.20.3", &TWO_FORMS),
        small_forms(&[COREDNS], "1.12.1", "1.12.2", &[Form::Bare]),
        moved(&[COREDNS], ("1.12.1", GO), ("1.12.4", GO)),
        moved(&[ORAS], ("1.2.3", GO), ("1.3.4", NEXT_GO)),
        patch(&[HELM], "3.18.4", "3.18.5"),
        moved(&[HELM], ("3.18.5", GO), ("3.19.0", GO)),
        moved(&[HELM], ("3.18.5", GO), ("3.19.0", NEXT_GO)),
        patch(&[BUILDX], "0.21.2", "0.21.3"),
        moved(&[BUILDX], ("0.21.3", GO), ("0.22.0", GO)),
        patch(&CONTAINERD, "2.2.1", "2.2.3"),
        moved(&CONTAINERD, ("2.2.3", GO), ("2.2.3", NEXT_GO)),
        first_seed(&CONTAINERD, "2.2.1"),
    ]
    .concat()
}

/// A family that moves from one version and toolchain to the next, in each form.
fn family_hop(
    family: &[Named],
    (old, old_go): (&'static str, &'static str),
    (new, new_go): (&'static str, &'static str),
    forms: &[Form],
) -> Vec<Wanted> {
    let wanted = forms.iter().map(|&form| {
        let [before, after] = [(old, old_go), (new, new_go)].map(|(version, toolchain)| {
            family.iter().map(move |&named| program(named, version, toolchain))
        });
        let head = (program(family[0], old, old_go), program(family[0], new, new_go));
        let name = format!(
            "go {} {old} {new} {} {}",
            head.0.name,
            toolchains(&head.0, &head.1),
            form.name()
        );
        let of = |program| Source::Go { program, form };
        hop(name, before.zip(after).map(|(old, new)| (Some(of(old)), of(new))).collect())
    });
    wanted.collect()
}

fn first_seed(family: &[Named], version: &'static str) -> Vec<Wanted> {
    let wanted = TWO_FORMS.iter().map(|&form| {
        let of = |&named: &Named| (None, Source::Go { program: program(named, version, GO), form });
        let name = format!("go {} first seed {version} {GO} {}", family[0].0, form.name());
        hop(name, family.iter().map(of).collect())
    });
    wanted.collect()
}

fn sources() -> Vec<Wanted> {
    let rows = [
        ("github.com/mikefarah/yq/v4", "4.44.2", "4.44.3"),
        ("helm.sh/helm/v3", "3.18.4", "3.18.5"),
        ("helm.sh/helm/v3", "3.18.5", "3.19.0"),
        (CONTAINERD_MODULE, "2.2.1", "2.2.3"),
    ];
    let wanted = rows.map(|(module, old, new)| {
        let source = |version| Source::Tarball { module, version };
        hop(format!("source {module} {old} {new}"), one(source(old), source(new)))
    });
    wanted.into()
}

fn charts() -> Vec<Wanted> {
    let [old, new] = charts::VERSIONS;
    let by_go = |version| Source::Chart { version };
    let helm = program(HELM, "3.18.4", GO);
    let by_helm = |version| Source::ChartByHelm { helm, version };
    vec![
        small(format!("chart {old} {new} by Go's gzip"), one(by_go(old), by_go(new))),
        hop(format!("chart {old} {new} by helm"), one(by_helm(old), by_helm(new))),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_hop_has_a_name_of_its_own_and_the_small_corpus_every_kind() {
        let wanted = wanted();
        let names: BTreeSet<&str> = wanted.iter().map(|hop| &*hop.name).collect();
        assert_eq!(names.len(), wanted.len());
        let first = |hop: &Wanted| hop.name.split(' ').next().unwrap_or_default().to_owned();
        let kinds: BTreeSet<String> = wanted.iter().filter(|hop| hop.small).map(first).collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["chart", "deb", "go", "wheel"]);
    }
}
