//! The session keyring of a container, for those who know its name.

use std::fs;

use crate::harness::runtime::Runtime;
use crate::harness::{Bundle, Call, Container, differs_on, ours_only, wait_until};
use crate::tests;

tests![keyring_made_by_another_container_first_is_not_joined, keyring_is_shared_with_exec_and_nobody_else,];

/// keyctl(2) by number on x86_64; its operations GET_KEYRING_ID of the session keyring (-3), JOIN_SESSION_KEYRING and
/// SETPERM.
const KEYCTL: &str = r#"
    sub session { return syscall(250, 0, -3, 0) }
    sub join_session { my ($name) = @_; return syscall(250, 1, $name) }
    sub permit { my ($key, $bits) = @_; return syscall(250, 5, $key, $bits) }
    $| = 1;
"#;

fn perl(script: &str) -> [String; 3] {
    ["/usr/bin/perl".into(), "-e".into(), format!("{KEYCTL}{script}")]
}

/// Programs of the host in the container, without labels and filters that would keep it from its keys.
fn with_perl(bundle: Bundle) -> Bundle {
    crate::harness::needs(cfg!(target_arch = "x86_64"), "an x86_64 machine, whose system calls have these numbers");
    crate::harness::needs(fs::exists("/proc/keys").unwrap(), "a kernel with keyrings");
    bundle.bind("/usr", "/usr", &["ro"]).link("lib", "usr/lib").link("lib64", "usr/lib64")
}

/// Another process of the same user and user namespace, as root of another container is, knows the container's id.
fn keyring_made_by_another_container_first_is_not_joined() {
    differs_on(Runtime::Runc, "1.1.5 joins it");
    differs_on(Runtime::Crun, "1.8.1 joins it");
    let container = Container::new(with_perl(Bundle::new().args(perl("print session()"))));
    let names = [format!("_ses.{}", container.id), container.id.clone()];
    for name in names {
        let squat = format!("$key = join_session('{name}'); permit($key, 0x3f3f3f3f); print $key; sleep 1000");
        let attacker = Call::new("/usr/bin/perl").args(&perl(&squat)[1..]).start();
        wait_until("the keyring is there", || attacker.stdout().parse::<i32>().is_ok());
        // It is joined by who asks for that name.
        let victim = Call::new("/usr/bin/perl").args(&perl(&format!("print join_session('{name}')"))[1..]).ok();
        assert_eq!(victim.out(), attacker.stdout());
        assert_ne!(container.call_run().ok().out(), attacker.stdout());
        attacker.signal(nix::sys::signal::Signal::SIGKILL);
        attacker.wait();
    }
}

fn keyring_is_shared_with_exec_and_nobody_else() {
    ours_only("the peers' are joined by whoever knows the id");
    let container = Container::new(with_perl(Bundle::new().args(perl("print session(), \"\\n\"; sleep 1000"))));
    let created = container.call_create().ok();
    container.start();
    wait_until("it says which", || created.later().trim().parse::<i32>().is_ok());
    let own = created.later().trim().to_owned();
    assert_eq!(container.exec(perl("print session()")).ok().out(), own);
    // To all others it has no name: not even to root of the host, whose user is the same.
    let keys = fs::read_to_string("/proc/keys").unwrap();
    assert!(!keys.contains(&container.id), "{keys}");
    let hexadecimal = format!("{:08x}", own.parse::<i32>().unwrap());
    assert!(!keys.contains(&hexadecimal), "{keys}");
    // KEYCTL_LINK to the caller's process keyring (-2) would possess it.
    let link = Call::new("/usr/bin/perl").args(&perl(&format!("print syscall(250, 8, {own}, -2), ' ', $!"))[1..]).ok();
    assert_eq!(link.out(), "-1 Permission denied");
    // Another container has another one.
    let other = Container::new(with_perl(Bundle::new().args(perl("print session()"))));
    assert_ne!(other.call_run().ok().out(), own);
}
