//! Asks for every URL of a waybill.
//!
//! In:   the files that a waybill means.
//! Out:  those that are not carried under their path, or with other bytes.

use gapferry_proto::{Kind, artifact::Method};

use super::{Ground, Line, Missing, Report};
use crate::{
    source::{file::Asked, http::Redacted},
    waybill::file_path,
};

/// Checks the files of a waybill.
pub fn check(ground: &Ground<'_>, files: &[Asked], report: &mut Report) {
    for asked in files {
        report.count(Kind::File);
        report.missing.extend(missing(ground, asked));
    }
}

fn missing(ground: &Ground<'_>, asked: &Asked) -> Option<Missing> {
    let shown = Redacted::of(&asked.url).to_string();
    let path = file_path(&asked.url);
    let name = path.as_ref().map_or(&*shown, |path| path.as_str());
    let held = ground.held.get(Kind::File, name);
    let reason = match (held, asked.expected) {
        (None, _) => ground.held.absent(Kind::File, name).to_owned(),
        (Some(_), None) => return None,
        (Some(file), Some((digest, _))) => {
            let held = file.blobs.first().map(|blob| blob.id.digest());
            if held == Some(digest) {
                return None;
            }
            let held = held.map(|digest| digest.to_string()).unwrap_or_default();
            format!("the site would have {held} under this path, not {digest}")
        }
    };
    let missing = Missing::new(Kind::File, name, &asked.label, reason);
    Some(match asked.expected {
        Some((digest, Method::Waybill)) => missing.asked_for(Line::file(&shown, digest)),
        _ => Missing { in_waybill: true, ..missing },
    })
}
