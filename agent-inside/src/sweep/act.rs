//! Does what was planned, so that it can be killed at any point and run again.
//!
//! 1. The documents of the generations get hidden names: they are in no list any more, and no
//!    rollback finds them. From here on a sweep that is killed is finished by the next one.
//! 2. Whoever shows generations is waited for: a server looks at the list four times a second. A
//!    generation that somebody goes on showing keeps its content this time.
//! 3. Blobs that neither a list nor a push needs leave the index and then, behind the door of
//!    [`local::sweep_door`], so that nothing is pushed meanwhile, the store.
//! 4. Documents, lists and old heads go, and last the hidden documents.
//!
//! The caller holds the lock of the home, so no import, rollback or inventory is at work.

use std::{
    collections::BTreeSet,
    io::ErrorKind::StorageFull,
    thread,
    time::{Duration, Instant, SystemTime},
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    durable::{DurableError, at},
    exit::chain,
    lock::{Door, LockError},
    store::{
        Store,
        sweep::{self, Sum, Unneeded},
    },
};
use gapferry_proto::{BlobId, Sequence, Snapshot, limits};

use super::{Facts, Listed, Plan};
use crate::{
    generation::{Current, Generation, Leaving, State, StateError},
    inventory,
    local::{self, documents::Places},
    pins,
};

/// How a sweep can fail. A fault: what was not removed is there, and it can be run again.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(
        "{0} is damaged, so nobody can say which pushed blobs are needed; restore it from the \
         backup, or stop `serve`, remove it, start `serve` and push again"
    )]
    Pushed(Utf8PathBuf),
    #[error(
        "{0} has not what a server that takes pushes leaves there, so nobody can say which pushed \
         blobs are needed; mount it, or restore it from the backup"
    )]
    PushedGone(Utf8PathBuf),
    #[error(
        "generation {0} is served or the last one that was applied, and its document below \
         `generations` is gone; restore it from the backup"
    )]
    Gone(Sequence),
    #[error(
        "generation {0} is pinned, and its document below `generations` is gone; restore it from \
         the backup, or give it up by `gapferry-inside pin {0} --off`"
    )]
    PinnedGone(Sequence),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// What a sweep looked at before it decided.
#[derive(Debug)]
pub struct Found {
    kept: Vec<(Generation, Snapshot)>,
    leaving: Vec<(Generation, Snapshot)>,
    served: Option<Sequence>,
    pinned: BTreeSet<Sequence>,
    gave_inventory: bool,
    unapplied: Vec<Generation>,
    /// What is needed whatever generations there are.
    roots: BTreeSet<BlobId>,
}

/// What a sweep did, or would do.
#[derive(Debug)]
pub struct Done {
    pub removed: Sum,
    /// Young blobs that nothing needs: a later sweep takes them.
    pub young: Sum,
    /// Generations that are in no list any more and that somebody goes on showing.
    pub shown: Vec<Sequence>,
}

/// Everything a sweep works with.
#[derive(Debug)]
pub struct Sweeper<'a> {
    pub home: &'a Utf8Path,
    pub state: &'a State,
    pub store: &'a Store,
    /// How long those who show generations are waited for.
    pub patience: Duration,
    /// The clock: what was put to use within [`limits::SWEEP_SPARES_SECONDS`] before it is spared.
    pub now: SystemTime,
}

impl Sweeper<'_> {
    /// Looks at all that the decision needs; changes nothing.
    ///
    /// # Errors
    ///
    /// [`SweepError`]: something that says what is needed cannot be read.
    pub fn look(&self) -> Result<Found, SweepError> {
        let with_list = |generation: Generation| {
            let list = self.state.list(&generation)?;
            Ok::<_, StateError>((generation, list))
        };
        let kept = self.state.generations()?.into_iter().map(with_list);
        let kept: Vec<_> = kept.collect::<Result<_, _>>()?;
        let (current, pinned) = (self.state.current()?, pins::read(self.home)?);
        check_kept(&kept, current.as_ref(), &pinned)?;
        let leaving = self.state.leaving()?.into_iter().map(|leaving| {
            // Its list goes before its document.
            let list = self.state.snapshot(leaving.generation.snapshot)?.unwrap_or_default();
            Ok::<_, StateError>((leaving.generation, list))
        });
        let leaving = leaving.collect::<Result<_, _>>()?;
        let unapplied = self.state.unapplied()?;
        let mut roots = self.pushed()?;
        for generation in &unapplied {
            roots.extend(self.state.list(generation)?.blobs().into_keys());
        }
        let count = inventory::count_path(self.home);
        Ok(Found {
            kept,
            leaving,
            served: current.map(|current| current.generation),
            pinned,
            gave_inventory: count.try_exists().map_err(at("look for", &count))?,
            unapplied,
            roots,
        })
    }

    /// The blobs that would leave; changes nothing.
    ///
    /// # Errors
    ///
    /// [`SweepError`].
    pub fn foresee(&self, found: &Found, plan: &Plan) -> Result<Done, SweepError> {
        let needed = found.needed(&found.staying(plan, &[]));
        let unneeded = sweep::find(self.store, &needed, self.young_from())?;
        let [removed, young] = [&unneeded.old, &unneeded.young].map(Sum::of);
        Ok(Done { removed, young, shown: vec![] })
    }

    /// Sweeps.
    ///
    /// # Errors
    ///
    /// [`SweepError`]: what is left is there; run it again.
    pub fn sweep(&self, found: &Found, plan: &Plan) -> Result<Done, SweepError> {
        let kept: BTreeSet<Sequence> = found.kept.iter().map(|(g, _)| g.sequence).collect();
        let leaves = plan.leaves.iter().map(|leaves| leaves.sequence);
        let retired: Vec<Sequence> = leaves.filter(|sequence| kept.contains(sequence)).collect();
        self.state.retire(&retired)?;
        let (gone, shown) = self.let_go()?;
        let shown: Vec<Sequence> =
            shown.iter().map(|leaving| leaving.generation.sequence).collect();
        let staying = found.staying(plan, &shown);
        let (removed, young) = self.remove_blobs(&found.needed(&staying))?;
        let stay = staying.iter().map(|listed| listed.generation).chain(&found.unapplied);
        self.state.clear_documents(stay)?;
        for leaving in gone {
            leaving.forget()?;
        }
        Ok(Done { removed, young, shown })
    }

    /// Waits for those who show what leaves: which they let go, and which they still show.
    fn let_go(&self) -> Result<(Vec<Leaving>, Vec<Leaving>), SweepError> {
        let until = Instant::now() + self.patience;
        let (mut gone, mut shown) = (vec![], self.state.leaving()?);
        loop {
            let mut waiting = vec![];
            for leaving in shown {
                match leaving.is_let_go()? {
                    true => gone.push(leaving),
                    false => waiting.push(leaving),
                }
            }
            if waiting.is_empty() || until <= Instant::now() {
                return Ok((gone, waiting));
            }
            shown = waiting;
            thread::sleep(LOOK);
        }
    }

    fn remove_blobs(&self, needed: &BTreeSet<BlobId>) -> Result<(Sum, Sum), SweepError> {
        let young_from = self.young_from();
        let Unneeded { mut old, young } = sweep::find(self.store, needed, young_from)?;
        if let Some(error) = sweep::forget(self.store, &old)? {
            let error = chain(&error);
            tracing::warn!(error, "the index was removed; `scrub --reindex` makes it again");
        }
        let door = self.door()?;
        let _alone = door.as_ref().map(Door::alone).transpose()?;
        let pushed = self.pushed()?;
        old.retain(|blob| !pushed.contains(&blob.id));
        Ok((sweep::remove(self.store, &old, young_from)?, Sum::of(&young)))
    }

    /// The door that pushes go through; none where nothing was ever pushed and the disk is too full
    /// to make it. What a server pushes meanwhile all the same is young.
    fn door(&self) -> Result<Option<Door>, SweepError> {
        match local::sweep_door(&local::folder(self.home)) {
            Ok(door) => Ok(Some(door)),
            Err(LockError::Io { source, .. }) if source.kind() == StorageFull => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The blobs that pushed content needs.
    fn pushed(&self) -> Result<BTreeSet<BlobId>, SweepError> {
        let folder = local::folder(self.home);
        if local::is_lost(&folder, self.store)? {
            return Err(SweepError::PushedGone(folder));
        }
        let found = Places::below(folder).read()?;
        match found.damaged.first() {
            Some(path) => Err(SweepError::Pushed(path.clone())),
            None => Ok(found.roots()),
        }
    }

    fn young_from(&self) -> SystemTime {
        let spared = Duration::from_secs(limits::SWEEP_SPARES_SECONDS);
        self.now.checked_sub(spared).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// What is served, what was applied last and what is pinned must be kept: else generations got
/// lost, and what they need would leave with them.
fn check_kept(
    kept: &[(Generation, Snapshot)],
    current: Option<&Current>,
    pinned: &BTreeSet<Sequence>,
) -> Result<(), SweepError> {
    let is_gone = |wanted: &Sequence| kept.iter().all(|(kept, _)| kept.sequence != *wanted);
    let Some(current) = current else { return Ok(()) };
    if let Some(gone) = [current.generation, current.sequence].into_iter().find(is_gone) {
        return Err(SweepError::Gone(gone));
    }
    match pinned.range(..=current.sequence).copied().find(is_gone) {
        Some(gone) => Err(SweepError::PinnedGone(gone)),
        None => Ok(()),
    }
}

/// How often it is looked whether somebody shows a generation.
const LOOK: Duration = Duration::from_millis(20);

impl Found {
    /// What the decision is made of.
    pub fn facts(&self, keep: u64) -> Facts<'_> {
        Facts {
            kept: listed(&self.kept),
            leaving: listed(&self.leaving),
            served: self.served,
            pinned: &self.pinned,
            keep,
            gave_inventory: self.gave_inventory,
            roots: &self.roots,
        }
    }

    /// The generations whose content stays: those of the plan, and those that are `shown`.
    fn staying(&self, plan: &Plan, shown: &[Sequence]) -> Vec<Listed<'_>> {
        let stays = |listed: &Listed| {
            let sequence = listed.generation.sequence;
            plan.stays.iter().any(|stays| stays.sequence == sequence) || shown.contains(&sequence)
        };
        let all = listed(&self.kept).into_iter().chain(listed(&self.leaving));
        all.filter(stays).collect()
    }

    fn needed(&self, staying: &[Listed]) -> BTreeSet<BlobId> {
        let mut needed = self.roots.clone();
        staying.iter().for_each(|listed| needed.extend(listed.list.blobs().into_keys()));
        needed
    }
}

fn listed(generations: &[(Generation, Snapshot)]) -> Vec<Listed<'_>> {
    generations.iter().map(|(generation, list)| Listed { generation, list }).collect()
}

#[cfg(test)]
mod tests;
