//! The approval list as CSV, for spreadsheets.
//!
//! In:   an approval list.
//! Out:  RFC 4180: a head, then one record a row, lines ending in CR LF.
//! Never lets a cell become a formula: names and reasons come from upstream.

use super::{Approval, Row};

/// The columns, in order.
const HEAD: [&str; 15] = [
    "change", "kind", "name", "package", "version", "origin", "digest", "was", "differs",
    "licence", "verified", "by", "bytes", "purl", "why",
];

/// Writes the list.
pub fn csv(approval: &Approval) -> String {
    let mut text = String::new();
    record(&mut text, HEAD.map(str::to_owned));
    for row in &approval.rows {
        record(&mut text, cells(row));
    }
    text
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    [
        row.change.to_string(),
        row.kind.to_string(),
        row.name.clone(),
        row.package.clone(),
        row.version.clone().unwrap_or_default(),
        row.origin.clone(),
        row.digest.map(|digest| digest.to_string()).unwrap_or_default(),
        row.was.map(|digest| digest.to_string()).unwrap_or_default(),
        row.differs.join(", "),
        row.licence.clone().unwrap_or_default(),
        super::method_word(row.verified).to_owned(),
        row.by.clone(),
        row.bytes.to_string(),
        row.purl.clone(),
        row.why.join("; "),
    ]
}

fn record(text: &mut String, cells: [String; HEAD.len()]) {
    for (i, cell) in cells.into_iter().enumerate() {
        if i != 0 {
            text.push(',');
        }
        text.push_str(&quoted(&disarmed(cell)));
    }
    text.push_str("\r\n");
}

/// Puts a quote mark before what a spreadsheet would calculate, also in full width.
fn disarmed(cell: String) -> String {
    let is_formula =
        |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '|' | '%');
    let first = cell.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    let is_armed = first.starts_with(is_formula) || cell.starts_with(['\t', '\r', '\n']);
    if is_armed { format!("'{cell}") } else { cell }
}

/// RFC 4180, section 2; also around what some spreadsheets take for a separator.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', ';', '\t', '\r', '\n', '\'']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_when_it_must_be() {
        for (cell, written) in [
            ("plain text", "plain text"),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("a;b", "\"a;b\""),
            ("", ""),
        ] {
            assert_eq!(quoted(cell), written);
        }
    }

    #[test]
    fn no_cell_is_a_formula() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "\u{b}=1", "\n"]
        {
            assert_eq!(disarmed(cell.to_owned()), format!("'{cell}"));
        }
        for cell in ["sha256:00", "a=b", "1.2-3", "https://h.example/?a=b"] {
            assert_eq!(disarmed(cell.to_owned()), cell);
        }
    }
}
