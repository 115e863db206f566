//! nginx on one folder, as an administrator would set it up: two workers, plain or with TLS.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tests::{clients::find, process};

/// Its certificate and key.
pub type Tls = [PathBuf; 2];

/// nginx on a folder, ended when dropped.
pub struct Nginx {
    pub url: String,
    pub sendfile: &'static str,
    child: Child,
}

impl Nginx {
    /// # Panics
    ///
    /// When nginx is missing or does not listen.
    pub fn start(folder: &Path, sendfile: &'static str, tls: Option<&Tls>) -> Self {
        let port = process::free_port();
        let file = folder.join(format!("nginx-{port}.conf"));
        fs::write(&file, settings(folder, sendfile, port, tls)).expect("a file can be written");
        let mut nginx = Command::new(find("nginx").expect("looked for before"));
        nginx.arg("-p").arg(folder).arg("-c").arg(&file);
        nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = nginx.spawn().expect("nginx can be started");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let nginx = Self { url: format!("{scheme}://127.0.0.1:{port}"), sendfile, child };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return nginx;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("nginx does not listen");
    }

    /// The master and its workers.
    pub fn pids(&self) -> Vec<u32> {
        let master = self.child.id();
        let path = format!("/proc/{master}/task/{master}/children");
        let workers = fs::read_to_string(path).unwrap_or_default();
        let workers = workers.split_whitespace().filter_map(|pid| pid.parse().ok());
        [master].into_iter().chain(workers).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master alone knows its workers, and takes them along only when it is asked to end.
        let pid = self.child.id().to_string();
        let _asked = Command::new("kill").args(["-TERM", &pid]).status();
        let _ended = self.child.wait();
    }
}

fn settings(folder: &Path, sendfile: &str, port: u16, tls: Option<&Tls>) -> String {
    let dir = folder.display();
    let user = if is_root() { "user root;" } else { "" };
    let (ssl, certificate) = tls.map_or_else(Default::default, |[cert, key]| {
        let [cert, key] = [cert.display(), key.display()];
        (" ssl", format!("ssl_certificate {cert}; ssl_certificate_key {key};"))
    });
    format!(
        "daemon off; worker_processes 2; pid {dir}/pid-{port}; error_log stderr; {user}\n\
         events {{}}\n\
         http {{ access_log off; sendfile {sendfile}; client_body_temp_path {dir}/t1;\n\
         proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4;\n\
         scgi_temp_path {dir}/t5;\n\
         server {{ listen 127.0.0.1:{port}{ssl}; {certificate} root {dir}; }} }}\n"
    )
}

/// Its workers would else become nobody, who cannot read a temporary folder.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
