//! Servers with TLS for tests: nginx with certificates of an authority of our own.
//!
//! In:   openssl and nginx of this machine; files below a folder, which may change at any time.
//! Out:  two servers on the same files: one that demands a client certificate, one that answers
//!       403 to whoever shows it one.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    clients::{are_required, find},
    process,
};

/// What openssl is told of certificates; nothing of this machine's settings counts.
const OPENSSL: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = test
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,digitalSignature
[server]
subjectAltName = IP:127.0.0.1,DNS:localhost
extendedKeyUsage = serverAuth
[client]
extendedKeyUsage = clientAuth
";

/// Both servers, until they are dropped.
#[derive(Debug)]
pub struct Tls {
    folder: TempDir,
    /// Demands a client certificate, and sends what is asked for below `/away/` to the other.
    pub guarded: String,
    /// Refuses whoever presents a certificate.
    pub open: String,
    child: Child,
}

impl Tls {
    /// Starts the servers; none, and a line on stderr, where nginx or openssl is missing.
    ///
    /// # Panics
    ///
    /// When they are there and do not do what they are told.
    pub fn start() -> Option<Self> {
        for program in ["nginx", "openssl"] {
            if find(program).is_none() {
                assert!(!are_required(), "{program} is missing, and GAPFERRY_REQUIRE_CLIENTS=1");
                let _closed = io::stderr().write_all(format!("skipped: no {program}\n").as_bytes());
                return None;
            }
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("www")).expect("a folder can be made");
        fs::write(folder.path().join("openssl.cnf"), OPENSSL).expect("a file can be written");
        for authority in ["ca", "other"] {
            make_authority(folder.path(), authority);
        }
        make(folder.path(), "ca", "server", "server");
        make(folder.path(), "ca", "client", "client");
        make(folder.path(), "other", "stranger", "client");
        let [guarded, open] = [process::free_port(), process::free_port()];
        fs::write(folder.path().join("nginx.conf"), settings(folder.path(), guarded, open))
            .expect("a file can be written");
        let mut nginx = Command::new(find("nginx").expect("looked for before"));
        nginx.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = nginx.spawn().expect("nginx can be started");
        let url = |port| format!("https://127.0.0.1:{port}");
        let tls = Self { guarded: url(guarded), open: url(open), child, folder };
        tls.wait(open);
        Some(tls)
    }

    /// A file of the authority or of a certificate: `ca.pem`, `server`, `client` (of that
    /// authority) and `stranger` (of another one), each `.pem` and `.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file where both servers have it.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join("www").join(path);
        fs::create_dir_all(path.parent().expect("it lies below the folder"))
            .and_then(|()| fs::write(&path, bytes))
            .expect("a file can be written");
    }

    fn wait(&self, port: u16) {
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("nginx does not listen: {:?}", fs::read_to_string(self.file("error.log")));
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(folder: &Path, guarded: u16, open: u16) -> String {
    let dir = folder.display();
    let own = format!("ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key;");
    format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {dir}/t1;\n\
         proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4;\n\
         scgi_temp_path {dir}/t5; root {dir}/www;\n\
         server {{ listen 127.0.0.1:{guarded} ssl; {own}\n\
           ssl_client_certificate {dir}/ca.pem; ssl_verify_client on;\n\
           location /repo/away/ {{ return 302 https://127.0.0.1:{open}$request_uri; }} }}\n\
         server {{ listen 127.0.0.1:{open} ssl; {own}\n\
           ssl_verify_client optional_no_ca;\n\
           if ($ssl_client_serial) {{ return 403; }} }} }}\n"
    )
}

fn make_authority(folder: &Path, name: &str) {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let args = ["req", "-x509", "-config", "openssl.cnf", "-extensions", "authority", "-newkey"];
    let rest = ["-nodes", "-days", "30", "-keyout", &key, "-out", &pem];
    openssl(folder, &[&args[..], &EC, &rest].concat());
}

/// A certificate of `authority`, with the extensions in the section `kind`.
fn make(folder: &Path, authority: &str, name: &str, kind: &str) {
    let (key, asked, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
    let args = ["req", "-new", "-config", "openssl.cnf", "-newkey"];
    openssl(folder, &[&args[..], &EC, &["-nodes", "-keyout", &key, "-out", &asked]].concat());
    let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}.key"));
    let args = ["x509", "-req", "-in", &asked, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
    let rest = ["-days", "30", "-extfile", "openssl.cnf", "-extensions", kind, "-out", &pem];
    openssl(folder, &[&args[..], &rest].concat());
}

/// A certificate for 127.0.0.1 that is its own authority, and its key: `NAME.crt` and `NAME.key`.
///
/// # Panics
///
/// When openssl is missing or fails.
pub fn self_signed(folder: &Path, name: &str) -> [PathBuf; 2] {
    let [cert, key] = ["crt", "key"].map(|end| format!("{name}.{end}"));
    let args = ["req", "-x509", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    let rest = ["-nodes", "-days", "9", "-keyout", &key, "-out", &cert];
    openssl(folder, &[&args[..], &["-newkey"], &EC, &rest].concat());
    [cert, key].map(|file| folder.join(file))
}

const EC: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

fn openssl(folder: &Path, args: &[&str]) {
    let mut openssl = Command::new(find("openssl").expect("looked for before"));
    let done = process::run(openssl.args(args).current_dir(folder));
    assert_eq!(done.exit_code, 0, "openssl {args:?}: {}", done.stderr);
}
