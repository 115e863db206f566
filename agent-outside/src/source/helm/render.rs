//! Renders a chart with the `helm` of this machine.
//!
//! In:   the chart's archive, the values files, what the cluster is like.
//! Out:  what `helm template` prints.
//! Never: a cluster, a plug-in, a repository or a setting of the user. `helm` sees an environment
//!        of its own; no template function reaches the network unless `--enable-dns` says so.
//!
//! Blocks until `helm` ends, its time is over or its output is too long.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::bounds;

/// Longest time that `helm` may take, in milliseconds. The largest charts take five seconds.
pub const TIMEOUT_MS: u64 = 120_000;

/// How often `helm` is looked at, in milliseconds.
const PAUSE_MS: u64 = 20;

/// What to render.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rendering<'a> {
    /// The name of the release, which shows in names but not in images.
    pub release: &'a str,
    /// The archive of the chart; an absolute path.
    pub archive: &'a Utf8Path,
    /// The later over the earlier; absolute paths.
    pub values: &'a [Utf8PathBuf],
    pub set: &'a [String],
    pub kube_version: Option<&'a str>,
    pub api_versions: &'a [String],
    pub namespace: Option<&'a str>,
}

/// Why nothing was rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("{0} must be an absolute path")]
    Relative(Utf8PathBuf),
    #[error("cannot run helm")]
    Run(#[source] io::Error),
    #[error("helm took more than {TIMEOUT_MS} ms")]
    Timeout,
    #[error("helm printed more than {} bytes", bounds::RENDERED_LEN_BYTES_MAX)]
    TooLong,
    #[error("helm printed what is not UTF-8")]
    NotText,
    /// With what it said, whose first line names the template.
    #[error("helm cannot render the chart: {said}")]
    Failed { said: String },
}

/// Finds `helm` in the folders of a `PATH`.
pub fn find_helm(path: Option<&OsStr>) -> Option<Utf8PathBuf> {
    let folders = std::env::split_paths(path?);
    let folders = folders.filter_map(|folder| Utf8PathBuf::from_path_buf(folder).ok());
    folders.filter(|folder| folder.is_absolute()).map(|f| f.join("helm")).find(|f| f.is_file())
}

/// Renders a chart, hooks and resource definitions included.
///
/// # Errors
///
/// [`RenderError`]. Nothing stays on disk, and `helm` has ended.
pub fn render(helm: &Utf8Path, rendering: &Rendering<'_>) -> Result<String, RenderError> {
    let paths = [rendering.archive].into_iter().chain(rendering.values.iter().map(|p| &**p));
    if let Some(path) = paths.into_iter().find(|path| !path.is_absolute()) {
        return Err(RenderError::Relative(path.to_owned()));
    }
    let home = tempfile::tempdir().map_err(RenderError::Run)?;
    let (out, err) = (home.path().join("out"), home.path().join("err"));
    let mut command = Command::new(helm);
    command.args(arguments(rendering)).env_clear().envs(environment(home.path().as_os_str()));
    command.stdin(Stdio::null()).current_dir(home.path());
    command.stdout(File::create(&out).map_err(RenderError::Run)?);
    command.stderr(File::create(&err).map_err(RenderError::Run)?);
    let mut child = command.spawn().map_err(RenderError::Run)?;
    let ended = wait(&mut child, &[&out, &err]);
    if ended.is_err() {
        // It may have ended by itself between the two.
        let _ = child.kill();
        let _ = child.wait();
    }
    if !ended?.success() {
        return Err(RenderError::Failed { said: first_line(&read(&err, 4 << 10)?) });
    }
    let printed = read(&out, bounds::RENDERED_LEN_BYTES_MAX)?;
    String::from_utf8(printed).map_err(|_| RenderError::NotText)
}

/// Every value stands in one argument with its flag, so that none is read as another flag.
fn arguments(rendering: &Rendering<'_>) -> Vec<OsString> {
    let mut all: Vec<String> = vec!["template".to_owned(), "--include-crds".to_owned()];
    let mut flag = |name: &str, value: &str| all.push(format!("--{name}={value}"));
    rendering.values.iter().for_each(|path| flag("values", &quoted(path.as_str())));
    rendering.set.iter().for_each(|setting| flag("set", setting));
    rendering.kube_version.iter().for_each(|version| flag("kube-version", version));
    rendering.api_versions.iter().for_each(|version| flag("api-versions", &quoted(version)));
    rendering.namespace.iter().for_each(|namespace| flag("namespace", namespace));
    all.extend(["--".to_owned(), rendering.release.to_owned(), rendering.archive.to_string()]);
    all.into_iter().map(OsString::from).collect()
}

/// A value of a flag that takes several at once, parted as in CSV.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

fn environment(home: &OsStr) -> Vec<(&'static str, OsString)> {
    let below = |name: &str| {
        let mut path = home.to_owned();
        path.push("/");
        path.push(name);
        path
    };
    vec![
        ("HOME", home.to_owned()),
        ("HELM_CACHE_HOME", below("cache")),
        ("HELM_CONFIG_HOME", below("config")),
        ("HELM_DATA_HOME", below("data")),
        ("HELM_PLUGINS", below("plugins")),
        ("HELM_NAMESPACE", OsString::from("default")),
        ("KUBECONFIG", below("kubeconfig")),
        ("TMPDIR", home.to_owned()),
        // Nothing answers there, whatever a later helm may ask for.
        ("HTTP_PROXY", OsString::from("http://127.0.0.1:1")),
        ("HTTPS_PROXY", OsString::from("http://127.0.0.1:1")),
    ]
}

fn wait(child: &mut Child, files: &[&std::path::Path]) -> Result<ExitStatus, RenderError> {
    let end = Instant::now() + Duration::from_millis(TIMEOUT_MS);
    loop {
        if let Some(status) = child.try_wait().map_err(RenderError::Run)? {
            return Ok(status);
        }
        for file in files {
            let len_bytes = fs::metadata(file).map_err(RenderError::Run)?.len();
            if bounds::RENDERED_LEN_BYTES_MAX < len_bytes {
                return Err(RenderError::TooLong);
            }
        }
        if end <= Instant::now() {
            return Err(RenderError::Timeout);
        }
        thread::sleep(Duration::from_millis(PAUSE_MS));
    }
}

fn read(file: &std::path::Path, max: u64) -> Result<Vec<u8>, RenderError> {
    let file = File::open(file).map_err(RenderError::Run)?;
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(RenderError::Run)?;
    if bounds::RENDERED_LEN_BYTES_MAX < bytes.len() as u64 {
        return Err(RenderError::TooLong);
    }
    Ok(bytes)
}

fn first_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().find(|line| line.contains("Error")).or_else(|| text.lines().next());
    line.unwrap_or("(nothing said)").trim_start_matches("Error: ").chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_stands_with_its_flag_and_the_chart_after_all_flags() {
        let rendering = Rendering {
            release: "release",
            archive: Utf8Path::new("/c.tgz"),
            values: &["/a,\"b.yaml".into(), "/-c.yaml".into()],
            set: &["a={1,2}".to_owned()],
            kube_version: Some("1.35.4"),
            api_versions: &["a.example/v1".to_owned()],
            namespace: Some("--debug"),
        };
        let expected = [
            "template",
            "--include-crds",
            "--values=\"/a,\"\"b.yaml\"",
            "--values=\"/-c.yaml\"",
            "--set=a={1,2}",
            "--kube-version=1.35.4",
            "--api-versions=\"a.example/v1\"",
            "--namespace=--debug",
            "--",
            "release",
            "/c.tgz",
        ];
        assert_eq!(arguments(&rendering), expected.map(OsString::from));
    }

    #[test]
    fn helm_is_looked_for_in_absolute_folders_alone() {
        let dir = tempfile::tempdir().unwrap();
        let helm = Utf8PathBuf::from_path_buf(dir.path().join("helm")).unwrap();
        let path = std::env::join_paths([".".as_ref(), "/none".as_ref(), dir.path()]).unwrap();
        assert_eq!(find_helm(Some(&path)), None);
        fs::write(&helm, "").unwrap();
        assert_eq!(find_helm(Some(&path)), Some(helm));
        assert_eq!(find_helm(None), None);
    }
}
