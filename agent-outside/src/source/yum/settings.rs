//! Which repositories a line of the waybill means.
//!
//! In:   a [`YumLine`], or this machine's own dnf settings below `/etc`.
//! Out:  [`Source`]s, one a repository, with the keys that may sign it.
//! Pure: all but [`own_sources`] and [`Variables::own`], which read small files.
//!
//! Formats: dnf.conf(5), "REPO OPTIONS" and "REPO VARIABLES".

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use camino::{Utf8Path, Utf8PathBuf};
use url::Url;

use crate::{source::http::TlsFiles, waybill::YumLine};

/// Longest settings file, in bytes: 1 MiB.
const FILE_LEN_BYTES_MAX: u64 = 1 << 20;

/// `priority=` of a repository that names none (dnf.conf(5)).
pub const PRIORITY: u32 = 99;

/// Where the roots of a repository are found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Roots(Vec<Url>),
    Mirrorlist(Url),
    Metalink(Url),
}

/// Who vouches for a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    /// Files of the OpenPGP keys.
    pub keys: Vec<Utf8PathBuf>,
    /// Whether `repomd.xml` must be signed by one of them.
    pub signed_list: bool,
    /// Whether neither a signature nor TLS need vouch.
    pub anyone: bool,
}

/// One repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub id: String,
    pub place: Place,
    pub trust: Trust,
    pub tls: TlsFiles,
    /// The lowest is asked first.
    pub priority: u32,
    /// Patterns of names that are never taken.
    pub exclude: Vec<String>,
    /// Patterns of the only names that are taken; empty is all.
    pub include: Vec<String>,
    pub module_hotfixes: bool,
    /// User and password, when the settings hold them.
    pub login: Option<(String, String)>,
}

/// Why the settings do not say where packages come from.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: std::io::Error },
    #[error("{path} is not understood: {what}")]
    Malformed { path: Utf8PathBuf, what: String },
    #[error(
        "{value:?} is no http or https URL; {variable} may be without a value: name `releasever`",
        variable = "a variable in it"
    )]
    Url { value: String },
    #[error(
        "this machine's dnf has no repository {id:?}; name `baseurl` and `gpgKey` in the waybill"
    )]
    NoRepository { id: String },
    #[error(
        "this machine's dnf has no repository that is enabled; name `baseurl` and `gpgKey` in the waybill"
    )]
    NoSource,
    #[error(
        "the key {value:?} of repository {id} is not a file of this machine; fetch it and name it in `gpgKey`"
    )]
    Key { id: String, value: String },
    #[error(
        "repository {id} says sslverify=0, and no certificate is left unchecked here; delete that \
         from its .repo file, and if its server's authority is not known to this machine, name it \
         with sslcacert there or in the waybill"
    )]
    Unchecked { id: String },
}

/// What `$name` stands for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Variables(pub BTreeMap<String, String>);

impl Variables {
    /// Those of a line: architecture and release.
    pub fn of_line(line: &YumLine) -> Self {
        let mut variables = BTreeMap::from([
            ("arch".to_owned(), line.arch.clone()),
            ("basearch".to_owned(), base_architecture(&line.arch).to_owned()),
        ]);
        if let Some(release) = &line.releasever {
            let (major, minor) = release.split_once('.').unwrap_or((release, ""));
            variables.insert("releasever".to_owned(), release.clone());
            variables.insert("releasever_major".to_owned(), major.to_owned());
            variables.insert("releasever_minor".to_owned(), minor.to_owned());
        }
        Self(variables)
    }

    /// Those of a line and, where it says nothing, of this machine: `/etc/dnf/vars`,
    /// `/etc/yum/vars` and the release of `/etc/os-release`; `root` is `/`.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Read`].
    pub fn own(root: &Utf8Path, line: &YumLine) -> Result<Self, SettingsError> {
        let mut variables = BTreeMap::new();
        for folder in ["etc/yum/vars", "etc/dnf/vars"] {
            for path in files_of(&root.join(folder), None)? {
                let value = read_text(&path)?.lines().next().unwrap_or_default().trim().to_owned();
                if let Some(name) = path.file_name() {
                    variables.insert(name.to_owned(), value);
                }
            }
        }
        let release = root.join("etc/os-release");
        if line.releasever.is_none() && release.exists() {
            let text = read_text(&release)?;
            let id = text.lines().find_map(|l| l.strip_prefix("VERSION_ID=")).unwrap_or_default();
            let major = id.trim_matches('"').split('.').next().unwrap_or_default();
            if !major.is_empty() {
                variables.insert("releasever".to_owned(), major.to_owned());
                variables.insert("releasever_major".to_owned(), major.to_owned());
            }
        }
        variables.extend(Self::of_line(line).0);
        Ok(Self(variables))
    }

    /// Puts values in the place of `$name` and `${name}`; what has no value stays as it is.
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let inner = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let end =
                after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, behind) = inner.unwrap_or_else(|| after.split_at(end));
            match self.0.get(name) {
                Some(value) => {
                    out.push_str(value);
                    rest = behind;
                }
                None => {
                    out.push('$');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }
}

/// What `$basearch` is for an architecture (dnf's `rpm/__init__.py` has the whole list).
pub fn base_architecture(arch: &str) -> &str {
    match arch {
        "i386" | "i486" | "i586" | "i686" | "athlon" | "geode" | "pentium3" | "pentium4" => "i386",
        "amd64" | "ia32e" | "x86_64_v2" | "x86_64_v3" | "x86_64_v4" => "x86_64",
        "armv7hl" | "armv7hnl" | "armv8hl" => "armhfp",
        other => other,
    }
}

/// The repository that a line names itself; `None` when it means this machine's own. Files are
/// relative to `base`.
///
/// # Errors
///
/// [`SettingsError::Url`].
pub fn named_source(line: &YumLine, base: &Utf8Path) -> Result<Option<Source>, SettingsError> {
    let variables = Variables::of_line(line);
    let place = if let Some(text) = &line.metalink {
        Place::Metalink(read_url(&variables.expand(text))?)
    } else if let Some(text) = &line.mirrorlist {
        Place::Mirrorlist(read_url(&variables.expand(text))?)
    } else if line.baseurl.is_empty() {
        return Ok(None);
    } else {
        let roots = line.baseurl.iter().map(|text| read_url(&variables.expand(text)));
        Place::Roots(roots.collect::<Result<_, _>>()?)
    };
    let mut source = Source {
        id: id_of(&place),
        place,
        trust: Trust { keys: Vec::new(), signed_list: false, anyone: false },
        tls: TlsFiles::default(),
        priority: PRIORITY,
        exclude: Vec::new(),
        include: Vec::new(),
        module_hotfixes: false,
        login: None,
    };
    outrank(&mut source, line, base);
    Ok(Some(source))
}

/// The repositories that this machine's dnf is set to and the line means; `root` is `/`.
///
/// # Errors
///
/// [`SettingsError`]; every sentence names the file or the repository.
pub fn own_sources(
    root: &Utf8Path,
    line: &YumLine,
    base: &Utf8Path,
) -> Result<Vec<Source>, SettingsError> {
    let variables = Variables::own(root, line)?;
    let mut sections = Vec::new();
    for folder in ["etc/yum.repos.d", "etc/distro.repos.d"] {
        for path in files_of(&root.join(folder), Some("repo"))? {
            let read = parse_ini(&read_text(&path)?);
            let read = read.map_err(|what| SettingsError::Malformed { path, what })?;
            sections.extend(read);
        }
    }
    let known: BTreeSet<&str> = sections.iter().map(|s| s.id.as_str()).collect();
    if let Some(id) = line.repos.iter().find(|id| !known.contains(id.as_str())) {
        return Err(SettingsError::NoRepository { id: id.clone() });
    }
    let mut sources = Vec::new();
    for section in &sections {
        let id = variables.expand(&section.id);
        let meant = if line.repos.is_empty() {
            section.is_on("enabled", true)
        } else {
            line.repos.contains(&section.id)
        };
        if meant && id != "main" {
            let mut source = section.source(&variables)?;
            outrank(&mut source, line, base);
            if !section.is_on("sslverify", true) && source.tls.ca.is_none() && source.has_tls() {
                return Err(SettingsError::Unchecked { id: source.id });
            }
            sources.push(source);
        }
    }
    if sources.is_empty() { Err(SettingsError::NoSource) } else { Ok(sources) }
}

impl Source {
    /// Whether something of it may come over TLS; the mirrors of a list may.
    fn has_tls(&self) -> bool {
        let Place::Roots(roots) = &self.place else { return true };
        roots.iter().any(|root| root.scheme() == "https")
    }
}

/// What a repository without an id is called: its host and path, so that two of one line's target
/// have documents of their own.
fn id_of(place: &Place) -> String {
    let url = match place {
        Place::Roots(roots) => roots.first(),
        Place::Mirrorlist(url) | Place::Metalink(url) => Some(url),
    };
    let named = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        format!("{host}{}", url.path().trim_end_matches('/'))
    };
    url.map_or_else(|| "named".to_owned(), named)
}

/// What a line says itself outranks the settings.
fn outrank(source: &mut Source, line: &YumLine, base: &Utf8Path) {
    if !line.gpg_key.is_empty() {
        source.trust.keys = line.gpg_key.iter().map(|path| base.join(path)).collect();
        // Whoever names a key wants its signature: a mirror that drops it is no better for TLS.
        source.trust.signed_list = true;
    }
    source.trust.signed_list |= line.repo_gpgcheck;
    source.trust.anyone |= line.insecure;
    source.exclude.extend(line.exclude.iter().cloned());
    let own = |path: &Option<Utf8PathBuf>, old: Option<Utf8PathBuf>| {
        path.as_ref().map(|path| base.join(path)).or(old)
    };
    let old = std::mem::take(&mut source.tls);
    source.tls = TlsFiles {
        ca: own(&line.sslcacert, old.ca),
        certificate: own(&line.sslclientcert, old.certificate),
        key: own(&line.sslclientkey, old.key),
    };
}

/// A section of a `.repo` file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    pub id: String,
    pub values: BTreeMap<String, String>,
}

/// Reads a `.repo` file: sections of `key=value`; an indented line goes on with the value before.
///
/// # Errors
///
/// A sentence with the line that is not understood.
pub fn parse_ini(text: &str) -> Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    let mut last = None;
    for line in text.lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(id) = bare.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            sections.push(Section { id: id.0.trim().to_owned(), values: BTreeMap::new() });
            last = None;
            continue;
        }
        let Some(section) = sections.last_mut() else {
            return Err(format!("{bare:?} stands before the first section"));
        };
        if line.starts_with([' ', '\t'])
            && let Some(value) = last.as_ref().and_then(|key| section.values.get_mut(key))
        {
            value.push('\n');
            value.push_str(bare);
            continue;
        }
        let Some((key, value)) = bare.split_once('=') else {
            return Err(format!("{bare:?} is no key=value"));
        };
        let key = key.trim().to_ascii_lowercase();
        section.values.insert(key.clone(), value.trim().to_owned());
        last = Some(key);
    }
    Ok(sections)
}

impl Section {
    fn is_on(&self, key: &str, default: bool) -> bool {
        self.values.get(key).map_or(default, |value| {
            ["1", "yes", "true", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
        })
    }

    fn list(&self, keys: &[&str], variables: &Variables) -> Vec<String> {
        let values = keys.iter().filter_map(|key| self.values.get(*key));
        values
            .flat_map(|value| value.split(|c: char| c.is_whitespace() || c == ','))
            .filter(|word| !word.is_empty())
            .map(|word| variables.expand(word))
            .collect()
    }

    fn source(&self, variables: &Variables) -> Result<Source, SettingsError> {
        let one = |key: &str| self.list(&[key], variables).into_iter().next();
        let url = |key: &str| one(key).map(|text| read_url(&text)).transpose();
        let roots = self.list(&["baseurl"], variables);
        // A metalink first: it alone vouches for the list.
        let place = match (url("metalink")?, url("mirrorlist")?) {
            (Some(metalink), _) => Place::Metalink(metalink),
            (None, _) if !roots.is_empty() => {
                Place::Roots(roots.iter().map(|text| read_url(text)).collect::<Result<_, _>>()?)
            }
            // dnf takes a mirrorlist for a metalink when its URL says so.
            (None, Some(list)) if list.as_str().contains("metalink") => Place::Metalink(list),
            (None, Some(list)) => Place::Mirrorlist(list),
            (None, None) => return Err(SettingsError::Url { value: self.id.clone() }),
        };
        let keys = self.list(&["gpgkey"], variables).into_iter().map(|value| {
            let file = value.strip_prefix("file://").unwrap_or(&value);
            if file.starts_with('/') {
                Ok(Utf8PathBuf::from(file))
            } else {
                Err(SettingsError::Key { id: self.id.clone(), value: value.clone() })
            }
        });
        let file = |key: &str| one(key).map(Utf8PathBuf::from);
        Ok(Source {
            id: variables.expand(&self.id),
            place,
            trust: Trust {
                keys: keys.collect::<Result<_, _>>()?,
                signed_list: self.is_on("repo_gpgcheck", false),
                anyone: false,
            },
            tls: TlsFiles {
                ca: file("sslcacert"),
                certificate: file("sslclientcert"),
                key: file("sslclientkey"),
            },
            priority: one("priority").and_then(|p| p.parse().ok()).unwrap_or(PRIORITY),
            exclude: self.list(&["exclude", "excludepkgs"], variables),
            include: self.list(&["includepkgs"], variables),
            module_hotfixes: self.is_on("module_hotfixes", false),
            login: one("username").zip(one("password")),
        })
    }
}

/// Whether a pattern with `*` and `?` fits a text.
pub fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn read_url(text: &str) -> Result<Url, SettingsError> {
    let bad = || SettingsError::Url { value: text.to_owned() };
    let mut url = Url::parse(text).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || text.contains('$') {
        return Err(bad());
    }
    if !url.path().ends_with('/') && url.query().is_none() {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The files of a folder, by name, with an ending where one is wanted; none without the folder.
fn files_of(folder: &Utf8Path, ending: Option<&str>) -> Result<Vec<Utf8PathBuf>, SettingsError> {
    let fail = |source| SettingsError::Read { path: folder.to_owned(), source };
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in folder.read_dir_utf8().map_err(fail)? {
        let path = entry.map_err(fail)?.into_path();
        if ending.is_none_or(|ending| path.extension() == Some(ending)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_text(path: &Utf8Path) -> Result<String, SettingsError> {
    let fail = |source| SettingsError::Read { path: path.to_owned(), source };
    let malformed = |what: &str| SettingsError::Malformed { path: path.into(), what: what.into() };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(FILE_LEN_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    if FILE_LEN_BYTES_MAX < bytes.len() as u64 {
        return Err(malformed("it is too long"));
    }
    String::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))
}

#[cfg(test)]
mod tests;
