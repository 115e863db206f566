//! Lists of mirrors: `mirrorlist` (one URL a line) and `metalink` (XML, with digests).
//!
//! In:   bytes that were fetched.
//! Out:  the roots of the repository, best first; from a metalink also what `repomd.xml` is.
//! Pure.
//!
//! A metalink that came over TLS vouches for `repomd.xml` by its digest, so the mirrors need no
//! trust. A mirrorlist vouches for nothing.

use url::Url;

use super::{
    primary::read_checksum,
    universe::Checksum,
    xml::{Item, Xml, XmlError},
};

/// Most mirrors that are read; Fedora has 150.
const MIRRORS_MAX: usize = 4096;

/// Longest list, in bytes: 4 MiB.
pub const LEN_BYTES_MAX: u64 = 4 << 20;

/// What a metalink says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metalink {
    pub roots: Vec<Url>,
    /// Digests of `repomd.xml`, the current one first, then those that mirrors may still have.
    pub sums: Vec<Checksum>,
}

/// Reads a mirrorlist; lines that are no URL of the web, such as comments, are passed over.
pub fn parse_mirrorlist(bytes: &[u8]) -> Vec<Url> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter_map(|line| root(line.trim())).take(MIRRORS_MAX).collect()
}

/// Reads a metalink (RFC 5854's predecessor, "Metalink 3.0", with Fedora's `mm0:alternates`).
///
/// # Errors
///
/// [`XmlError`], also when it holds no digest that counts.
pub fn parse_metalink(bytes: &[u8]) -> Result<Metalink, XmlError> {
    let mut xml = Xml::begin(bytes, "metalink")?;
    let mut sums = Vec::new();
    let mut ranked: Vec<(bool, u32, Url)> = Vec::new();
    let mut ours = false;
    loop {
        match xml.item()? {
            Item::Open(tag) => match tag.name() {
                "file" => ours = tag.attribute("name")?.as_deref() == Some("repomd.xml"),
                "hash" if ours && sums.len() < MIRRORS_MAX => {
                    let kind = tag.attribute("type")?.unwrap_or_default();
                    let sum = read_checksum(&kind, xml.text()?.trim());
                    if !matches!(sum, Checksum::Weak(_)) {
                        sums.push(sum);
                    }
                }
                "url" if ours && ranked.len() < MIRRORS_MAX => {
                    let rank = tag.attribute("preference")?.and_then(|p| p.parse().ok());
                    let text = xml.text()?;
                    let place = text.trim().strip_suffix("repodata/repomd.xml").and_then(root);
                    if let Some(url) = place {
                        ranked.push((url.scheme() == "https", rank.unwrap_or(0), url));
                    }
                }
                "files" | "verification" | "resources" | "alternates" | "alternate" => {}
                _ => xml.skip()?,
            },
            Item::Close => {}
            Item::End => break,
        }
    }
    if sums.is_empty() {
        return Err(XmlError::value("it names no SHA-256 or SHA-512 of repomd.xml", ""));
    }
    ranked.sort_by_key(|(tls, rank, _)| std::cmp::Reverse((*tls, *rank)));
    Ok(Metalink { roots: ranked.into_iter().map(|(_, _, url)| url).collect(), sums })
}

fn root(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use gapferry_proto::Digest;

    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_mirrorlist_has_a_url_a_line() {
        let text = b"# repo = a\nhttps://a.example/x\n\nhttp://b.example/y/\r\nfile:///etc\nhttp://\nrsync://c.example\n\xff\n";
        let roots: Vec<String> = parse_mirrorlist(text).into_iter().map(String::from).collect();
        assert_eq!(roots, ["https://a.example/x/", "http://b.example/y/"]);
    }

    #[test]
    fn a_metalink_vouches_for_repomd_and_ranks_its_mirrors() {
        let text = format!(
            "<?xml version=\"1.0\"?><metalink version=\"3.0\" xmlns:mm0=\"m\"><files>\
             <file name=\"repomd.xml\"><mm0:timestamp>1</mm0:timestamp><size>3</size>\
             <verification><hash type=\"md5\">00</hash><hash type=\"sha256\">{HEX}</hash></verification>\
             <mm0:alternates><mm0:alternate><verification><hash type=\"sha256\">{}</hash>\
             </verification></mm0:alternate></mm0:alternates><resources maxconnections=\"1\">\
             <url protocol=\"http\" preference=\"100\">http://a.example/r/repodata/repomd.xml</url>\
             <url protocol=\"https\" preference=\"90\">https://b.example/r/repodata/repomd.xml</url>\
             <url protocol=\"https\" preference=\"95\">https://c.example/r/repodata/repomd.xml</url>\
             <url protocol=\"rsync\" preference=\"99\">rsync://d.example/r/repodata/repomd.xml</url>\
             </resources></file></files></metalink>",
            Digest::of(b"old").hex()
        );
        let url = |text: &str| text.parse().unwrap();
        let expected = Metalink {
            roots: vec![
                url("https://c.example/r/"),
                url("https://b.example/r/"),
                url("http://a.example/r/"),
            ],
            sums: vec![Checksum::Sha256(Digest::of(b"abc")), Checksum::Sha256(Digest::of(b"old"))],
        };
        assert_eq!(parse_metalink(text.as_bytes()).unwrap(), expected);
        assert!(parse_metalink(text.replace("sha256", "sha1").as_bytes()).is_err());
        assert!(parse_metalink(b"<html><body>sign in</body></html>").is_err());
    }
}
