//! Takes an upgrade hop by hop: what would Kubespray ask for at each release of a route?
//!
//! In:   the route, the `kubespray:` lines of the waybills, trees and versions that the user names.
//! Out:  all that a release of the route asks for and would not find, with its hops; releases
//!       whose tree is nowhere; hops that break a rule.
//!
//! The tree of a release is the one that the user names, else that of a `kubespray:` line, else
//! the archive of Kubespray's source that is carried: earlier locks keep theirs. A tree without a
//! line of its own is asked with the line whose release is nearest. Each is resolved by itself,
//! with its own Kubernetes, requirements and Python releases.

use std::{collections::HashMap, io::BufReader, sync::Arc};

use gapferry_proto::Kind;

use super::{Expanded, Ground, Missing, Order, Report};
use crate::{
    expand::kubespray::question,
    kubespray::{
        self, Tree,
        question::{Answer, read_tree},
    },
    route::{self, Break, KubeVersion, Release, Route, RouteError},
    source::{Failure, Verdict},
    waybill::KubesprayLine,
};

/// A route, and what the user says of its trees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub route: Route,
    /// Where trees lie: folders, tarballs, `CLONE#TAG`.
    pub trees: Vec<(Release, String)>,
    /// Which Kubernetes a release sets up.
    pub kubes: Vec<(Release, KubeVersion)>,
}

/// A tree that was read.
#[derive(Clone, Debug)]
struct Read {
    tree: Arc<Tree>,
    release: Release,
    /// For people.
    place: String,
}

/// A line of a waybill with the tree that it names.
#[derive(Clone, Debug)]
struct Lined<'a> {
    order: Order<'a>,
    index: usize,
    line: &'a KubesprayLine,
    read: Read,
}

/// What is resolved at a release of the route.
#[derive(Clone, Debug)]
struct Sight<'a> {
    lined: Lined<'a>,
    /// A tree that is not the line's own.
    other: Option<Read>,
    kube: Option<KubeVersion>,
    /// The hops that it is needed for.
    hop: String,
}

/// Checks every release of a route.
///
/// Takes some hundred milliseconds a release and line, and what the closures of its packages take.
///
/// # Errors
///
/// [`RouteError`]: trees that the user names and that are none, or that fit a release as well as
/// others do.
pub fn check(
    ground: &Ground<'_>,
    orders: &[Order<'_>],
    asked: &Asked,
    report: &mut Report,
) -> Result<(), Vec<RouteError>> {
    let lines = lines(orders);
    let named = named(&asked.trees)?;
    let mut trees = vec![];
    for (i, &release) in asked.route.releases().iter().enumerate() {
        let kube = asked.kubes.iter().find(|(of, _)| meant(release, *of)).map(|(_, kube)| *kube);
        let hop = hop(asked.route.releases(), i);
        let sights = sights(ground, &lines, &named, release);
        if sights.is_empty() {
            report.missing.push(treeless(release, lines.is_empty(), &hop));
            let place = format!("--tree {release}");
            let known = |kube| route::Tree { place, release, cluster: String::new(), kube };
            trees.extend(kube.map(Some).map(known));
        }
        for (lined, other) in sights {
            let sight = Sight { lined, other, kube, hop: hop.clone() };
            trees.push(sight.check(ground, report));
        }
        *report.checked.entry("release").or_default() += 1;
    }
    let stops = asked.route.with_trees(&trees)?;
    report.missing.extend(route::breaks(&stops).iter().map(broken));
    report.settle();
    Ok(())
}

/// The lines whose trees can be read; the others are failures of the waybill.
fn lines<'a>(orders: &[Order<'a>]) -> Vec<Lined<'a>> {
    let mut trees: HashMap<String, Option<Read>> = HashMap::new();
    let mut lines = vec![];
    for order in orders {
        for (index, line) in order.waybill.spec.kubespray.iter().enumerate() {
            let place = order.base.join(&line.tree).into_string();
            let read = trees.entry(place).or_insert_with_key(|place| {
                let tree = read_tree(place).ok()?;
                Read::new(tree, line.tree.clone())
            });
            lines.extend(read.clone().map(|read| Lined { order: *order, index, line, read }));
        }
    }
    lines
}

/// Reads the trees that the user names.
fn named(trees: &[(Release, String)]) -> Result<Vec<Read>, Vec<RouteError>> {
    let (mut named, mut errors) = (vec![], vec![]);
    for (release, place) in trees {
        let unusable =
            |reason| RouteError::Unusable { release: *release, place: place.clone(), reason };
        match read_tree(place).map(|tree| Read::new(tree, place.clone())) {
            Ok(Some(read)) if release.takes(read.release) => named.push(read),
            Ok(Some(read)) => errors.push(unusable(format!("it is release {}", read.release))),
            Ok(None) => errors.push(unusable("its galaxy.yml names no release".to_owned())),
            Err(problem) => errors.push(unusable(problem.to_string())),
        }
    }
    if errors.is_empty() { Ok(named) } else { Err(errors) }
}

/// What is resolved at a release: a line, and a tree where it is not the line's own.
fn sights<'a>(
    ground: &Ground<'_>,
    lines: &[Lined<'a>],
    named: &[Read],
    release: Release,
) -> Vec<(Lined<'a>, Option<Read>)> {
    let own: Vec<_> = lines.iter().filter(|line| release.takes(line.read.release)).collect();
    let mut others: Vec<Read> =
        named.iter().filter(|read| release.takes(read.release)).cloned().collect();
    if others.is_empty() {
        if !own.is_empty() {
            return own.into_iter().map(|line| (line.clone(), None)).collect();
        }
        others.extend(archive(ground, release));
    }
    let lines = if own.is_empty() { nearest(lines, release) } else { own };
    let of_line = |line: &&Lined<'a>| {
        let line: Lined<'a> = (*line).clone();
        others.iter().map(move |other| (line.clone(), Some(other.clone()))).collect::<Vec<_>>()
    };
    lines.iter().flat_map(of_line).collect()
}

/// The lines of the release that is nearest; of two the later.
fn nearest<'l, 'a>(lines: &'l [Lined<'a>], release: Release) -> Vec<&'l Lined<'a>> {
    let distance = |line: &&Lined<'_>| {
        let Release { major, minor, .. } = line.read.release;
        (major.abs_diff(release.major), minor.abs_diff(release.minor))
    };
    let near = lines.iter().map(|line| distance(&line)).min();
    let near = lines.iter().filter(|line| Some(distance(line)) == near);
    let latest = near.clone().map(|line| line.read.release).max();
    near.filter(|line| Some(line.read.release) == latest).collect()
}

/// The carried source of a release, the newest that is meant.
fn archive(ground: &Ground<'_>, release: Release) -> Option<Read> {
    let source = |name: &str| {
        let (_, file) = name.split_once("/kubespray/archive/")?;
        file.rsplit('/').next()?.strip_suffix(".tar.gz")?.parse::<Release>().ok()
    };
    let files = ground.held.all().filter(|artifact| artifact.kind() == Kind::File);
    let meant = files.filter_map(|file| Some((source(&file.name)?, file)));
    let meant = meant.filter(|(of, _)| release.takes(*of));
    let (_, file) = meant.max_by_key(|(of, _)| *of)?;
    let blob = ground.store.open_blob(file.blobs.first()?.id).ok()?;
    let tree = Tree::from_tarball(&file.name, BufReader::new(blob)).ok()?;
    Read::new(tree, file.name.clone()).filter(|read| release.takes(read.release))
}

impl Read {
    /// None for a tree that does not say its release.
    fn new(tree: Tree, place: String) -> Option<Self> {
        let release = kubespray::release(&tree)?.parse().ok()?;
        Some(Self { tree: Arc::new(tree), release, place })
    }
}

impl Sight<'_> {
    fn read(&self) -> &Read {
        self.other.as_ref().unwrap_or(&self.lined.read)
    }

    fn label(&self) -> String {
        let line = format!("spec.kubespray[{}]", self.lined.index);
        match &self.other {
            Some(other) => format!("{} with {line}", other.place),
            None => line,
        }
    }

    /// Resolves and plays the consumers; what the tree sets up.
    fn check(&self, ground: &Ground<'_>, report: &mut Report) -> route::Tree {
        let Lined { order, line, .. } = &self.lined;
        let read = self.read();
        let mut question = question(line, order.base);
        question.extra.extend(self.kube.map(|kube| format!("kube_version={kube}")));
        let answer = question.answer_from(&read.tree);
        let kube = answer.as_ref().ok().and_then(|answer| answer.kube_version.as_deref());
        let kube = kube.and_then(|kube| kube.parse().ok()).or(self.kube);
        let expanded = match &answer {
            Ok(answer) => {
                let line = self.line(answer);
                Expanded::of_answer(self.label(), &line, question.nodes, answer)
            }
            Err(error) => {
                let what = error.to_string();
                let verdict = Verdict::Configuration;
                let failure = Failure::new(Kind::File, self.label(), verdict, what);
                Expanded { failures: vec![failure], ..Expanded::default() }
            }
        };
        let mut own = Report::default();
        order.play(ground, expanded, &mut own);
        own.settle();
        self.report(own, report);
        let cluster = order.base.join(&line.inventory).into_string();
        route::Tree { place: read.place.clone(), release: read.release, cluster, kube }
    }

    /// The line, whose Python releases are for its own tree.
    fn line(&self, answer: &Answer) -> KubesprayLine {
        let mut line = self.lined.line.clone();
        if self.other.is_some() {
            let supported = &answer.supplement.python;
            line.python.retain(|python| supported.contains(python));
        }
        line
    }

    /// Adds what is missing, each once with all its hops. What no line of the waybill asks for
    /// comes by a line of its own.
    fn report(&self, own: Report, report: &mut Report) {
        let waybill = &self.lined.order.waybill.metadata.name;
        if let (Some(other), 1..) = (&self.other, own.missing.len()) {
            let mut advice = tree_row(other.release, &self.hop);
            advice.needed_by = self.label();
            advice.reason = format!(
                "{} things that it asks for would be missing: add a `kubespray:` line with \
                 its tree and sync, or say with --tree {}=KUBERNETES which version it sets up",
                own.missing.len(),
                other.release
            );
            report.missing.push(advice);
        }
        for mut missing in own.missing {
            missing.waybill = Some(waybill.clone());
            if self.other.is_some() {
                (missing.line, missing.in_waybill) = (None, false);
            }
            add(&mut report.missing, missing, &self.hop);
        }
        if self.other.is_some() {
            report.not_proven.extend(own.not_proven);
            own.checked.into_iter().for_each(|(kind, count)| {
                *report.checked.entry(kind).or_default() += count;
            });
        }
    }
}

/// Adds what is missing, or only the hop where it is told already: of this line, or of several
/// that ask for it together.
fn add(all: &mut Vec<Missing>, missing: Missing, hop: &str) {
    let key = |one: &Missing| (one.kind, one.name.clone(), one.reason.clone());
    let wanted = key(&missing);
    let same = |one: &Missing| key(one) == wanted;
    let own = all.iter().position(|one| same(one) && one.needed_by == missing.needed_by);
    let place = own.or_else(|| all.iter().position(same));
    match place.and_then(|place| all.get_mut(place)) {
        None => all.push(Missing { hop: Some(hop.to_owned()), ..missing }),
        Some(Missing { hop: Some(hops), .. }) if hops.contains(hop) => {}
        Some(Missing { hop: Some(hops), .. }) => hops.extend([", ", hop]),
        Some(known) => known.hop = Some(hop.to_owned()),
    }
}

/// What the release numbered `i` is for the hops of its route.
fn hop(releases: &[Release], i: usize) -> String {
    let named = |end: usize, what| {
        let (from, to) = (releases.get(end.checked_sub(1)?)?, releases.get(end)?);
        Some(format!("{from}→{to} {what}"))
    };
    let hops = [named(i, "target"), named(i + 1, "current")];
    hops.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Whether what is said of the release `of` is about the release of a route.
fn meant(release: Release, of: Release) -> bool {
    release.takes(of) || of.takes(release)
}

fn treeless(release: Release, no_lines: bool, hop: &str) -> Missing {
    let reason = if no_lines {
        "no `kubespray:` line of a waybill names an inventory, so what it asks for cannot be told: \
         add a line with its tree"
            .to_owned()
    } else {
        format!(
            "no tree of it is at hand, so nothing that it asks for is checked: add a \
             `kubespray:` line with it and sync, or name it with --tree {release}=PATH"
        )
    };
    Missing { reason, ..tree_row(release, hop) }
}

fn tree_row(release: Release, hop: &str) -> Missing {
    Missing {
        kind: "tree",
        name: format!("kubespray {release}"),
        needed_by: "the route".to_owned(),
        reason: String::new(),
        line: None,
        in_waybill: false,
        waybill: None,
        hop: Some(hop.to_owned()),
    }
}

fn broken(broken: &Break) -> Missing {
    Missing {
        kind: "hop",
        name: format!("{}→{}", broken.from, broken.to),
        needed_by: format!("hop {} of the route", broken.hop),
        reason: broken.rule.to_string(),
        ..tree_row(broken.from, &format!("{}→{}", broken.from, broken.to))
    }
}

#[cfg(test)]
mod tests;
