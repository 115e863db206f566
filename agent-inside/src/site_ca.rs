//! The site's own certificate authority: makes it once, and certificates for the server from it.
//!
//! In:   a home, the names by which clients call the server, and the time.
//! Out:  `state/keys/ca.pem`, which clients are given; `ca.key`, which signs; `tls.pem`, the
//!       server's certificate with its key. Keys are readable by their owner alone.
//! Never: a decision that a wrong clock could spoil. No certificate begins later than the year
//!        2000, so that a node whose clock stands still takes it; the CA ends in 2099; and the
//!        server's certificate is dated from the later of the clock and [`EARLIEST_NOW`].
//!
//! P-256 with SHA-256 throughout: the one curve that every client of the last ten years takes.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, ErrorKind},
    net::IpAddr,
};

use camino::{Utf8Path, Utf8PathBuf};
use gapferry_common::{
    durable::{self, DurableError, at},
    limit,
};
use gapferry_proto::{Digest, SiteName};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// Longest file of keys and certificates, in bytes.
const PEM_LEN_BYTES_MAX: u64 = 1 << 20;

/// The first day of every certificate.
const FIRST_DAY: Date = jiff::civil::date(2000, 1, 1);

/// The last day of the CA. What a wrong clock in the far future makes ends then, too.
const CA_LAST_DAY: Date = jiff::civil::date(2099, 12, 31);

/// A clock that shows an earlier day is wrong: this program was written later.
const EARLIEST_NOW: Date = jiff::civil::date(2026, 11, 1);

/// How long the server's certificate is good for.
const LEAF_YEARS: i32 = 10;

/// The server's certificate is made anew on a start when it ends sooner than in this many days.
const LEAF_RENEW_DAYS: i32 = 400;

/// Why there is no CA, or no certificate by it.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("cannot read {path}")]
    Read { path: Utf8PathBuf, source: io::Error },
    #[error(transparent)]
    Write(#[from] DurableError),
    #[error("{0} is not of this agent's making; bring it back from a backup")]
    Damaged(Utf8PathBuf),
    #[error(
        "{0} is missing: bring it back from a backup, or remove ca.pem beside it to have a new \
         CA made, which every client must then be given"
    )]
    KeyMissing(Utf8PathBuf),
    #[error("{0:?} in tls.names is neither a host name nor an address")]
    Name(String),
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

/// What people see of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// SHA-256 of the certificate in DER, as browsers and `openssl x509 -fingerprint` compute it.
    pub fingerprint: Digest,
    /// Host names and addresses.
    pub names: BTreeSet<String>,
    pub not_after: Timestamp,
}

/// The CA of one site.
pub struct SiteCa {
    folder: Utf8PathBuf,
    pem: String,
    key: KeyPair,
}

impl SiteCa {
    /// Opens the CA of a home, or makes it when there is none.
    ///
    /// # Errors
    ///
    /// [`CaError`].
    pub fn open(home: &Utf8Path, site: &SiteName) -> Result<Self, CaError> {
        let folder = home.join("state/keys");
        durable::create_folders(&folder)?;
        let _lock = lock(&folder)?;
        let (cert_path, key_path) = (folder.join("ca.pem"), folder.join("ca.key"));
        let (pem, key) = (read(&cert_path)?, read(&key_path)?);
        let key = match (&pem, key) {
            (_, Some(key)) => KeyPair::from_pem(&key).map_err(|_| CaError::Damaged(key_path))?,
            (Some(_), None) => return Err(CaError::KeyMissing(key_path)),
            (None, None) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                durable::write_secret(&key_path, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let pem = if let Some(pem) = pem {
            pem
        } else {
            let pem = ca_params(site).self_signed(&key)?.pem();
            durable::write(&cert_path, pem.as_bytes())?;
            pem
        };
        let ca = Self { folder, pem, key };
        let public = first_certificate(&ca.pem).and_then(|der| key_of(&der));
        let is_pair = public == Some(ca.key.subject_public_key_info());
        is_pair.then_some(ca).ok_or(CaError::Damaged(cert_path))
    }

    /// The certificate that clients are given.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// # Errors
    ///
    /// [`CaError::Damaged`].
    pub fn facts(&self) -> Result<Facts, CaError> {
        let facts = first_certificate(&self.pem).and_then(|der| facts(&der));
        facts.ok_or_else(|| CaError::Damaged(self.folder.join("ca.pem")))
    }

    /// The file with a certificate for `names` and its key. The one there is stays when it is of
    /// this CA, for exactly these names, and good for [`LEAF_RENEW_DAYS`] more.
    ///
    /// # Errors
    ///
    /// [`CaError`].
    pub fn leaf(&self, names: &[String], now: Timestamp) -> Result<(Utf8PathBuf, Facts), CaError> {
        let names = normal_names(names)?;
        let now = now.to_zoned(TimeZone::UTC).date().max(EARLIEST_NOW);
        let path = self.folder.join("tls.pem");
        let _lock = lock(&self.folder)?;
        let kept = read(&path)?.and_then(|pem| self.good_leaf(&pem, &names, now));
        if let Some(facts) = kept {
            return Ok((path, facts));
        }
        let (pem, facts) = self.make_leaf(&names, now)?;
        durable::write_secret(&path, pem.as_bytes())?;
        Ok((path, facts))
    }

    /// What the server's certificate says, if there is one.
    ///
    /// # Errors
    ///
    /// [`CaError::Read`].
    pub fn leaf_facts(&self) -> Result<Option<Facts>, CaError> {
        let pem = read(&self.folder.join("tls.pem"))?;
        Ok(pem.and_then(|pem| facts(&first_certificate(&pem)?)))
    }

    fn good_leaf(&self, pem: &str, names: &BTreeSet<String>, now: Date) -> Option<Facts> {
        let (leaf, ca) = (first_certificate(pem)?, first_certificate(&self.pem)?);
        let facts = facts(&leaf)?;
        let ca = X509Certificate::from_der(&ca).ok()?.1;
        X509Certificate::from_der(&leaf).ok()?.1.verify_signature(Some(ca.public_key())).ok()?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = KeyPair::try_from(&key).ok()?.subject_public_key_info();
        let renew = now.saturating_add(LEAF_RENEW_DAYS.days()).min(CA_LAST_DAY);
        let lasts = renew < facts.not_after.to_zoned(TimeZone::UTC).date();
        let is_whole = key_of(&leaf)? == key;
        (is_whole && lasts && facts.names == *names).then_some(facts)
    }

    fn make_leaf(&self, names: &BTreeSet<String>, now: Date) -> Result<(String, Facts), CaError> {
        let ca_der = first_certificate(&self.pem)
            .ok_or_else(|| CaError::Damaged(self.folder.join("ca.pem")))?;
        let issuer = Issuer::from_ca_cert_der(&ca_der, &self.key)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
        let end = now.saturating_add(LEAF_YEARS.years()).min(CA_LAST_DAY);
        set_days(&mut params, end);
        params.distinguished_name = common_name("Gapferry");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let cert = params.signed_by(&key, &issuer)?;
        let facts = facts(cert.der()).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        Ok((format!("{}{}", cert.pem(), key.serialize_pem()), facts))
    }
}

/// What stands in a certificate.
pub fn facts(der: &CertificateDer<'_>) -> Option<Facts> {
    let cert = X509Certificate::from_der(der).ok()?.1;
    let mut names = BTreeSet::new();
    if let Some(extension) = cert.subject_alternative_name().ok()? {
        names.extend(extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
            _ => None,
        }));
    }
    let not_after = Timestamp::from_second(cert.validity().not_after.timestamp()).ok()?;
    Some(Facts { fingerprint: Digest::of(der), names, not_after })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn key_of(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    Some(X509Certificate::from_der(der).ok()?.1.public_key().raw.to_owned())
}

fn first_certificate(pem: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

fn ca_params(site: &SiteName) -> CertificateParams {
    let mut params = CertificateParams::default();
    set_days(&mut params, CA_LAST_DAY);
    params.distinguished_name = common_name(&format!("Gapferry CA of site {site}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)); // it signs servers, never other CAs
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_days(params: &mut CertificateParams, end: Date) {
    let part = |n: i8| u8::try_from(n).expect("months and days are counted from one");
    let midnight = |day: Date| date_time_ymd(day.year().into(), part(day.month()), part(day.day()));
    (params.not_before, params.not_after) = (midnight(FIRST_DAY), midnight(end));
}

/// Names as they stand in a certificate: lower case, each once, addresses in their shortest form.
fn normal_names(names: &[String]) -> Result<BTreeSet<String>, CaError> {
    let normal = |name: &String| {
        if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(address.to_string());
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let below = name.strip_prefix("*.").unwrap_or(&name);
        let fits = name.len() <= 253 && below.split('.').all(is_label);
        if fits { Ok(name) } else { Err(CaError::Name(name)) }
    };
    names.iter().map(normal).collect()
}

/// One maker at a time; the lock ends with the file.
fn lock(folder: &Utf8Path) -> Result<File, CaError> {
    let path = folder.join("tls.lock");
    let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
    Ok(locked.map_err(at("lock", &path))?)
}

fn read(path: &Utf8Path) -> Result<Option<String>, CaError> {
    let bytes = match limit::read_file(path, PEM_LEN_BYTES_MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| CaError::Read { path: path.to_owned(), source })?,
    };
    String::from_utf8(bytes).map(Some).map_err(|_| CaError::Damaged(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Utf8PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
        (temp, path)
    }

    fn ca(home: &Utf8Path) -> SiteCa {
        SiteCa::open(home, &"prod".parse().unwrap()).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    const NOW: &str = "2027-03-04T05:06:07Z";

    #[test]
    fn a_ca_is_made_once_and_lasts_whatever_the_clock_shows() {
        let (_temp, home) = home();
        let first = ca(&home);
        let facts = first.facts().unwrap();
        assert_eq!(facts.not_after, "2099-12-31T00:00:00Z".parse().unwrap());
        assert_eq!(ca(&home).pem(), first.pem());
        use std::os::unix::fs::PermissionsExt as _;
        let mode = home.join("state/keys/ca.key").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_leaf_is_made_anew_for_other_names_another_ca_or_when_it_runs_out() {
        let (_temp, home) = home();
        let now: Timestamp = NOW.parse().unwrap();
        let leaf = |names: &[&str], now| {
            let (path, facts) = ca(&home).leaf(&self::names(names), now).unwrap();
            assert_eq!(ca(&home).leaf_facts().unwrap().as_ref(), Some(&facts));
            (Digest::of(&std::fs::read(path).unwrap()), facts)
        };
        let (first, facts) = leaf(&["Admin.lan", "10.0.0.5", "[::1]"], now);
        assert_eq!(facts.not_after, "2037-03-04T00:00:00Z".parse().unwrap());
        assert_eq!(facts.names, ["10.0.0.5", "::1", "admin.lan"].map(str::to_owned).into());
        let same = ["::1", "admin.lan", "10.0.0.5"];
        assert_eq!(leaf(&same, now).0, first, "a good one stays");
        let later = "2036-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(leaf(&same, later).0, first, "400 days are left");
        let late = "2036-02-01T00:00:00Z".parse().unwrap();
        let renewed = leaf(&same, late);
        assert_eq!(renewed.1.not_after, "2046-02-01T00:00:00Z".parse().unwrap());
        assert_ne!(leaf(&["admin.lan"], late).1.names, facts.names);
        std::fs::remove_file(home.join("state/keys/ca.pem")).unwrap();
        std::fs::remove_file(home.join("state/keys/ca.key")).unwrap();
        assert_ne!(leaf(&["admin.lan"], late).0, renewed.0);
    }

    #[test]
    fn a_clock_that_is_wrong_spoils_no_certificate() {
        let (_temp, home) = home();
        let end = |now: &str| {
            let leaf = ca(&home).leaf(&names(&["a"]), now.parse().unwrap()).unwrap();
            leaf.1.not_after.to_string()
        };
        assert_eq!(end("1970-01-01T00:00:00Z"), "2036-11-01T00:00:00Z");
        let (_temp, home) = self::home();
        let leaf = ca(&home).leaf(&names(&["a"]), "2095-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(leaf.unwrap().1.not_after.to_string(), "2099-12-31T00:00:00Z");
    }

    #[test]
    fn a_key_that_is_gone_or_of_another_ca_is_said_so() {
        let (_temp, home) = home();
        let key = home.join("state/keys/ca.key");
        let pem = ca(&home).pem().to_owned();
        let site = "prod".parse().unwrap();
        std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(SiteCa::open(&home, &site), Err(CaError::Damaged(_))));
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(SiteCa::open(&home, &site), Err(CaError::KeyMissing(_))));
        assert_eq!(std::fs::read_to_string(home.join("state/keys/ca.pem")).unwrap(), pem);
    }

    #[test]
    fn a_name_is_a_host_name_or_an_address() {
        let (_temp, home) = home();
        let now = NOW.parse().unwrap();
        for bad in ["", "a b", "a/b", "http://a", "a:80", "-.x..y"] {
            let made = ca(&home).leaf(&names(&[bad]), now);
            assert!(matches!(made, Err(CaError::Name(_))), "{bad}");
        }
        assert!(ca(&home).leaf(&names(&["*.site.lan", "node_1"]), now).is_ok());
    }
}
