//! What both agents say of themselves: the help of every subcommand, word for word.
//!
//! Scripts and handbooks are written after it, so that a change shall be one that somebody saw.
//! `GAPFERRY_WRITE_GOLDEN=1 cargo test -p tests --test it help` writes `tests/golden` anew.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tests::{agents, process};

#[test]
fn the_outside_explains_itself_in_the_words_that_were_agreed_on() {
    assert_help_is_golden("outside", &agents::outside());
}

#[test]
fn the_inside_explains_itself_in_the_words_that_were_agreed_on() {
    assert_help_is_golden("inside", &agents::inside());
}

fn assert_help_is_golden(agent: &str, program: &Path) {
    let said = all_help(agent, program);
    if env::var("GAPFERRY_WRITE_GOLDEN").is_ok_and(|value| value == "1") {
        write(agent, &said);
    }
    let mut agreed = golden(agent);
    for (name, text) in &said {
        let before = agreed.remove(name);
        assert_eq!(
            before.as_deref(),
            Some(text.as_str()),
            "tests/golden/{name} has other words; if the new ones are meant, write it anew with \
             GAPFERRY_WRITE_GOLDEN=1 cargo test -p tests --test it help"
        );
    }
    assert!(agreed.is_empty(), "subcommands are gone: {:?}", agreed.keys());
}

/// Help by file name: `help-<agent>.txt`, and `help-<agent>-<subcommand>.txt` of each.
fn all_help(agent: &str, program: &Path) -> BTreeMap<String, String> {
    let top = help(program, &[]);
    let mut said: BTreeMap<_, _> = subcommands(&top)
        .map(|name| (format!("help-{agent}-{name}.txt"), help(program, &[name])))
        .collect();
    assert!(said.len() > 5, "the subcommands cannot be read out of this:\n{top}");
    said.insert(format!("help-{agent}.txt"), top);
    said
}

/// Help at a width of 100 columns: clap asks the terminal, and where no stream is one, COLUMNS.
/// It prints the value of each variable that an option can be set by, so there must be none.
fn help(program: &Path, subcommand: &[&str]) -> String {
    let mut command = Command::new(program);
    command.env_clear().env("COLUMNS", "100").args(subcommand).arg("--help");
    let finished = process::run(&mut command);
    assert_eq!(finished.exit_code, 0, "{subcommand:?}: {}", finished.stderr);
    finished.stdout
}

/// The first word of each line below `Commands:` that is indented by two; `help` is clap's own.
fn subcommands(top: &str) -> impl Iterator<Item = &str> {
    let lines = top.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !matches!(*name, "" | "help"))
}

fn folder() -> PathBuf {
    agents::workspace().join("tests/golden")
}

/// Every golden file of this agent.
fn golden(agent: &str) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder()) else { return BTreeMap::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(&format!("help-{agent}")))
        .map(|name| (name.clone(), fs::read_to_string(folder().join(name)).unwrap()))
        .collect()
}

fn write(agent: &str, said: &BTreeMap<String, String>) {
    fs::create_dir_all(folder()).unwrap();
    for gone in golden(agent).keys().filter(|name| !said.contains_key(*name)) {
        fs::remove_file(folder().join(gone)).unwrap();
    }
    for (name, text) in said {
        fs::write(folder().join(name), text).unwrap();
    }
}
