//! Measures how many bytes cross the gap when artifacts move to their next version, beside the
//! tools that a sceptic would try.
//!
//! In:   a pinned corpus, got by pip, apt and Go as this machine has them; both agents, built as
//!       this program is; the other tools, where they are installed.
//! Out:  one table with a row for each hop and a total, in markdown; with `-o json` the same for
//!       programs. Nothing is asserted: the reader judges. What cannot be had is named.

mod artifact;
mod charts;
mod corpus;
mod debian;
mod forms;
mod golang;
mod gzip;
mod keep;
mod measure;
mod ours;
mod peel;
mod peers;
mod python;
mod table;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use flate2::{Compression, write::GzEncoder};

use crate::{
    artifact::{Artifact, Hop},
    corpus::{Corpus, Wanted},
    keep::Kept,
    peers::Peers,
    table::{Report, Row},
};

#[derive(Debug, Parser)]
#[command(about = "Measures what updates weigh, beside casync, restic, borg, zstd and others")]
struct Args {
    /// Only hops with this in their name; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Where the corpus lies or is built [default: gapferry-delta-corpus in the cache folder]
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Only the small hops of the corpus
    #[arg(long)]
    small: bool,
    /// Measure only our own agents
    #[arg(long)]
    without_peers: bool,
    /// Measure only the other tools
    #[arg(long)]
    without_ours: bool,
    /// Get the corpus and measure nothing
    #[arg(long)]
    fetch_only: bool,
    /// Print the names of the hops and do nothing
    #[arg(long)]
    list: bool,
    /// What the export is told to spend
    #[arg(long, default_value = "balanced")]
    effort: String,
    /// Keep what is measured in this file, and measure nothing that stands in it already
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let wanted: Vec<Wanted> = corpus::wanted().into_iter().filter(|hop| args.wants(hop)).collect();
    if args.list {
        wanted.iter().for_each(|hop| println!("{}", hop.name));
        return Ok(());
    }
    let folder = args.corpus.clone().map_or_else(default_folder, Ok)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Agents run in folders of their own, and are told of images by path.
    let folder = folder.canonicalize()?;
    eprintln!("The corpus lies in {}.", folder.display());
    let (hops, left_out) = fetch(&Corpus::new(folder), &wanted);
    if args.fetch_only {
        left_out.iter().for_each(|line| println!("left out: {line}"));
        return Ok(());
    }
    let report = measure_all(&args, hops, left_out)?;
    match args.output {
        Output::Text => println!("{}", report.text()),
        Output::Json => println!("{:#}", report.json()),
    }
    Ok(())
}

impl Args {
    fn wants(&self, hop: &Wanted) -> bool {
        let named = self.only.is_empty() || self.only.iter().any(|part| hop.name.contains(part));
        named && (hop.small || !self.small)
    }
}

fn default_folder() -> anyhow::Result<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Ok(cache.context("no home folder: say --corpus DIR")?.join("gapferry-delta-corpus"))
}

/// Every hop that can be had, and a line for each that cannot.
fn fetch(corpus: &Corpus, wanted: &[Wanted]) -> (Vec<Hop>, Vec<String>) {
    let (mut hops, mut left_out) = (vec![], vec![]);
    for wanted in wanted {
        match corpus.get(wanted) {
            Ok(hop) => hops.push(hop),
            Err(error) => {
                let line = format!("{}: {error:#}", wanted.name);
                eprintln!("left out: {line}");
                left_out.push(line);
            }
        }
    }
    (hops, left_out)
}

fn measure_all(args: &Args, hops: Vec<Hop>, left_out: Vec<String>) -> anyhow::Result<Report> {
    let mut peers = if args.without_peers { Peers::none() } else { Peers::look()? };
    if !args.without_ours {
        eprintln!("Building both agents.");
        tests::agents::folder();
    }
    let mut kept = args.keep.as_deref().map_or_else(|| Ok(Kept::default()), Kept::open)?;
    let mut rows = vec![];
    for hop in hops {
        eprintln!("measuring {} …", hop.name);
        rows.push(measure(args, hop, &mut peers, &mut kept)?);
    }
    Ok(Report { rows, peers: peers.present, absent: peers.absent, left_out })
}

fn measure(args: &Args, hop: Hop, peers: &mut Peers, kept: &mut Kept) -> anyhow::Result<Row> {
    let (mut published_bytes, mut gzip_bytes) = (0, 0);
    for pair in &hop.pairs {
        published_bytes += pair.new.published_bytes()?;
        gzip_bytes += gzip_len_bytes(&pair.new)?;
    }
    let mut ours = None;
    if !args.without_ours {
        let carry = || ours::carry(&hop, &args.effort).map_err(|error| format!("{error:#}"));
        ours = Some(kept.or_measure(&hop.name, &own_name(&args.effort)?, carry)?);
    }
    let mut outcomes = vec![];
    for peer in peers.present.clone() {
        let outcome = kept.or_measure(&hop.name, peer.name(), || peers.measure(peer, &hop))?;
        outcomes.push((peer, outcome));
    }
    Ok(Row { hop, published_bytes, gzip_bytes, ours, peers: outcomes })
}

/// What our own figures are kept under: they are those of one build.
fn own_name(effort: &str) -> anyhow::Result<String> {
    let agent = fs::read(tests::agents::outside()).context("cannot read the agent")?;
    Ok(format!("ours {effort} {}", &tests::fixtures::sha256(&agent)[..12]))
}

/// What an artifact would weigh as upstream publishes it: a bare file in a gzip of level 6.
fn gzip_len_bytes(artifact: &Artifact) -> anyhow::Result<u64> {
    match artifact {
        Artifact::File(path) if is_bare(path)? => {
            let mut gzip = GzEncoder::new(Count(0), Compression::new(6));
            gzip.write_all(&fs::read(path)?)?;
            Ok(gzip.finish()?.0)
        }
        _ => artifact.published_bytes(),
    }
}

/// Whether nothing is compressed yet: an ELF.
fn is_bare(path: &Path) -> anyhow::Result<bool> {
    let mut head = [0; 4];
    let read = io::Read::read(&mut fs::File::open(path)?, &mut head)?;
    Ok(read == 4 && head == *b"\x7fELF")
}

/// Counts what is written and keeps nothing of it.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
