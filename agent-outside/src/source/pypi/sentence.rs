//! Words for what an index has and why it does not do.
//!
//! In:   a project and the round that found nothing in it.
//! Out:  the end of a sentence.
//! Pure.

use pep508_rs::PackageName;

use super::{closure::Round, project::Project};

/// How many versions are shown: enough to see what is there.
const SHOWN_MAX: usize = 5;

/// Says which versions there are, and what is wrong with those that were asked for.
pub(super) fn versions(round: &Round<'_>, name: &PackageName, project: &Project) -> String {
    if project.releases.is_empty() {
        return match project.without_digest {
            0 => "no index has a file of this project".to_owned(),
            n => format!("the index gives no sha256 for any of its {n} files"),
        };
    }
    let obstacles = project.releases.iter().filter_map(|r| round.obstacle(name, &r.version));
    let obstacles: Vec<String> = obstacles.take(SHOWN_MAX).collect();
    if !obstacles.is_empty() {
        return obstacles.join(", ");
    }
    let shown = project.releases.iter().take(SHOWN_MAX);
    let shown: Vec<String> = shown.map(|release| release.version.to_string()).collect();
    let more = project.releases.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} older ones") };
    format!("there are {}{more}", shown.join(", "))
}
