//! OpenPGP: upstream's signatures in, the site's own out.
//!
//! The `pgp` crate is mechanism; what counts as a good signature is decided here.

pub mod ring;
pub mod sign;
pub mod verify;
