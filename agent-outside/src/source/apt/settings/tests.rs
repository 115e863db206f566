use super::*;

fn source(uri: &str, suite: &str, components: &[&str], keys: Keys) -> Source {
    Source {
        uri: Url::parse(uri).unwrap(),
        suite: suite.to_owned(),
        components: components.iter().map(|&c| c.to_owned()).collect(),
        architectures: Vec::new(),
        keys,
    }
}

fn trusted() -> Keys {
    Keys::Trusted { fingerprints: Vec::new() }
}

fn line(extra: &str) -> AptLine {
    let text = format!("{{suite: bookworm, architectures: [amd64], packages: [conntrack]{extra}}}");
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn a_one_line_source_has_options_and_comments() {
    let text = "# deb http://off.example/ x main\n\
        deb-src http://mirror.example/debian bookworm main\n\
        deb [arch=amd64,arm64 signed-by=/k/a.gpg] http://mirror.example/debian bookworm main contrib # note\n\
        deb cdrom:[Debian] bookworm main\n\
        deb\thttp://mirror.example/debian bookworm-updates main\n";
    let mut first = source(
        "http://mirror.example/debian",
        "bookworm",
        &["main", "contrib"],
        Keys::Files(vec!["/k/a.gpg".into()]),
    );
    first.architectures = vec!["amd64".to_owned(), "arm64".to_owned()];
    let second = source("http://mirror.example/debian", "bookworm-updates", &["main"], trusted());
    let read = parse_one_line(text).unwrap();
    let http: Vec<_> = read.into_iter().filter(|s| s.uri.scheme() == "http").collect();
    assert_eq!(http, [first, second]);
    for bad in ["deb http://mirror.example/debian\n", "deb [arch=amd64 http://a.example b c\n"] {
        assert!(parse_one_line(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_deb822_source_stands_for_every_pair_and_may_hold_its_key() {
    let text = "Types: deb deb-src\nURIs: http://a.example/d http://b.example/d\n\
        Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k/a.gpg\n\n\
        Types: deb\nURIs: http://c.example\nSuites: bookworm\nComponents: main\nEnabled: no\n\n\
        Types: deb\nURIs: http://d.example\nSuites: bookworm\nComponents: main\nSigned-By:\n \
        -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abcd\n -----END PGP PUBLIC KEY BLOCK-----\n";
    let files = Keys::Files(vec!["/k/a.gpg".into()]);
    let inline = Keys::Inline(
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
            .to_owned(),
    );
    let expected = [
        source("http://a.example/d", "bookworm", &["main"], files.clone()),
        source("http://a.example/d", "bookworm-updates", &["main"], files.clone()),
        source("http://b.example/d", "bookworm", &["main"], files.clone()),
        source("http://b.example/d", "bookworm-updates", &["main"], files),
        source("http://d.example", "bookworm", &["main"], inline),
    ];
    assert_eq!(parse_deb822(text).unwrap(), expected);
}

#[test]
fn own_sources_are_those_of_the_suite_its_updates_and_its_security() {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(folder.path()).unwrap();
    std::fs::create_dir(root.join("sources.list.d")).unwrap();
    std::fs::write(
        root.join("sources.list"),
        "deb http://m.example/d bookworm main\ndeb http://m.example/d trixie main\n\
         deb file:/srv/d bookworm main\n",
    )
    .unwrap();
    std::fs::write(
        root.join("sources.list.d/security.sources"),
        "Types: deb\nURIs: http://m.example/s\nSuites: bookworm-security\nComponents: main contrib\n",
    )
    .unwrap();
    std::fs::write(root.join("sources.list.d/off.list.disabled"), "deb x y z\n").unwrap();
    let expected = [
        source("http://m.example/d", "bookworm", &["main"], trusted()),
        source("http://m.example/s", "bookworm-security", &["main", "contrib"], trusted()),
    ];
    assert_eq!(own_sources(root, &line(""), root).unwrap(), expected);
    let narrowed = own_sources(root, &line(", components: [main], signedBy: k.gpg"), root);
    let keys = Keys::Files(vec![root.join("k.gpg")]);
    let expected = [
        source("http://m.example/d", "bookworm", &["main"], keys.clone()),
        source("http://m.example/s", "bookworm-security", &["main"], keys),
    ];
    assert_eq!(narrowed.unwrap(), expected);
    let nothing = own_sources(&root.join("none"), &line(""), root);
    assert!(matches!(nothing, Err(SettingsError::NoSource { .. })));
    assert!(matches!(read_keyring(root, &trusted()), Err(SettingsError::NoKeys)));
}
