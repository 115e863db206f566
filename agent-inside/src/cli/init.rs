//! `init`: this site's identity, its keys, its card.

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    cli::Global,
    durable,
    exit::{Ended, Exit},
    keys::{Identity, SigningKey},
    openpgp::sign::SiteKey,
    peel,
    store::Store,
};
use gapferry_proto::{FORMAT, SiteName, card::SiteCard};
use serde_json::json;

use crate::home::{BINARY, age_path, identity_path, repository_key_path};

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The name of this site
    #[arg(long, value_name = "NAME")]
    site: SiteName,
    /// Where to write this site's card [default: NAME.card]
    #[arg(long, value_name = "PATH")]
    card: Option<Utf8PathBuf>,
}

pub fn run(args: &InitArgs, global: &Global) -> anyhow::Result<Exit> {
    let home = global.home(BINARY)?;
    if home.join("config.toml").exists() {
        let what = format!("{home} is a home already; its card is {home}/site.card");
        return Err(Ended::new(Exit::Usage, what).into());
    }
    let (identity, age) = (SigningKey::generate(), Identity::generate());
    identity.save(&identity_path(&home))?;
    age.save(&age_path(&home))?;
    write_repository_key(&home, &args.site)?;
    Store::open(home.join("store"))?;
    let card = SiteCard {
        site: Some(args.site.clone()),
        identity: Some(identity.public().into()),
        recipients: Some(vec![age.recipient()]),
        link_key: None,
        diode_key: None,
        codecs: Some(peel::codecs()),
        decode_memory_bytes: Some(gapferry_proto::limits::DECODE_MEMORY_BYTES),
        formats: Some(vec![FORMAT]),
    };
    let card = card.encode();
    let card_path = args.card.clone().unwrap_or_else(|| format!("{}.card", args.site).into());
    durable::write(&home.join("site.card"), card.as_bytes())?;
    durable::write(&card_path, card.as_bytes())?;
    // Last: a home without it is none, and `init` may be run again.
    durable::write(&home.join("config.toml"), config(&args.site).as_bytes())?;

    let document = json!({"home": home, "site": args.site, "card": card_path});
    global.print(&document, || {
        format!(
            "Home  {home}\nCard  {card_path}\n\nNext: take the card to the bastion, and run here\n  \
             gapferry-inside trust publisher.card"
        )
    });
    Ok(Exit::Done)
}

/// The date in every repository key: clients refuse a key that their clock says is of the future,
/// and nothing is gained by the true one.
const KEY_CREATED: &str = "2024-01-01T00:00:00Z";

/// The key that apt and dnf will know this site by.
fn write_repository_key(home: &Utf8Path, site: &SiteName) -> anyhow::Result<()> {
    let key = SiteKey::generate(&format!("Gapferry site {site}"), KEY_CREATED.parse()?)?;
    durable::write_secret(&repository_key_path(home), key.to_armoured()?.as_bytes())?;
    Ok(())
}

fn config(site: &SiteName) -> String {
    format!(
        "# gapferry-inside. Unknown keys are errors.\nsite = \"{site}\"\n\n\
         # Where `serve` listens: one address, or a table [listen] with main, registry and\n\
         # kubespray_offline. docs/SERVING.md says all of it.\n# listen = \"0.0.0.0:8080\"\n\n\
         # How many of the newest generations `sweep` leaves.\n# keep = 3\n\n\
         # TLS: \"off\", \"site-ca\" (a CA of this site's own) or \"files\" (cert and key).\n\
         # [tls]\n# mode = \"site-ca\"\n# names = [\"admin.lan\", \"10.0.0.5\"]\n\n\
         # Who may read what; `gapferry-inside users add NAME` makes users.\n\
         # [[access]]\n# path = \"/files/\"\n# users = [\"NAME\"]\n\n\
         # Images of users' own: who may push below which names, and how much.\n\
         # [push]\n\
         # prefixes = [{{prefix = \"apps/\", quota = \"10GB\", users = [\"ci\"]}}]\n"
    )
}
