//! Whether a text looks like the reference of an image.
//!
//! In:   a scalar of a manifest, a flag, a line of a template.
//! Out:  yes or no, or the references in it.
//! Pure: text only. The grammar is that of `distribution/reference`; what is asked beyond it
//!       keeps API groups, addresses and file names out.

/// Whether `text` is a reference by the grammar: what an image field may hold.
pub fn is_reference(text: &str) -> bool {
    parts(text).is_some()
}

/// Whether `text` is so plainly a reference that it is one wherever it stands: with a slash, and
/// with a tag or a digest.
pub fn is_plainly_one(text: &str) -> bool {
    parts(text).is_some_and(|parts| {
        parts.digest.is_some()
            || parts.tag.is_some_and(|tag| {
                // `service/name:8080` is an address, `name/v1:port` too.
                let is_port = tag.len() <= 5 && tag.bytes().all(|byte| byte.is_ascii_digit());
                parts.path.contains('/') && (!is_port || parts.has_host)
            })
    })
}

/// Whether a key or the name of a flag says that an image follows.
pub fn says_image(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_about_it = ["pull", "policy", "tag", "digest", "secret", "registry", "repository"];
    name.contains("image") && !is_about_it.iter().any(|word| name.contains(word))
}

/// The references in a text of any kind: plain ones anywhere, others after `image:` or in a flag
/// or a variable that says so.
pub fn in_text(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut before, mut is_mapped) = ("", false);
    for word in text.split(|c: char| c.is_whitespace() || ",;\"'`()[]{}<>|".contains(c)) {
        match word {
            "" => continue,
            ":" => {
                is_mapped = true; // JSON: "image" : "a:1"
                continue;
            }
            _ => {}
        }
        let (name, value) = word.rsplit_once('=').unwrap_or(("", word));
        let value = value.trim_end_matches(['.', ':', '\\']);
        let is_announced = if name.is_empty() {
            let is_name = is_mapped || before.ends_with(':') || is_flag(before);
            is_name && says_image(before.trim_end_matches(':'))
        } else {
            says_image(name)
        };
        if is_plainly_one(value) || is_announced && has_version(value) {
            found.push(value);
        }
        (before, is_mapped) = (word, false);
    }
    found
}

fn is_flag(word: &str) -> bool {
    word.starts_with('-') && !word.contains('=')
}

/// Whether it is a reference with a tag or a digest.
pub fn has_version(text: &str) -> bool {
    parts(text).is_some_and(|parts| parts.tag.is_some() || parts.digest.is_some())
}

struct Parts<'a> {
    path: &'a str,
    has_host: bool,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

fn parts(text: &str) -> Option<Parts<'_>> {
    if text.len() > 512 {
        return None;
    }
    let (rest, digest) = split_once(text, text.find('@'));
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let colon = rest.get(last..)?.find(':').map(|at| last + at);
    let (path, tag) = split_once(rest, colon);
    let (host, below) = path.split_once('/').unwrap_or(("", path));
    let has_host = host.contains(['.', ':']) || host == "localhost";
    let named = if has_host { below } else { path };
    let right = (!has_host || is_host(host))
        && named.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    right.then_some(Parts { path, has_host, tag, digest })
}

fn split_once(text: &str, at: Option<usize>) -> (&str, Option<&str>) {
    let Some(at) = at else { return (text, None) };
    (text.get(..at).unwrap_or_default(), text.get(at + 1..))
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p)));
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-')
    };
    name.split('.').all(is_label)
        && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `path-component` of the grammar: lower case and digits, parted by `.`, `_`, `__` or dashes.
fn is_component(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, last) = (part.bytes().next(), part.bytes().last());
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    first.is_some_and(is_plain)
        && last.is_some_and(is_plain)
        && part.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
        && separators.into_iter().all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || b".-".contains(&byte))
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_field_may_hold_what_the_grammar_takes() {
        let pinned = format!("r.example/a@sha256:{}", "0".repeat(64));
        for text in ["nginx", "a/b", "r.example:5000/a_b/c--d:V1.2_x", "localhost/a:1", &pinned] {
            assert!(is_reference(text), "{text}");
        }
        let short = "r.example/a@sha256:00";
        for text in ["", "A/b", "a//b", "a:", "http://a/b", "a b", "-a", "a/b:-1", "a..b", short] {
            assert!(!is_reference(text), "{text}");
        }
    }

    #[test]
    fn only_what_is_plainly_a_reference_counts_anywhere() {
        for (text, plain) in [
            ("quay.io/a/b:v1", true),
            ("grafana/grafana:9.1.0", true),
            ("r.example/a:8080", true),
            ("default/service:8080", false),
            ("nginx:1.25", false),
            ("monitoring.coreos.com/v1", false),
            ("/var/run/x:rw", false),
            ("https://r.example/a:1", false),
            ("localhost:8080", false),
        ] {
            assert_eq!(is_plainly_one(text), plain, "{text}");
        }
    }

    #[test]
    fn a_text_holds_the_references_that_its_words_announce() {
        for (text, found) in [
            ("--acme-http01-solver-image=quay.io/a/b:v1", vec!["quay.io/a/b:v1"]),
            ("--image=nginx:1.25 --listen=x:80", vec!["nginx:1.25"]),
            ("--config-reloader-image nginx:1", vec!["nginx:1"]),
            ("SIDECAR_IMAGE=a:1", vec!["a:1"]),
            ("  - image: \"busybox:1.36\"\n    imagePullPolicy: Always", vec!["busybox:1.36"]),
            ("{\"image\": \"a:1\",\"b\":\"c:1\"}", vec!["a:1"]),
            ("the image of the day:1", vec![]),
            ("pull r.example/a/b:1, then go.", vec!["r.example/a/b:1"]),
            ("imagePullPolicy: Always:1", vec![]),
        ] {
            assert_eq!(in_text(text), found, "{text}");
        }
    }
}
