use std::fs;

use camino::Utf8Path;

use super::*;
use crate::settings::{AccessRule, Readers};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));

struct Fixture {
    _temp: tempfile::TempDir,
    path: Utf8PathBuf,
    auth: Auth,
}

/// A site whose `/files/` only a may read.
fn fixture(users: &[(&str, &str)]) -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(temp.path()).unwrap().join("users");
    write(&path, users);
    let readers = Readers::Users(vec!["a".parse().unwrap()]);
    let access = Access::new(&[AccessRule { path: "/files/".to_owned(), readers }]);
    let mut auth = Auth::open(path.clone(), access, "prod").unwrap();
    auth.wrong_pause = Duration::ZERO;
    Fixture { _temp: temp, path, auth }
}

fn write(path: &Utf8Path, users: &[(&str, &str)]) {
    let line = |(name, password): &(&str, &str)| {
        format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
    };
    fs::write(path, users.iter().map(line).collect::<String>()).unwrap();
}

fn basic(credentials: &str) -> HeaderMap {
    let value = format!("Basic {}", BASE64.encode(credentials.as_bytes()));
    [(header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect()
}

impl Fixture {
    async fn login(&self, credentials: &str) -> Result<Option<UserName>, Denied> {
        self.auth.identify(&basic(credentials), Some(CLIENT)).await
    }

    async fn read(&self, path: &str, headers: &HeaderMap) -> Result<Option<UserName>, Denied> {
        self.auth.admit(&[&path.parse().unwrap()], headers, Some(CLIENT)).await
    }
}

fn user(name: &str) -> Option<UserName> {
    Some(name.parse().unwrap())
}

#[tokio::test]
async fn a_user_reads_what_is_theirs_and_anybody_the_rest() {
    let site = fixture(&[("a", "one"), ("b", "two:2")]);
    let nobody = HeaderMap::new();
    assert_eq!(site.read("/pypi/simple/", &nobody).await, Ok(None));
    assert_eq!(site.read("/files/h/x", &nobody).await, Err(Denied::LoginNeeded));
    assert_eq!(site.read("/files/h/x", &basic("a:one")).await, Ok(user("a")));
    assert_eq!(site.read("/files/h/x", &basic("b:two:2")).await, Err(Denied::Forbidden));
    assert_eq!(site.read("/pypi/simple/", &basic("b:two:2")).await, Ok(user("b")));
    assert_eq!(site.read("/pypi/simple/", &basic("b:wrong")).await, Err(Denied::Wrong));
}

#[tokio::test]
async fn what_is_no_login_is_none_and_what_is_a_bad_one_is_wrong() {
    let site = fixture(&[("a", "one")]);
    for (value, expected) in [
        ("Bearer abc", Ok(None)),
        ("Basic Og==", Ok(None)),
        ("basic YTpvbmU=", Ok(user("a"))),
        ("Basic", Err(Denied::Wrong)),
        ("Basic !!!", Err(Denied::Wrong)),
        ("Basic YQ==", Err(Denied::Wrong)),
        ("Basic /w==", Err(Denied::Wrong)),
    ] {
        let headers = [(header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect();
        assert_eq!(site.auth.identify(&headers, Some(CLIENT)).await, expected, "{value}");
    }
    let long = format!("a:{}", "x".repeat(CREDENTIALS_LEN_BYTES_MAX));
    assert_eq!(site.login(&long).await, Err(Denied::Wrong));
    let nobody_there = fixture(&[]);
    assert_eq!(nobody_there.login("a:one").await, Ok(None));
}

#[tokio::test]
async fn changed_users_count_at_once_and_a_damaged_file_changes_nothing() {
    let site = fixture(&[("a", "one")]);
    assert_eq!(site.login("a:one").await, Ok(user("a")));
    write(&site.path, &[("a", "other"), ("c", "three")]);
    site.auth.reload();
    assert_eq!(site.login("a:one").await, Err(Denied::Wrong));
    assert_eq!(site.login("a:other").await, Ok(user("a")));
    fs::write(&site.path, [0xff]).unwrap();
    site.auth.reload();
    assert_eq!(site.login("c:three").await, Ok(user("c")));
    write(&site.path, &[("c", "three")]);
    site.auth.reload();
    assert_eq!(site.login("a:other").await, Err(Denied::Wrong));
}

#[tokio::test]
async fn guessing_ends_in_a_wait_that_a_right_guess_does_not_shorten() {
    let site = fixture(&[("a", "one")]);
    assert_eq!(site.login("a:one").await, Ok(user("a")));
    for _ in 0..30 {
        assert_eq!(site.login("a:old").await, Err(Denied::Wrong), "one old password");
    }
    for n in 1..throttle::WRONG_MAX {
        assert_eq!(site.login(&format!("a:{n}")).await, Err(Denied::Wrong));
    }
    assert!(matches!(site.login("a:one").await, Err(Denied::TooMany { wait_s: 1..=60 })));
    assert_eq!(site.login("a:old").await, Err(Denied::Wrong));
    let other = Some("10.0.0.6".parse().unwrap());
    assert_eq!(site.auth.identify(&basic("a:one"), other).await, Ok(user("a")));
    assert_eq!(site.read("/pypi/simple/", &HeaderMap::new()).await, Ok(None));
}

#[tokio::test]
async fn passwords_are_never_where_a_log_could_show_them() {
    let site = fixture(&[("a", "one")]);
    site.login("a:one").await.unwrap();
    let proven = lock(&site.auth.known.proven).clone();
    let plain = blake3::hash(b"a:one");
    assert_eq!((proven.len(), proven.contains(plain.as_bytes())), (1, false));
    assert!(!format!("{:?}", site.auth.users.load()).contains("$2"));
}

#[tokio::test]
async fn an_unknown_user_costs_what_a_known_one_does() {
    assert_eq!(NOBODY.len(), 60);
    assert!(NOBODY.starts_with("$2y$12$") && !bcrypt::verify("x", NOBODY).unwrap());
}

#[test]
fn a_refusal_speaks_the_protocol_that_was_asked() {
    let site = fixture(&[("a", "one")]);
    let denied = [
        (Denied::LoginNeeded, 401, "UNAUTHORIZED"),
        (Denied::Wrong, 401, "UNAUTHORIZED"),
        (Denied::Forbidden, 403, "DENIED"),
        (Denied::TooMany { wait_s: 7 }, 429, "TOOMANYREQUESTS"),
    ];
    for (denied, status, _) in denied {
        let response = site.auth.refuse(denied, "/v2/x/tags/list");
        let asks = response.headers().get(header::WWW_AUTHENTICATE);
        let realm = "Basic realm=\"Gapferry site prod\", charset=\"UTF-8\"";
        assert_eq!(asks.map(|v| v.to_str().unwrap()), (status == 401).then_some(realm));
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(response.status(), status);
        let plain = site.auth.refuse(denied, "/files/x");
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    }
    let wait = site.auth.refuse(Denied::TooMany { wait_s: 7 }, "/v2/");
    assert_eq!(wait.headers()[header::RETRY_AFTER], "7");
}
