//! Writes lines into a waybill, as a person would.
//!
//! In:   the text of a waybill, lines to add.
//! Out:  the new text, all else as it was, comments too; or nothing when that is in doubt.
//! Pure. A new text counts only when it reads as the old waybill with the new lines behind its own.

use super::Line;
use crate::waybill::{Spec, Waybill};

/// Adds `lines` to the lists of `text`.
///
/// None when the waybill is written in a way that this cannot follow.
pub fn insert(text: &str, lines: &[Line]) -> Option<String> {
    let mut new = text.to_owned();
    for line in lines {
        new = insert_one(&new, line)?;
    }
    is_only_longer(&Waybill::parse(text).ok()?, &Waybill::parse(&new).ok()?, lines).then_some(new)
}

/// The lines as a list of their own, for a person to put in place.
pub fn alone(lines: &[Line]) -> String {
    let mut text = "spec:\n".to_owned();
    let mut keys: Vec<&str> = lines.iter().map(|line| line.key).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        text.push_str(&format!("  {key}:\n"));
        for line in lines.iter().filter(|line| line.key == key) {
            text.push_str(&format!("    - {}\n", line.item));
        }
    }
    text
}

fn insert_one(text: &str, line: &Line) -> Option<String> {
    let rows: Vec<&str> = text.split_inclusive('\n').collect();
    let spec = rows.iter().position(|row| bare(row) == "spec:")?;
    let body = spec + 1..end_of_block(&rows, spec, 0);
    let indent = body.clone().find(|&at| !is_empty(rows[at])).map_or(2, |at| indent_of(rows[at]));
    let head = format!("{}:", line.key);
    let is_head = |at: &usize| {
        indent_of(rows[*at]) == indent && rows[*at].trim_start().starts_with(head.as_str())
    };
    let Some(key) = body.clone().find(is_head) else {
        let pad = " ".repeat(indent);
        let block = format!("{pad}{head}\n{pad}  - {}\n", line.item);
        return Some(joined(&rows, body.end, &block));
    };
    let value = bare(rows[key]).trim_start().strip_prefix(head.as_str())?.trim();
    if value.is_empty() {
        return in_block(&rows, key, indent, line);
    }
    in_flow(&rows, key, value, line)
}

/// Behind the last item of a list whose items stand on rows of their own.
fn in_block(rows: &[&str], key: usize, indent: usize, line: &Line) -> Option<String> {
    let first = (key + 1..rows.len()).find(|&at| !is_empty(rows[at]))?;
    let own = indent_of(rows[first]);
    if !rows[first].trim_start().starts_with("- ") || own < indent {
        return None;
    }
    // Items may stand as deep as the key itself.
    let is_inside = |row: &str| {
        own < indent_of(row) || (own == indent_of(row) && row.trim_start().starts_with("- "))
    };
    let end = (first..rows.len()).filter(|&at| !is_empty(rows[at]));
    let end = end.take_while(|&at| is_inside(rows[at])).last()? + 1;
    Some(joined(rows, end, &format!("{}- {}\n", " ".repeat(own), line.item)))
}

/// Before the bracket that closes a list in flow style, which may go over several rows.
fn in_flow(rows: &[&str], key: usize, value: &str, line: &Line) -> Option<String> {
    if !value.starts_with('[') {
        return None;
    }
    let indent = indent_of(rows[key]);
    let end = end_of_block(rows, key, indent);
    let last = (key..end).rev().find(|&at| !is_empty(rows[at]))?;
    let (before, after) = rows[last].rsplit_once(']')?;
    let is_plain = after.trim().is_empty() || after.trim_start().starts_with('#');
    let is_empty_list = last == key && before.trim_end().ends_with('[');
    if !is_plain {
        return None;
    }
    let comma = if is_empty_list { "" } else { ", " };
    // The bracket may stand alone on its row.
    let kept = if before.trim().is_empty() { before } else { before.trim_end() };
    let row = format!("{kept}{comma}{}]{after}", line.item);
    let mut all: Vec<&str> = rows.to_vec();
    all[last] = &row;
    Some(all.concat())
}

/// The row behind the last one that belongs to the key at `at`, without blank rows at its end.
fn end_of_block(rows: &[&str], at: usize, indent: usize) -> usize {
    let is_outside = |row: &&str| {
        let closes = row.trim_start().starts_with([']', '}']);
        !is_empty(row) && indent_of(row) <= indent && !closes && !row.trim_start().starts_with("- ")
    };
    let behind = at + 1;
    let len = rows[behind..].iter().position(is_outside).unwrap_or(rows.len() - behind);
    let inside = &rows[behind..behind + len];
    behind + inside.iter().rposition(|row| !is_empty(row)).map_or(0, |last| last + 1)
}

fn joined(rows: &[&str], at: usize, block: &str) -> String {
    let (before, after) = rows.split_at(at);
    let mut text = before.concat();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text + block + &after.concat()
}

/// Blank, or a comment.
fn is_empty(row: &str) -> bool {
    let row = row.trim();
    row.is_empty() || row.starts_with('#')
}

fn indent_of(row: &str) -> usize {
    row.len() - row.trim_start_matches(' ').len()
}

/// A row without the comment behind it. A `#` in a text makes this stop early, which the reading
/// of the result finds out.
fn bare(row: &str) -> &str {
    row.split(" #").next().unwrap_or_default().trim_end()
}

fn is_only_longer(old: &Waybill, new: &Waybill, lines: &[Line]) -> bool {
    let added = |key: &str| lines.iter().filter(|line| line.key == key).count();
    let (a, b) = (&old.spec, &new.spec);
    let lists = is_longer(&a.files, &b.files, added("files"))
        && is_longer(&a.images, &b.images, added("images"))
        && is_longer(&a.charts, &b.charts, added("charts"))
        && is_longer(&a.apt, &b.apt, added("apt"))
        && is_longer(&a.pypi, &b.pypi, added("pypi"))
        && is_longer(&a.yum, &b.yum, added("yum"));
    let Spec { files, images, charts, apt, pypi, yum, .. } = a.clone();
    let rest = Spec { files, images, charts, apt, pypi, yum, ..b.clone() };
    lists && rest == *a && old.metadata == new.metadata
}

fn is_longer<T: PartialEq>(old: &[T], new: &[T], added: usize) -> bool {
    new.starts_with(old) && new.len() == old.len() + added
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: gapferry.dev/v1\nkind: Waybill\nmetadata: {name: w}\n";

    fn image(reference: &str) -> Line {
        Line { key: "images", item: format!("{{ref: \"{reference}\"}}") }
    }

    fn inserted(spec: &str, lines: &[Line]) -> Option<String> {
        let text = insert(&format!("{HEAD}{spec}"), lines)?;
        Some(text.strip_prefix(HEAD).unwrap().to_owned())
    }

    #[test]
    fn a_line_goes_behind_the_last_item_and_comments_stay() {
        let spec = "spec:\n  # what pods pull\n  images:\n    - {ref: \"r.example/a:1\"}  # one\n    \
            - ref: r.example/b:1\n      insecure: true\n\n  # then\n  keep: 2\n";
        let expected = "spec:\n  # what pods pull\n  images:\n    - {ref: \"r.example/a:1\"}  # one\n    \
            - ref: r.example/b:1\n      insecure: true\n    - {ref: \"r.example/c:1\"}\n\n  # then\n  keep: 2\n";
        assert_eq!(inserted(spec, &[image("r.example/c:1")]).as_deref(), Some(expected));
    }

    #[test]
    fn a_list_in_flow_style_grows_before_its_bracket() {
        for (spec, expected) in [
            (
                "spec:\n  images: [{ref: r.example/a:1}] # all\n",
                "spec:\n  images: [{ref: r.example/a:1}, {ref: \"r.example/c:1\"}] # all\n",
            ),
            ("spec:\n  images: []\n", "spec:\n  images: [{ref: \"r.example/c:1\"}]\n"),
            (
                "spec:\n  images: [\n    {ref: r.example/a:1}\n  ]\n  keep: 2\n",
                "spec:\n  images: [\n    {ref: r.example/a:1}\n  , {ref: \"r.example/c:1\"}]\n  keep: 2\n",
            ),
        ] {
            assert_eq!(inserted(spec, &[image("r.example/c:1")]).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_list_that_is_not_there_is_begun_at_the_end() {
        let spec = "spec:\n    keep: 2";
        let expected = "spec:\n    keep: 2\n    images:\n      - {ref: \"r.example/a:1\"}\n      \
            - {ref: \"r.example/b:1\"}\n";
        let lines = [image("r.example/a:1"), image("r.example/b:1")];
        assert_eq!(inserted(spec, &lines).as_deref(), Some(expected));
    }

    #[test]
    fn a_waybill_that_is_written_otherwise_is_left_alone() {
        for spec in ["spec: {images: []}\n", "spec:\n  images: &a\n    - {ref: r.example/a:1}\n"] {
            assert_eq!(inserted(spec, &[image("r.example/c:1")]), None, "{spec}");
        }
        let lines = [image("r.example/c:1")];
        assert_eq!(alone(&lines), "spec:\n  images:\n    - {ref: \"r.example/c:1\"}\n");
    }
}
