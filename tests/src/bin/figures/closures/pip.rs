//! pip: `pip install --dry-run --report` from the index that this machine's pip is set to.
//!
//! pip evaluates environment markers for the Python that it runs on, whatever `--python-version`
//! says, so both sides resolve for that one.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use ::tests::{clients::find, process, site::Environment};
use serde_json::Value;

use super::{Bench, Row, last, row};

/// What is asked for besides Kubespray's own requirements.
const WISHES: [&[&str]; 8] = [
    &["requests"],
    &["flask>=2,<4"],
    &["ansible-core~=2.18.0", "netaddr"],
    &["kubernetes<34"],
    &["boto3"],
    &["jsonschema[format]"],
    &["uvicorn[standard]"],
    &["sphinx<8.2"],
];

const PLATFORM: &str = "manylinux_2_17_x86_64";

pub fn measure() -> Vec<Row> {
    if find("python3").is_none() {
        return vec![Row::new("closures: pip", "absent: python3", "")];
    }
    let bench = Bench::new(Environment::Machine);
    let folder = bench.folder.path();
    let mut wishes: Vec<(String, Vec<String>)> = WISHES
        .iter()
        .map(|wish| (wish.join(" "), wish.iter().map(|text| (*text).to_owned()).collect()))
        .collect();
    let (kubespray, mut rows) = kubespray(folder);
    wishes.extend(kubespray);
    let python = python(folder);
    for (number, (wish, requirements)) in wishes.iter().enumerate() {
        let list = folder.join(format!("requirements-{number}.txt"));
        fs::write(&list, requirements.join("\n") + "\n").expect("a file can be written");
        let spec = format!(
            "  pypi: [{{requirements: \"{}\", python: [\"{python}\"], platforms: [{PLATFORM}]}}]\n",
            list.display()
        );
        let theirs = installed(&list, &python, folder);
        rows.push(row(&format!("pip {wish}"), bench.carried(&spec), theirs));
    }
    rows
}

/// The requirements of Kubespray's trees, where they are at hand.
fn kubespray(folder: &Path) -> (Vec<(String, Vec<String>)>, Vec<Row>) {
    let Some(trees) = env::var_os("GAPFERRY_KUBESPRAY_DIR").map(PathBuf::from) else {
        let skipped = "skipped: GAPFERRY_KUBESPRAY_DIR is not set";
        return (vec![], vec![Row::new("closures: pip, Kubespray's requirements", skipped, "")]);
    };
    let entries = fs::read_dir(trees).expect("GAPFERRY_KUBESPRAY_DIR is a folder");
    let mut archives: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    archives.retain(|path| path.to_string_lossy().ends_with(".tar.xz"));
    archives.sort();
    let requirements = |archive: &PathBuf| {
        let mut tar = Command::new("tar");
        tar.current_dir(folder).args(["-xJOf"]).arg(archive);
        let finished = process::run(tar.args(["--wildcards", "*/requirements.txt"]));
        let lines = finished.stdout.lines().filter(|line| !line.trim().is_empty());
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("Kubespray {}", name.trim_end_matches(".tar.xz"));
        (name, lines.map(str::to_owned).collect())
    };
    (archives.iter().map(requirements).collect(), vec![])
}

/// The release of Python that pip runs on, `3.11`.
fn python(folder: &Path) -> String {
    let mut python = Command::new("python3");
    python.current_dir(folder);
    let print = "import sys; print('%d.%d' % sys.version_info[:2])";
    process::run(python.args(["-c", print])).stdout.trim().to_owned()
}

fn installed(list: &Path, python: &str, folder: &Path) -> Result<BTreeSet<String>, String> {
    let mut pip = Command::new("python3");
    pip.current_dir(folder);
    pip.args(["-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]);
    pip.args(["--disable-pip-version-check", "--no-input", "--report"]);
    pip.arg(folder.join("report.json")).args(["--only-binary=:all:", "--python-version", python]);
    // pip takes a platform literally; the older ones that it runs are named one by one.
    for minor in 5..=17 {
        pip.args(["--platform", &format!("manylinux_2_{minor}_x86_64")]);
    }
    pip.args(["--platform", "manylinux2014_x86_64", "--target"]).arg(folder.join("target"));
    let finished = process::run(pip.arg("-r").arg(list));
    if finished.exit_code != 0 {
        return Err(last(&finished.stderr));
    }
    let bytes = fs::read(folder.join("report.json")).map_err(|e| e.to_string())?;
    let report: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    Ok(report["install"].as_array().into_iter().flatten().map(named).collect())
}

/// The file of a distribution in the report, from its URL.
fn named(install: &Value) -> String {
    let url = install["download_info"]["url"].as_str().unwrap_or_default();
    let file = url.split(['?', '#']).next().unwrap_or_default().rsplit('/').next();
    file.unwrap_or_default().replace("%2B", "+").replace("%2b", "+")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_names_the_file_that_is_installed() {
        let url = "https://up.example/a/b/torch-2.0%2Bcpu-py3-none-any.whl#sha256=00";
        let install = json!({"download_info": {"url": url}});
        assert_eq!(named(&install), "torch-2.0+cpu-py3-none-any.whl");
    }
}
