//! The harness: two real agents, a stick between them, an upstream that can misbehave.
//!
//! Nothing here shares code with the agents. Digests, archives and indexes are made by other
//! means, so that a fault of the agents cannot hide in their own test.

pub mod agents;
pub mod clients;
pub mod damage;
pub mod disk;
pub mod fetch;
pub mod fixtures;
pub mod gate;
pub mod process;
pub mod rpm;
pub mod site;
pub mod stick;
pub mod tls;
pub mod upstream;

pub use damage::Damage;
pub use fixtures::Content;
pub use gate::Gate;
pub use site::{Inside, Outside, Site};
pub use stick::Stick;
pub use tls::Tls;
pub use upstream::{Fault, Upstream};
