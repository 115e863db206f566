//! Where an agent's state lives, and its `config.toml`.

use std::{env, io};

use camino::{Utf8Path, Utf8PathBuf};
use serde::de::DeserializeOwned;

/// Why a configuration is not taken. Exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{path} is not understood")]
    Parse { path: Utf8PathBuf, source: toml::de::Error },
    #[error("{home} is no home of this agent; run `{binary} init` first")]
    NoHome { home: Utf8PathBuf, binary: &'static str },
    #[error("no home: set --home, GAPFERRY_HOME or HOME")]
    NoPlace,
}

/// The home when neither `--home` nor `GAPFERRY_HOME` says: `/var/lib/BINARY` for the service
/// user, else the XDG data folder.
///
/// # Errors
///
/// [`ConfigError::NoPlace`]: the environment has no `HOME`.
pub fn default_home(binary: &str) -> Result<Utf8PathBuf, ConfigError> {
    let variable = |name| env::var(name).ok().filter(|v| !v.is_empty()).map(Utf8PathBuf::from);
    if variable("USER").is_some_and(|user| user == binary) {
        return Ok(Utf8Path::new("/var/lib").join(binary));
    }
    let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    Ok(data.ok_or(ConfigError::NoPlace)?.join(binary))
}

/// Reads `config.toml` of `home`; unknown keys are errors with their line.
///
/// # Errors
///
/// [`ConfigError`].
pub fn load<T: DeserializeOwned>(home: &Utf8Path, binary: &'static str) -> Result<T, ConfigError> {
    let path = home.join("config.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(ConfigError::NoHome { home: home.to_owned(), binary });
        }
        Err(source) => return Err(ConfigError::Read { path, source }),
    };
    toml::from_str(&text).map_err(|source| ConfigError::Parse { path, source })
}
