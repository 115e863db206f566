#![no_main]

#[allow(dead_code)] // the other targets
#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::rpm(bytes));
