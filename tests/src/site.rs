//! A whole site: an outside, a stick and an inside, paired, in a temporary folder.
//!
//! Both agents run as the real binaries with a clean environment; all that is known of them is
//! their command surface.

mod agent;
mod server;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

pub use agent::{Agent, Environment, Failure, Outcome};
pub use server::Server;

use crate::{
    agents,
    stick::{Stick, copy_tree},
};

/// Where the inside serves the key of its own apt repositories.
pub const APT_KEY_PATH: &str = "/keys/site.asc";

/// The passwords `secret` of two users, as `htpasswd -B -C 4` writes them.
const PUSH_USERS: &str = "ci:$2y$04$oZmoHzkZDV2obAp5vuZ5oOteNv1eh1zK4.ouhCPpv36LsqKaTq5OW\n\
    eve:$2y$04$E4T5s88DOrxalMZmS630M.60DkFQKERtIG8Bu2FaPbKsE/4MumOAu\n";

/// An outside and an inside that trust each other.
#[derive(Debug)]
pub struct Site {
    pub outside: Outside,
    pub inside: Inside,
    folder: TempDir,
}

/// The agent on the bastion.
#[derive(Debug)]
pub struct Outside {
    pub agent: Agent,
    /// The sites' media: one folder that stands for a stick.
    pub stick: PathBuf,
    site: String,
}

/// The agent on the admin node.
#[derive(Clone, Debug)]
pub struct Inside {
    pub agent: Agent,
    pub site: String,
}

impl Site {
    /// A fresh site named `prod`.
    ///
    /// # Panics
    ///
    /// When the agents do not come to trust each other.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let outside = Outside::new(folder.path(), "prod", Environment::Clean);
        let inside = Inside::new(folder.path(), "prod", Environment::Clean);
        outside.init().expect("the outside was not initialised");
        let site = Self { outside, inside, folder };
        site.pair(&site.inside);
        site
    }

    /// A further site of the same outside.
    ///
    /// # Panics
    ///
    /// As [`Site::new`].
    pub fn another_inside(&self, name: &str) -> Inside {
        let inside = Inside::new(self.folder.path(), name, Environment::Clean);
        self.pair(&inside);
        inside
    }

    /// A copy of the inside as it is now, to try something else with.
    ///
    /// # Panics
    ///
    /// When it cannot be copied.
    pub fn copy_of_inside(&self, copy: &str) -> Inside {
        let folder = self.path(copy);
        copy_tree(&self.inside.agent.folder, &folder).expect("a home can be copied");
        Inside {
            agent: Agent::new(agents::inside(), folder, Environment::Clean),
            site: self.inside.site.clone(),
        }
    }

    fn pair(&self, inside: &Inside) {
        let card = inside.init().expect("the inside was not initialised");
        self.outside.pair(&card).expect("the outside did not pair");
        inside.trust(&self.outside.card()).expect("the inside did not trust");
    }

    /// A path in the site's temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sync, export, import, and the inventory home: one whole round.
    ///
    /// # Panics
    ///
    /// When a step fails.
    pub fn carry(&self) -> Stick {
        self.outside.sync().expect("sync failed");
        let stick = self.outside.export().expect("export failed");
        self.inside.import(&stick).expect("import failed");
        self.inventory_home().expect("the inventory did not come home");
        stick
    }

    /// Brings what the inside says it holds back to the outside.
    ///
    /// # Errors
    ///
    /// Either agent's.
    pub fn inventory_home(&self) -> Result<(), Failure> {
        self.inside.inventory(&self.outside.stick)?;
        self.outside.inventory(&self.outside.stick).map(drop)
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Outside {
    /// An agent that has done nothing yet, below `folder`.
    pub fn new(folder: &Path, site: &str, environment: Environment) -> Self {
        let agent = Agent::new(agents::outside(), folder.join("outside"), environment);
        Self { agent, stick: folder.join("stick"), site: site.to_owned() }
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn init(&self) -> Result<Outcome, Failure> {
        fs::create_dir_all(&self.stick).expect("a folder can be made");
        self.agent.run(&["init", "--card", &text(&self.card()), "--insecure-root-in-home"])
    }

    /// What `init` writes for the inside.
    pub fn card(&self) -> PathBuf {
        self.agent.folder.join("publisher.card")
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn pair(&self, card: &Path) -> Result<Outcome, Failure> {
        self.agent.run(&["pair", &text(card), "--yes"])
    }

    /// Puts a waybill where `sync` reads it, with the lines of `spec` as given.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write_waybill(&self, spec: &str) {
        let head = "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: test}\nspec:\n";
        let text = format!("{head}{spec}");
        self.write("waybill.yaml", text);
    }

    /// Puts a file into the folder of the waybill.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.agent.folder.join(name);
        fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn sync(&self) -> Result<Outcome, Failure> {
        self.agent.run(&["sync", "-f", "waybill.yaml"])
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn plan(&self) -> Result<Outcome, Failure> {
        self.agent.run(&["plan", "--site", &self.site])
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn export(&self) -> Result<Stick, Failure> {
        self.export_for(&self.site)
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn export_for(&self, site: &str) -> Result<Stick, Failure> {
        let outcome = self.agent.run(&["export", "--site", site, "--to", &text(&self.stick)])?;
        Ok(Stick::new(&self.stick, site, outcome.json))
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn inventory(&self, path: &Path) -> Result<Outcome, Failure> {
        self.agent.run(&["inventory", &text(path)])
    }
}

impl Inside {
    /// An agent that has done nothing yet, below `folder`.
    pub fn new(folder: &Path, site: &str, environment: Environment) -> Self {
        let home = folder.join(format!("inside-{site}"));
        Self { agent: Agent::new(agents::inside(), home, environment), site: site.to_owned() }
    }

    /// Returns the card to pair with.
    ///
    /// # Errors
    ///
    /// The agent's.
    pub fn init(&self) -> Result<PathBuf, Failure> {
        let card = self.agent.folder.join(format!("{}.card", self.site));
        self.agent.run(&["init", "--site", &self.site, "--card", &text(&card)])?;
        Ok(card)
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn trust(&self, card: &Path) -> Result<Outcome, Failure> {
        self.agent.run(&["trust", &text(card), "--yes"])
    }

    /// Imports one export.
    ///
    /// # Errors
    ///
    /// The agent's.
    pub fn import(&self, stick: &Stick) -> Result<Outcome, Failure> {
        self.agent.run(&["import", &text(&stick.export)])
    }

    /// Writes an inventory onto a stick.
    ///
    /// # Errors
    ///
    /// The agent's.
    pub fn inventory(&self, stick: &Path) -> Result<Outcome, Failure> {
        self.agent.run(&["inventory", "--to", &text(stick)])
    }

    /// # Errors
    ///
    /// The agent's.
    pub fn rollback(&self, sequence: u64) -> Result<Outcome, Failure> {
        self.agent.run(&["rollback", &sequence.to_string()])
    }

    /// What `status` says.
    ///
    /// # Panics
    ///
    /// When the agent cannot say.
    pub fn status(&self) -> Value {
        self.agent.run(&["status"]).expect("status failed").json
    }

    /// The generation that is served; null before the first import.
    pub fn generation(&self) -> Value {
        self.status()["generation"].clone()
    }

    /// Adds lines to `config.toml`.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn configure(&self, lines: &str) {
        let path = self.agent.home().join("config.toml");
        let text = fs::read_to_string(&path).expect("a home has a config.toml");
        fs::write(&path, format!("{text}\n{lines}\n")).expect("a file can be written");
    }

    /// Lets `ci` with the password `secret` push below `prefix`; `server` reads it when started.
    ///
    /// # Panics
    ///
    /// When the home cannot be written.
    pub fn allow_push(&self, prefix: &str, quota: &str, allow_missing: bool) {
        let home = self.agent.home();
        let config = fs::read_to_string(home.join("config.toml")).expect("a home has one");
        let config = config.split("\n[push]").next().unwrap_or_default();
        let row = format!(
            "{{prefix = \"{prefix}\", quota = \"{quota}\", users = [\"ci\"], \
             allow_missing = {allow_missing}}}"
        );
        let text = format!("{config}\n[push]\nprefixes = [{row}]\n");
        fs::write(home.join("config.toml"), text).expect("a file can be written");
        fs::create_dir_all(home.join("state")).expect("a folder can be made");
        fs::write(home.join("state/users"), PUSH_USERS).expect("a file can be written");
    }

    /// Starts serving on a free port.
    pub fn serve(&self) -> Server {
        Server::start(&self.agent)
    }

    /// Starts serving on a free port, with a line of the log for each request:
    /// [`Server::asked`].
    pub fn serve_with_access_log(&self) -> Server {
        let args = ["serve", "--listen", "127.0.0.1:0", "-o", "json", "--log-format", "json"];
        let mut command = self.agent.command(&args);
        command.env("GAPFERRY_LOG", "warn,access=info");
        Server::of_command(&self.agent, command)
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary folders have plain names").to_owned()
}
