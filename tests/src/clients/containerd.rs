//! containerd with a state of its own, as a node runs it, and its `ctr`.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use super::{Client, clean, find};
use crate::process::{self, Finished};

/// Where nobody listens: what a mirror lacks must not be found elsewhere.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A running containerd; it ends with the value.
#[derive(Debug)]
pub struct Containerd {
    child: Child,
    folder: PathBuf,
    ctr: String,
}

impl Containerd {
    /// Whether this machine has it, and the rights that it needs to unpack images.
    pub(super) fn present(client: Client) -> bool {
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        is_root && [client.name().to_owned(), ctr(client)].iter().all(|name| find(name).is_some())
    }

    /// Starts one of the generations in `folder`, with one mirror for `registry`: `hosts.toml`.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written, or the daemon does not come up.
    pub fn start(client: Client, folder: &Path, registry: &str, mirror: &str) -> Self {
        let hosts = folder.join("hosts").join(registry);
        fs::create_dir_all(&hosts).expect("a folder can be made");
        let redirect = format!(
            "server = \"{NOWHERE}\"\n[host.\"{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
        );
        fs::write(hosts.join("hosts.toml"), redirect).expect("a file can be written");
        fs::write(folder.join("config.toml"), settings(folder)).expect("a file can be written");
        let log = File::create(folder.join("containerd.log")).expect("a log can be made");
        let mut command = clean(client.name(), folder);
        command.args(["-c", "config.toml"]).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(log).spawn().expect("containerd can be started");
        let daemon = Self { child, folder: folder.to_owned(), ctr: ctr(client) };
        daemon.wait();
        daemon
    }

    fn wait(&self) {
        for _ in 0..600 {
            if UnixStream::connect(self.folder.join("containerd.sock")).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("containerd did not come up\n{}", self.log());
    }

    /// Pulls and unpacks an image into a namespace, which shares nothing with other ones.
    pub fn pull(&self, namespace: &str, reference: &str) -> Finished {
        let hosts = self.folder.join("hosts");
        let hosts = hosts.to_str().expect("temporary folders have plain names");
        let pull = ["images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", reference];
        self.ctr(namespace, &pull)
    }

    /// The names and digests of the images of a namespace, as `name digest`.
    pub fn images(&self, namespace: &str) -> Vec<String> {
        let listed = self.ctr(namespace, &["images", "list"]);
        let fields = |line: &str| {
            let mut fields = line.split_whitespace();
            Some(format!("{} {}", fields.next()?, fields.nth(1)?))
        };
        listed.stdout.lines().skip(1).filter_map(fields).collect()
    }

    fn ctr(&self, namespace: &str, arguments: &[&str]) -> Finished {
        let mut ctr = clean(&self.ctr, &self.folder);
        ctr.arg("-a").arg(self.folder.join("containerd.sock")).args(["-n", namespace]);
        process::run(ctr.args(arguments))
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let file = File::open(self.folder.join("containerd.log"));
        let _unreadable = file.and_then(|mut file| file.read_to_string(&mut text));
        text
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the `ctr` of a containerd is called.
fn ctr(client: Client) -> String {
    client.name().replace("containerd", "ctr")
}

/// Version 2 of the settings, which both generations read; what only one of them knows does not
/// trouble the other. `isolated`: each namespace fetches what it names, also what another one has.
/// The plainest of snapshotters, since it works on every file system.
fn settings(folder: &Path) -> String {
    let dir = folder.display();
    let disabled = [
        "grpc.v1.cri",
        "cri.v1.images",
        "cri.v1.runtime",
        "snapshotter.v1.btrfs",
        "snapshotter.v1.zfs",
        "snapshotter.v1.devmapper",
    ]
    .map(|name| format!("\"io.containerd.{name}\""))
    .join(", ");
    format!(
        "version = 2\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\n\
         disabled_plugins = [{disabled}]\n[grpc]\naddress = \"{dir}/containerd.sock\"\n\
         [plugins.\"io.containerd.metadata.v1.bolt\"]\ncontent_sharing_policy = \"isolated\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{dir}/opt\"\n\
         [[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n\
         platform = \"linux\"\nsnapshotter = \"native\"\ndiffer = \"walking\"\n"
    )
}
