//! `pair`: learns a site from its card, after two people compared eight words.

use std::io::ErrorKind;

use camino::Utf8PathBuf;
use gapferry_common::{
    audit::Audit,
    cli::Global,
    durable::at,
    exit::{Ended, Exit},
    limit,
    words::eight_words,
};
use gapferry_proto::{SiteName, card::SiteCard, limits};
use serde_json::json;

use crate::{home::Home, ledger::Ledger};

#[derive(Debug, clap::Args)]
pub struct PairArgs {
    /// The card that `gapferry-inside init` wrote
    card: Utf8PathBuf,
    /// Call the site otherwise than its card does
    #[arg(long)]
    name: Option<SiteName>,
    /// The words were compared: do not ask
    #[arg(long)]
    yes: bool,
}

pub fn run(args: &PairArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let _lock = home.lock()?;
    let card_bytes = limit::read_file(&args.card, limits::CARD_LEN_BYTES_MAX)
        .map_err(|e| Ended::because(Exit::Usage, format!("cannot read card {}", args.card), e))?;
    let card = SiteCard::parse(&card_bytes)?;
    let (site, _) = card.identity()?;
    gapferry_common::seal::Recipients::parse(card.recipients()?)
        .map_err(|e| Ended::because(Exit::Usage, "the card cannot be used", e))?;
    check_name(args, &site)?;
    check_not_another(home, &site, &card_bytes)?;
    let own_path = home.publisher_card();
    let own = std::fs::read(&own_path).map_err(at("read", &own_path))?;
    let words = eight_words(&own, &card_bytes);
    global.say(format!("Both screens must show these eight words:\n\n  {words}\n"));
    if !args.yes && !super::confirmed("Does the admin node show the same words?")? {
        return Err(Ended::new(Exit::Refused, "the words differ: one card is not genuine").into());
    }
    Audit::of(home.root()).record("pair", &json!({"site": site, "words": words}))?;
    Ledger::pair(home.ledger(&site), &site, &card_bytes)?;
    global.print(&json!({"site": site, "words": words}), || format!("Site {site} is paired."));
    Ok(Exit::Done)
}

/// A site's exports carry the name that its card says, so another name would be refused inside.
fn check_name(args: &PairArgs, site: &SiteName) -> anyhow::Result<()> {
    match &args.name {
        Some(name) if name != site => {
            let what = format!("the card is of site {site}; pair it as {site}");
            Err(Ended::new(Exit::Usage, what).into())
        }
        _ => Ok(()),
    }
}

/// A second card under a known name would silently take over its exports.
fn check_not_another(home: &Home, site: &SiteName, card: &[u8]) -> anyhow::Result<()> {
    let path = home.ledger(site).join("site.card");
    match std::fs::read(&path) {
        Ok(known) if known != card => {
            let what = format!(
                "site {site} is paired with another card; remove {} to pair it anew",
                home.ledger(site)
            );
            Err(Ended::new(Exit::Refused, what).into())
        }
        Err(e) if e.kind() != ErrorKind::NotFound => Err(at("read", &path)(e).into()),
        _ => Ok(()),
    }
}
