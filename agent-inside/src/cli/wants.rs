//! `wants`: what was asked for and is not held, who asked first, and when.

use comfy_table::{Table, presets};
use gapferry_common::{cli::Global, exit::Exit};
use serde_json::json;

use super::want::held;
use crate::{home::Home, wants};

#[derive(Debug, clap::Args)]
pub struct WantsArgs {
    /// Drop the wants of this name; a client that asks again is heard again
    #[arg(long, value_name = "NAME")]
    forget: Vec<String>,
}

pub fn run(args: &WantsArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let mut forgotten = 0;
    if !args.forget.is_empty() {
        let _lock = home.lock()?;
        for name in &args.forget {
            let count = wants::forget(home.root(), name)?;
            if count == 0 {
                global.say(format!("nothing called {name} was wanted"));
            }
            forgotten += count;
        }
    }
    let noted = wants::unmet(wants::read(home.root())?, &held(home)?);
    let document = json!({"site": home.site(), "wants": noted, "forgotten": forgotten});
    global.print(&document, || {
        if noted.is_empty() {
            return "Nothing is wanted that is not held.".to_owned();
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["kind", "wanted", "by", "since"]);
        for noted in &noted {
            let time = noted.time.map(|time| time.to_string());
            table.add_row([
                noted.want.kind.to_string(),
                noted.want.words(),
                noted.client.clone().unwrap_or_default(),
                time.unwrap_or_default(),
            ]);
        }
        table.to_string()
    });
    Ok(Exit::Done)
}
