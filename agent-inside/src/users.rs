//! The people and machines that may log in: `state/users`, in the form of htpasswd.
//!
//! In:   lines `NAME:HASH` with bcrypt hashes, ours or of `htpasswd -B`.
//! Out:  who there is and what their passwords hash to; the file written anew, durably, with
//!       every line that is not about the user in question left as it was.
//! Never: a password or a hash in a log or a message.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, ErrorKind},
    str::FromStr,
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    durable::{self, DurableError, at},
    limit,
};
use serde::Deserialize;

/// Longest users file, in bytes: 1 MiB, some ten thousand users.
const USERS_LEN_BYTES_MAX: u64 = 1 << 20;

/// Longest name of a user, in bytes.
const USER_NAME_LEN_BYTES_MAX: usize = 64;

/// Longest password, in bytes: bcrypt takes no more, and would silently pass over the rest.
pub const PASSWORD_LEN_BYTES_MAX: usize = 72;

/// The work that one guess costs, as a power of two: a quarter of a second of one core. Who is
/// admitted once is remembered, so clients pay it once.
const COST: u32 = 12;

/// Most work that a line of the file may ask of this server: 2^15, some two seconds.
const COST_MAX: u32 = 15;

/// The name of a user: no colon, space or control character, 1 to 64 bytes, not beginning with
/// `#`, which begins a remark.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct UserName(Arc<str>);

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(s: &str) -> Result<Self, UserNameError> {
        let is_plain = |c: char| c != ':' && !c.is_whitespace() && !c.is_control();
        let fits = (1..=USER_NAME_LEN_BYTES_MAX).contains(&s.len());
        match fits && !s.starts_with('#') && s.chars().all(is_plain) {
            true => Ok(Self(s.into())),
            false => Err(UserNameError(s.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for UserName {
    type Error = UserNameError;

    fn try_from(s: String) -> Result<Self, UserNameError> {
        s.parse()
    }
}

/// A text that is no name of a user.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no name of a user: 1 to 64 bytes, no colon and no space, no # at its beginning")]
pub struct UserNameError(String);

/// Why the users file is not taken or not written.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{0} is no text in UTF-8")]
    NoText(Utf8PathBuf),
    #[error(transparent)]
    Write(#[from] DurableError),
}

/// Why a password is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has 1 to 72 bytes")]
    Length,
    #[error("a password has no zero byte")]
    Zero,
}

/// Who there is.
#[derive(Clone, Default)]
pub struct Users {
    hashes: BTreeMap<UserName, Arc<str>>,
    /// Lines that are neither users nor remarks, by their numbers.
    pub passed_over: Vec<usize>,
}

/// Says how many, never which hashes.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.hashes.len()).finish_non_exhaustive()
    }
}

impl Users {
    /// Reads the lines of a users file. Of two lines for one name the first counts, as for
    /// Apache; a line that is not understood is passed over, and its number noted.
    pub fn parse(text: &str) -> Self {
        let mut users = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = line.split_once(':').and_then(|(name, hash)| {
                Some((name.parse::<UserName>().ok()?, is_hash(hash).then(|| hash.into())?))
            });
            match parsed {
                Some((name, hash)) => drop(users.hashes.entry(name).or_insert(hash)),
                None => users.passed_over.push(number),
            }
        }
        users
    }

    /// Reads the users of a home; none when there is no file.
    ///
    /// # Errors
    ///
    /// [`UsersError::Read`], [`UsersError::NoText`].
    pub fn load(path: &Utf8Path) -> Result<Self, UsersError> {
        Ok(Self::parse(&read(path)?))
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub fn hash(&self, name: &str) -> Option<&Arc<str>> {
        self.hashes.get(&name.parse::<UserName>().ok()?)
    }

    pub fn names(&self) -> impl Iterator<Item = &UserName> {
        self.hashes.keys()
    }
}

/// The users file of a home.
pub fn path(home: &Utf8Path) -> Utf8PathBuf {
    home.join("state/users")
}

/// What a password hashes to, with a salt of its own; costs a quarter of a second.
///
/// # Errors
///
/// [`PasswordError`].
pub fn hash(password: &str) -> Result<String, PasswordError> {
    if !(1..=PASSWORD_LEN_BYTES_MAX).contains(&password.len()) {
        return Err(PasswordError::Length);
    }
    if password.contains('\0') {
        return Err(PasswordError::Zero);
    }
    Ok(bcrypt::hash(password, COST).expect("the cost is one that bcrypt knows"))
}

/// Gives a user a password; true when there was no such user before.
///
/// # Errors
///
/// [`UsersError`]: the file is as it was.
pub fn set(path: &Utf8Path, name: &UserName, hash: &str) -> Result<bool, UsersError> {
    let _lock = lock(path)?;
    let (mut lines, known) = without(&read(path)?, name);
    lines.push_str(&format!("{name}:{hash}\n"));
    durable::write_secret(path, lines.as_bytes())?;
    Ok(!known)
}

/// Removes a user; false when there was none.
///
/// # Errors
///
/// [`UsersError`]: the file is as it was.
pub fn remove(path: &Utf8Path, name: &UserName) -> Result<bool, UsersError> {
    let _lock = lock(path)?;
    let (lines, known) = without(&read(path)?, name);
    if known {
        durable::write_secret(path, lines.as_bytes())?;
    }
    Ok(known)
}

/// All lines but those of `name`, and whether there were any.
fn without(text: &str, name: &UserName) -> (String, bool) {
    let is_theirs = |line: &&str| line.split_once(':').is_some_and(|(n, _)| n == name.as_str());
    let known = text.lines().any(|line| is_theirs(&line));
    let others = text.lines().filter(|line| !is_theirs(line));
    (others.map(|line| format!("{line}\n")).collect(), known)
}

/// One change at a time; the lock ends with the file.
fn lock(path: &Utf8Path) -> Result<fs::File, UsersError> {
    durable::create_folders(durable::folder_of(path))?;
    let path = path.with_extension("lock");
    let locked = fs::File::create(&path).and_then(|file| file.lock().map(|()| file));
    Ok(locked.map_err(at("lock", &path))?)
}

fn read(path: &Utf8Path) -> Result<String, UsersError> {
    let bytes = match limit::read_file(path, USERS_LEN_BYTES_MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    };
    let bytes = bytes.map_err(|source| UsersError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|_| UsersError::NoText(path.to_owned()))
}

/// Whether this is a bcrypt hash that costs no more than it may: `$2y$12$` and 53 characters.
fn is_hash(text: &str) -> bool {
    let parts: Vec<&str> = text.split('$').collect();
    let ["", "2a" | "2b" | "2y", cost, rest] = parts[..] else { return false };
    let is_cost = cost.len() == 2 && cost.parse().is_ok_and(|c: u32| (4..=COST_MAX).contains(&c));
    let is_rest = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    is_cost && rest.len() == 53 && rest.bytes().all(is_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `htpasswd -nbB -C 5 a secret`
    const OF_HTPASSWD: &str = "$2y$05$Rf2c3sG1Hq8Y0rFPmvqQ5eVSDbTC6VvVvQz4cDkW0cS8eYJm8Wk1O";

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_fits_in_a_line_and_in_a_header() {
        for good in ["a", "node-1@site", "ö", &"x".repeat(64)] {
            assert_eq!(good.parse::<UserName>().unwrap().as_str(), good);
        }
        for bad in ["", "a:b", "a b", "#a", "a\n", &"x".repeat(65)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lines_that_are_no_users_are_passed_over_by_number() {
        let dear = OF_HTPASSWD.replace("$05$", "$31$");
        let text = format!(
            "# people\n\na:{OF_HTPASSWD}\nb:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nc\n\
             a:{}\nd:{dear}\n",
            OF_HTPASSWD.replace('O', "P")
        );
        let users = Users::parse(&text);
        assert_eq!(users.names().map(UserName::as_str).collect::<Vec<_>>(), ["a"]);
        assert_eq!(users.hash("a").unwrap().as_ref(), OF_HTPASSWD);
        assert_eq!(users.passed_over, [4, 5, 7]);
    }

    #[test]
    fn a_user_is_added_changed_and_removed_and_other_lines_stay() {
        let temp = tempfile::tempdir().unwrap();
        let path = path(Utf8Path::from_path(temp.path()).unwrap());
        assert!(Users::load(&path).unwrap().is_empty());
        assert!(!remove(&path, &name("a")).unwrap());
        durable::write(&path, b"# people\nstrange\n").unwrap();
        assert!(set(&path, &name("a"), OF_HTPASSWD).unwrap());
        assert!(set(&path, &name("b"), OF_HTPASSWD).unwrap());
        assert!(!set(&path, &name("a"), OF_HTPASSWD).unwrap());
        let expected = format!("# people\nstrange\nb:{OF_HTPASSWD}\na:{OF_HTPASSWD}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(remove(&path, &name("a")).unwrap());
        assert_eq!(Users::load(&path).unwrap().names().count(), 1);
    }

    #[test]
    fn a_password_is_hashed_with_a_salt_and_bounded() {
        let of_a = hash("secret").unwrap();
        assert!(is_hash(&of_a) && bcrypt::verify("secret", &of_a).unwrap());
        assert_ne!(of_a, hash("secret").unwrap());
        assert_eq!(hash(""), Err(PasswordError::Length));
        assert_eq!(hash(&"x".repeat(73)), Err(PasswordError::Length));
        assert_eq!(hash("a\0b"), Err(PasswordError::Zero));
    }
}
