//! What the demo prints, and the steps that it types.

use std::path::Path;

use anyhow::bail;
use tests::{
    agents, process,
    site::{Agent, Outcome},
};

/// A sentence to the user.
pub fn say(sentence: &str) {
    println!("\n# {sentence}");
}

/// Shows a command as a user would type it, runs it, and lets its own words through.
pub fn step(agent: &Agent, args: &[&str]) -> anyhow::Result<Outcome> {
    match try_step(agent, args)? {
        (outcome, _) if outcome.exit_code == 0 => Ok(outcome),
        (outcome, line) => bail!("{line} ended with exit code {}", outcome.exit_code),
    }
}

/// As [`step`], for a command that may fail; also returns the line as typed.
pub fn try_step(agent: &Agent, args: &[&str]) -> anyhow::Result<(Outcome, String)> {
    let program = agent.program.file_name().unwrap_or_default().to_string_lossy();
    let line = format!("{program} {}", args.join(" "));
    println!("\n$ {line}");
    let args = [args, &["-o", "json"]].concat();
    let finished = process::run_shown(&mut agent.command(&args));
    let outcome = Outcome {
        json: serde_json::from_str(&finished.stdout).unwrap_or_default(),
        stderr: String::new(),
        exit_code: finished.exit_code,
        seconds: finished.seconds,
        peak_memory_bytes: finished.peak_memory_bytes,
    };
    Ok((outcome, line))
}

/// Which encoders gave the compressed streams of all that was carried, in the agent's own words.
pub fn census(agent: &Agent) -> anyhow::Result<()> {
    say(
        "How the inside makes what upstream compressed: the same encoder once more, or corrections.",
    );
    println!("\n$ gapferry-outside store census");
    let finished = process::run(&mut agent.command(&["store", "census"]));
    if finished.exit_code != 0 {
        bail!("store census ended with exit code {}", finished.exit_code);
    }
    println!("{}", finished.stdout);
    Ok(())
}

/// What can be tried with the homes that `--keep` left.
pub fn what_next(folder: &Path) {
    let dir = folder.display();
    say(&format!("Everything is kept in {dir}. Try next:"));
    println!(
        "export PATH={bin}:$PATH\n\
         GAPFERRY_HOME={dir}/outside/home gapferry-outside status\n\
         GAPFERRY_HOME={dir}/inside-prod/home gapferry-inside generations\n\
         GAPFERRY_HOME={dir}/inside-prod/home gapferry-inside serve --listen 127.0.0.1:8080 &\n\
         python3 -m pip download --index-url http://127.0.0.1:8080/pypi/simple/ netaddr\n\
         GAPFERRY_HOME={dir}/inside-prod/home gapferry-inside rollback 1\n\
         find {dir}/stick",
        bin = agents::folder().display()
    );
}

/// Bytes for people.
pub fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mb = count as f64 / 1e6;
    if mb < 0.1 { format!("{count} B") } else { format!("{mb:.1} MB") }
}

/// `part` of `whole`.
pub fn percent(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let share = part as f64 * 100.0 / whole.max(1) as f64;
    format!("{share:.1} %")
}
