//! Asks for every URL of a waybill.
//!
//! In:   the files that a waybill means.
//! Out:  those that are not carried under their path, with other bytes, or without the checksum
//!       that somebody gives them; those that nobody gives one are not proven.

use gapferry_proto::{Kind, artifact::Method};

use super::{Ground, Line, Missing, NotProven, Report};
use crate::{
    source::{file::Asked, http::Redacted},
    waybill::file_path,
};

/// Checks the files of a waybill.
pub fn check(ground: &Ground<'_>, files: &[Asked], report: &mut Report) {
    for asked in files {
        report.count(Kind::File);
        report.missing.extend(missing(ground, asked));
        if asked.expected.is_none() && asked.sha512.is_none() {
            let reason = "nobody gives it a checksum: it is what its server sent when it was \
                first seen";
            let shown = Redacted::of(&asked.url).to_string();
            report.not_proven.push(NotProven::new(Kind::File, shown, &asked.label, reason));
        }
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
            if held != Some(digest) {
                let held = held.map(|digest| digest.to_string()).unwrap_or_default();
                format!("the site would have {held} under this path, not {digest}")
            } else if file.evidence.digest == held {
                return None;
            } else {
                format!("the lock has lost its checksum {digest}, so nobody would vouch for it")
            }
        }
    };
    let missing = Missing::new(Kind::File, name, &asked.label, reason);
    Some(match asked.expected {
        Some((digest, Method::Waybill)) => missing.asked_for(Line::file(&shown, digest)),
        _ => Missing { in_waybill: true, ..missing },
    })
}
