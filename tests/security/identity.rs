//! Users, groups and capabilities that a process gets without having been given them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{XattrFlags, setxattr};
use serde_json::{Value, json};

use crate::harness::{Bundle, Container, ours_only};
use crate::tests;

tests![
    cve_2022_29162_exec_gives_no_inheritable_capabilities,
    cve_2022_29162_run_gives_no_inheritable_capabilities,
    cve_2026_30892_user_is_parsed_strictly,
    groups_of_the_caller_are_dropped,
];

/// An image with a program that gets CAP_NET_RAW if who runs it has it among its inheritable capabilities: a file of
/// capabilities(7) that names it among the inheritable ones only.
fn image() -> Bundle {
    const REVISION_2_EFFECTIVE: u32 = 0x0200_0001;
    const NET_RAW: u32 = 1 << 13;
    let bundle = Bundle::new();
    let program = bundle.rootfs("bin/busybox-capable");
    fs::copy("/bin/busybox", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let value: Vec<u8> =
        [REVISION_2_EFFECTIVE, 0, NET_RAW, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    setxattr(&program, "security.capability", &value, XattrFlags::empty()).unwrap();
    bundle.set("/process/noNewPrivileges", false)
}

const PROGRAM: [&str; 4] = ["/bin/busybox-capable", "grep", "^Cap", "/proc/self/status"];
const GAINED: &str = "CapPrm:\t0000000000002000";

fn capabilities(inheritable: &[&str]) -> Value {
    let bounding = json!(["CAP_NET_RAW", "CAP_KILL"]);
    json!({"bounding": bounding, "permitted": bounding, "effective": bounding, "inheritable": inheritable})
}

fn user(inheritable: &[&str]) -> Value {
    json!({"cwd": "/", "args": PROGRAM, "user": {"uid": 1000, "gid": 1000}, "noNewPrivileges": false,
        "capabilities": capabilities(inheritable)})
}

fn cve_2022_29162_exec_gives_no_inheritable_capabilities() {
    let container = Container::started(image().set("/process/capabilities", capabilities(&[])).sleeping());
    // An ordinary user gains it where it is inheritable.
    let bites = container.exec_process::<&str>(&user(&["CAP_NET_RAW"]), []).ok().stdout;
    assert!(bites.contains(GAINED), "{bites}");
    let printed = container.exec_process::<&str>(&user(&[]), []).ok().stdout;
    assert!(!printed.contains(GAINED) && printed.contains("CapInh:\t0000000000000000"), "{printed}");
    for flags in [&["--cap", "CAP_NET_RAW"][..], &["--cap", "CAP_NET_RAW", "--user", "1000"][..]] {
        let printed = container.exec_with(flags).args(["cat", "/proc/self/status"]).ok().stdout;
        assert!(printed.contains("CapInh:\t0000000000000000"), "{printed}");
    }
    let printed = container.exec_with(["--user", "1000"]).args(PROGRAM).ok().stdout;
    assert!(!printed.contains(GAINED) && printed.contains("CapInh:\t0000000000000000"), "{printed}");
}

fn cve_2022_29162_run_gives_no_inheritable_capabilities() {
    let run = |inheritable: &[&str]| image().set("/process", user(inheritable)).prints();
    assert!(run(&["CAP_NET_RAW"]).contains(GAINED));
    let printed = run(&[]);
    assert!(!printed.contains(GAINED), "{printed}");
    assert!(
        printed.contains("CapInh:\t0000000000000000") && printed.contains("CapAmb:\t0000000000000000"),
        "{printed}"
    );
}

/// As C's strtol(3) takes a number: what it does not understand is 0, which is root.
fn lenient(text: &str) -> u32 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn cve_2026_30892_user_is_parsed_strictly() {
    let wrong = ["1x", "1:", ":", ":1x", "0x1", "4294967295", "4294967296", " 1", "+1", "1.0", "1:2:3", "-1"];
    assert!(wrong.iter().filter(|text| lenient(text) == 0).count() > 4, "who is lenient takes these for root");
    let container = Container::started(Bundle::new().sleeping());
    assert_eq!(container.exec_with(["--user", "1"]).args(["id", "-u"]).ok().out(), "1");
    assert_eq!(container.exec_with(["-u", "1"]).args(["id", "-u"]).ok().out(), "1");
    assert_eq!(container.exec_with(["-u", "1:2"]).args(["sh", "-c", "id -u; id -g"]).ok().out(), "1\n2");
    ours_only("the peers' parsers take some of these");
    for wrong in wrong {
        container.exec_with([&format!("--user={wrong}")]).args(["id", "-u"]).fails();
    }
}

/// A file that the host's group may not read, and all others may: or the other way round.
fn groups_of_the_caller_are_dropped() {
    let bundle = || Bundle::new().sh("cat /shadow; grep Groups /proc/self/status");
    let set = |bundle: &Bundle| {
        let file = bundle.rootfs("shadow");
        fs::write(&file, "of the group\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(&file, Some(0), Some(4242)).unwrap();
        file
    };
    nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(4242), nix::unistd::Gid::from_raw(4243)]).unwrap();
    let bundle = bundle().set("/process/user", json!({"uid": 1000, "gid": 1000})).remove("/process/capabilities");
    let file = set(&bundle);
    // It works for a process that has kept the caller's groups.
    let keeps = ["--reuid=1000", "--regid=1000", "--keep-groups", "cat"];
    assert_eq!(crate::harness::Call::new("setpriv").args(keeps).arg(file).ok().out(), "of the group");
    let printed = bundle.prints();
    assert!(!printed.contains("of the group") && !printed.contains("4242"), "{printed}");
    let container = Container::started(Bundle::new().sleeping());
    let printed = container.exec_sh("grep Groups /proc/self/status");
    assert!(printed.contains("Groups:") && !printed.contains("4242"), "{printed}");
}
