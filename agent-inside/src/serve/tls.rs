//! The certificate that listeners show, read anew when its files change.
//!
//! In:   a certificate chain and its key in PEM, in two files or in one.
//! Out:  an acceptor for each new connection; those that stand keep what they began with.
//! Never: no certificate at all. A new pair that does not fit or cannot be read leaves the old
//!        one in force, and the log says so once.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{exit::chain, limit};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use tokio_rustls::TlsAcceptor;

/// Longest file of keys and certificates, in bytes.
const PEM_LEN_BYTES_MAX: u64 = 1 << 20;

/// What is offered in the handshake, the best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [H2, b"http/1.1"];

/// HTTP/2 as a handshake names it.
pub const H2: &[u8] = b"h2";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error("{0} holds no certificate in PEM")]
    NoCertificate(Utf8PathBuf),
    #[error("{path} holds no private key in PEM, or one behind a passphrase")]
    NoKey { path: Utf8PathBuf, source: pem::Error },
    #[error("the certificate in {cert} and the key in {key} cannot be used together")]
    Pair { cert: Utf8PathBuf, key: Utf8PathBuf, source: rustls::Error },
}

/// The certificate of all listeners.
pub struct Tls {
    cert: Utf8PathBuf,
    key: Utf8PathBuf,
    config: ArcSwap<ServerConfig>,
    /// The files as they were when they were last looked at.
    seen: Mutex<Seen>,
}

type Seen = [Option<Stamp>; 2];

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    inode: (u64, u64),
    len_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// None when there is no such file, or nobody may look.
    pub fn of(path: &Utf8Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        Some(Self {
            inode: (meta.dev(), meta.ino()),
            len_bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl Tls {
    /// Reads a pair of files, which may be one file.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn load(cert: Utf8PathBuf, key: Utf8PathBuf) -> Result<Self, TlsError> {
        let seen = Mutex::new([Stamp::of(&cert), Stamp::of(&key)]);
        let config = ArcSwap::from(Arc::new(read(&cert, &key)?));
        Ok(Self { cert, key, config, seen })
    }

    /// Reads the files again if they changed since they were last looked at.
    pub fn reload(&self) {
        let now = [Stamp::of(&self.cert), Stamp::of(&self.key)];
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now; // before reading: what is written meanwhile is another change
        match read(&self.cert, &self.key) {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!(cert = %self.cert, "new connections use the new certificate");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "the new certificate is not used; the old one stays");
            }
        }
    }

    /// For one new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn read(cert: &Utf8Path, key: &Utf8Path) -> Result<ServerConfig, TlsError> {
    let read = |path: &Utf8Path| {
        limit::read_file(path, PEM_LEN_BYTES_MAX)
            .map_err(|source| TlsError::Read { path: path.to_owned(), source })
    };
    let (cert_pem, key_pem) = (read(cert)?, read(key)?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert_pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsError::NoCertificate(cert.to_owned()))?;
    let private = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|source| TlsError::NoKey { path: key.to_owned(), source })?;
    let pair = |source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(pair)?;
    let mut config =
        builder.with_no_client_auth().with_single_cert(chain, private).map_err(pair)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Files {
        _temp: tempfile::TempDir,
        cert: Utf8PathBuf,
        key: Utf8PathBuf,
    }

    fn files() -> Files {
        let temp = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(temp.path()).unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        Files { _temp: temp, cert, key }
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["a.lan".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_new_pair_is_taken_and_a_broken_one_is_not() {
        let files = files();
        let write = |(cert, key): &(String, String)| {
            fs::write(&files.cert, cert).unwrap();
            fs::write(&files.key, key).unwrap();
        };
        write(&pair());
        let tls = Tls::load(files.cert.clone(), files.key.clone()).unwrap();
        let first = tls.config.load_full();
        let in_force = |config: &Arc<ServerConfig>| {
            tls.reload();
            Arc::ptr_eq(&tls.config.load_full(), config)
        };
        assert!(in_force(&first), "nothing changed");
        fs::write(&files.cert, pair().0).unwrap();
        assert!(in_force(&first), "half of a new pair does not fit");
        fs::write(&files.key, "nonsense").unwrap();
        assert!(in_force(&first));
        fs::remove_file(&files.key).unwrap();
        assert!(in_force(&first));
        write(&pair());
        assert!(!in_force(&first));
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_named() {
        let files = files();
        let load = || Tls::load(files.cert.clone(), files.key.clone()).map(drop);
        assert!(matches!(load(), Err(TlsError::Read { .. })));
        let (cert, key) = pair();
        fs::write(&files.key, &key).unwrap();
        fs::write(&files.cert, &key).unwrap();
        assert!(matches!(load(), Err(TlsError::NoCertificate(_))));
        fs::write(&files.cert, &cert).unwrap();
        fs::write(&files.key, &cert).unwrap();
        assert!(matches!(load(), Err(TlsError::NoKey { .. })));
        fs::write(&files.key, pair().1).unwrap();
        assert!(matches!(load(), Err(TlsError::Pair { .. })));
    }

    #[test]
    fn one_file_may_hold_both() {
        let files = files();
        let (cert, key) = pair();
        fs::write(&files.cert, format!("{cert}{key}")).unwrap();
        assert!(Tls::load(files.cert.clone(), files.cert.clone()).is_ok());
    }
}
