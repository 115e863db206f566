//! A generation goes into servers that the site has already, and real clients take it from there.

mod files;
mod registry;
pub mod servers;

use tests::{
    Inside,
    site::{Failure, Outcome},
};

fn publish(inside: &Inside, to: &str, more: &[&str]) -> Result<Outcome, Failure> {
    inside.agent.run(&[&["publish", "--to", to], more].concat())
}

fn to_registry(inside: &Inside, host: &str, more: &[&str]) -> Result<Outcome, Failure> {
    let to = format!("registry://{host}");
    publish(inside, &to, &[&["--plain-http"], more].concat())
}

fn pushed(outcome: &Outcome) -> Vec<&str> {
    let pushed = outcome.json["pushed"].as_array().unwrap();
    pushed.iter().map(|one| one["what"].as_str().unwrap()).collect()
}
