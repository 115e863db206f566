//! Ansible's modules fetch from the inside, as Kubespray has them do.

use std::{fs, path::Path};

use tests::{
    clients::{self, Apt, Client, SYSTEM_PYTHON},
    fixtures::{Deb, sha256},
    process::Finished,
};

use crate::{
    first_transfer::apt_key,
    world::{Goods, World},
};

/// Plays tasks on this machine.
fn play(tasks: &str, folder: &Path) -> Finished {
    let head = "- hosts: localhost\n  gather_facts: false\n  environment: {no_proxy: \"*\"}\n  \
        vars: {ansible_python_interpreter: \"{{ ansible_playbook_python }}\"}\n  tasks:\n";
    clients::ansible(&format!("{head}{tasks}"), folder)
}

fn ok(finished: &Finished) {
    assert_eq!(finished.exit_code, 0, "{}{}", finished.stdout, finished.stderr);
}

#[test]
fn get_url_takes_a_file_with_its_checksum_and_no_other() {
    if !Client::AnsiblePlaybook.usable() {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/files/{}/files/tool", server.url, world.upstream.host());
    let task = |name: &str, checksum: &str| {
        let dest = folder.path().join(name);
        format!(
            "    - get_url: {{url: \"{url}\", dest: \"{}\", mode: \"0755\", \
             checksum: \"sha256:{checksum}\"}}\n",
            dest.display()
        )
    };
    let digest = sha256(&Goods::first().tool);
    let first = play(&task("tool", &digest), folder.path());
    ok(&first);
    assert!(first.stdout.contains("changed=1"), "{}", first.stdout);
    assert_eq!(fs::read(folder.path().join("tool")).unwrap(), Goods::first().tool);
    let second = play(&task("tool", &digest), folder.path());
    ok(&second);
    assert!(second.stdout.contains("changed=0"), "{}", second.stdout);
    let wrong = play(&task("wrong", &"0".repeat(64)), folder.path());
    assert_ne!(wrong.exit_code, 0, "{}", wrong.stdout);
    assert!(wrong.stdout.contains("did not match"), "{}", wrong.stdout);
    assert!(!folder.path().join("wrong").exists());
}

#[test]
fn the_module_pip_installs_a_closure() {
    if !Client::AnsiblePlaybook.usable() {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("taken");
    let task = format!(
        "    - pip: {{name: \"alpha==1.0\", extra_args: \"--isolated --no-cache-dir --target {} \
         --index-url {}/pypi/simple/\"}}\n",
        target.display(),
        server.url
    );
    ok(&play(&task, folder.path()));
    for (module, version) in [("alpha", "1.0"), ("beta", "2.0")] {
        let text = fs::read_to_string(target.join(module).join("__init__.py")).unwrap();
        assert_eq!(text, format!("version = \"{version}\"\n"));
    }
}

/// With a state of its own, and told to download only: this machine's packages stay as they are.
#[test]
fn the_module_apt_updates_its_lists_and_fetches_a_closure() {
    if [Client::AnsiblePlaybook, Client::AptGet, Client::PythonApt].map(Client::usable) != [true; 3]
    {
        return;
    }
    let world = World::new();
    world.site.carry();
    let server = world.site.inside.serve();
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("{}/apt/debian-13", server.url);
    let apt = Apt::new(folder.path(), &uri, "trixie", &apt_key(&server));
    let task = format!(
        "    - apt: {{name: socat, update_cache: true, install_recommends: false, \
         auto_install_module_deps: false}}\n      \
         environment: {{APT_CONFIG: \"{}\"}}\n      \
         vars: {{ansible_python_interpreter: {SYSTEM_PYTHON}}}\n",
        apt.settings_for_downloads().display()
    );
    ok(&play(&task, folder.path()));
    let mut fetched: Vec<String> =
        apt.archives().iter().map(|deb| sha256(&fs::read(deb).unwrap())).collect();
    let mut expected: Vec<String> =
        Goods::first().debs.iter().map(Deb::make).map(|deb| sha256(&deb)).collect();
    fetched.sort();
    expected.sort();
    assert_eq!(fetched, expected);
}
