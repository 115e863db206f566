//! `init`: keys, store, configuration, an example waybill, and the publisher's card.

use std::io::IsTerminal;

use anyhow::Context;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    cli::Global,
    durable,
    exit::{Ended, Exit},
    keys::SigningKey,
    store::Store,
};
use gapferry_proto::{
    FORMAT,
    card::PublisherCard,
    keyset::{Keyset, Role},
    signature::Namespace,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::home::{BINARY, publisher_key_path};

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Where to write this outside's card
    #[arg(long, value_name = "PATH", default_value = "publisher.card")]
    card: Utf8PathBuf,
    /// Where to write the root key, protected by a passphrase; outside of the home
    #[arg(long, value_name = "FILE", default_value = "gapferry-root.key")]
    root_key: Utf8PathBuf,
    /// Read the root key's passphrase from the first line of a file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<Utf8PathBuf>,
    /// Keep the root key in the home without a passphrase: for demonstrations only
    #[arg(long, conflicts_with_all = ["passphrase_file", "root_key"])]
    insecure_root_in_home: bool,
}

pub fn run(args: &InitArgs, global: &Global) -> anyhow::Result<Exit> {
    let home = global.home(BINARY)?;
    if home.join("config.toml").exists() {
        let what = format!("{home} is a home already; its card is {home}/publisher.card");
        return Err(Ended::new(Exit::Usage, what).into());
    }
    let root = SigningKey::generate();
    let root_path = save_root(args, &home, &root)?;
    let publisher = SigningKey::generate();
    publisher.save(&publisher_key_path(&home))?;
    let card = write_keyset(&home, &root, &publisher)?;
    Store::open(home.join("store"))?;
    durable::write(&home.join("publisher.card"), card.as_bytes())?;
    durable::write(&args.card, card.as_bytes())?;
    let example = write_example()?;
    // Last: a home without it is none, and `init` may be run again.
    durable::write(&home.join("config.toml"), CONFIG.as_bytes())?;

    let document =
        json!({"home": home, "card": args.card, "root_key": root_path, "waybill": example});
    global.print(&document, || summary(args, &home, &root_path));
    Ok(Exit::Done)
}

fn save_root(args: &InitArgs, home: &Utf8Path, root: &SigningKey) -> anyhow::Result<Utf8PathBuf> {
    if args.insecure_root_in_home {
        let path = home.join("keys/root-insecure");
        root.save(&path)?;
        return Ok(path);
    }
    let absolute = camino::absolute_utf8(&args.root_key)?;
    if absolute.starts_with(home) {
        let what = "the root key must lie outside of the home; name another file with --root-key";
        return Err(Ended::new(Exit::Usage, what).into());
    }
    if args.root_key.exists() {
        let what =
            format!("{} exists; move it away, or name another file with --root-key", args.root_key);
        return Err(Ended::new(Exit::Usage, what).into());
    }
    root.save_protected(&args.root_key, &passphrase(args)?)?;
    Ok(args.root_key.clone())
}

fn passphrase(args: &InitArgs) -> anyhow::Result<Zeroizing<String>> {
    let text = match &args.passphrase_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map(Zeroizing::new);
            let text =
                text.map_err(|e| Ended::because(Exit::Usage, format!("cannot read {path}"), e))?;
            Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
        }
        None if std::io::stdin().is_terminal() => ask_passphrase()?,
        None => {
            let what = "the root key needs a passphrase: run `init` on a terminal, or pass \
                        --passphrase-file (or --insecure-root-in-home for a demonstration)";
            return Err(Ended::new(Exit::Usage, what).into());
        }
    };
    if text.chars().count() < 8 {
        return Err(Ended::new(Exit::Usage, "the passphrase needs eight characters or more").into());
    }
    Ok(text)
}

fn ask_passphrase() -> anyhow::Result<Zeroizing<String>> {
    let asked = dialoguer::Password::new()
        .with_prompt("Passphrase for the root key")
        .with_confirmation("Again", "they differ")
        .interact();
    asked.map(Zeroizing::new).context("cannot ask for the passphrase")
}

/// Writes keyset 1 and its root signature; the card that carries both.
fn write_keyset(
    home: &Utf8Path,
    root: &SigningKey,
    publisher: &SigningKey,
) -> anyhow::Result<String> {
    let keyset = Keyset {
        format: FORMAT,
        version: 1,
        epoch: 1,
        root: Role::one(root.public()),
        publisher: Role::one(publisher.public()),
        critical: vec![],
    };
    let bytes = keyset.encode();
    let sig = root.sign(Namespace::Keyset, &bytes);
    let folder = home.join("keysets");
    let sig_name = format!("000001.{}.sig", root.public().fingerprint());
    durable::write(&folder.join(sig_name), sig.as_bytes())?;
    durable::write(&folder.join("000001.json"), &bytes)?;
    let card = PublisherCard {
        roots: Some(vec![root.public().into()]),
        root_threshold: Some(1),
        keyset: Some(bytes.into()),
        keyset_signatures: Some(vec![sig.into_bytes().into()]),
        link_key: None,
        diode_key: None,
    };
    Ok(card.encode())
}

/// Writes `waybill.yaml` into the current folder unless there is one.
fn write_example() -> anyhow::Result<Option<Utf8PathBuf>> {
    let path = Utf8PathBuf::from("waybill.yaml");
    if path.exists() {
        return Ok(None);
    }
    durable::write(&path, EXAMPLE.as_bytes())?;
    Ok(Some(path))
}

fn summary(args: &InitArgs, home: &Utf8Path, root: &Utf8Path) -> String {
    let root = if args.insecure_root_in_home {
        "The root key lies in the home, unprotected. Never use this home for a real site."
            .to_owned()
    } else {
        format!(
            "The root key is {root}. Move it off this machine now: whoever has it and its \
             passphrase decides what your sites trust."
        )
    };
    format!(
        "Home    {home}\nCard    {card}\n\n{root}\n\nNext: on the admin node run\n  \
         gapferry-inside init --site NAME\nand bring its card here for\n  \
         gapferry-outside pair NAME.card",
        card = args.card,
    )
}

const CONFIG: &str = "\
# gapferry-outside. Unknown keys are errors.

# Fetch from a mirror; artifacts keep their original origin.
# [[mirror]]
# from = \"https://dl.k8s.io\"
# to = \"https://mirror.example.com/dl.k8s.io\"

# Which waybills are for a site, when the waybills themselves do not say.
# [site.prod]
# waybills = [\"prod\"]
";

const EXAMPLE: &str = include_str!("../../example-waybill.yaml");

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_waybill_and_configuration_are_understood() {
        crate::waybill::Waybill::parse(super::EXAMPLE).unwrap();
        toml::from_str::<crate::home::Config>(super::CONFIG).unwrap();
        let switched_on: String = super::CONFIG
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .map(|line| format!("{line}\n"))
            .collect();
        toml::from_str::<crate::home::Config>(&switched_on).unwrap();
    }
}
