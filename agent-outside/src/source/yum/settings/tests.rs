use super::*;

fn line(extra: &str) -> YumLine {
    serde_saphyr::from_str(&format!("{{packages: [a], arch: x86_64{extra}}}")).unwrap()
}

fn source(id: &str, place: Place) -> Source {
    Source {
        id: id.to_owned(),
        place,
        trust: Trust { keys: Vec::new(), signed_list: false, anyone: false },
        tls: TlsFiles::default(),
        priority: PRIORITY,
        exclude: Vec::new(),
        include: Vec::new(),
        module_hotfixes: false,
        login: None,
    }
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

#[test]
fn a_named_repository_has_its_variables_and_its_own_keys() {
    let line = line(
        ", baseurl: \"https://m.example/$releasever/${basearch}/os\", releasever: \"9\", \
         gpgKey: [keys/a.asc], repoGpgcheck: true, exclude: [\"kernel*\"], \
         sslclientcert: c.pem, sslclientkey: k.pem",
    );
    let mut expected =
        source("m.example/9/x86_64/os", Place::Roots(vec![url("https://m.example/9/x86_64/os/")]));
    expected.trust.keys = vec!["/w/keys/a.asc".into()];
    expected.trust.signed_list = true;
    expected.exclude = vec!["kernel*".to_owned()];
    expected.tls =
        TlsFiles { ca: None, certificate: Some("/w/c.pem".into()), key: Some("/w/k.pem".into()) };
    assert_eq!(named_source(&line, Utf8Path::new("/w")).unwrap(), Some(expected));
}

#[test]
fn a_url_without_a_value_for_its_variable_is_refused() {
    for place in ["https://m.example/$releasever/", "ftp://m.example/", "file:///srv", "m.example"]
    {
        let line = line(&format!(", baseurl: \"{place}\""));
        let error = named_source(&line, Utf8Path::new("/w")).unwrap_err();
        assert!(matches!(error, SettingsError::Url { .. }), "{place}: {error}");
    }
    assert_eq!(named_source(&line(""), Utf8Path::new("/w")).unwrap(), None);
}

#[test]
fn own_repositories_are_those_that_are_enabled_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(folder.path()).unwrap();
    for (path, text) in [
        (
            "etc/yum.repos.d/a.repo",
            "# comment\n[baseos]\nname=Base $releasever\n\
             mirrorlist=https://mirrors.example/?arch=$basearch&repo=BaseOS-$rocky\n\
             #baseurl=http://off.example/\ngpgcheck=1\nenabled=1\npriority=10\n\
             gpgkey=file:///etc/pki/a\n  file:///etc/pki/b\n\n\
             [extras]\nmetalink = https://mirrors.example/metalink?repo=x\nbaseurl=http://no.example/\n\
             repo_gpgcheck=yes\nmodule_hotfixes=1\nexcludepkgs=a*, b\nusername=u\npassword=p\n\
             sslcacert=/etc/pki/$basearch/ca.pem\nsslclientcert=/etc/pki/c.pem\n",
        ),
        (
            "etc/yum.repos.d/b.repo",
            "[off]\nbaseurl=https://a.example/$releasever/,https://b.example/\nenabled=0\n",
        ),
        ("etc/yum.repos.d/c.repo.bak", "junk"),
        ("etc/dnf/vars/rocky", "stable\n"),
        ("etc/os-release", "NAME=x\nVERSION_ID=\"9.6\"\n"),
    ] {
        std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        std::fs::write(root.join(path), text).unwrap();
    }
    let mut baseos = source(
        "baseos",
        Place::Mirrorlist(url("https://mirrors.example/?arch=x86_64&repo=BaseOS-stable")),
    );
    baseos.priority = 10;
    baseos.trust.keys = vec!["/etc/pki/a".into(), "/etc/pki/b".into()];
    let mut extras =
        source("extras", Place::Metalink(url("https://mirrors.example/metalink?repo=x")));
    extras.trust.signed_list = true;
    extras.module_hotfixes = true;
    extras.exclude = vec!["a*".to_owned(), "b".to_owned()];
    extras.tls = TlsFiles {
        ca: Some("/etc/pki/x86_64/ca.pem".into()),
        certificate: Some("/etc/pki/c.pem".into()),
        key: None,
    };
    extras.login = Some(("u".to_owned(), "p".to_owned()));
    let own = |extra: &str| own_sources(root, &line(extra), Utf8Path::new("/w"));
    assert_eq!(own("").unwrap(), [baseos, extras]);
    let off = Place::Roots(vec![url("https://a.example/9/"), url("https://b.example/")]);
    assert_eq!(own(", repos: [off]").unwrap(), [source("off", off)]);
    assert!(matches!(own(", repos: [none]"), Err(SettingsError::NoRepository { .. })));
}

#[test]
fn settings_that_are_none_are_refused_with_their_line() {
    for bad in ["key=value\n[a]\n", "[a]\njunk\n"] {
        assert!(parse_ini(bad).is_err(), "{bad}");
    }
    let none = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(none.path()).unwrap();
    let error = own_sources(root, &line(""), root).unwrap_err();
    assert!(matches!(error, SettingsError::NoSource));
}

#[test]
fn patterns_fit_as_in_a_shell() {
    for (pattern, text, fits) in [
        ("kernel*", "kernel-core", true),
        ("kernel", "kernel-core", false),
        ("*-devel", "a-devel-devel", true),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("*", "", true),
        ("**a*", "bab", true),
        ("", "", true),
        ("*********************************b", &"a".repeat(4000), false),
    ] {
        assert_eq!(is_like(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn variables_without_a_value_stay() {
    let variables = Variables([("a".to_owned(), "1".to_owned())].into());
    assert_eq!(variables.expand("$a/${a}/$ab/${b}/$/$a"), "1/1/$ab/${b}/$/1");
}

#[test]
fn a_repository_whose_certificate_shall_not_be_checked_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(folder.path()).unwrap();
    std::fs::create_dir_all(root.join("etc/yum.repos.d")).unwrap();
    let own = |settings: &str, extra: &str| {
        let text = format!("[one]\n{settings}\n");
        std::fs::write(root.join("etc/yum.repos.d/a.repo"), text).unwrap();
        own_sources(root, &line(extra), root).map(|sources| sources.len())
    };
    let error = own("baseurl=https://m.example/d\nsslverify=0", "").unwrap_err();
    assert!(matches!(&error, SettingsError::Unchecked { id } if id == "one"), "{error}");
    let list = "mirrorlist=http://m.example/list\nsslverify = False";
    assert!(own(list, "").is_err(), "its mirrors may be asked over TLS");
    // An authority that is named is what counts, and plain HTTP has no certificate.
    let named = "baseurl=https://m.example/d\nsslverify=0\nsslcacert=/ca.pem";
    assert_eq!(own(named, "").unwrap(), 1);
    let by_line = own("baseurl=https://m.example/d\nsslverify=0", ", sslcacert: ca.pem");
    assert_eq!(by_line.unwrap(), 1);
    assert_eq!(own("baseurl=http://m.example/d\nsslverify=0", "").unwrap(), 1);
    assert_eq!(own("baseurl=https://m.example/d\nsslverify=1", "").unwrap(), 1);
}
