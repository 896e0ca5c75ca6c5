//! Directories of the host that the caller has left open (CVE-2024-21626), and what else leads out by a descriptor.

use std::fs;
use std::path::Path;

use super::{host_dir, leaking};
use crate::harness::{Bundle, Call, Container, peer, scratch};
use crate::tests;

tests![
    cve_2024_21626_cwd_of_a_leaked_directory,
    cve_2024_21626_cwd_of_a_leaked_directory_in_exec,
    cve_2024_21626_program_of_a_leaked_directory,
    cve_2024_21626_cwd_through_a_link_in_the_image,
    cve_2024_21626_no_descriptor_leads_out,
];

/// What a caller leaks is in 3 to 9, the runtime's own directories come after.
fn numbers() -> impl Iterator<Item = u32> {
    (3..16).chain([31, 63])
}

fn secret(output: &str) -> bool {
    output.contains("secret-of-the-host")
}

fn run(container: &Container, dir: &Path) -> String {
    leaking(container.call_run(), dir).run().stdout
}

fn cve_2024_21626_cwd_of_a_leaked_directory() {
    let dir = host_dir();
    let bundle =
        |number: u32| Bundle::new().sh("ls -a; ls -a ..").set("/process/cwd", format!("/proc/self/fd/{number}"));
    assert!(numbers().take(10).any(|number| secret(&run(&Container::on(peer::crun(), bundle(number)), &dir))));
    for number in numbers() {
        let container = Container::new(bundle(number));
        let output = leaking(container.call_run(), &dir).run();
        assert!(!secret(&output.stdout), "descriptor {number}: {}", output.stdout);
        assert!(!output.stdout.contains("config.json"), "descriptor {number}: {}", output.stdout);
        if output.status.success() {
            assert!(!output.stdout.contains("boot"), "descriptor {number}: {}", output.stdout);
        }
    }
}

fn cve_2024_21626_cwd_of_a_leaked_directory_in_exec() {
    let dir = host_dir();
    let list = |container: &Container, number: u32| {
        let cwd = format!("/proc/self/fd/{number}");
        let call = container.exec_with(["--cwd", &cwd]).args(["sh", "-c", "ls -a; ls -a .."]);
        leaking(call, &dir).run().stdout
    };
    let bites = Container::on(peer::crun(), Bundle::new().sleeping());
    bites.call_create().ok();
    bites.start();
    assert!(numbers().take(10).any(|number| secret(&list(&bites, number))));
    let container = Container::started(Bundle::new().sleeping());
    for number in 3..64 {
        let listed = list(&container, number);
        assert!(!secret(&listed), "descriptor {number}: {listed}");
    }
}

fn cve_2024_21626_program_of_a_leaked_directory() {
    let dir = host_dir();
    fs::copy("/bin/busybox", dir.join("echo")).unwrap();
    let bundle = |number: u32| Bundle::new().args([&format!("/proc/self/fd/{number}/echo"), "ran"]);
    let ran = |container: &Container| run(container, &dir).contains("ran");
    assert!(numbers().take(10).any(|number| ran(&Container::on(peer::crun(), bundle(number)))));
    for number in numbers() {
        assert!(!ran(&Container::new(bundle(number))), "descriptor {number}");
    }
}

fn cve_2024_21626_cwd_through_a_link_in_the_image() {
    let dir = host_dir();
    let bundle = |number: u32| {
        Bundle::new().link("work", format!("/proc/self/fd/{number}")).sh("ls -a").set("/process/cwd", "/work")
    };
    assert!(numbers().take(10).any(|number| secret(&run(&Container::on(peer::crun(), bundle(number)), &dir))));
    for number in numbers() {
        let listed = run(&Container::new(bundle(number)), &dir);
        assert!(!secret(&listed), "descriptor {number}: {listed}");
    }
}

/// Of the program's own descriptors.
fn cve_2024_21626_no_descriptor_leads_out() {
    let dir = host_dir();
    let leads_out = |printed: &str| {
        printed.lines().any(|line| line.contains(" /") && !line.contains("memfd:") && !line.contains("/dev/null"))
    };
    let bundle = || Bundle::new().probe(["descriptors"]);
    // It works for a program that its caller has started as it is.
    let bites = Call::new(scratch::shared("probe")).args(["--probe", "descriptors"]);
    assert!(leads_out(&leaking(bites, &dir).ok().stdout));
    let printed = run(&Container::new(bundle()), &dir);
    assert!(printed.contains("0 ") && !leads_out(&printed), "{printed}");
}
