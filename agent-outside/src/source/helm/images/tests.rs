use camino::{Utf8Path, Utf8PathBuf};

use super::{Images, Row, guess::images_of_chart, manifest::images_of_manifest};
use crate::source::helm::{
    bounds,
    chart::Chart,
    pack::{pack, read_folder},
    render::{RenderError, Rendering, find_helm, render},
    yaml::document,
};

/// Structural twins of five charts: how they write their images, in a few files of our own. Each
/// with values that are not the default, what Helm 3.22 renders of them, and the images in that.
const TWINS: [&str; 5] =
    ["cert-manager", "csi-driver-nfs", "ingress-nginx", "metallb", "metrics-server"];

fn twins() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/helm/twins")
}

fn twin(name: &str) -> Vec<u8> {
    pack(name, &read_folder(&twins().join(name)).unwrap()).unwrap()
}

fn text(file: &str) -> String {
    std::fs::read_to_string(twins().join(file)).unwrap()
}

fn expected(name: &str) -> Vec<String> {
    text(&format!("{name}.images")).lines().map(str::to_owned).collect()
}

fn guessed(name: &str) -> Images {
    let values = document(text(&format!("{name}.values.yaml")).as_bytes()).unwrap();
    images_of_chart(&Chart::open(&twin(name)).unwrap(), &[values])
}

fn row(reference: &str, place: &str, proven: bool, hook: Option<&str>) -> Row {
    let hook = hook.map(str::to_owned);
    Row { reference: reference.to_owned(), place: place.to_owned(), proven, hook }
}

#[test]
fn every_image_of_what_helm_renders_is_found() {
    for name in TWINS {
        let images = images_of_manifest(&text(&format!("{name}.rendered.yaml")));
        assert_eq!(images.references(), expected(name), "{name}");
        assert!(images.unread.is_empty(), "{name}: {:?}", images.unread);
    }
}

#[test]
fn helm_renders_what_these_tests_have_of_it() {
    let Some(helm) = find_helm(std::env::var_os("PATH").as_deref()) else {
        return; // the rendered texts stand beside the charts
    };
    let dir = tempfile::tempdir().unwrap();
    let archive = Utf8PathBuf::from_path_buf(dir.path().join("a, \"b.tgz")).unwrap();
    let values = Utf8PathBuf::from_path_buf(dir.path().join("a, \"b.yaml")).unwrap();
    let rendering = Rendering {
        release: "release",
        archive: &archive,
        values: std::slice::from_ref(&values),
        set: &[],
        kube_version: Some("1.35.4"),
        api_versions: &["a.example/v1".to_owned()],
        namespace: None,
    };
    for name in TWINS {
        std::fs::write(&archive, twin(name)).unwrap();
        std::fs::write(&values, text(&format!("{name}.values.yaml"))).unwrap();
        let rendered = render(&helm, &rendering).unwrap();
        assert_eq!(images_of_manifest(&rendered).references(), expected(name), "{name}");
    }
    let old = Rendering { kube_version: Some("1.10.0"), ..rendering.clone() };
    std::fs::write(&archive, twin("ingress-nginx")).unwrap();
    let error = render(&helm, &old).unwrap_err().to_string();
    assert!(error.contains("chart requires kubeVersion: >=1.21.0-0"), "{error}");
    let relative = Rendering { archive: Utf8Path::new("a.tgz"), ..rendering };
    assert!(matches!(render(&helm, &relative), Err(RenderError::Relative(_))));
}

#[test]
fn a_helm_that_prints_without_end_or_fails_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let helm = Utf8PathBuf::from_path_buf(dir.path().join("helm")).unwrap();
    let rendering = Rendering {
        release: "release",
        archive: Utf8Path::new("/a.tgz"),
        values: &[],
        set: &[],
        kube_version: None,
        api_versions: &[],
        namespace: None,
    };
    for (script, said) in [
        ("exec cat /dev/zero", "helm printed more than 67108864 bytes"),
        ("echo x >&2; echo 'Error: no such' >&2; exit 1", "helm cannot render the chart: no such"),
        ("printf '\\377'", "helm printed what is not UTF-8"),
    ] {
        write_script(&helm, script);
        assert_eq!(render(&helm, &rendering).unwrap_err().to_string(), said);
    }
    write_script(&helm, "test -z \"$USER\" && test \"$HELM_PLUGINS\" = \"$HOME/plugins\" && pwd");
    let printed = render(&helm, &rendering).unwrap();
    assert!(!std::fs::exists(printed.trim()).unwrap(), "{printed}");
    assert!(matches!(render(&dir_of(&helm), &rendering), Err(RenderError::Run(_))));
}

fn dir_of(path: &Utf8Path) -> Utf8PathBuf {
    path.parent().unwrap().to_owned()
}

#[cfg(unix)]
fn write_script(path: &Utf8Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let script = format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n");
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a guess misses and what it has too much, of each twin.
#[test]
fn without_helm_most_images_are_guessed() {
    let mut told = Vec::new();
    for name in TWINS {
        let (images, expected) = (guessed(name), expected(name));
        let guessed = images.references();
        assert!(images.rows.iter().all(|row| !row.proven));
        let missed: Vec<&String> =
            expected.iter().filter(|one| !guessed.contains(&one.as_str())).collect();
        let surplus: Vec<&&str> =
            guessed.iter().filter(|one| !expected.iter().any(|e| e == *one)).collect();
        let found = expected.len() - missed.len();
        let of = expected.len();
        told.push(format!("{name}: {found} of {of}, missed {missed:?}, surplus {surplus:?}"));
    }
    let expected: Vec<String> = GUESSED.iter().map(|line| (*line).to_owned()).collect();
    assert_eq!(told, expected, "{told:#?}");
}

/// A variant stands beside the image that it takes the place of, and a subchart's own value may
/// be one that nothing uses.
const GUESSED: [&str; 5] = [
    "cert-manager: 5 of 5, missed [], surplus []",
    "csi-driver-nfs: 6 of 6, missed [], surplus []",
    "ingress-nginx: 5 of 5, missed [], \
     surplus [\"registry.k8s.io/ingress-nginx/controller:v1.13.2\
     @sha256:1f7eaeb01933e719c8a9f4acd8181e555e582330c7d50f24484fb64d2ba9b2ef\"]",
    "metallb: 6 of 6, missed [], surplus [\"quay.io/frrouting/frr:9.1.0\"]",
    "metrics-server: 2 of 2, missed [], surplus []",
];

#[test]
fn a_row_tells_where_its_image_stands_and_when_it_runs() {
    let images = images_of_manifest(&text("metallb.rendered.yaml"));
    let expected = row(
        "docker.io/curlimages/curl:8.10.1",
        "metallb/templates/tests/version.yaml: Pod/release-version",
        true,
        Some("test"),
    );
    assert_eq!(images.rows[0], expected);
    let solver = images_of_manifest(&text("cert-manager.rendered.yaml"));
    let expected = row(
        "quay.io/jetstack/cert-manager-acmesolver:v1.19.1",
        "cert-manager/templates/deployment.yaml: Deployment/release-cert-manager",
        false,
        None,
    );
    assert!(solver.rows.contains(&expected), "{:#?}", solver.rows);
}

#[test]
fn images_are_found_at_any_depth_and_proven_only_in_image_fields() {
    let manifest = "
# Source: a/templates/a.yaml
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec: {jobTemplate: {spec: {template: {spec: {
  initContainers: [{image: 'a:1'}], ephemeralContainers: [{image: b}],
  volumes: [{image: {reference: 'r.example/volume:1', pullPolicy: Always}}],
  containers: [{image: 'Weird_Image', env: [{name: SIDECAR_IMAGE, value: 'e:1'},
    {name: URL, value: 'http://x/y:1'}, {name: X, value: 'r.example/env:1'}],
    command: [run, --reloader-image=f:2, --addr=svc/x:8080]}]}}}}}
---
# Source: a/templates/b.yaml
apiVersion: v1
kind: List
items:
- {kind: Prometheus, metadata: {name: p, annotations: {helm.sh/hook: pre-install}},
   spec: {image: 'r.example/prom:v3', baseImage: 'r.example/base:1', version: v3}}
- {kind: Tigera, metadata: {name: t}, spec: {image: {registry: r.example, repository: o, tag: 1}}}
- {kind: Icon, spec: {image: star}}
---
# Source: a/templates/c.yaml
kind: ConfigMap
metadata: {name: m}
data:
  x.yaml: |
    containers:
    - image: 'r.example/in-text:1'
---
# Source: a/templates/broken.yaml
kind: Pod
  spec: [
 image: r.example/broken:1
...
";
    let images = images_of_manifest(manifest);
    let a = "a/templates/a.yaml: CronJob/c";
    let expected = [
        row("Weird_Image", a, true, None),
        row("a:1", a, true, None),
        row("b", a, true, None),
        row("e:1", a, false, None),
        row("f:2", a, false, None),
        row("r.example/base:1", "a/templates/b.yaml: Prometheus/p", false, Some("pre-install")),
        row("r.example/broken:1", "a/templates/broken.yaml", false, None),
        row("r.example/env:1", a, false, None),
        row("r.example/in-text:1", "a/templates/c.yaml: ConfigMap/m", false, None),
        row("r.example/o:1", "a/templates/b.yaml: Tigera/t", false, None),
        row("r.example/prom:v3", "a/templates/b.yaml: Prometheus/p", true, Some("pre-install")),
        row("r.example/volume:1", a, true, None),
    ];
    assert_eq!(images.rows, expected);
    assert_eq!(images.unread.len(), 1, "{:?}", images.unread);
    assert!(images.unread[0].starts_with("a/templates/broken.yaml is not understood"));
}

#[test]
fn a_manifest_made_to_harm_ends_in_an_answer() {
    let line = format!("a: {}", "x:1 ".repeat(16 << 20));
    let images = images_of_manifest(&line);
    assert_eq!((images.rows.len(), images.unread.len()), (0, 1));
    let many: String =
        (0..20_000).map(|i| format!("---\nkind: Pod\nimage: r.example/a:{i}\n")).collect();
    let images = images_of_manifest(&many);
    assert_eq!(images.rows.len(), bounds::ROWS_MAX);
    assert_eq!(images.unread, [super::FULL]);
    let marks = images_of_manifest(&"---\n".repeat(4 << 20));
    assert_eq!(marks, Images::default());
    let dashes = images_of_manifest(&"-".repeat(16 << 20));
    assert_eq!(dashes.rows, []);
}

fn chart(files: &[(&str, &str)]) -> Chart {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
    Chart::of_files(files.collect()).unwrap()
}

#[test]
fn a_guess_tells_the_place_in_the_values_or_the_line_of_the_template() {
    let chart = chart(&[
        (
            "Chart.yaml",
            "{name: a, version: 1.0.0, appVersion: 2.0.0, \
             dependencies: [{name: b, alias: bb}, {name: b, alias: cc, condition: cc.enabled}]}",
        ),
        (
            "values.yaml",
            "global: {imageRegistry: m.example}\nimage: {registry: r.example, repository: x}\n\
             plain: 'r.example/plain:1'\nsidecarImage: s:1\nbb: {image: {tag: 3}}\n\
             cc: {enabled: false}\nmetrics: {image: 'r.example/metrics', port: 1}\n\
             list: [{image: {repository: 'l', tag: '20240101'}}]\n\
             nothing: {repository: 'https://x', image: {repository: l, tag: 20240101}}\n",
        ),
        (
            "templates/a.yaml",
            "image: nginx\n- image: \"busybox:1\"\n# image: no:1\nimage: {{ .x }}\n\
             image: r.example/cut:{{ .v }}\n- --tool-image=r.example/t:1\nimage: a:1{{ .v }}\n",
        ),
        ("charts/b/Chart.yaml", "{name: b, version: 1.0.0, appVersion: v9}"),
        ("charts/b/values.yaml", "image: {repository: b/c}"),
        ("charts/b/templates/b.yaml", "image: b/literal:1\n"),
    ]);
    let guess = images_of_chart(&chart, &[document(b"{plain: null}").unwrap()]);
    let expected = [
        row("b/literal:1", "charts/b/templates/b.yaml:1", false, None),
        row("busybox:1", "templates/a.yaml:2", false, None),
        row("m.example/b/c:3", "charts/b/values.yaml: image", false, None),
        row("m.example/l:20240101", "values.yaml: list.image", false, None),
        row("m.example/x:2.0.0", "values.yaml: image", false, None),
        row("nginx", "templates/a.yaml:1", false, None),
        row("r.example/metrics", "values.yaml: metrics.image", false, None),
        row("r.example/t:1", "templates/a.yaml:6", false, None),
        row("s:1", "values.yaml: sidecarImage", false, None),
    ];
    assert_eq!(guess, Images { rows: expected.to_vec(), unread: Vec::new() });
}

#[test]
fn charts_with_names_without_end_are_looked_at_only_so_often() {
    let mut files = vec![];
    for depth in 0..12 {
        let dependencies: String = (0..4).map(|i| format!("{{name: c, alias: a{i}}}, ")).collect();
        let name = if depth == 0 { "top" } else { "c" };
        let meta = format!("{{name: {name}, version: 1.0.0, dependencies: [{dependencies}]}}");
        files.push(("charts/c/".repeat(depth) + "Chart.yaml", meta));
    }
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let guess = images_of_chart(&chart(&files), &[]);
    assert_eq!(guess.unread, [super::FULL]);
}
