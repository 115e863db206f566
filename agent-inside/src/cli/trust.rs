//! `trust`: pins the publisher's root, after two people compared eight words.

use std::io::ErrorKind;

use camino::Utf8PathBuf;
use gapferry_common::{
    audit::Audit,
    cli::Global,
    durable::{self, at},
    exit::{Ended, Exit},
    limit,
    words::eight_words,
};
use gapferry_proto::limits;
use serde_json::json;

use crate::{home::Home, trust::Pinned};

#[derive(Debug, clap::Args)]
pub struct TrustArgs {
    /// The card that `gapferry-outside init` wrote
    card: Utf8PathBuf,
    /// The words were compared: do not ask
    #[arg(long)]
    yes: bool,
}

pub fn run(args: &TrustArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let card = limit::read_file(&args.card, limits::CARD_LEN_BYTES_MAX)
        .map_err(|e| Ended::because(Exit::Usage, format!("cannot read card {}", args.card), e))?;
    let pinned = Pinned::of_card(&card)?;
    let path = home.publisher_card();
    match std::fs::read(&path) {
        Ok(known) if known != card => {
            let what = "this site trusts another publisher already; a new one needs a new home";
            return Err(Ended::new(Exit::Refused, what).into());
        }
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(at("read", &path)(e).into()),
        _ => {}
    }
    let own_path = home.site_card();
    let own = std::fs::read(&own_path).map_err(at("read", &own_path))?;
    let words = eight_words(&card, &own);
    global.say(format!("Both screens must show these eight words:\n\n  {words}\n"));
    if !args.yes && !super::confirmed("Does the bastion show the same words?")? {
        return Err(Ended::new(Exit::Refused, "the words differ: one card is not genuine").into());
    }
    let facts = json!({"root": pinned.root, "words": words});
    Audit::of(home.root()).record("trust", &facts)?;
    durable::write(&path, &card)?;
    global.print(&json!({"site": home.site(), "words": words}), || {
        format!("Site {} trusts this publisher.", home.site())
    });
    Ok(Exit::Done)
}
