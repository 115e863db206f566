//! The approval list as text, for a terminal or a printer.
//!
//! In:   an approval list.
//! Out:  a line a row with aligned columns, under it digest, origin, proof and reasons.
//! Never passes on what moves a terminal's cursor or turns its text around.

use gapferry_common::cli::{human_bytes, plain};

use super::{Approval, Change, Row};

/// Most reasons that are shown of one row.
const WHY_SHOWN_MAX: usize = 3;

/// Writes the list; rows that stay as they are only count unless `with_kept`.
pub fn text(approval: &Approval, with_kept: bool) -> String {
    let rows = approval.rows.iter().filter(|row| with_kept || row.change != Change::Kept);
    let rows: Vec<(&Row, [String; 6])> = rows.map(|row| (row, cells(row))).collect();
    let width = |i: usize| rows.iter().map(|(_, cells)| cells[i].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|i| width(i).unwrap_or_default());
    let mut text = String::new();
    for (row, cells) in &rows {
        line(&mut text, cells, &widths);
        details(&mut text, row);
    }
    if !rows.is_empty() {
        text.push('\n');
    }
    text.push_str(&sums(approval));
    text
}

fn cells(row: &Row) -> [String; 6] {
    [
        row.change.to_string(),
        row.kind.to_string(),
        plain(&row.name),
        plain(row.version.as_deref().unwrap_or("-")),
        human_bytes(row.bytes),
        plain(row.licence.as_deref().unwrap_or("-")),
    ]
}

/// Sizes stand to the right of their column, all else to the left.
fn line(text: &mut String, cells: &[String; 6], widths: &[usize; 6]) {
    const SIZE: usize = 4;
    let mut joined = String::new();
    for (i, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
        let (before, after) = if i == SIZE { (gap.as_str(), "") } else { ("", gap.as_str()) };
        joined.push_str(&format!("{before}{cell}{after}  "));
    }
    text.push_str(joined.trim_end());
    text.push('\n');
}

fn details(text: &mut String, row: &Row) {
    let mut detail = |word: &str, what: &str| {
        text.push_str(&format!("    {word:7}  {}\n", plain(what)));
    };
    if row.change == Change::Kept {
        return;
    }
    if let Some(digest) = row.digest {
        detail("digest", &digest.to_string());
    }
    if row.change == Change::Removed {
        return;
    }
    if let Some(was) = row.was {
        detail("was", &was.to_string());
    }
    if !row.differs.is_empty() {
        detail("differs", &row.differs.join(", "));
    }
    detail("from", &row.origin);
    detail("proof", &row.proof());
    for why in row.why.iter().take(WHY_SHOWN_MAX) {
        detail("why", why);
    }
    if let rest @ 1.. = row.why.len().saturating_sub(WHY_SHOWN_MAX) {
        detail("", &format!("… and {rest} more reasons"));
    }
}

fn sums(approval: &Approval) -> String {
    let sums = &approval.sums;
    format!(
        "{} added, {} changed, {} removed, {} kept; {} enter\n",
        sums.added,
        sums.changed,
        sums.removed,
        sums.kept,
        human_bytes(sums.bytes_entering)
    )
}
