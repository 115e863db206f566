//! Measures what the project promises, on this machine, and prints one table.
//!
//! In:   the agents, built as this program is; nginx, curl, Ansible, apt, pip and dnf where they
//!       are installed.
//! Out:  rows of figure, value and promise. Nothing is asserted: a clock on a busy machine
//!       proves little, and the reader judges.

mod closures;
mod crowd;
mod memory;
mod resolver;
mod small;
mod throughput;
mod unchanged;

use clap::{Parser, ValueEnum};
use comfy_table::{ContentArrangement, Table};
use tests::{
    Content, Site, Stick, Upstream,
    site::{Failure, Outcome},
};

#[derive(Debug, Parser)]
#[command(about = "Measures memory, unchanged exports, throughput, the resolver and closures")]
struct Args {
    /// Measure only this
    #[arg(long, value_name = "NAME")]
    only: Option<Figure>,
    /// Length of the large blob, in MiB
    #[arg(long, default_value_t = 1024)]
    blob_mib: u64,
    /// Artifacts of the unchanged export
    #[arg(long, default_value_t = 10_000)]
    artifacts: u64,
    /// Artifacts of the site that many clients ask
    #[arg(long, default_value_t = 100_000)]
    crowd: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Figure {
    Memory,
    Unchanged,
    Throughput,
    Small,
    Crowd,
    Resolver,
    Closures,
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    figure: String,
    value: String,
    promise: String,
}

impl Row {
    fn new(
        figure: impl Into<String>,
        value: impl Into<String>,
        promise: impl Into<String>,
    ) -> Self {
        Self { figure: figure.into(), value: value.into(), promise: promise.into() }
    }
}

fn main() {
    let args = Args::parse();
    let wanted = |figure| args.only.is_none_or(|only| only == figure);
    let mut rows = vec![];
    if wanted(Figure::Memory) {
        eprintln!("memory: a blob of {} MiB crosses twice …", args.blob_mib);
        rows.extend(memory::measure(args.blob_mib << 20));
    }
    if wanted(Figure::Unchanged) {
        eprintln!("unchanged: {} artifacts cross, then nothing changes …", args.artifacts);
        rows.extend(unchanged::measure(args.artifacts));
    }
    if wanted(Figure::Throughput) {
        eprintln!("throughput: a blob of {} MiB, ours and nginx's …", args.blob_mib);
        rows.extend(throughput::measure(args.blob_mib << 20));
    }
    if wanted(Figure::Small) {
        eprintln!("small: a thousand blobs of 64 KiB, ours and other registries' …");
        rows.extend(small::measure());
    }
    if wanted(Figure::Crowd) {
        eprintln!("crowd: {} artifacts and a thousand clients …", args.crowd);
        rows.extend(crowd::measure(args.crowd));
    }
    if wanted(Figure::Resolver) {
        eprintln!("resolver: Kubespray's own question, ours and Ansible's answer …");
        rows.extend(resolver::measure());
    }
    if wanted(Figure::Closures) {
        eprintln!("closures: what apt, pip and dnf would install, and what is carried …");
        rows.extend(closures::measure());
    }
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["figure", "value", "promise"]);
    for row in rows {
        table.add_row([row.figure, row.value, row.promise.to_owned()]);
    }
    println!("{table}");
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A site that asks for one large file and one image with a large layer, or only the file.
struct Large {
    upstream: Upstream,
    site: Site,
    content: Content,
}

impl Large {
    fn new(content: Content, image: bool) -> Self {
        let (upstream, site) = (Upstream::start(), Site::new());
        upstream.put_content("/files/large", content);
        let (url, host, sha256) = (upstream.url(), upstream.host(), content.sha256());
        let mut spec = format!("  files: [{{url: \"{url}/files/large\", sha256: {sha256}}}]\n");
        if image {
            upstream.put_image_of_content("demo/large", "1.0", content);
            spec += &format!(
                "  images: [{{ref: \"{host}/demo/large:1.0\", platforms: [linux/amd64], \
                 insecure: true}}]\n"
            );
        }
        site.outside.write_waybill(&spec);
        site.outside.sync().expect("sync failed");
        Self { upstream, site, content }
    }

    /// The inside tells what it holds; upstream has the next edition, and the outside fetches it.
    fn renew(&self, content: Content) {
        self.site.inventory_home().expect("the inventory did not come home");
        self.upstream.put_content("/files/large", content);
        let (url, sha256) = (self.upstream.url(), content.sha256());
        let files = format!("  files: [{{url: \"{url}/files/large\", sha256: {sha256}}}]\n");
        self.site.outside.write_waybill(&files);
        self.site.outside.sync().expect("sync failed");
    }

    /// Has the next export sealed anew.
    fn forget_sealed(&self) {
        let sealed = self.site.outside.agent.home().join("ledger/prod/exports");
        let _none_yet = std::fs::remove_dir_all(sealed);
    }

    /// An export by a command that `wrap` has had in its hands.
    fn export(
        &self,
        wrap: impl Fn(std::process::Command) -> std::process::Command,
    ) -> Result<(Stick, Outcome), Failure> {
        let outside = &self.site.outside;
        let to = outside.stick.display().to_string();
        let args = ["export", "--site", "prod", "--to", &to, "-o", "json"];
        let finished = tests::process::run(&mut wrap(outside.agent.command(&args)));
        let outcome = Outcome::of(finished)?;
        Ok((Stick::new(&outside.stick, "prod", outcome.json.clone()), outcome))
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
