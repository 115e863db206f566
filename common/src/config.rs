//! Where an agent's state lives, and its `config.toml`.

use std::{env, io};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, de::DeserializeOwned};

/// A number of bytes as people write it: `10GB`, `512 MiB`, `4096`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Bytes(pub u64);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor: Option<u64> = match unit.trim() {
            "" | "B" => Some(1),
            "kB" | "KB" => Some(1000),
            "MB" => Some(1_000_000),
            "GB" => Some(1_000_000_000),
            "TB" => Some(1_000_000_000_000),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            "TiB" => Some(1 << 40),
            _ => None,
        };
        let bytes = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
        bytes.map(Self).ok_or_else(|| format!("{text:?} is no number of bytes such as \"10GB\""))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        let read = |text: &str| Bytes::try_from(text.to_owned()).ok().map(|bytes| bytes.0);
        let read = ["0", "4096", "10GB", "10 GB", "3kB", "2GiB", "1TiB"].map(read);
        let expected = [0, 4096, 10_000_000_000, 10_000_000_000, 3000, 2 << 30, 1 << 40];
        assert_eq!(read, expected.map(Some));
        for wrong in ["", "GB", "-1", "1.5GB", "10gb", "10 XB", "99999999999TB"] {
            let read = Bytes::try_from(wrong.to_owned());
            assert!(read.is_err(), "{wrong}");
        }
    }
}
