//! One agent: its binary, its folder, its home, and what running it gives.

use std::{env, fmt, fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::process::{self, Finished};

/// An agent with a folder of its own: the home below it, the waybill and the cards in it.
#[derive(Clone, Debug)]
pub struct Agent {
    pub program: PathBuf,
    pub folder: PathBuf,
    environment: Environment,
}

/// What an agent gets to know of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Environment {
    /// `PATH`, and an empty home folder.
    Clean,
    /// All that this process knows: settings of pip and apt, proxies, CAs.
    Machine,
}

/// A command that did what it was told to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub json: Value,
    pub stderr: String,
    pub exit_code: i32,
    pub seconds: f64,
    pub peak_memory_bytes: u64,
}

/// A command that did not.
#[derive(Clone)]
pub struct Failure {
    pub exit_code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Failure {
    /// What was printed with `-o json`; null when nothing was.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or(Value::Null)
    }
}

/// As it was printed: `expect` shows it to people.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n{}\n{}", self.exit_code, self.stdout, self.stderr)
    }
}

impl Agent {
    /// # Panics
    ///
    /// When the folder cannot be made.
    pub fn new(program: PathBuf, folder: PathBuf, environment: Environment) -> Self {
        fs::create_dir_all(folder.join("user")).expect("a folder can be made");
        Self { program, folder, environment }
    }

    /// The agent's state.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The home folder of the user who runs it: netrc and the like are read from here.
    pub fn user_home(&self) -> PathBuf {
        self.folder.join("user")
    }

    /// The agent with these arguments, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.set_environment(&mut command);
        command.args(args);
        command
    }

    /// Folder and environment of the agent, for any program that starts it.
    pub fn set_environment(&self, command: &mut Command) {
        command.current_dir(&self.folder);
        if self.environment == Environment::Clean {
            let path = env::var_os("PATH").unwrap_or_default();
            command.env_clear().env("PATH", path).env("HOME", self.user_home());
        }
        command.env("GAPFERRY_HOME", self.home());
    }

    /// Runs a command with `-o json`.
    ///
    /// # Errors
    ///
    /// [`Failure`] for every exit code but 0.
    pub fn run(&self, args: &[&str]) -> Result<Outcome, Failure> {
        let args = [args, &["-o", "json"]].concat();
        Outcome::of(process::run(&mut self.command(&args)))
    }
}

impl Outcome {
    /// # Errors
    ///
    /// [`Failure`] for every exit code but 0.
    ///
    /// # Panics
    ///
    /// When the command was done but printed no JSON document.
    pub fn of(finished: Finished) -> Result<Self, Failure> {
        let Finished { exit_code, stdout, stderr, seconds, peak_memory_bytes } = finished;
        if exit_code != 0 {
            return Err(Failure { exit_code, stdout, stderr });
        }
        let json = serde_json::from_str(&stdout)
            .unwrap_or_else(|e| panic!("no JSON on stdout: {e}\n{stdout}\n{stderr}"));
        Ok(Self { json, stderr, exit_code, seconds, peak_memory_bytes })
    }
}
