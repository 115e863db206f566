//! A running `gapferry-inside serve`.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::Agent;
use crate::{fetch, process};

/// The inside, serving on a free port until it is dropped.
#[derive(Debug)]
pub struct Server {
    /// `http://127.0.0.1:PORT`, or `https://` with TLS.
    pub url: String,
    /// Of every listener, `url` first.
    pub urls: Vec<String>,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// # Panics
    ///
    /// When the agent does not say where it listens.
    pub(super) fn start(agent: &Agent) -> Self {
        let args = ["serve", "--listen", "127.0.0.1:0", "-o", "json"];
        Self::of_command(agent, agent.command(&args))
    }

    /// Starts `command`, which ends up as the server of `agent`.
    ///
    /// # Panics
    ///
    /// When the agent does not say where it listens.
    pub fn of_command(agent: &Agent, mut command: Command) -> Self {
        let log = agent.folder.join("serve.log");
        let stderr = File::create(&log).expect("a log can be made");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the agent can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a pipe can be read");
        process::read_all(stdout);
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        let urls = told["listening"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let urls: Vec<String> = urls.map(|url| url.trim_end_matches('/').to_owned()).collect();
        let Some(url) = urls.first().cloned() else {
            let _ = child.kill();
            panic!("no address in {line:?}\n{}", fs::read_to_string(&log).unwrap_or_default())
        };
        Self { url, urls, child, log }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        self.url.split_once("://").map_or(self.url.as_str(), |(_, host)| host)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fetches a path.
    ///
    /// # Panics
    ///
    /// When there is no answer at all.
    pub fn get(&self, path: &str) -> fetch::Answer {
        fetch::get(&format!("{}{path}", self.url)).expect("the server did not answer")
    }

    /// The requests that were answered so far, as `GET /path`, in the order in which they ended.
    /// None without an access log.
    pub fn asked(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let access = lines.filter(|line| line["target"] == "access");
        let text =
            |line: &Value, name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
        access.map(|line| text(&line, "method") + " " + &text(&line, "path")).collect()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
