//! Runs a program to its end, watching its memory and its time.

use std::{
    fs,
    io::{self, Read},
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a program may run before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is left of a program that ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Finished {
    /// The exit code; less than zero is the signal that ended it.
    pub exit_code: i32,
    pub stdout: String,
    pub stderr: String,
    pub seconds: f64,
    /// Peak of `RssAnon` and `RssShmem`, sampled every few milliseconds.
    pub peak_memory_bytes: u64,
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    began: Instant,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

/// Runs a program to its end.
///
/// # Panics
///
/// When it cannot be started, or hangs.
pub fn run(command: &mut Command) -> Finished {
    start(command).finish()
}

/// Starts a program; its output is read all the while.
///
/// # Panics
///
/// When it cannot be started.
pub fn start(command: &mut Command) -> Running {
    spawn(command.stderr(Stdio::piped()))
}

/// Runs a program whose stderr is shown to the user and not kept.
///
/// # Panics
///
/// As [`run`].
pub fn run_shown(command: &mut Command) -> Finished {
    spawn(command.stderr(Stdio::inherit())).finish()
}

fn spawn(command: &mut Command) -> Running {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let stdout = read_all(child.stdout.take().expect("stdout is a pipe"));
    let stderr = child.stderr.take().map_or_else(|| read_all(io::empty()), read_all);
    Running { child, began: Instant::now(), stdout, stderr }
}

impl Running {
    /// Sends a signal, `STOP`.
    ///
    /// # Panics
    ///
    /// When the program has ended.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        let sent = run(Command::new("sh").args(["-c", &kill]));
        assert_eq!(sent.exit_code, 0, "{}", sent.stderr);
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// When the program hangs.
    pub fn finish(self) -> Finished {
        let finished = self.finish_within(PATIENCE);
        assert_ne!(finished.exit_code, -9, "a program hung and was killed: {}", finished.stderr);
        finished
    }

    /// Waits so long, then kills it as a power cut would; exit code -9 when it came to that.
    pub fn finish_within(mut self, limit: Duration) -> Finished {
        let mut peak_memory_bytes = 0;
        let status = loop {
            let memory = anonymous_memory_bytes(self.child.id()).unwrap_or(0);
            peak_memory_bytes = memory.max(peak_memory_bytes);
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            let left = limit.saturating_sub(self.began.elapsed());
            if left.is_zero() {
                self.child.kill().expect("a child can be killed");
                break self.child.wait().expect("a child can be waited for");
            }
            thread::sleep(Duration::from_millis(3).min(left));
        };
        let seconds = self.began.elapsed().as_secs_f64();
        let exit_code = status.code().or(status.signal().map(|signal| -signal)).unwrap_or(-1);
        let [stdout, stderr] = [self.stdout, self.stderr]
            .map(|reader| reader.join().expect("a reader does not panic"));
        Finished { exit_code, stdout, stderr, seconds, peak_memory_bytes }
    }
}

/// A port of this machine that was free a moment ago, for servers that cannot be asked which one
/// they got.
///
/// # Panics
///
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Reads a pipe to its end on a thread.
pub fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = vec![];
        // A pipe that breaks has given all it had.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// `RssAnon` + `RssShmem` of a process: what its mapped files do not count in.
pub fn anonymous_memory_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(parse_anonymous_memory_bytes(&status))
}

fn parse_anonymous_memory_bytes(status: &str) -> u64 {
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let counts = |line: &&str| line.starts_with("RssAnon:") || line.starts_with("RssShmem:");
    status.lines().filter(counts).filter_map(kib).sum::<u64>() * 1024
}

/// Seconds of processor time that a process has used, in user and kernel mode.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    parse_cpu_seconds(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15 of proc(5) `stat`, counted after the name, which may hold anything. A tick
/// is a hundredth of a second on every Linux that a distribution ships.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok().map(f64::from);
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_read_from_proc() {
        let status = "Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t  7 kB\nRssShmem:\t  1 kB\n";
        assert_eq!(parse_anonymous_memory_bytes(status), 101 * 1024);
        let stat = "7 (a b) c) S 1 7 7 0 -1 4 0 0 0 0 150 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_cpu_seconds(stat), Some(1.75));
        assert_eq!(parse_cpu_seconds("7"), None);
    }

    #[test]
    fn a_program_ends_by_itself_or_by_a_power_cut() {
        let mut echo = Command::new("sh");
        echo.args(["-c", "echo out; echo err >&2; exit 3"]);
        let finished = run(&mut echo);
        assert_eq!(
            (finished.exit_code, &*finished.stdout, &*finished.stderr),
            (3, "out\n", "err\n")
        );
        let sleep = start(Command::new("sleep").arg("60"));
        assert_eq!(sleep.finish_within(Duration::from_millis(30)).exit_code, -9);
    }
}
