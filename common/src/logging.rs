//! Logs: human lines or JSON on stderr, never a secret.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How logs are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// Starts logging to stderr. `verbosity` is -1 for errors alone, 0 for warnings, 1 for
/// information, which has a line for each request of a server, 2 for all. `GAPFERRY_LOG` overrides
/// it: `warn,access=info` has the requests and little else.
pub fn start(verbosity: i8, format: LogFormat) {
    let level = match verbosity {
        ..=-1 => "error",
        0 => "warn",
        1 => "warn,gapferry_outside=info,gapferry_inside=info,gapferry_common=info,access=info",
        _ => "info,gapferry_outside=debug,gapferry_inside=debug,gapferry_common=debug",
    };
    let filter = EnvFilter::try_from_env("GAPFERRY_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let layer = layer.with_target(false);
    match format {
        LogFormat::Human => registry.with(layer.without_time()).init(),
        LogFormat::Json => registry.with(layer.json().with_target(true)).init(),
    }
}
