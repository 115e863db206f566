//! Which files of a chart's folder `.helmignore` leaves out.
//!
//! In:   the text of the file.
//! Out:  [`Rules`].
//! Pure: text only. The decisions are Helm's (`pkg/ignore`), which are not those of Git: a rule
//!       with `!` leaves out all that it does not match.

use std::iter;

/// The rules of a chart's folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    pattern: String,
    is_negated: bool,
    only_folders: bool,
    whole_path: bool,
}

/// Helm's own rule: hidden files among the templates are left behind by editors.
const ALWAYS: &str = "templates/.?*";

impl Rules {
    /// Reads the rules.
    ///
    /// # Errors
    ///
    /// The pattern that Helm would refuse.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().chain(iter::once(ALWAYS)).map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the file or folder at `path` is left out; a folder with all that is in it.
    pub fn leave_out(&self, path: &str, is_folder: bool) -> bool {
        self.0.iter().any(|rule| {
            let fits = !rule.only_folders || is_folder;
            let name = path.rsplit('/').next().unwrap_or(path);
            let matched = matches(&rule.pattern, if rule.whole_path { path } else { name });
            (fits && matched) != rule.is_negated
        })
    }
}

fn rule(line: &str) -> Result<Rule, String> {
    if line.contains("**") {
        return Err(line.to_owned());
    }
    let (is_negated, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
    let (only_folders, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
    let whole_path = line.contains('/');
    let pattern = line.strip_prefix('/').unwrap_or(line).to_owned();
    Ok(Rule { pattern, is_negated, only_folders, whole_path })
}

/// Whether a pattern of a shell matches; `*` and `?` stop at a slash.
///
/// Costs pattern times text: after a mismatch only the last star is tried anew.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let Some(next) = one(&pattern, p, text[t]) {
            (p, t) = (next, t + 1);
            continue;
        }
        match star {
            Some((after, taken)) if text[taken] != '/' => {
                star = Some((after, taken + 1));
                (p, t) = (after, taken + 1);
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on when what stands at `at` takes `c`.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => (c != '/').then_some(at + 1),
        '[' => class(pattern, at + 1, c),
        '\\' => (pattern.get(at + 1) == Some(&c)).then_some(at + 2),
        plain => (*plain == c).then_some(at + 1),
    }
}

fn class(pattern: &[char], at: usize, c: char) -> Option<usize> {
    let is_negated = pattern.get(at) == Some(&'^');
    let first = if is_negated { at + 1 } else { at };
    let end = first + pattern.get(first..)?.iter().skip(1).position(|c| *c == ']')? + 1;
    let (mut i, mut is_in) = (first, false);
    while i < end {
        let low = pattern[i];
        let high = (pattern.get(i + 1) == Some(&'-') && i + 2 < end).then(|| pattern[i + 2]);
        is_in |= high.map_or(low == c, |high| (low..=high).contains(&c));
        i += if high.is_some() { 3 } else { 1 };
    }
    (is_in != is_negated && c != '/').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_leave_out_what_helm_leaves_out() {
        for (text, path, is_folder, left_out) in [
            ("", "templates/.a", false, true),
            ("", "templates/a", false, false),
            ("# *", "a", false, false),
            ("*.txt", "x/a.txt", false, true),
            ("x/*.txt", "x/a.txt", false, true),
            ("x/*.txt", "x/y/a.txt", false, false),
            ("/a.txt", "x/a.txt", false, false),
            ("/a.txt", "a.txt", false, true),
            ("ci/", "ci", true, true),
            ("ci/", "ci", false, false),
            ("a[b-d]?", "acx", false, true),
            ("a[^b-d]?", "acx", false, false),
            ("a\\*", "a*", false, true),
            ("!*.yaml", "a.txt", false, true),
            ("!*.yaml", "a.yaml", false, false),
            ("*a*b*c", "xxaxxbxxc", false, true),
            ("[", "[", false, false),
        ] {
            let rules = Rules::parse(text).unwrap();
            assert_eq!(rules.leave_out(path, is_folder), left_out, "{text:?} {path}");
        }
        assert_eq!(Rules::parse("a/**"), Err("a/**".to_owned()));
    }

    #[test]
    fn a_pattern_of_stars_ends_soon() {
        let rules = Rules::parse(&format!("{}b", "*a".repeat(200))).unwrap();
        assert!(!rules.leave_out(&"a".repeat(4000), false));
    }
}
