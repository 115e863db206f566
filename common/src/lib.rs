//! The world that both agents touch: store, chunks, packs, keys, durable writes, logs.
//!
//! Blocking throughout; nothing here knows which side of the gap it runs on.

pub mod audit;
pub mod budget;
pub mod challenge;
pub mod change;
pub mod cli;
pub mod config;
pub mod cut;
pub mod durable;
pub mod encode;
pub mod exit;
pub mod fault;
pub mod hashing;
pub mod keys;
pub mod limit;
pub mod lock;
pub mod logging;
pub mod map;
pub mod memory;
pub mod openpgp;
pub mod pack;
pub mod patch;
pub mod peel;
pub mod rebuild;
pub mod rpm;
pub mod scratch;
pub mod seal;
pub mod store;
pub mod words;
