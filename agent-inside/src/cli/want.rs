//! `want`: what a client could not find, said by a person or by the client's own log.

use std::io::BufReader;

use camino::Utf8PathBuf;
use gapferry_common::{
    cli::Global,
    exit::{Ended, Exit},
};
use gapferry_proto::{
    Snapshot,
    want::{self, Want},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    generation::State,
    home::Home,
    wants::{
        Wants,
        log::{self, Told},
    },
};

/// The plugin that posts what failed tasks of Ansible lacked.
const PLUGIN: &str = include_str!("../../ansible/callback_plugins/gapferry_wants.py");

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("said").required(true).multiple(true))]
pub struct WantArgs {
    /// file, image, deb, rpm, pypi or chart
    #[arg(group = "said", requires = "name")]
    kind: Option<String>,
    /// HOST/PATH of a file, the reference of an image, [REPOSITORY/]CHART, else a package
    name: Option<String>,
    /// One version, or a constraint such as '>=1,<2'
    #[arg(long, requires = "kind")]
    version: Option<String>,
    /// The nodes that want it, as in /apt/TARGET/
    #[arg(long, requires = "kind")]
    target: Option<String>,
    /// Read what a client said: apt, dnf, zypper, helm, kubelet, containerd, pip, uv, Ansible; - is stdin
    #[arg(long, group = "said", value_name = "FILE", conflicts_with_all = ["kind", "name"])]
    from_log: Option<Utf8PathBuf>,
    /// Print the Ansible callback plugin that posts what failed tasks lacked
    #[arg(long, group = "said", conflicts_with_all = ["kind", "name", "from_log"])]
    pub callback_plugin: bool,
}

/// Prints the plugin; for `callback_plugins/gapferry_wants.py` beside a playbook.
pub fn print_plugin() -> Exit {
    print!("{PLUGIN}");
    Exit::Done
}

pub fn run(args: &WantArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let told = told(args)?;
    let held = held(home)?;
    let met = want::met(told.iter().map(|told| &told.want), held.artifacts());
    let _lock = home.lock()?;
    let wants = Wants::open(home.root())?;
    let mut lines = vec![];
    for Told { want, client } in &told {
        let state = if met.contains(want) {
            "held"
        } else if wants.add(want.clone(), Some(client.clone()), Timestamp::now())? {
            "new"
        } else {
            "known"
        };
        lines.push((want, state));
    }
    let count = |state: &str| lines.iter().filter(|(_, of)| *of == state).count();
    let document = json!({
        "wants": lines.iter().map(|(want, state)| document(want, state)).collect::<Vec<_>>(),
        "new": count("new"),
    });
    global.print(&document, || {
        let mut text: String =
            lines.iter().map(|(want, state)| line(want, state)).collect::<Vec<_>>().join("\n");
        if lines.is_empty() {
            text = "Nothing in it says that a thing was not found.".to_owned();
        } else if 0 < count("new") {
            text.push_str("\nThe next inventory says so outside.");
        }
        text
    });
    Ok(Exit::Done)
}

fn told(args: &WantArgs) -> anyhow::Result<Vec<Told>> {
    if let Some(path) = &args.from_log {
        let read = if path == "-" {
            log::read(std::io::stdin().lock())
        } else {
            std::fs::File::open(path).and_then(|file| log::read(BufReader::new(file)))
        };
        return Ok(read.map_err(|e| Ended::because(Exit::Usage, format!("cannot read {path}"), e))?);
    }
    let (kind, name) = (args.kind.as_deref(), args.name.as_deref());
    let kind = want::kind(kind.unwrap_or_default())?;
    let (version, target) = (args.version.as_deref(), args.target.as_deref());
    let want = Want::new(kind, name.unwrap_or_default(), version, target)?;
    Ok(vec![Told { want, client: "admin".to_owned() }])
}

/// What the newest snapshot has; nothing before the first import.
pub fn held(home: &Home) -> anyhow::Result<Snapshot> {
    let state = State::of(home.root());
    let Some(current) = state.current()? else { return Ok(Snapshot::default()) };
    let newest = state.generation(current.sequence)?.snapshot;
    Ok(state.snapshot(newest)?.unwrap_or_default())
}

fn document(want: &Want, state: &str) -> Value {
    let mut value = serde_json::to_value(want).expect("a want is plain JSON");
    value["state"] = state.into();
    value
}

fn line(want: &Want, state: &str) -> String {
    let said = match state {
        "held" => "is held, and nothing new is needed",
        "new" => "is noted",
        _ => "was noted before",
    };
    format!("{} {} {said}", want.kind, want.words())
}
