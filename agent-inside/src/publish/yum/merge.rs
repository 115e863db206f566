//! Groups, modules and advisories of several upstream repositories as one document each.
//!
//! In:   the plain documents of one sort.
//! Out:  the one document of the target; of a single one, its own bytes.
//! Pure.

/// A sort of document that travels as upstream has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sort {
    Group,
    Modules,
    UpdateInfo,
}

impl Sort {
    /// The sort of a type in upstream's `repomd.xml`.
    pub fn of(document: &str) -> Option<Self> {
        match document {
            "group" => Some(Self::Group),
            "modules" => Some(Self::Modules),
            "updateinfo" => Some(Self::UpdateInfo),
            _ => None,
        }
    }

    /// What its file is called after the hash.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Group => "comps.xml",
            Self::Modules => "modules.yaml",
            Self::UpdateInfo => "updateinfo.xml",
        }
    }
}

/// Joins documents in the order given.
///
/// # Errors
///
/// Why one of them, the number of which is given too, cannot be joined.
pub fn join(sort: Sort, documents: &[Vec<u8>]) -> Result<Vec<u8>, (usize, &'static str)> {
    match (sort, documents) {
        (_, [single]) => Ok(single.clone()),
        (Sort::Group, _) => elements("comps", documents),
        (Sort::UpdateInfo, _) => elements("updates", documents),
        (Sort::Modules, _) => Ok(streams(documents)),
    }
}

/// One root around what stands in the root of each.
fn elements(root: &str, documents: &[Vec<u8>]) -> Result<Vec<u8>, (usize, &'static str)> {
    let mut joined = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}>\n");
    for (number, document) in documents.iter().enumerate() {
        let text = std::str::from_utf8(document).map_err(|_| (number, "it is not UTF-8"))?;
        let inner = inner(root, text).ok_or((number, "its root is another"))?;
        joined.push_str(inner.trim());
        joined.push('\n');
    }
    Ok(format!("{joined}</{root}>\n").into_bytes())
}

/// What stands in the root of a document; nothing in `<root/>`.
fn inner<'a>(root: &str, text: &'a str) -> Option<&'a str> {
    let open = format!("<{root}");
    let begins = |at: &usize| {
        let after = text[at + open.len()..].chars().next();
        after.is_some_and(|c| c == '>' || c == '/' || c.is_ascii_whitespace())
    };
    let at = text.match_indices(&open).map(|(at, _)| at).find(begins)?;
    let from = at + text[at..].find('>')? + 1;
    if text[..from].ends_with("/>") {
        return Some("");
    }
    let to = text.rfind(&format!("</{root}"))?;
    text.get(from..to)
}

/// The documents of a YAML stream after those of the one before.
fn streams(documents: &[Vec<u8>]) -> Vec<u8> {
    let mut joined = Vec::new();
    for document in documents {
        let document = document.trim_ascii_end();
        let is_blank = |line: &&[u8]| line.trim_ascii().is_empty() || line.starts_with(b"#");
        let first = document.split(|&b| b == b'\n').find(|line| !is_blank(line));
        match first {
            None => continue,
            Some(first) if first.starts_with(b"%") && !joined.ends_with(b"...\n") => {
                joined.extend(b"...\n"); // directives come after a document's end alone
            }
            Some(first) if !first.starts_with(b"---") => joined.extend(b"---\n"),
            Some(_) => {}
        }
        joined.extend(document);
        joined.push(b'\n');
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(sort: Sort, documents: &[&str]) -> String {
        let documents: Vec<_> = documents.iter().map(|text| text.as_bytes().to_vec()).collect();
        String::from_utf8(join(sort, &documents).unwrap()).unwrap()
    }

    #[test]
    fn a_single_document_stays_as_it_is() {
        assert_eq!(
            joined(Sort::Group, &["<!-- odd --><comps a='1'/>"]),
            "<!-- odd --><comps a='1'/>"
        );
        assert_eq!(joined(Sort::Modules, &["document: x"]), "document: x");
    }

    #[test]
    fn groups_and_advisories_stand_in_one_root() {
        let head = "<?xml version=\"1.0\"?>\n<!DOCTYPE comps PUBLIC \"x\" \"comps.dtd\">\n";
        assert_eq!(
            joined(
                Sort::Group,
                &[
                    &format!("{head}<comps>\n <group><id>a</id></group></comps>"),
                    "<comps/>",
                    "<comps><x/></comps >"
                ]
            ),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<comps>\n<group><id>a</id></group>\n\n<x/>\n</comps>\n"
        );
        assert_eq!(
            joined(Sort::UpdateInfo, &["<updates><update/></updates>", "<updates>\n</updates>"]),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<updates>\n<update/>\n\n</updates>\n"
        );
        let two = [b"<updates></updates>".to_vec(), b"<comps></comps>".to_vec()];
        assert_eq!(join(Sort::UpdateInfo, &two), Err((1, "its root is another")));
        let two = [b"<updates></updates>".to_vec(), b"\xff".to_vec()];
        assert_eq!(join(Sort::UpdateInfo, &two), Err((1, "it is not UTF-8")));
    }

    #[test]
    fn modules_follow_each_other_as_documents_of_one_stream() {
        assert_eq!(
            joined(
                Sort::Modules,
                &["---\na: 1\n...\n", "", "# by a tool\nb: 2", "%YAML 1.2\n---\nc: 3\n"]
            ),
            "---\na: 1\n...\n---\n# by a tool\nb: 2\n...\n%YAML 1.2\n---\nc: 3\n"
        );
    }
}
