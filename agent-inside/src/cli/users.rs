//! `users`: who may log in. A running `serve` sees a change by itself.

use std::io::{IsTerminal, Read};

use anyhow::Context;
use gapferry_common::{
    audit::Audit,
    cli::Global,
    exit::{Ended, Exit},
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    home::Home,
    users::{self, PASSWORD_LEN_BYTES_MAX, UserName, Users},
};

#[derive(Debug, clap::Args)]
pub struct UsersArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Let somebody log in, or give them another password
    Add {
        name: UserName,
        /// Read the password from the first line of stdin
        #[arg(long)]
        password_stdin: bool,
    },
    /// Let somebody log in no more
    Remove { name: UserName },
    /// Name everybody who may log in
    List,
}

pub fn run(args: &UsersArgs, home: &Home, global: &Global) -> anyhow::Result<Exit> {
    let path = users::path(home.root());
    match &args.action {
        Action::Add { name, password_stdin } => {
            let password = password(*password_stdin)?;
            let is_new = users::set(&path, name, &users::hash(&password)?)?;
            Audit::of(home.root()).record("users add", &json!({"user": name.as_str()}))?;
            global.print(&json!({"user": name.as_str(), "new": is_new}), || {
                let what = if is_new { "may log in now" } else { "has another password now" };
                format!("{name} {what}.")
            });
        }
        Action::Remove { name } => {
            if !users::remove(&path, name)? {
                let what = format!("there is no user {name}; `users list` names all");
                return Err(Ended::new(Exit::Usage, what).into());
            }
            Audit::of(home.root()).record("users remove", &json!({"user": name.as_str()}))?;
            global.print(&json!({"user": name.as_str(), "removed": true}), || {
                format!("{name} can log in no more.")
            });
        }
        Action::List => {
            let users = Users::load(&path)?;
            for line in &users.passed_over {
                global.say(format!("{path} line {line} is no user with a bcrypt hash"));
            }
            let names: Vec<&str> = users.names().map(UserName::as_str).collect();
            global.print(&json!({"users": names}), || names.join("\n"));
        }
    }
    Ok(Exit::Done)
}

/// A password from stdin, or asked twice on the terminal without being shown.
fn password(from_stdin: bool) -> anyhow::Result<Zeroizing<String>> {
    if from_stdin {
        return first_line(std::io::stdin().lock());
    }
    if !std::io::stdin().is_terminal() {
        let what = "nobody is at the terminal to type a password; pass --password-stdin";
        return Err(Ended::new(Exit::Usage, what).into());
    }
    let asked = dialoguer::Password::new()
        .with_prompt("Password")
        .with_confirmation("Once more", "These were two different ones.")
        .interact();
    asked.map(Zeroizing::new).context("cannot ask on the terminal")
}

/// What stands before the first line end; one byte more than a password may have is read at most.
fn first_line(stdin: impl Read) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_LEN_BYTES_MAX + 3));
    let most = PASSWORD_LEN_BYTES_MAX as u64 + 3;
    stdin.take(most).read_to_end(&mut bytes).context("cannot read stdin")?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).context("the password is no text in UTF-8")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_and_is_not_cut() {
        let of = |text: &str| first_line(text.as_bytes()).map(|line| line.to_string()).ok();
        assert_eq!(of("secret\nmore").as_deref(), Some("secret"));
        assert_eq!(of("sec ret\r\n").as_deref(), Some("sec ret"));
        assert_eq!(of("secret").as_deref(), Some("secret"));
        assert_eq!(of("\n").as_deref(), Some(""));
        let long = of(&"x".repeat(200)).unwrap();
        assert!(users::hash(&long).is_err(), "too long a password is refused, never cut");
    }
}
