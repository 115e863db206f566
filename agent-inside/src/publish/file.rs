//! Plain files: served as they are, with no document of their own.

use gapferry_proto::artifact::FileFacts;

/// The path below the server's root at which a file is served.
pub fn address(facts: &FileFacts) -> String {
    format!("files/{}", facts.path)
}
