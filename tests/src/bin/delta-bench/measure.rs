//! Runs a program of any length and counts what it cost.
//!
//! In:   a command, ready to run.
//! Out:  its output, its seconds of processor time in user mode, and its peak of resident memory.

use std::{
    ffi::OsStr,
    fs, io,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ::tests::process;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// What a program cost.
#[derive(Clone, Copy, PartialEq, Default, Debug, serde::Deserialize, serde::Serialize)]
pub struct Cost {
    /// Of the program and all that it started.
    pub user_seconds: f64,
    pub seconds: f64,
    /// Peak of resident memory as `ru_maxrss` has it, so with mapped files; of the program alone.
    pub peak_memory_bytes: u64,
}

/// What a program that ended well has left.
#[derive(Debug)]
pub struct Done {
    pub stdout: String,
    pub cost: Cost,
}

impl Cost {
    /// One after the other: times add up, the larger memory counts.
    pub fn and(self, next: Self) -> Self {
        Self {
            user_seconds: self.user_seconds + next.user_seconds,
            seconds: self.seconds + next.seconds,
            peak_memory_bytes: self.peak_memory_bytes.max(next.peak_memory_bytes),
        }
    }

    pub fn json(self) -> Value {
        json!({
            "user_seconds": self.user_seconds,
            "seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
        })
    }
}

/// Runs a program to its end, however long that takes.
///
/// # Errors
///
/// It cannot be started, or its exit code is not 0; then with its last words.
pub fn run(command: &mut Command) -> anyhow::Result<Done> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (before, began) = (user_seconds_of_children(), Instant::now());
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let stdout = child.stdout.take().map(process::read_all);
    let stderr = child.stderr.take().map(process::read_all);
    let peak_memory_bytes = watch(&mut child).with_context(|| format!("cannot watch {name}"))?;
    let status = child.wait()?;
    let cost = Cost {
        user_seconds: user_seconds_of_children() - before,
        seconds: began.elapsed().as_secs_f64(),
        peak_memory_bytes,
    };
    let [stdout, stderr] = [stdout, stderr]
        .map(|reader| reader.and_then(|reader| reader.join().ok()).unwrap_or_default());
    if !status.success() {
        bail!("{name} ended with {status}: {}", last_words(&stderr));
    }
    Ok(Done { stdout, cost })
}

/// The user seconds that `action` spends in programs that it runs to their end.
pub fn user_seconds<T>(action: impl FnOnce() -> T) -> (T, f64) {
    let before = user_seconds_of_children();
    let done = action();
    (done, user_seconds_of_children() - before)
}

/// A command with arguments of any kind of text.
pub fn command<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Waits for the end and returns the peak of resident memory on the way.
fn watch(child: &mut Child) -> io::Result<u64> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        peak_bytes = parse_peak_bytes(&text).unwrap_or(0).max(peak_bytes);
        thread::sleep(Duration::from_millis(2));
    }
    Ok(peak_bytes)
}

/// `VmHWM` of proc(5) `status`: a high-water mark, so the last sample has nearly all.
fn parse_peak_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn user_seconds_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    parse_user_seconds_of_children(&stat).unwrap_or(0.0)
}

/// Field 16 of proc(5) `stat`: ticks in user mode of all children that were waited for, and of
/// theirs. A tick is a hundredth of a second on every Linux that a distribution ships.
fn parse_user_seconds_of_children(stat: &str) -> Option<f64> {
    let fields = stat.rsplit_once(')')?.1;
    let ticks: u32 = fields.split_whitespace().nth(13)?.parse().ok()?;
    Some(f64::from(ticks) / 100.0)
}

/// The last four lines; addresses are left out, for the table is made to be published.
fn last_words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let text = lines[lines.len().saturating_sub(4)..].join(" | ");
    let shown = |word| if str::contains(word, "://") { "(address)" } else { word };
    text.split_whitespace().map(shown).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_and_the_peak_are_read_from_proc() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4 0 0 0 0 150 25 475 3 20 0 1 0 5 6 7";
        assert_eq!(parse_user_seconds_of_children(stat), Some(4.75));
        assert_eq!(parse_peak_bytes("VmPeak:\t 9 kB\nVmHWM:\t 12 kB\n"), Some(12 * 1024));
        assert_eq!(parse_peak_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let failed =
            run(&mut command("sh", ["-c", "echo why at http://h/x >&2; exit 3"])).unwrap_err();
        assert!(failed.to_string().ends_with("exit status: 3: why at (address)"), "{failed}");
        let done = run(&mut command("echo", ["out"])).unwrap();
        assert_eq!(done.stdout, "out\n");
    }
}
