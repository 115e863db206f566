//! Anonymous memory of export and import of one large blob: sampled, and under a limit.

use std::process::Command;

use tests::{
    Content, Inside, Stick, process,
    site::{Failure, Outcome},
};

use super::{Large, Row, mib};

/// What an export and an import may use.
const EXPORT_KIB: u64 = 2 << 20;
const IMPORT_KIB: u64 = 512 << 10;

/// A blob that nothing shrinks, one that compresses, and the next edition of that one, whose base
/// is as long as itself.
pub fn measure(len_bytes: u64) -> Vec<Row> {
    let noise = Large::new(Content::new(1, len_bytes), false);
    let mut rows = cross(&noise, &format!("{} of noise", mib(len_bytes)));
    let letters = Large::new(Content::letters(2, len_bytes, 0), false);
    rows.extend(cross(&letters, &format!("{} of letters", mib(len_bytes))));
    letters.renew(Content::letters(2, len_bytes, 1));
    rows.extend(cross(&letters, "its next edition"));
    rows
}

/// Export and import, freely and under a limit; the inside keeps what it imported freely.
fn cross(large: &Large, what: &str) -> Vec<Row> {
    let copy = large.site.copy_of_inside(&format!("limited {what}"));
    let mut rows = vec![];
    for (inside, way) in [(&copy, "under RLIMIT_DATA"), (&large.site.inside, "free")] {
        large.forget_sealed(); // else the second export would only be copied
        let wrap =
            |kib: u64| move |command| if way == "free" { command } else { limited(&command, kib) };
        let exported = large.export(wrap(EXPORT_KIB));
        let imported =
            exported.as_ref().ok().map(|(stick, _)| import(inside, stick, wrap(IMPORT_KIB)));
        let exported = exported.map(|(_, outcome)| outcome);
        rows.push(row(&format!("export of {what}, {way}"), &exported, EXPORT_KIB));
        if let Some(imported) = imported {
            rows.push(row(&format!("import of {what}, {way}"), &imported, IMPORT_KIB));
        }
    }
    rows
}

fn import(
    inside: &Inside,
    stick: &Stick,
    wrap: impl Fn(Command) -> Command,
) -> Result<Outcome, Failure> {
    let path = stick.export.display().to_string();
    let args = ["import", &path, "-o", "json"];
    Outcome::of(process::run(&mut wrap(inside.agent.command(&args))))
}

fn row(figure: &str, run: &Result<Outcome, Failure>, kib: u64) -> Row {
    let value = match run {
        Ok(outcome) => {
            let own = outcome.json["peak_memory_bytes"].as_u64().map_or("-".to_owned(), mib);
            let (peak, seconds) = (mib(outcome.peak_memory_bytes), outcome.seconds);
            format!("peak {peak} (its own word: {own}), {seconds:.1} s")
        }
        Err(failure) => format!("failed: {failure:?}"),
    };
    Row::new(figure, value, format!("at most {}", mib(kib << 10)))
}

/// The same command in a shell that first lowers `RLIMIT_DATA`, which counts private writable
/// memory and no mapped files.
fn limited(command: &Command, kib: u64) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -d {kib} && exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}
