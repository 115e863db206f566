//! Reads what a question about Kubespray names, and answers it whole.
//!
//! In:   a [`Question`]: where the tree and the inventory lie, `-e`, what the machines are.
//! Out:  an [`Answer`]: rows, what the list forgets, and everything that stands in the way.

use std::{path::Path, sync::Arc};

use gapferry_proto::Digest;

use super::{
    Cluster, Inventory, Nodes, Problem, Resolved, Tree, resolve,
    supplement::{self, Admin, Refusal, Supplement},
};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// A folder, a tarball, or `CLONE#TAG`.
    pub tree: String,
    pub inventory: String,
    /// As `-e` takes them, in order.
    pub extra: Vec<String>,
    /// Where `-e @FILE` is looked for.
    pub base: String,
    pub nodes: Nodes,
    pub admin: Admin,
}

/// What Kubespray asks for.
#[derive(Debug)]
pub struct Answer {
    pub resolved: Resolved,
    pub supplement: Supplement,
    /// Every host of the inventory.
    pub hosts: Vec<String>,
    /// Names the tree that was read, for the export.
    pub tree_digest: Digest,
    /// Which Kubernetes the control plane gets; none when that cannot be told.
    pub kube_version: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Question {
    /// Reads and resolves. Takes some hundred milliseconds.
    ///
    /// # Errors
    ///
    /// [`QuestionError`]: what leaves nothing to evaluate. Problems of single variables stand in
    /// the answer.
    pub fn answer(&self) -> Result<Answer, QuestionError> {
        self.answer_from(&Arc::new(read_tree(&self.tree)?))
    }

    /// Answers from a tree that was read already.
    ///
    /// # Errors
    ///
    /// As [`Question::answer`].
    pub fn answer_from(&self, tree: &Arc<Tree>) -> Result<Answer, QuestionError> {
        let inventory = Inventory::open(&self.inventory)?;
        let base = Path::new(&self.base);
        let cluster = Cluster::new(tree.clone(), inventory, &self.extra, base, self.nodes.clone())?;
        let resolved = resolve(&cluster);
        let supplement = supplement::supplement(&**tree, &cluster, &self.admin)?;
        let hosts = supplement::Evaluate::hosts(&cluster);
        let kube_version = cluster.kube_version();
        Ok(Answer { resolved, supplement, hosts, tree_digest: tree.digest(), kube_version })
    }

    /// [`Tree::digest`] of the tree.
    ///
    /// # Errors
    ///
    /// As [`read_tree`].
    pub fn tree_digest(&self) -> Result<Digest, Problem> {
        Ok(read_tree(&self.tree)?.digest())
    }

    /// [`Inventory::digest`] of the inventory.
    ///
    /// # Errors
    ///
    /// As [`Inventory::open`].
    pub fn inventory_digest(&self) -> Result<Digest, Problem> {
        Ok(Inventory::open(&self.inventory)?.digest())
    }
}

/// Reads a tree: a folder, a tarball, or `CLONE#TAG`.
///
/// # Errors
///
/// As [`Tree::open`] and [`Tree::from_clone`].
pub fn read_tree(place: &str) -> Result<Tree, Problem> {
    match place.rsplit_once('#') {
        Some((clone, tag)) => Tree::from_clone(Path::new(clone), tag),
        None => Tree::open(Path::new(place)),
    }
}
