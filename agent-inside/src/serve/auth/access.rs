//! Who may read what, by the path of a request.
//!
//! In:   the rules of `config.toml`, the path and query of a request.
//! Out:  whether everybody may read there, or whom to ask for.
//! Pure: no files, no clock.
//!
//! Of the rules whose path the request's begins with, the longest counts; where none does,
//! everybody may read. An image has several names (with its registry, without it, with
//! containerd's `?ns=`), so a path below `/v2/` is looked up under each name that may mean the
//! same image, and the strictest answer counts. So it does for a file whose name has a question
//! mark, and for an old address, which is judged as it was asked and by what it means.

use std::borrow::Cow;
use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use crate::settings::{AccessRule, Readers};
use crate::users::UserName;

/// What a request's path and the user behind it come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    Permitted,
    /// Somebody may read there: ask who the client is.
    LoginNeeded,
    /// This user may not.
    Forbidden,
}

/// All rules of a site.
#[derive(Debug, Default)]
pub struct Access {
    /// Longest path first.
    rules: Vec<Rule>,
    /// Registries that rules name.
    registries: BTreeSet<String>,
    /// Whether `/v2/` itself asks for a login.
    login_at_registry: bool,
}

#[derive(Debug)]
struct Rule {
    segments: Vec<String>,
    readers: Readers,
}

impl Rule {
    fn covers(&self, path: &[&str]) -> bool {
        self.segments.len() <= path.len() && self.segments.iter().zip(path).all(|(a, b)| a == b)
    }

    fn is_below_registry(&self) -> bool {
        self.segments.first().is_some_and(|first| first == "v2")
    }
}

impl Access {
    pub fn new(rules: &[AccessRule]) -> Self {
        let mut rules: Vec<_> = rules
            .iter()
            .map(|rule| Rule {
                segments: segments(&decode(&rule.path)).iter().map(|&s| s.to_owned()).collect(),
                readers: rule.readers.clone(),
            })
            .collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.segments.len()));
        let registries = rules.iter().filter(|rule| rule.is_below_registry());
        let registries = registries.filter_map(|rule| rule.segments.get(1).cloned());
        let is_restricting = |rule: &Rule| matches!(rule.readers, Readers::Users(_));
        Self {
            registries: registries.filter(|name| is_registry(name)).collect(),
            login_at_registry: rules.iter().any(|r| r.is_below_registry() && is_restricting(r)),
            rules,
        }
    }

    /// Has `/v2/` itself ask for a login, as it must where pushes are taken: docker and skopeo
    /// send a password only to a registry that asked for one there.
    #[must_use]
    pub const fn asking_at_registry(mut self) -> Self {
        self.login_at_registry = true;
        self
    }

    /// Whether `user` may read at a path as it stands in a request, not yet decoded.
    pub fn verdict(&self, path: &str, query: Option<&str>, user: Option<&UserName>) -> Verdict {
        let path = decode(path);
        let path = segments(&path);
        match path[..] {
            ["v2"] if self.login_at_registry && user.is_none() => Verdict::LoginNeeded,
            ["v2"] if self.login_at_registry => Verdict::Permitted,
            ["v2", ref name @ ..] if !name.is_empty() => {
                let readings = self.readings(name, query);
                let verdicts = readings.iter().map(|reading| self.of_segments(reading, user));
                verdicts.max().unwrap_or(Verdict::Permitted)
            }
            ["files", ..] if query.is_some() => {
                // A file's name may have a question mark, so either file may be meant; the route
                // looks the query up as it was sent, a rule says it decoded.
                let query = query.unwrap_or_default();
                let verdict = |query: &str| {
                    let named = format!("/{}?{query}", path.join("/"));
                    self.of_segments(&segments(&named), user)
                };
                let named = verdict(query).max(verdict(&decode(query)));
                named.max(self.of_segments(&path, user))
            }
            _ => self.of_segments(&path, user),
        }
    }

    fn of_segments(&self, path: &[impl AsRef<str>], user: Option<&UserName>) -> Verdict {
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        match (self.rules.iter().find(|rule| rule.covers(&path)).map(|rule| &rule.readers), user) {
            (None | Some(Readers::Everyone), _) => Verdict::Permitted,
            (Some(Readers::Users(_)), None) => Verdict::LoginNeeded,
            (Some(Readers::Users(users)), Some(user)) if users.contains(user) => Verdict::Permitted,
            (Some(Readers::Users(_)), Some(_)) => Verdict::Forbidden,
        }
    }

    /// Every path that may mean the same image as `name`, what follows `/v2/`.
    fn readings<'a>(&'a self, name: &[&'a str], query: Option<&str>) -> Vec<Vec<Cow<'a, str>>> {
        let path = |registry: Option<Cow<'a, str>>, name: &[&'a str]| {
            let begin = [Some(Cow::Borrowed("v2")), registry].into_iter().flatten();
            begin.chain(name.iter().map(|&segment| Cow::Borrowed(segment))).collect::<Vec<_>>()
        };
        let mut readings = vec![path(None, name)];
        for ns in namespaces(query) {
            readings.push(path(Some(Cow::Owned(ns)), name));
        }
        if is_registry(name[0]) {
            readings.push(path(None, &name[1..]));
        }
        // Also a name that begins like a registry may be one without it: `my.group/app`.
        let named = self.registries.iter();
        readings.extend(named.map(|registry| path(Some(Cow::Borrowed(registry)), name)));
        readings
    }
}

/// The registries that `?ns=` names, read as the routes read it.
fn namespaces(query: Option<&str>) -> impl Iterator<Item = String> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.filter(|(key, _)| key == "ns").map(|(_, value)| value.into_owned())
}

/// Whether the first part of an image's name is a registry, as Docker decides it.
fn is_registry(segment: &str) -> bool {
    segment.contains(['.', ':']) || segment == "localhost"
}

fn decode(path: &str) -> Cow<'_, str> {
    percent_decode_str(path).decode_utf8_lossy()
}

/// The parts of a path. Empty ones and dots lead nowhere else, so they do not count; two dots
/// are a name like any other, for no route ever follows them.
fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(rules: &[(&str, Option<&str>)]) -> Access {
        let rules: Vec<_> = rules
            .iter()
            .map(|&(path, user)| AccessRule {
                path: path.to_owned(),
                readers: user
                    .map_or(Readers::Everyone, |user| Readers::Users(vec![user.parse().unwrap()])),
            })
            .collect();
        Access::new(&rules)
    }

    fn verdicts(access: &Access, path: &str) -> [Verdict; 3] {
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        let [a, b] = ["a", "b"].map(|name| name.parse::<UserName>().unwrap());
        [None, Some(&a), Some(&b)].map(|user| access.verdict(path, query, user))
    }

    const OPEN: [Verdict; 3] = [Verdict::Permitted; 3];
    const FOR_A: [Verdict; 3] = [Verdict::LoginNeeded, Verdict::Permitted, Verdict::Forbidden];

    #[test]
    fn the_longest_rule_counts_and_without_one_everybody_may_read() {
        let access = access(&[
            ("/files/", Some("a")),
            ("/files/public.example/", None),
            ("/files/public.example/keys", Some("a")),
        ]);
        for (path, expected) in [
            ("/", OPEN),
            ("/apt/debian-13/dists/trixie/InRelease", OPEN),
            ("/files", FOR_A),
            ("/files/", FOR_A),
            ("/files/h/x", FOR_A),
            ("/filesystem", OPEN),
            ("/files/public.example/x", OPEN),
            ("/files/public.example/keys/1", FOR_A),
            ("/files/public.example/keys.txt", OPEN),
        ] {
            assert_eq!(verdicts(&access, path), expected, "{path}");
        }
    }

    #[test]
    fn another_spelling_of_a_path_is_the_same_path() {
        let access = access(&[("/apt/t/pool/se%63ret/", Some("a"))]);
        for path in [
            "/apt/t/pool/secret/x",
            "/apt/t/pool/s%65cret/x",
            "/apt/t/./pool/secret/x",
            "//apt/t//pool/secret/x",
            "/apt/t/pool%2fsecret/x",
        ] {
            assert_eq!(verdicts(&access, path), FOR_A, "{path}");
        }
    }

    #[test]
    fn an_image_is_judged_under_each_of_its_names() {
        let access = access(&[("/v2/r.example/secret/", Some("a"))]);
        for path in [
            "/v2/r.example/secret/manifests/1",
            "/v2/secret/manifests/1",
            "/v2/secret/manifests/1?ns=r.example",
            "/v2/secret/manifests/1?x=y&ns=r%2eexample",
            "/v2/",
        ] {
            assert_eq!(verdicts(&access, path)[0], Verdict::LoginNeeded, "{path}");
        }
        assert_eq!(verdicts(&access, "/v2/secret/manifests/1"), FOR_A);
        for path in ["/v2/other/manifests/1", "/v2/q.example/secret/manifests/1"] {
            assert_eq!(verdicts(&access, path), OPEN, "{path}");
        }
        let access = self::access(&[("/v2/secret/", Some("a"))]);
        assert_eq!(verdicts(&access, "/v2/r.example/secret/blobs/x"), FOR_A);
        assert_eq!(verdicts(&access, "/v2/public/blobs/x"), OPEN);
    }

    #[test]
    fn a_registry_asks_for_a_login_when_something_below_it_does() {
        assert_eq!(verdicts(&access(&[("/files/", Some("a"))]), "/v2/"), OPEN);
        let asking = access(&[]).asking_at_registry();
        let expected = [Verdict::LoginNeeded, Verdict::Permitted, Verdict::Permitted];
        assert_eq!(verdicts(&asking, "/v2/"), expected);
        assert_eq!(verdicts(&asking, "/v2"), expected);
        assert_eq!(verdicts(&asking, "/v2/x/tags/list"), OPEN);
    }

    #[test]
    fn no_spelling_of_a_registry_leads_around_its_rule() {
        let access = access(&[("/v2/r.example/secret/", Some("a")), ("/v2/apps/", Some("a"))]);
        for path in [
            "/v2/secret/x/manifests/1",
            "/v2/secret/x/manifests/1?ns=r.example",
            "/v2/secret/x/manifests/1?%6es=r.example",
            "/v2/x/manifests/1?%6es=apps",
        ] {
            assert_eq!(verdicts(&access, path), FOR_A, "{path}");
        }
        let dotted = self::access(&[("/v2/r.example/my.group/", Some("a"))]);
        assert_eq!(verdicts(&dotted, "/v2/my.group/app/manifests/1"), FOR_A);
    }

    #[test]
    fn a_rule_for_a_file_whose_name_has_a_question_mark_is_for_that_file() {
        let access = access(&[("/files/h/get?key=a%20b/c", Some("a")), ("/files/p/", Some("a"))]);
        for path in ["/files/h/get?key=a%20b/c", "/files/h/get%3Fkey=a b/c"] {
            assert_eq!(verdicts(&access, path), FOR_A, "{path}");
        }
        for path in ["/files/h/get", "/files/h/get?key=other"] {
            assert_eq!(verdicts(&access, path), OPEN, "{path}");
        }
        assert_eq!(verdicts(&access, "/files/p/x?y"), FOR_A);
        let access = self::access(&[("/files/h/get?a%2541", Some("a"))]);
        assert_eq!(verdicts(&access, "/files/h/get?a%41"), FOR_A, "as the route looks it up");
        assert_eq!(verdicts(&access, "/files/h/get?a%2541"), FOR_A);
    }

    #[test]
    fn a_rule_for_the_root_covers_everything() {
        let access = access(&[("/", Some("a")), ("/keys/", None)]);
        assert_eq!(verdicts(&access, "/pypi/simple/"), FOR_A);
        assert_eq!(verdicts(&access, "/v2/x/tags/list"), FOR_A);
        assert_eq!(verdicts(&access, "/keys/ca.pem"), OPEN);
    }
}
