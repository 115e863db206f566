//! Packages and their indexes, of every kind but images.

use super::*;

#[tokio::test]
async fn a_python_project_is_found_under_every_spelling_of_its_name() {
    let site = TestSite::empty();
    site.put(b"wheel");
    let name = "ruamel.yaml-1+l-py3-none-any.whl";
    site.switch(&[&[fixture::wheel("ruamel-yaml", "1+l", name, b"wheel")]]);
    for path in
        ["/pypi/simple/Ruamel.YAML/", "/pypi/simple/ruamel_yaml", "/pypi/simple/ruamel-yaml"]
    {
        let answer = site.get(path).await;
        let to = answer.header(header::LOCATION);
        assert_eq!((answer.status, to), (308, "/pypi/simple/ruamel-yaml/"), "{path}");
    }
    let html = site.get("/pypi/simple/ruamel-yaml/").await;
    assert_eq!(html.header(header::CONTENT_TYPE), "text/html");
    assert!(html.text().contains("../../packages/ruamel.yaml-1%2Bl-py3-none-any.whl#sha256="));
    let accept = [("accept", "application/vnd.pypi.simple.v1+json")];
    let json = site.ask("GET", "/pypi/simple/ruamel-yaml/", &accept).await;
    assert_eq!(json.header(header::CONTENT_TYPE), "application/vnd.pypi.simple.v1+json");
    assert_eq!(json.json()["files"][0]["filename"], name);
    assert_eq!(json.header(header::VARY), "accept");
    let index = site.ask("GET", "/pypi/simple/", &accept).await;
    assert_eq!(index.json()["projects"], json!([{"name": "ruamel-yaml"}]));
    let refused = site.ask("GET", "/pypi/simple/", &[("accept", "image/png")]).await;
    assert_eq!(refused.status, 406);
    let file = site.get("/pypi/packages/ruamel.yaml-1%2Bl-py3-none-any.whl").await;
    assert_eq!((file.status, file.text()), (200, "wheel"));
    assert_eq!(file.header(header::CONTENT_TYPE), "application/zip");

    for (path, status) in [
        ("/pypi/simple/netaddr/", 404),
        ("/pypi/simple/..%2f..%2fx/", 400),
        ("/pypi/simple/%2e%2e/", 400),
        ("/pypi/packages/..%2f..%2fcurrent", 404),
    ] {
        assert_eq!(site.get(path).await.status, status, "{path}");
    }
    assert_eq!(site.wants(), [(Kind::Pypi, "netaddr".to_owned())]);
}

#[tokio::test]
async fn an_apt_client_finds_every_index_that_a_head_of_a_kept_generation_lists() {
    let site = TestSite::empty();
    let debs: Vec<_> = (0..6)
        .map(|n| {
            fixture::deb("bookworm", "socat", &n.to_string(), "amd64", format!("{n}").as_bytes())
        })
        .collect();
    (0..6).for_each(|n| site.put(format!("{n}").as_bytes()));
    let generations: Vec<_> = debs.iter().map(std::slice::from_ref).collect();
    site.switch(&generations);
    let folder = "/apt/bookworm/dists/bookworm";
    let release = site.get(&format!("{folder}/Release")).await;
    assert!(release.text().contains("Acquire-By-Hash: yes"), "{}", release.text());
    assert!(site.get(&format!("{folder}/InRelease")).await.text().contains(release.text()));
    let signature = site.get(&format!("{folder}/Release.gpg")).await;
    assert!(signature.text().starts_with("-----BEGIN PGP SIGNATURE-----"));
    for listed in publish::apt::listed(release.text()).unwrap() {
        let plain = site.get(&format!("{folder}/{}", listed.path)).await;
        let (parent, _) = listed.path.as_str().rsplit_once('/').unwrap();
        let by_hash = format!("{folder}/{parent}/by-hash/SHA256/{}", listed.digest.hex());
        assert_eq!(site.get(&by_hash).await.body, plain.body, "{}", listed.path);
        assert_eq!(digest(&plain.body), listed.digest.to_string());
    }
    for n in 0..6_usize {
        let undated = site.root().join(format!("trees/{}{folder}/Release.undated", n + 1));
        let listed = publish::apt::listed(&fs::read_to_string(undated).unwrap()).unwrap();
        let hex = listed[0].digest.hex();
        let by_hash = format!("{folder}/main/binary-amd64/by-hash/SHA256/{hex}");
        assert_eq!(site.get(&by_hash).await.status, 200, "generation {}", n + 1);
        let deb = site.get(&format!("/apt/bookworm/pool/main/socat_{n}_amd64.deb")).await;
        assert_eq!((deb.status, deb.text()), (200, n.to_string().as_str()));
    }
    for unknown in [
        format!("{folder}/Release.undated"),
        format!("{folder}/main/binary-amd64/by-hash/SHA256/00"),
        format!("{folder}/main/by-hash/SHA256/{}", digest(b"")),
        "/apt/trixie/dists/bookworm/Release".to_owned(),
    ] {
        assert_eq!(site.get(&unknown).await.status, 404, "{unknown}");
    }
    let flat = site.get("/apt/bookworm/./pool/main/socat_5_amd64.deb").await;
    assert_eq!(flat.text(), "5");
}

#[tokio::test]
async fn the_keys_of_packages_stand_beside_them_by_their_fingerprint() {
    let site = TestSite::empty();
    let [fingerprint, other] = ["ab".repeat(20), "cd".repeat(20)];
    let key = |repository: &str, fingerprint: &str, content: &[u8]| {
        fixture::yum_document("el9", repository, &format!("key-{fingerprint}"), content)
    };
    [&b"first"[..], b"again", b"older", b"rpm"].iter().for_each(|content| site.put(content));
    let rpm = fixture::rpm("el9", "socat", "1", b"rpm");
    site.switch(&[
        &[rpm.clone(), key("base", &other, b"older")],
        &[rpm, key("base", &fingerprint, b"first"), key("extra", &fingerprint, b"again")],
    ]);
    let served = site.get(&format!("/yum/el9/keys/{fingerprint}.asc")).await;
    assert_eq!((served.status, served.text()), (200, "first"));
    assert_eq!(served.header(header::CONTENT_TYPE), "text/plain; charset=utf-8");
    let older = site.get(&format!("/yum/el9/keys/{other}.asc")).await;
    assert_eq!(older.text(), "older", "the packages of a kept generation need it");
    assert_eq!(site.get("/yum/el9/keys/none.asc").await.status, 404);
    assert_eq!(site.wants(), []);
}

#[tokio::test]
async fn a_yum_client_finds_every_document_that_a_head_of_a_kept_generation_lists() {
    let site = TestSite::empty();
    let name = |n: u8| format!("{n}");
    let rpms: Vec<_> =
        (0..6).map(|n| fixture::rpm("el9", "socat", &name(n), name(n).as_bytes())).collect();
    (0..6).for_each(|n| site.put(name(n).as_bytes()));
    let generations: Vec<_> = rpms.iter().map(std::slice::from_ref).collect();
    site.switch(&generations);
    let head = site.get("/yum/el9/repodata/repomd.xml").await;
    assert_eq!(head.header(header::CONTENT_TYPE), "application/xml");
    assert_eq!(head.header(header::CACHE_CONTROL), "no-cache");
    let signature = site.get("/yum/el9//repodata/repomd.xml.asc").await;
    assert!(signature.text().starts_with("-----BEGIN PGP SIGNATURE-----"));
    let key = site.get("/yum/el9/repodata/repomd.xml.key").await;
    assert_eq!(key.text(), site.get("/keys/site.asc").await.text());
    for listed in publish::yum::listed(head.text()).unwrap() {
        let document = site.get(&format!("/yum/el9/{}", listed.path)).await;
        assert_eq!(document.status, 200, "{}", listed.path);
        assert_eq!(digest(&document.body), listed.digest.to_string());
    }
    for n in 0..6_u8 {
        let undated = site.root().join(format!("trees/{}/yum/el9/repodata/repomd.undated", n + 1));
        let listed = publish::yum::listed(&fs::read_to_string(undated).unwrap()).unwrap();
        let document = site.get(&format!("/yum/el9/{}", listed[0].path)).await;
        assert_eq!(document.status, 200, "generation {}", n + 1);
        let rpm = site.get(&format!("/yum/el9/Packages/socat-{n}-1.noarch.rpm")).await;
        assert_eq!((rpm.status, rpm.text()), (200, name(n).as_str()));
        assert_eq!(rpm.header(header::CONTENT_TYPE), "application/x-rpm");
    }
    for unknown in [
        "/yum/el9/repodata/repomd.undated",
        "/yum/el8/repodata/repomd.xml",
        "/yum/el9/Packages/strace-1-1.noarch.rpm",
        "/yum/el9/Packages/strace-1-1.noarch.rpm",
    ] {
        assert_eq!(site.get(unknown).await.status, 404, "{unknown}");
    }
    assert_eq!(site.wants(), [(Kind::Rpm, "el9/strace-1-1.noarch".to_owned())]);
}

#[tokio::test]
async fn the_signature_is_of_the_head_that_its_client_read_before_the_switch() {
    const HEAD: &str = "/yum/el9/repodata/repomd.xml";
    const SIGNATURE: &str = "/yum/el9/repodata/repomd.xml.asc";
    let site = TestSite::empty();
    let [before, after] = ["1", "2"].map(|v| fixture::rpm("el9", "socat", v, v.as_bytes()));
    let text = async |client: [u8; 4], path: &str| {
        let client = ConnectInfo(SocketAddr::from((client, 50_000)));
        let request = Request::builder().uri(path).extension(client);
        site.answer(request.body(Body::empty()).unwrap()).await.text().to_owned()
    };
    let (early, late) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    site.switch(&[std::slice::from_ref(&before)]);
    text(early, HEAD).await;
    let signature = text(early, SIGNATURE).await;
    site.switch(&[&[before], &[after]]);
    assert_eq!(text(early, SIGNATURE).await, signature);
    assert_ne!(text(late, SIGNATURE).await, signature);
    text(early, HEAD).await;
    assert_eq!(text(early, SIGNATURE).await, text(late, SIGNATURE).await);
}

#[tokio::test]
async fn a_connection_goes_on_with_its_generation_until_it_asks_for_something_again() {
    const HEAD: &str = "/apt/bookworm/dists/bookworm/InRelease";
    let site = TestSite::empty();
    let goods = |version: &str| {
        let wheel = |name: &str| {
            fixture::wheel(name, version, &format!("{name}-{version}.tar.gz"), version.as_bytes())
        };
        let deb = fixture::deb("bookworm", "socat", version, "amd64", version.as_bytes());
        [wheel("a"), wheel("b"), deb]
    };
    let ask = async |connection: &Connection, path: &str| {
        let request = Request::builder().uri(path).extension(connection.clone());
        site.answer(request.body(Body::empty()).unwrap()).await.text().to_owned()
    };
    let (early, late) = (Connection::default(), Connection::default());
    [&b"1"[..], b"2"].iter().for_each(|content| site.put(content));
    site.switch(&[&goods("1")]);
    ask(&early, "/pypi/simple/a/").await;
    let head = ask(&early, HEAD).await;
    site.switch(&[&goods("1"), &goods("2")]);
    for (connection, version) in [(&early, "1"), (&late, "2")] {
        let page = ask(connection, "/pypi/simple/b/").await;
        assert!(page.contains(&format!("b-{version}.tar.gz")), "{version}: {page}");
        let merged = ask(connection, "/apt/bookworm/dists/merged/InRelease").await;
        let plain = ask(connection, "/apt/bookworm/dists/merged/main/binary-amd64/Packages").await;
        assert!(plain.contains(&format!("Version: {version}\n")), "{version}: {plain}");
        assert!(merged.contains(&digest(plain.as_bytes())[7..]), "{version}: {merged}");
    }
    for (path, body) in [
        ("/apt/bookworm/pool/main/socat_2_amd64.deb", "2"),
        ("/pypi/packages/b-2.tar.gz", "2"),
        ("/pypi/packages/b-1.tar.gz", "1"),
    ] {
        assert_eq!(ask(&early, path).await, body, "{path}");
    }
    let again = ask(&early, HEAD).await;
    assert_ne!(again, head);
    assert_eq!(again, ask(&late, HEAD).await);
}

#[tokio::test]
async fn a_head_that_only_one_of_two_generations_has_is_found_and_is_a_document() {
    const OLD: &str = "/apt/bookworm/dists/bookworm/InRelease";
    const NEW: &str = "/apt/bookworm/dists/bookworm-updates/InRelease";
    let site = TestSite::empty();
    let deb = |suite: &str| [fixture::deb(suite, "socat", "1", "amd64", b"")];
    let ask = async |connection: &Connection, path: &str| {
        let request = Request::builder().uri(path).extension(connection.clone());
        site.answer(request.body(Body::empty()).unwrap()).await.status
    };
    let (early, late) = (Connection::default(), Connection::default());
    site.switch(&[&deb("bookworm")]);
    assert_eq!(ask(&early, "/apt/bookworm/dists/merged/InRelease").await, 200);
    site.switch(&[&deb("bookworm"), &deb("bookworm-updates")]);
    assert_eq!((ask(&late, OLD).await, ask(&late, NEW).await), (404, 200));
    assert_eq!((ask(&early, OLD).await, ask(&early, NEW).await), (200, 200));
    assert_eq!(ask(&early, OLD).await, 404, "who asks again gets what is served now");
}

#[tokio::test]
async fn names_that_nothing_has_do_not_fill_the_memory_of_a_connection() {
    let site = TestSite::empty();
    site.switch(&[&[fixture::wheel("a", "1", "a-1.tar.gz", b"")]]);
    let connection = Connection::default();
    for name in ["a", "b", "c"] {
        let request = Request::builder().uri(format!("/pypi/simple/{name}/"));
        let request = request.extension(connection.clone()).body(Body::empty()).unwrap();
        assert_eq!(site.answer(request).await.status == 200, name == "a", "{name}");
    }
    assert_eq!(connection.count(), 1);
}

#[tokio::test]
async fn a_generation_of_an_agent_that_served_no_rpm_packages_is_served_without_them() {
    let site = TestSite::empty();
    site.switch(&[&[fixture::rpm("el9", "socat", "1", b"1"), fixture::file("h/a", b"a")]]);
    let before = site.generation(1, &[fixture::rpm("el9", "socat", "1", b"1")]);
    fs::remove_dir_all(before.documents.join("yum")).unwrap();
    let heads = site.root().join("heads/none");
    let (kept, holds) = (vec![], vec![]);
    let activation = Activation { number: 2, heads, current: before, kept, holds };
    site.app.switch(Site::new(activation).unwrap());
    assert_eq!(site.get("/yum/el9/repodata/repomd.xml").await.status, 404);
}

#[tokio::test]
async fn a_chart_repository_keeps_its_address_and_its_charts() {
    let site = TestSite::empty();
    [&b"old"[..], b"new", b"signed"].iter().for_each(|content| site.put(content));
    let mut old = fixture::chart("c.example/stable", "web", "1", b"old");
    old.blobs.push(fixture::blob(b"signed"));
    let new = fixture::chart("c.example/stable", "web", "2", b"new");
    site.switch(&[&[old], &[new]]);
    let index = site.get("/helm/c.example/stable/index.yaml").await;
    assert_eq!(index.header(header::CONTENT_TYPE), "application/yaml");
    assert!(index.text().contains("web-2.tgz") && !index.text().contains("web-1.tgz"));
    for (file, body) in [("web-2.tgz", "new"), ("web-1.tgz", "old"), ("web-1.tgz.prov", "signed")] {
        assert_eq!(
            site.get(&format!("/helm/c.example/stable/{file}")).await.text(),
            body,
            "{file}"
        );
    }
    for unknown in [
        "/helm/index.yaml",
        "/helm/c.example/index.yaml",
        "/helm/c.example/stable/index.yaml/index.yaml",
        "/helm/c.example/stable/web-3.tgz",
        "/helm/c.example/stable/web-2.tgz.prov",
    ] {
        assert_eq!(site.get(unknown).await.status, 404, "{unknown}");
    }
    assert_eq!(site.wants(), [(Kind::Chart, "c.example/stable/web-3".to_owned())]);
}

#[tokio::test]
async fn what_a_wheel_says_of_itself_is_served_beside_it() {
    let wheel = publish::wheel::tests::zip(&[("a-1.dist-info/METADATA", b"Name: a")]);
    let site = TestSite::empty();
    site.put(&wheel);
    site.put(b"no wheel");
    let held = fixture::wheel("a", "1", "a-1-py3-none-any.whl", &wheel);
    let odd = fixture::wheel("b", "1", "b-1-py3-none-any.whl", b"no wheel");
    let archive = fixture::wheel("d", "1", "d-1.zip", &wheel);
    site.switch(&[&[held, odd, archive], &[]]);
    let metadata = site.get("/pypi/packages/a-1-py3-none-any.whl.metadata").await;
    assert_eq!((metadata.status, metadata.text()), (200, "Name: a"));
    let none = ["b-1-py3-none-any.whl.metadata", "c.whl.metadata", ".metadata", "d-1.zip.metadata"];
    for unknown in none {
        assert_eq!(site.get(&format!("/pypi/packages/{unknown}")).await.status, 404, "{unknown}");
    }
}
