//! `installed`: what the nodes of a target have, handed in by a person for the way out.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use comfy_table::{Table, presets};
use gapferry_common::{
    cli::Global,
    exit::{Ended, Exit},
    limit::{self, LimitReader},
};
use gapferry_proto::{
    Target,
    installed::{List, Package, absent},
    limits,
};
use serde_json::{Value, json};

use crate::{
    home::Home,
    installed::{self, Kept},
};

#[derive(Debug, clap::Args)]
pub struct InstalledArgs {
    /// Name of the group of nodes, the TARGET in /apt/TARGET/ or /yum/TARGET/; without it, the lists
    /// that are kept are shown
    #[arg(requires = "files", conflicts_with = "forget")]
    target: Option<Target>,
    /// What `dpkg-query -W` or `rpm -qa` wrote on each node; - is stdin. Together they take the
    /// place of what was known of the target
    #[arg(value_name = "FILE")]
    files: Vec<Utf8PathBuf>,
    /// Drop the list of a target; the next inventory makes the bastion forget it too
    #[arg(long, value_name = "TARGET")]
    forget: Vec<Target>,
}

pub fn run(args: &InstalledArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    if let Some(target) = &args.target {
        let named = |path: &Utf8PathBuf| match path.as_str() {
            "-" => Utf8PathBuf::from("stdin"),
            _ => path.clone(),
        };
        let outputs = args.files.iter().map(|path| Ok((named(path), read(path)?)));
        let list = installed::join(&outputs.collect::<anyhow::Result<Vec<_>>>()?)?;
        let _lock = home.lock()?;
        installed::keep(home.root(), target, &list)?;
    }
    if !args.forget.is_empty() {
        let _lock = home.lock()?;
        for target in &args.forget {
            if !installed::forget(home.root(), target)? {
                global.say(format!("nothing was known of {target}"));
            }
        }
    }
    let kept = installed::all(home.root())?;
    let document = json!({
        "site": home.site(),
        "installed": kept.iter().map(document).collect::<Vec<_>>(),
    });
    global.print(&document, || {
        let mut text = table(&kept);
        if args.target.is_some() {
            text.push_str("\nThe next inventory brings it home.");
        }
        text
    });
    Ok(Exit::Done)
}

fn read(path: &Utf8Path) -> anyhow::Result<Vec<u8>> {
    let max = limits::INSTALLED_LEN_BYTES_MAX;
    let read = if path == "-" {
        let mut bytes = vec![];
        let mut bounded = LimitReader::new(io::stdin().lock(), max);
        io::Read::read_to_end(&mut bounded, &mut bytes).map(|_| bytes)
    } else {
        limit::read_file(path, max)
    };
    Ok(read.map_err(|e| Ended::because(Exit::Usage, format!("cannot read {path}"), e))?)
}

/// In each version, without the lines that say that some node has none of it.
fn packages(kept: &Kept) -> usize {
    let is_there = |list: &List, package: &&Package| package.version != absent(list.kind);
    let count = |list: List| list.packages.iter().filter(|one| is_there(&list, one)).count();
    List::parse(&kept.bytes).map_or(0, count)
}

fn document(kept: &Kept) -> Value {
    let mut value = serde_json::to_value(kept.named()).expect("it is plain JSON");
    value["packages"] = packages(kept).into();
    value
}

fn table(kept: &[Kept]) -> String {
    if kept.is_empty() {
        return "Nothing is known of what nodes have installed.".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["target", "packages"]);
    for one in kept {
        table.add_row([one.target.to_string(), packages(one).to_string()]);
    }
    table.to_string()
}
