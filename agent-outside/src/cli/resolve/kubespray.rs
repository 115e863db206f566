//! `resolve kubespray`: what Kubespray will ask for, and why.

use std::fmt::Write as _;

use camino::Utf8PathBuf;
use gapferry_common::{
    cli::Global,
    exit::{Ended, Exit},
};
use serde_json::{Value, json};

use crate::kubespray::{
    Kind, Nodes, Row,
    question::{Answer, Question},
    supplement::{self, Admin, Item, Runner},
};
use crate::source::http::Redacted;

#[derive(Debug, clap::Args)]
pub struct KubesprayArgs {
    /// The Kubespray tree: a folder, a tarball, or CLONE#TAG
    tree: String,
    /// The inventory
    #[arg(short, long, value_name = "INVENTORY")]
    inventory: String,
    /// Extra variables, as Ansible takes them: name=value, JSON, or @FILE
    #[arg(short, long = "extra-vars", value_name = "ARG")]
    extra_vars: Vec<String>,
    /// A file that says the OS and architecture of each host, under the key `nodes`
    #[arg(long, value_name = "FILE")]
    nodes: Option<Utf8PathBuf>,
    /// Show every entry with its hosts, and what Kubespray's own list forgets
    #[arg(long)]
    explain: bool,
    /// How the playbooks are run inside: both, image or pip
    #[arg(long, value_enum, default_value_t = Runner::Both)]
    runner: Runner,
    /// The OS of the machine that runs them, such as rocky-9
    #[arg(long, value_name = "OS")]
    admin: Option<String>,
}

pub fn run(args: &KubesprayArgs, global: &Global) -> anyhow::Result<Exit> {
    let answer = question(args)?.answer().map_err(|e| {
        Ended::because(Exit::Usage, "what Kubespray asks for cannot be told".to_owned(), e)
    })?;
    for problem in &answer.resolved.problems {
        global.say(format!("{}{problem}", if problem.is_warning() { "warning: " } else { "" }));
    }
    for problem in &answer.supplement.problems {
        global.say(format!("note: {}: {}", problem.name, problem.message));
    }
    global.print(&document(&answer), || text(&answer, args.explain));
    let is_complete = answer.resolved.is_complete();
    Ok(if is_complete { Exit::Done } else { Exit::Incomplete })
}

fn question(args: &KubesprayArgs) -> anyhow::Result<Question> {
    let nodes = match &args.nodes {
        None => Nodes::default(),
        Some(path) => {
            let bytes = std::fs::read(path)
                .map_err(|e| Ended::because(Exit::Usage, format!("cannot read {path}"), e))?;
            Nodes::parse(path.as_str(), &bytes)
                .map_err(|e| Ended::because(Exit::Usage, format!("{path} is not understood"), e))?
        }
    };
    Ok(Question {
        tree: args.tree.clone(),
        inventory: args.inventory.clone(),
        extra: args.extra_vars.clone(),
        base: ".".to_owned(),
        nodes,
        admin: Admin { runner: args.runner, os: args.admin.clone() },
    })
}

/// The rows of `downloads` and OS packages in the form that other tools compare, then what the
/// list forgets, each with a kind of its own.
fn document(answer: &Answer) -> Value {
    let mut rows: Vec<Value> = answer.resolved.rows.iter().map(|row| json!(row)).collect();
    for fetched in &answer.resolved.role_downloads {
        let mut row = json!(fetched);
        row["kind"] = json!("role-file");
        rows.push(row);
    }
    rows.extend(answer.supplement.items.iter().map(beyond));
    json!(rows)
}

fn beyond(item: &Item) -> Value {
    let mut row = json!(item);
    row["kind"] = json!(match item.kind {
        supplement::Kind::File => "beyond-file",
        supplement::Kind::Image => "beyond-image",
        supplement::Kind::Package => "beyond-package",
        supplement::Kind::Chart => "chart",
        supplement::Kind::Python => "python",
        supplement::Kind::Source => "source",
        supplement::Kind::Manifest => "manifest",
    });
    row
}

fn text(answer: &Answer, explain: bool) -> String {
    let mut text = String::new();
    let acting: Vec<&Row> =
        answer.resolved.rows.iter().filter(|row| !row.hosts.is_empty()).collect();
    for row in &acting {
        let what = match row.kind {
            Kind::Container => {
                format!(
                    "{}:{}",
                    row.repo.as_deref().unwrap_or(""),
                    row.tag.as_deref().unwrap_or("")
                )
            }
            Kind::File => {
                let url = row.url.as_deref().unwrap_or_default();
                url.parse().map_or_else(|_| url.to_owned(), |url| Redacted::of(&url).to_string())
            }
            Kind::Package => row.name.clone(),
        };
        line(&mut text, kind(row.kind), &what, &row.name, explain.then_some(&row.hosts));
    }
    for item in &answer.supplement.items {
        let kind = format!("{:?}", item.kind).to_lowercase();
        line(&mut text, &kind, &item.value, &item.why, explain.then_some(&item.hosts));
        for evidence in item.evidence.iter().filter(|_| explain) {
            let _to_a_string = writeln!(text, "           {}:{}", evidence.path, evidence.line);
        }
    }
    if explain {
        for image in &answer.resolved.kubeadm_images {
            line(&mut text, "kubeadm", image, "kubeadm config images list", None);
        }
    }
    let (rows, beyond) = (acting.len(), answer.supplement.items.len());
    let _to_a_string = write!(
        text,
        "{rows} of Kubespray's own list, {beyond} that it forgets; tree {}",
        &answer.tree_digest.hex()[..12]
    );
    text
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Container => "image",
        Kind::File => "file",
        Kind::Package => "package",
    }
}

fn line(text: &mut String, kind: &str, what: &str, why: &str, hosts: Option<&Vec<String>>) {
    let hosts = hosts.map(|hosts| format!(" [{}]", hosts.join(" "))).unwrap_or_default();
    let _to_a_string = writeln!(text, "{kind:9}  {what}  ({why}){hosts}");
}
