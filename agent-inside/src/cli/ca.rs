//! `ca`: the certificate that clients must know when `serve` speaks TLS by the site's own CA.

use camino::Utf8PathBuf;
use gapferry_common::{cli::Global, durable, exit::Exit};
use serde_json::json;

use crate::{home::Home, site_ca::SiteCa};

#[derive(Debug, clap::Args)]
pub struct CaArgs {
    /// Write it there instead of printing it
    #[arg(long, value_name = "FILE")]
    to: Option<Utf8PathBuf>,
}

/// Makes the CA when there is none yet, so that clients can be told before TLS is turned on.
pub fn run(args: &CaArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let ca = SiteCa::open(home.root(), home.site())?;
    let (facts, leaf) = (ca.facts()?, ca.leaf_facts()?);
    if let Some(to) = &args.to {
        durable::write(to, ca.pem().as_bytes())?;
    }
    let server = leaf.map(|leaf| {
        json!({
            "fingerprint": leaf.fingerprint,
            "names": leaf.names,
            "not_after": leaf.not_after,
        })
    });
    let document = json!({
        "fingerprint": facts.fingerprint,
        "not_after": facts.not_after,
        "names": server.as_ref().map(|server| &server["names"]),
        "server": server,
        "pem": ca.pem(),
        "to": args.to,
    });
    global.say(format!("CA of site {}, SHA-256 {}", home.site(), facts.fingerprint.hex()));
    global.print(&document, || match &args.to {
        Some(_) => String::new(),
        None => ca.pem().to_owned(),
    });
    Ok(Exit::Done)
}
