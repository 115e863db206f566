//! What takes an export across the gap.

pub mod stick;
