//! What brings an export across the gap.

pub mod stick;
