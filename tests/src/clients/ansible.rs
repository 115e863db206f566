//! Ansible, which plays on this machine.

use std::{fs, path::Path, process::Command};

use super::clean;
use crate::process::{self, Finished};

/// Runs a playbook on this machine.
///
/// # Panics
///
/// When the folder cannot be written.
pub fn ansible(playbook: &str, folder: &Path) -> Finished {
    process::run(&mut playing(playbook, folder))
}

/// Runs a playbook with `plugin` as the one callback besides Ansible's own.
///
/// # Panics
///
/// When the folder cannot be written.
pub fn ansible_with(plugin: (&str, &str), playbook: &str, url: &str, folder: &Path) -> Finished {
    let (name, text) = plugin;
    let plugins = folder.join("callback_plugins");
    fs::create_dir_all(&plugins).expect("a folder can be made");
    fs::write(plugins.join(format!("{name}.py")), text).expect("a file can be written");
    let mut ansible = playing(playbook, folder);
    ansible.env("ANSIBLE_CALLBACK_PLUGINS", plugins).env("ANSIBLE_CALLBACKS_ENABLED", name);
    process::run(ansible.env("GAPFERRY_URL", url))
}

fn playing(playbook: &str, folder: &Path) -> Command {
    fs::write(folder.join("play.yml"), playbook).expect("a file can be written");
    let mut ansible = clean("ansible-playbook", folder);
    ansible.env("ANSIBLE_HOME", folder.join("ansible")).env("LC_ALL", "C.UTF-8");
    ansible.args(["-i", "localhost,", "-c", "local", "play.yml"]);
    ansible
}
