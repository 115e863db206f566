//! What both agents' command lines share: global options, output, and how a run ends.

use std::{
    fmt::{Display, Write as _},
    io::Write,
    process::ExitCode,
};

use camino::Utf8PathBuf;
use serde::Serialize;
use serde_json::json;

use crate::{
    config::{self, ConfigError},
    exit::{Ended, Exit},
    logging::{self, LogFormat},
};

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Where this agent keeps its state
    #[arg(long, global = true, env = "GAPFERRY_HOME", value_name = "DIR")]
    home: Option<Utf8PathBuf>,
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice says all
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How logs are written to stderr
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

impl Global {
    /// Starts logging as the options say.
    pub fn start_logging(&self) {
        let verbosity = if self.quiet { -1 } else { i8::try_from(self.verbose).unwrap_or(2) };
        logging::start(verbosity, self.log_format);
    }

    /// `--home`, else `GAPFERRY_HOME`, else the default for `binary`; absolute.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NoPlace`].
    pub fn home(&self, binary: &str) -> Result<Utf8PathBuf, ConfigError> {
        let home = match &self.home {
            Some(home) => home.clone(),
            None => config::default_home(binary)?,
        };
        Ok(camino::absolute_utf8(&home).unwrap_or(home))
    }

    /// Prints a result: one JSON document, or the text.
    pub fn print(&self, document: &impl Serialize, text: impl FnOnce() -> String) {
        match self.output {
            Output::Json => print_json(document),
            Output::Text => print_text(&text()),
        }
    }

    /// Says something about the run on stderr, unless `--quiet`.
    pub fn say(&self, text: impl Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Ends the process's `main`: prints the chain of an error once and gives its exit code.
    pub fn end(
        &self,
        result: anyhow::Result<Exit>,
        exit_of: fn(&anyhow::Error) -> Exit,
    ) -> ExitCode {
        let error = match result {
            Ok(exit) => return exit.into(),
            Err(error) => error,
        };
        let exit = error.downcast_ref::<Ended>().map_or_else(|| exit_of(&error), |e| e.exit);
        let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
        eprintln!("error: {}", causes.join(": "));
        if self.output == Output::Json {
            print_json(&json!({"error": {"exit": exit as u8, "message": causes.join(": ")}}));
        }
        exit.into()
    }
}

fn print_json(document: &impl Serialize) {
    let text = serde_json::to_string(document).expect("results are plain JSON");
    print_text(&text);
}

/// A reader that closed the pipe has seen what it wanted.
fn print_text(text: &str) {
    let text = text.trim_end_matches('\n');
    if !text.is_empty() {
        let mut stdout = std::io::stdout().lock();
        let _closed = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }
}

/// Bytes as people read them: `1.5 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = bytes as f64;
    while 1024.0 <= scaled && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{scaled:.1} {}", UNITS[unit]) }
}

/// Text of unknown making, for a terminal: control characters, and those that hide or turn text,
/// as `\u{1b}`.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_hidden(c) {
            write!(plain, "{}", c.escape_unicode()).expect("writing to a String does not fail");
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Unicode's directional marks, zero-width characters and line separators.
const fn is_hidden(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::{human_bytes, plain};

    #[test]
    fn nothing_moves_the_cursor_or_turns_the_text() {
        let hostile = "a\u{1b}[2Jb\rc\u{202e}d\u{200b}é";
        assert_eq!(plain(hostile), "a\\u{1b}[2Jb\\u{d}c\\u{202e}d\\u{200b}é");
    }

    #[test]
    fn bytes_are_written_as_people_read_them() {
        let of = [0, 1023, 1024, 1536, 5 << 30, 3 << 50].map(human_bytes);
        assert_eq!(of, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB", "3072.0 TiB"]);
    }
}
