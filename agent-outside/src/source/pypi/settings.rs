//! Which indexes this machine's own pip is set to.
//!
//! In:   the environment, pip's configuration files and the installed pip.
//! Out:  [`Indexes`]: the main one and the further ones.
//! Pure: [`Settings`]; only [`of_this_machine`] reads files and asks pip.

use std::{env, fs, process};

use camino::{Utf8Path, Utf8PathBuf};
use url::Url;

/// What pip's default index is called inside pip.
const ASK_PIP: &str = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";

/// Where projects are looked for. Their files are one set; the first index wins a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Indexes(pub Vec<Url>);

/// Why the settings of this machine do not help.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "`index:` is left out and no pip is installed here to say what it uses; write the index into the waybill"
    )]
    NoPip,
    #[error("pip's setting {setting} is {text:?}, which is no http(s) address")]
    Address { setting: &'static str, text: String },
    #[error("cannot read pip's configuration {path}")]
    Read { path: Utf8PathBuf, source: std::io::Error },
}

/// What one place says; `None` leaves it to the place before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    pub index: Option<String>,
    pub extra: Option<String>,
}

impl Settings {
    /// Lets a later place win over this one.
    #[must_use]
    pub fn overridden_by(self, later: Self) -> Self {
        Self { index: later.index.or(self.index), extra: later.extra.or(self.extra) }
    }

    /// Reads `pip.conf`: `[global]`, and `[install]` over it.
    ///
    /// The form is that of Python's `configparser`: values go on in indented lines.
    pub fn parse(conf: &str) -> Self {
        let (mut global, mut install) = (Self::default(), Self::default());
        let mut section = String::new();
        let mut open: Option<&mut String> = None;
        for line in conf.lines() {
            let text = line.trim();
            if text.is_empty() || text.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with([' ', '\t'])
                && let Some(value) = open.as_mut()
            {
                value.push(' ');
                value.push_str(text);
                continue;
            }
            open = None;
            if let Some(name) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
                name.trim().clone_into(&mut section);
                continue;
            }
            let Some(at) = text.find(['=', ':']) else { continue };
            let (key, value) = (text[..at].trim().to_ascii_lowercase(), text[at + 1..].trim());
            let settings = match section.as_str() {
                "global" => &mut global,
                "install" => &mut install,
                _ => continue,
            };
            open = match key.replace('_', "-").as_str() {
                "index-url" => Some(settings.index.insert(value.to_owned())),
                "extra-index-url" => Some(settings.extra.insert(value.to_owned())),
                _ => None,
            };
        }
        global.overridden_by(install)
    }

    /// The indexes, with `default` where no main one is set.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Address`] names the setting at fault.
    pub fn indexes(
        &self,
        default: impl FnOnce() -> Option<String>,
    ) -> Result<Indexes, SettingsError> {
        let main = self.index.clone().filter(|text| !text.is_empty()).or_else(default);
        let main = main.ok_or(SettingsError::NoPip)?;
        let mut urls = vec![address("index-url", main.trim())?];
        for text in self.extra.as_deref().unwrap_or_default().split_whitespace() {
            let url = address("extra-index-url", text)?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        Ok(Indexes(urls))
    }
}

fn address(setting: &'static str, text: &str) -> Result<Url, SettingsError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        // An address may hold a password, so what is shown ends at the first odd place.
        let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
        SettingsError::Address { setting, text: shown.to_owned() }
    })
}

/// Finds out what pip on this machine would use: environment over configuration files, and
/// where neither says anything the default of the installed pip itself. Blocks.
///
/// # Errors
///
/// Each [`SettingsError`].
pub fn of_this_machine() -> Result<Indexes, SettingsError> {
    let mut settings = Settings::default();
    for path in files() {
        match fs::read_to_string(&path) {
            Ok(conf) => settings = settings.overridden_by(Settings::parse(&conf)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(SettingsError::Read { path, source }),
        }
    }
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let from_env = Settings { index: set("PIP_INDEX_URL"), extra: set("PIP_EXTRA_INDEX_URL") };
    settings.overridden_by(from_env).indexes(ask_pip)
}

/// pip's configuration files, the strongest last (pip user guide, "Configuration").
fn files() -> Vec<Utf8PathBuf> {
    let path = |name| env::var(name).ok().filter(|v| !v.is_empty()).map(Utf8PathBuf::from);
    let named = path("PIP_CONFIG_FILE");
    if named.as_deref() == Some(Utf8Path::new("/dev/null")) {
        return Vec::new(); // pip's own word for "read none"
    }
    let shared = env::var("XDG_CONFIG_DIRS").unwrap_or_else(|_| "/etc/xdg".to_owned());
    let mut files: Vec<Utf8PathBuf> =
        shared.split(':').map(|folder| Utf8Path::new(folder).join("pip/pip.conf")).collect();
    files.push("/etc/pip.conf".into());
    let home = path("HOME");
    files.extend(home.as_ref().map(|home| home.join(".pip/pip.conf")));
    let config = path("XDG_CONFIG_HOME").or_else(|| home.map(|home| home.join(".config")));
    files.extend(config.map(|config| config.join("pip/pip.conf")));
    files.extend(path("VIRTUAL_ENV").map(|folder| folder.join("pip.conf")));
    files.extend(named);
    files
}

/// Asks the installed pip for its default.
fn ask_pip() -> Option<String> {
    let own = pip_interpreter();
    own.into_iter().chain(["python3".to_owned(), "python".to_owned()]).find_map(|python| {
        let mut command = process::Command::new(python);
        let output = command.args(["-c", ASK_PIP]).stdin(process::Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
    })
}

/// The interpreter in the first line of the `pip` on the path.
fn pip_interpreter() -> Option<String> {
    let path = env::var_os("PATH")?;
    let pip = env::split_paths(&path)
        .flat_map(|folder| ["pip3", "pip"].map(|name| folder.join(name)))
        .find(|file| file.is_file())?;
    let first = fs::read(pip).ok()?;
    let line = std::str::from_utf8(first.split(|b| *b == b'\n').next()?).ok()?;
    let interpreter = line.strip_prefix("#!")?.trim();
    let name = Utf8Path::new(interpreter).file_name()?;
    (name.starts_with("python") && !name.contains(' ')).then(|| interpreter.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(index: &str, extra: Option<&str>) -> Settings {
        Settings { index: Some(index.to_owned()), extra: extra.map(str::to_owned) }
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn a_configuration_file_is_read_as_python_reads_it() {
        let conf = "# index-url = no\nindex-url = https://before.example\n[global]\n\
            Index_URL: https://a.example/simple\ntimeout = 5\n    6\n; x\nextra-index-url =\n    \
            https://b.example/simple\n\n    https://c.example/simple\n[list]\nindex-url = no\n";
        let expected = settings(
            "https://a.example/simple",
            Some(" https://b.example/simple https://c.example/simple"),
        );
        assert_eq!(Settings::parse(conf), expected);
    }

    #[test]
    fn what_is_said_for_install_wins_over_what_is_said_for_all() {
        let conf = "[install]\nindex-url=https://b.example\n[global]\nindex-url=https://a.example\n\
            extra-index-url=https://c.example";
        let expected = settings("https://b.example", Some("https://c.example"));
        assert_eq!(Settings::parse(conf), expected);
    }

    #[test]
    fn files_that_are_no_configuration_say_nothing() {
        for odd in
            ["", "[", "]\n[]\n=\n:\n", "[global]\nindex-url", "  [global]  \n x", "\u{0}\n\t"]
        {
            assert_eq!(Settings::parse(odd), Settings::default(), "{odd:?}");
        }
    }

    #[test]
    fn the_default_is_asked_for_only_where_nothing_is_set() {
        let unasked = || panic!("asked for the default");
        let set = settings("https://a.example/s", Some("https://b.example https://a.example/s"));
        let expected = Indexes(vec![url("https://a.example/s"), url("https://b.example")]);
        assert_eq!(set.indexes(unasked).unwrap(), expected);
        let asked = Settings::default().indexes(|| Some("https://d.example/".to_owned()));
        assert_eq!(asked.unwrap(), Indexes(vec![url("https://d.example/")]));
        let error = Settings::default().indexes(|| None).unwrap_err();
        assert!(matches!(error, SettingsError::NoPip));
    }

    #[test]
    fn a_setting_that_is_no_address_is_named_without_its_password() {
        let error = settings("ftp://user:canary@a.example/", None).indexes(|| None).unwrap_err();
        let expected = "pip's setting index-url is \"a.example/\", which is no http(s) address";
        assert_eq!(error.to_string(), expected);
    }
}
