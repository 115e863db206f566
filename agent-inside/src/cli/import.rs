//! `import`: verify, rebuild, apply, switch.

use anyhow::Context;
use camino::Utf8PathBuf;
use gapferry_common::{
    audit::Audit,
    cli::{Global, human_bytes},
    durable::{self, DurableError},
    exit::{self, Exit, chain},
    memory,
    openpgp::sign::SiteKey,
    store::Store,
};
use gapferry_proto::{Envelope, ExportId, Sequence};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    apply::{Applied, Applier, ApplyError},
    carrier::stick::{self, Found},
    generation::State,
    home::{Home, repository_key_path},
    inbox::{self, InboxError},
    inventory,
    last_import::{self, Ended, LastImport},
    trust::Pinned,
    verify::{self, Refusal, Standing, Trusted, VerifiedEnvelope},
    wants,
};

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Export folders, or the media they lie on, in any order
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<Utf8PathBuf>,
}

/// How one export ended.
enum Ending {
    Applied { export: ExportId, applied: Applied, accepted_gaps: Vec<String> },
    AlreadyApplied { export: ExportId, sequence: Sequence },
    Refused { name: String, refusal: Refusal },
}

pub fn run(args: &ImportArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    memory::watch();
    let _lock = home.lock()?;
    let importer = Importer::open(home, global)?;
    let found = stick::find(&args.paths, home.site())?;
    if found.is_empty() {
        let paths: Vec<_> = args.paths.iter().map(|path| path.as_str()).collect();
        let what = format!("no export for site {} at {}", home.site(), paths.join(", "));
        return Err(exit::Ended::new(Exit::Usage, what).into());
    }
    let mut endings = vec![];
    for export in importer.due(found)? {
        let ending = importer.import(&export)?;
        if let Ending::Refused { .. } = ending {
            global.say(text(&ending));
        }
        endings.push(ending);
    }
    // An export that is refused keeps no later one away: that one may stand alone.
    let ending = match endings.iter().rposition(|e| matches!(e, Ending::Applied { .. })) {
        Some(applied) => endings.swap_remove(applied),
        None => endings.pop().context("an export was found, so one was looked at")?,
    };
    global.print(&document(&ending), || text(&ending));
    Ok(match ending {
        Ending::Refused { .. } => Exit::Refused,
        _ => Exit::Done,
    })
}

/// What an import works with, opened once.
struct Importer<'a> {
    home: &'a Home,
    global: &'a Global,
    store: Store,
    state: State,
    pinned: Pinned,
    audit: Audit,
}

impl<'a> Importer<'a> {
    fn open(home: &'a Home, global: &'a Global) -> anyhow::Result<Self> {
        let store = home.store()?;
        store.clear_temporary()?;
        let (state, audit) = (State::of(home.root()), Audit::of(home.root()));
        Ok(Self { home, global, store, state, pinned: Pinned::of_home(home)?, audit })
    }

    /// The exports to look at: those the user named, and on a medium those that are not applied
    /// yet. When there is none of these, the newest there is.
    fn due(&self, found: Vec<Found>) -> anyhow::Result<Vec<Found>> {
        let applied = self.state.current()?.map(|c| format!("{:06}", c.sequence.0));
        let is_old = |export: &Found| {
            let sequence = export.name.split('-').next().unwrap_or_default();
            let order = |text: &str| (text.len(), text.to_owned());
            !export.named && applied.as_deref().is_some_and(|a| order(sequence) <= order(a))
        };
        let (mut old, due): (Vec<_>, Vec<_>) = found.into_iter().partition(is_old);
        if due.is_empty() {
            return Ok(old.pop().into_iter().collect());
        }
        for export in old {
            self.global.say(format!("{} was applied before, passed over", export.name));
        }
        Ok(due)
    }

    fn import(&self, found: &Found) -> anyhow::Result<Ending> {
        let ending = match self.try_import(found) {
            Ok(ending) => ending,
            Err(error) => match refusal_of(error) {
                Ok(refusal) => self.refused(found, refusal)?,
                Err(fault) => {
                    // Where the disk is full this may fail too, and the fault is what to tell.
                    let _told = self.remember(found, Ended::Failed, Some(format!("{fault:#}")));
                    return Err(fault);
                }
            },
        };
        match &ending {
            Ending::Refused { refusal, .. } => {
                // Where the disk is full the refusal is what to tell.
                let _told = self.remember(found, Ended::Refused, Some(chain(refusal)));
            }
            Ending::Applied { .. } => self.remember(found, Ended::Applied, None)?,
            // What is remembered of another export is to be done still.
            Ending::AlreadyApplied { .. } if self.is_open(found) => {
                self.remember(found, Ended::Applied, None)?;
            }
            Ending::AlreadyApplied { .. } => {}
        }
        Ok(ending)
    }

    fn remember(
        &self,
        found: &Found,
        ended: Ended,
        message: Option<String>,
    ) -> Result<(), DurableError> {
        let import =
            LastImport { export: found.name.clone(), at: Timestamp::now(), ended, message };
        last_import::write(self.home.root(), &import)
    }

    /// Whether it is remembered that this export is to be imported still.
    fn is_open(&self, found: &Found) -> bool {
        last_import::read(self.home.root())
            .is_some_and(|last| last.export == found.name && last.ended != Ended::Applied)
    }

    fn refused(&self, found: &Found, refusal: Refusal) -> anyhow::Result<Ending> {
        self.suspect(&refusal)?;
        let (code, message) = (refusal.code(), chain(&refusal));
        let facts = json!({"export": found.name, "code": code, "message": message});
        self.audit.record("refused", &facts)?;
        Ok(Ending::Refused { name: found.name.clone(), refusal })
    }

    /// Remembers the blobs that a refusal found lacking: the next inventory looks at their bytes.
    fn suspect(&self, refusal: &Refusal) -> anyhow::Result<()> {
        if let Refusal::BasisNotHeld { missing: blobs, .. } | Refusal::BlobsMissing(blobs) = refusal
        {
            inventory::write_suspects(self.home.root(), blobs)?;
        }
        if let Refusal::Rebuild(not_rebuilt) = refusal {
            inventory::write_failed(self.home.root(), &not_rebuilt.failed)?;
        }
        Ok(())
    }

    fn try_import(&self, found: &Found) -> anyhow::Result<Ending> {
        let envelope = match self.verify(found)? {
            Standing::Applied(envelope) => {
                let Envelope { export, sequence, .. } = *envelope;
                self.clear_staging()?;
                return Ok(Ending::AlreadyApplied { export, sequence });
            }
            Standing::New(envelope) => *envelope,
        };
        let export = envelope.envelope().export.clone();
        self.remember(found, Ended::Not, None)?;
        match self.apply(found, envelope) {
            Ok((applied, accepted_gaps)) => Ok(Ending::Applied { export, applied, accepted_gaps }),
            Err(error) => Err(self.unstaged(&export, error)?),
        }
    }

    /// Removes what was staged of an export that is refused, unless another medium may bring the
    /// rest of it; gives the error back.
    fn unstaged(&self, export: &ExportId, error: anyhow::Error) -> anyhow::Result<anyhow::Error> {
        let refusal = match refusal_of(error) {
            Ok(refusal) => refusal,
            Err(fault) => return Ok(fault),
        };
        if !matches!(refusal, Refusal::FilesMissing(_) | Refusal::FilesDamaged(_)) {
            durable::remove(&self.home.staging(export))?;
        }
        Ok(refusal.into())
    }

    fn verify(&self, found: &Found) -> anyhow::Result<Standing> {
        let presented = inbox::present(found)?;
        let current = self.state.current()?;
        let trusted = Trusted {
            site: self.home.site(),
            root: &self.pinned.root,
            first_keyset: self.pinned.first_keyset,
            current: current.as_ref(),
            agent: env!("CARGO_PKG_VERSION"),
        };
        Ok(verify::verify_envelope(&presented, &trusted)?)
    }

    /// What was applied, and what the outside accepted as missing.
    fn apply(
        &self,
        found: &Found,
        envelope: VerifiedEnvelope,
    ) -> anyhow::Result<(Applied, Vec<String>)> {
        let plain = envelope.envelope();
        let (export, totals) = (plain.export.clone(), plain.totals);
        let staging = self.home.staging(&export);
        let bar = progress(self.global, totals.export_bytes, "copying");
        inbox::stage(found, &envelope, &staging, |bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        let identity = self.home.age_identity()?;
        let manifest = inbox::manifest(&staging, &identity)?;
        let verified = verify::verify_manifest(envelope, manifest)?;
        let applier = Applier {
            state: &self.state,
            store: &self.store,
            identity: &identity,
            repository_key: &repository_key(self.home)?,
            scratch: &self.home.scratch(),
            scratch_bytes: self.home.scratch_bytes(),
            push: self.home.push_prefixes(),
            now: Timestamp::now(),
        };
        self.audit.record("applying", &json!({"export": export}))?;
        let bar = progress(self.global, totals.published_bytes_new, "rebuilding");
        let applied = applier.apply(&verified, &staging, |bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        let facts = json!({
            "export": export,
            "sequence": applied.sequence,
            "snapshot": verified.manifest.snapshot,
            "keyset": verified.envelope.keyset().keyset().version,
            "rebuilt": applied.rebuilt,
            "accepted_gaps": verified.manifest.accepted_gaps,
        });
        self.audit.record("applied", &facts)?;
        inventory::write_failed(self.home.root(), &[])?;
        if let Some(snapshot) = self.state.snapshot(verified.manifest.snapshot)? {
            wants::settle(self.home.root(), &snapshot)?;
        }
        self.clear_staging()?;
        Ok((applied, verified.manifest.accepted_gaps))
    }

    /// After a switch nothing that was staged is needed any more: an export made before it is
    /// refused, and one made after it is staged again. Cleared after a kill as well.
    fn clear_staging(&self) -> anyhow::Result<()> {
        Ok(durable::remove(&self.home.root().join("staging"))?)
    }
}

/// The key that signs the repositories of this site.
pub fn repository_key(home: &Home) -> anyhow::Result<SiteKey> {
    let path = repository_key_path(home.root());
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read key {path}"))?;
    let key = SiteKey::from_armoured(&zeroize::Zeroizing::new(text));
    key.with_context(|| format!("{path} holds no usable key"))
}

/// A decision, or the fault given back.
fn refusal_of(error: anyhow::Error) -> Result<Refusal, anyhow::Error> {
    let error = match error.downcast::<Refusal>() {
        Ok(refusal) => return Ok(refusal),
        Err(error) => error,
    };
    let error = match error.downcast::<InboxError>() {
        Ok(InboxError::Refused(refusal)) => return Ok(refusal),
        Ok(fault) => return Err(fault.into()),
        Err(error) => error,
    };
    match error.downcast::<ApplyError>() {
        Ok(ApplyError::Refused(refusal)) => Ok(refusal),
        Ok(fault) => Err(fault.into()),
        Err(error) => Err(error),
    }
}

fn progress(global: &Global, len_bytes: u64, what: &'static str) -> indicatif::ProgressBar {
    if global.quiet {
        return indicatif::ProgressBar::hidden();
    }
    let style = "{msg:10} {bar:40} {bytes}/{total_bytes} {eta}";
    let style = indicatif::ProgressStyle::with_template(style).expect("the template is fixed");
    indicatif::ProgressBar::new(len_bytes).with_style(style).with_message(what)
}

fn document(ending: &Ending) -> Value {
    let peak = memory::peak_bytes();
    match ending {
        Ending::Applied { export, applied, accepted_gaps } => json!({
            "export": export,
            "sequence": applied.sequence,
            "applied": true,
            "rebuilt": applied.rebuilt,
            "bytes_written": applied.bytes_written,
            "accepted_gaps": accepted_gaps,
            "refusal": null,
            "peak_memory_bytes": peak,
        }),
        Ending::AlreadyApplied { export, sequence } => json!({
            "export": export,
            "sequence": sequence,
            "applied": false,
            "rebuilt": 0,
            "bytes_written": 0,
            "refusal": null,
            "peak_memory_bytes": peak,
        }),
        Ending::Refused { name, refusal } => json!({
            "export": name,
            "sequence": null,
            "applied": false,
            "rebuilt": 0,
            "bytes_written": 0,
            "refusal": {
                "code": refusal.code(),
                "message": chain(refusal),
                "needed": refusal.needed(),
            },
            "peak_memory_bytes": peak,
        }),
    }
}

/// What the outside knew to be missing when it made the export.
fn gaps_text(gaps: &[String]) -> String {
    if gaps.is_empty() {
        return String::new();
    }
    format!("\nAccepted as missing outside: {}", gaps.join(", "))
}

fn text(ending: &Ending) -> String {
    match ending {
        Ending::Applied { export, applied, accepted_gaps } => format!(
            "Export {export} is applied and served: {} blobs, {}.{}",
            applied.rebuilt,
            human_bytes(applied.bytes_written),
            gaps_text(accepted_gaps)
        ),
        Ending::AlreadyApplied { export, .. } => {
            format!("Export {export} was applied before; nothing changed.")
        }
        Ending::Refused { name, refusal } => {
            format!("Export {name} is refused, what is served stays as it was: {}", chain(refusal))
        }
    }
}
