//! Reads the messages of clients: what each says it could not find.
//!
//! In:   the log of a client: apt, dnf, zypper, helm, kubelet, containerd, pip, uv, Ansible.
//! Out:  [`Told`]: a want each, once, with the program or the node that said it.
//! Pure: a line in, wants out; [`read`] takes lines from a reader and bounds them.
//!
//! What is unreachable is no want: a message counts only when it says that a thing is not there.

mod address;
mod messages;

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

use gapferry_proto::{limits, want::Want};
use serde_json::Value;

/// A want and who said it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    pub want: Want,
    /// The node that an Ansible task failed on, else the program.
    pub client: String,
}

/// What lines told so far.
#[derive(Debug, Default)]
struct Reading(BTreeMap<Want, String>);

/// The wants of a log, sorted, each once; at most `limits::WANTS_MAX`.
///
/// Of a line longer than `limits::LOG_LINE_LEN_BYTES_MAX` only the beginning is read, and of a log
/// only the first `limits::LOG_LINES_MAX` lines.
///
/// # Errors
///
/// The reader's.
pub fn read(mut log: impl BufRead) -> io::Result<Vec<Told>> {
    let mut reading = Reading::default();
    let mut line = vec![];
    for _ in 0..limits::LOG_LINES_MAX {
        line.clear();
        let mut bounded = log.by_ref().take(limits::LOG_LINE_LEN_BYTES_MAX);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let is_cut = line.last() != Some(&b'\n');
        reading.line(&String::from_utf8_lossy(&line));
        if is_cut {
            log.skip_until(b'\n')?;
        }
    }
    Ok(reading.done())
}

/// The wants of a text.
pub fn told(text: &str) -> Vec<Told> {
    let mut reading = Reading::default();
    text.lines().for_each(|line| reading.line(line));
    reading.done()
}

impl Reading {
    fn line(&mut self, line: &str) {
        let plain = without_escapes(line);
        if let Some((node, result)) = ansible(&plain) {
            self.result(node, &result);
        } else {
            // Logs within logs quote their quotes.
            messages::read(&plain.replace("\\\"", "\""), &mut |want, client| {
                self.take(want, client);
            });
        }
    }

    /// Reads what a task of Ansible returned, and the results of its items.
    fn result(&mut self, node: &str, result: &Value) {
        const TEXTS: [&str; 9] = [
            "msg",
            "message",
            "stderr",
            "stdout",
            "module_stderr",
            "module_stdout",
            "response",
            "failures",
            "exception",
        ];
        for text in TEXTS.into_iter().filter_map(|name| result.get(name)).flat_map(texts) {
            for line in text.lines() {
                messages::read(&without_escapes(line), &mut |want, _| self.take(want, node));
            }
        }
        let url = result.get("url").and_then(Value::as_str);
        if let Some(want) = url.filter(|_| is_gone(result)).and_then(address::want_of) {
            self.take(want, node);
        }
        for item in result.get("results").and_then(Value::as_array).into_iter().flatten() {
            self.result(node, item);
        }
    }

    fn take(&mut self, want: Want, client: &str) {
        if self.0.len() < limits::WANTS_MAX {
            self.0.entry(want).or_insert_with(|| client.to_owned());
        }
    }

    fn done(self) -> Vec<Told> {
        self.0.into_iter().map(|(want, client)| Told { want, client }).collect()
    }
}

/// The texts of a value that is one text or several.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

/// Whether a server said that it does not have what a task asked for.
fn is_gone(result: &Value) -> bool {
    let code = |name: &str| result.get(name).and_then(Value::as_u64);
    let said = |name: &str| {
        let text = result.get(name).and_then(Value::as_str).unwrap_or_default();
        messages::is_not_found(text) || text.starts_with("Failed to download remote")
    };
    [code("status_code"), code("status")].contains(&Some(404)) || said("msg") || said("response")
}

/// The node and the result of `fatal: [NODE]: FAILED! => {…}` or `failed: [NODE] (item=…) => {…}`.
fn ansible(line: &str) -> Option<(&str, Value)> {
    let line = line.trim_start();
    let rest = line.strip_prefix("fatal: [").or_else(|| line.strip_prefix("failed: ["))?;
    let (node, rest) = rest.split_once(']')?;
    let node = node.split(" -> ").next().unwrap_or(node);
    let (_, json) = rest.split_once("=> ")?;
    Some((node, serde_json::from_str(json).ok()?))
}

/// The line without the sequences that colour it (ECMA-48, "CSI").
fn without_escapes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut parts = line.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| ('@'..='~').contains(&c));
        plain.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    plain.truncate(plain.trim_end().len());
    plain
}

#[cfg(test)]
mod tests;
