//! `verify`: checks an export as far as this machine can, and changes nothing.

use camino::Utf8PathBuf;
use gapferry_common::{
    cli::{Global, human_bytes},
    exit::{Ended, Exit, chain},
};
use gapferry_proto::Envelope;
use serde_json::json;

use crate::{
    apply::{ApplyError, basis_of},
    carrier::stick,
    generation::State,
    home::Home,
    inbox::{self, InboxError},
    publish,
    trust::Pinned,
    verify::{self, Refusal, Standing, Trusted},
};

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// An export folder, or the medium it lies on
    path: Utf8PathBuf,
}

pub fn run(args: &VerifyArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let mut found = stick::find(std::slice::from_ref(&args.path), home.site())?;
    let Some(export) = found.pop() else {
        let what = format!("no export for site {} at {}", home.site(), args.path);
        return Err(Ended::new(Exit::Usage, what).into());
    };
    let judged = judge(home, &export);
    match judged {
        Ok((envelope, applied)) => {
            let document = json!({
                "export": envelope.export,
                "sequence": envelope.sequence,
                "totals": envelope.totals,
                "already_applied": applied,
                "refusal": null,
            });
            global.print(&document, || {
                if applied {
                    return format!("Export {} was applied before.", envelope.export);
                }
                format!(
                    "Export {} is genuine, whole and may be imported: {} new artifacts, {}.",
                    envelope.export,
                    envelope.totals.artifacts_new,
                    human_bytes(envelope.totals.export_bytes)
                )
            });
            Ok(Exit::Done)
        }
        Err(error) => match error.downcast::<Refusal>() {
            Ok(refusal) => {
                let message = chain(&refusal);
                let refusal = json!({
                    "code": refusal.code(), "message": message, "needed": refusal.needed(),
                });
                let document = json!({"export": export.name, "refusal": refusal});
                global.print(&document, || {
                    format!("Export {} would be refused: {message}", export.name)
                });
                Ok(Exit::Refused)
            }
            Err(fault) => Err(fault),
        },
    }
}

/// All that an import checks before it writes: keysets, signatures, order, every file against
/// the envelope, the manifest, its basis, its recipes. Whether it was applied already.
fn judge(home: &Home, export: &stick::Found) -> anyhow::Result<(Envelope, bool)> {
    let pinned = Pinned::of_home(home)?;
    let state = State::of(home.root());
    let current = state.current()?;
    let trusted = Trusted {
        site: home.site(),
        root: &pinned.root,
        first_keyset: pinned.first_keyset,
        current: current.as_ref(),
        agent: env!("CARGO_PKG_VERSION"),
    };
    let presented = inbox::present(export).map_err(unwrapped)?;
    let envelope = match verify::verify_envelope(&presented, &trusted)? {
        Standing::Applied(envelope) => return Ok((*envelope, true)),
        Standing::New(envelope) => *envelope,
    };
    inbox::check(export, &envelope).map_err(unwrapped)?;
    let manifest = inbox::manifest_on(export, &envelope, &home.age_identity()?);
    let export = verify::verify_manifest(envelope, manifest.map_err(unwrapped)?)?;
    let basis = match basis_of(&export, &state) {
        Err(ApplyError::Refused(refusal)) => return Err(refusal.into()),
        other => other?,
    };
    let snapshot = verify::resulting_snapshot(&export, &basis)?;
    verify::check_recipes(&export, &basis, &snapshot)?;
    publish::check(&snapshot).map_err(Refusal::from)?;
    Ok((export.envelope.envelope().clone(), false))
}

fn unwrapped(error: InboxError) -> anyhow::Error {
    match error {
        InboxError::Refused(refusal) => refusal.into(),
        fault => fault.into(),
    }
}
