//! `linux.netDevices`: devices of the host move into the container with their addresses, and come back.
//!
//! Each test has a network namespace of its own for a host, with one end of a veth pair to lend; the other stays.

use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::harness::container::lives;
use crate::harness::{Bundle, Call, Container, ours_only, wait_until};
use crate::tests;

tests![
    device_moves_with_its_addresses_and_comes_back,
    device_keeps_its_name_without_another,
    device_template_gets_the_first_free_number,
    device_that_was_down_is_up_inside_and_down_again,
    device_is_there_for_hooks_and_sysctls,
    device_of_a_joined_namespace_comes_back,
    device_of_a_user_namespace,
    device_comes_back_with_what_it_had,
    device_comes_back_after_a_foreground_run,
    device_comes_back_beside_one_of_its_name,
    device_comes_back_by_force,
    device_name_that_is_taken_is_refused_and_all_come_back,
    device_comes_back_after_a_failed_create,
    device_comes_back_after_a_killed_create,
    device_that_cannot_be_is_refused,
];

/// A namespace of this test's own with a device `lend0`, up, with an address of each family.
fn host() {
    ours_only("the peers of Debian 12 know no netDevices");
    unshare(CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET)");
    ip("link add lend0 mtu 1400 type veth peer name other");
    ip("link set other up");
    ip("addr add 10.9.8.7/24 dev lend0 label lend0:a");
    ip("addr add fd00:9::7/64 dev lend0 nodad");
    ip("link set lend0 up");
}

#[track_caller]
fn ip(words: &str) -> String {
    Call::new("ip").args(words.split(' ')).ok().stdout
}

fn lending(devices: Value) -> Bundle {
    Bundle::new().sleeping().set("/linux/netDevices", devices)
}

/// The device of this name with its addresses, as the host's `ip` shows them; `None` where there is none.
#[track_caller]
fn on_host(name: &str) -> Option<Device> {
    let all: Value = serde_json::from_str(&ip("-j addr show")).expect("ip -j");
    let device = all.as_array().expect("a list").iter().find(|device| device["ifname"] == name)?;
    let global = |address: &&Value| address["scope"] == "global";
    let text = |address: &Value| format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"]);
    let mut addresses: Vec<String> = device["addr_info"].as_array()?.iter().filter(global).map(text).collect();
    addresses.sort();
    let up = device["flags"].as_array()?.iter().any(|flag| flag == "UP");
    Some(Device { addresses, up })
}

#[derive(Debug, PartialEq, Eq)]
struct Device {
    addresses: Vec<String>,
    up: bool,
}

fn as_lent() -> Option<Device> {
    Some(Device { addresses: vec!["10.9.8.7/24".into(), "fd00:9::7/64".into()], up: true })
}

fn pins(container: &Container) -> Vec<String> {
    let entry = container.entry().display().to_string();
    crate::harness::leftovers::mounts().into_iter().filter(|mount| mount.starts_with(&entry)).collect()
}

fn device_moves_with_its_addresses_and_comes_back() {
    host();
    let container = Container::started(lending(json!({"lend0": {"name": "eth7"}})));
    assert_eq!(on_host("lend0"), None);
    let shown = container.exec_sh("ip addr show dev eth7; ip route");
    for part in ["UP", "mtu 1400", "inet 10.9.8.7/24", "inet6 fd00:9::7/64", "10.9.8.0/24 dev eth7"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("scope global tentative"), "{shown}");
    container.kill("KILL");
    container.wait_stopped();
    assert_eq!(on_host("lend0"), None);
    container.delete();
    assert_eq!(on_host("lend0"), as_lent());
    assert!(ip("addr show dev lend0").contains("lend0:a"));
    container.assert_gone();
    assert_eq!(pins(&container), Vec::<String>::new());
}

fn device_keeps_its_name_without_another() {
    host();
    let container = Container::created(lending(json!({"lend0": {}})));
    assert!(container.exec_sh("ip addr show dev lend0").contains("10.9.8.7"));
    container.delete();
    assert_eq!(on_host("lend0"), as_lent());
}

fn device_template_gets_the_first_free_number() {
    host();
    let container = Container::started(lending(json!({"lend0": {"name": "net%d"}, "other": {"name": "net%d"}})));
    assert!(container.exec_sh("ip addr show dev net0").contains("10.9.8.7"));
    container.exec_sh("ip link show dev net1");
    container.delete_force();
    assert_eq!(on_host("lend0"), as_lent());
    assert!(on_host("other").is_some_and(|other| other.up));
}

fn device_that_was_down_is_up_inside_and_down_again() {
    host();
    ip("link set lend0 down");
    let container = Container::started(lending(json!({"lend0": {}})));
    let shown = container.exec_sh("ip link show dev lend0");
    assert!(shown.contains(",UP"), "{shown}");
    container.delete_force();
    assert!(on_host("lend0").is_some_and(|device| !device.up));
}

fn device_is_there_for_hooks_and_sysctls() {
    host();
    let bundle = lending(json!({"lend0": {"name": "e0"}}))
        .hook("createContainer", "ip addr show dev e0 | grep -q 10.9.8.7", json!({}))
        .set("/linux/sysctl", json!({"net.ipv4.conf.e0.forwarding": "1"}));
    let container = Container::started(bundle);
    assert_eq!(container.exec_sh("cat /proc/sys/net/ipv4/conf/e0/forwarding"), "1");
}

fn device_of_a_joined_namespace_comes_back() {
    host();
    let first = Container::started(Bundle::new().sleeping());
    let path = PathBuf::from(format!("/proc/{}/ns/net", first.pid()));
    let second = Container::started(lending(json!({"lend0": {"name": "x"}})).namespace("network", Some(&path)));
    assert!(first.exec_sh("ip addr show dev x").contains("10.9.8.7"));
    second.delete_force();
    assert_eq!(on_host("lend0"), as_lent());
    first.exec(["ip", "link", "show", "dev", "x"]).fails();
}

fn device_of_a_user_namespace() {
    host();
    let container = Container::started(lending(json!({"lend0": {"name": "x"}})).user_namespace(100_000));
    assert!(container.exec_sh("ip addr show dev x").contains("10.9.8.7"));
    container.delete_force();
    assert_eq!(on_host("lend0"), as_lent());
}

/// What a container with the privilege for it does to the device is not the host's.
fn device_comes_back_with_what_it_had() {
    host();
    let script =
        "ip addr flush dev x; ip addr add 10.66.0.1/8 dev x; ip link set x down; ip link set x name y; sleep 1000";
    let bundle = lending(json!({"lend0": {"name": "x"}})).sh(script);
    let bundle = ["bounding", "effective", "permitted"]
        .iter()
        .fold(bundle, |bundle, set| bundle.push(&format!("/process/capabilities/{set}"), "CAP_NET_ADMIN"));
    let container = Container::started(bundle);
    wait_until("it is renamed", || container.exec_sh("cat /proc/net/dev").contains("y:"));
    container.delete_force();
    assert_eq!(on_host("lend0"), as_lent());
}

fn device_comes_back_after_a_foreground_run() {
    host();
    let bundle = lending(json!({"lend0": {}})).sh("ip addr show dev lend0");
    assert!(bundle.prints().contains("10.9.8.7"));
    assert_eq!(on_host("lend0"), as_lent());
}

fn device_comes_back_beside_one_of_its_name() {
    host();
    let container = Container::started(lending(json!({"lend0": {}})));
    ip("link add lend0 type veth peer name other2");
    container.kill("KILL");
    container.wait_stopped();
    container.delete().says("comes back as dev0");
    assert_eq!(on_host("dev0"), as_lent());
}

fn device_comes_back_by_force() {
    host();
    let container = Container::started(lending(json!({"lend0": {}})));
    container.delete_force();
    assert_eq!(on_host("lend0"), as_lent());
    container.assert_gone();
}

fn device_name_that_is_taken_is_refused_and_all_come_back() {
    host();
    ip("link add zeta type veth peer name zeta2");
    // Each network namespace has a loopback already.
    let container = Container::new(lending(json!({"lend0": {"name": "x"}, "zeta": {"name": "lo"}})));
    container
        .call_create()
        .fails()
        .says("/linux/netDevices/zeta: move the network device zeta into the container: the container's network namespace has a lo already");
    assert_eq!(on_host("lend0"), as_lent());
    assert!(on_host("zeta").is_some());
    container.assert_gone();
    assert_eq!(pins(&container), Vec::<String>::new());
}

fn device_comes_back_after_a_failed_create() {
    host();
    let container = Container::new(lending(json!({"lend0": {"name": "x"}})).hook("createRuntime", "exit 3", json!({})));
    container.call_create().fails();
    assert_eq!(on_host("lend0"), as_lent());
    container.assert_gone();
}

fn device_comes_back_after_a_killed_create() {
    host();
    let flag = crate::harness::scratch::path("hook");
    let hook = format!("echo $$ > {}; exec sleep 1000", flag.display());
    let container =
        Container::new(lending(json!({"lend0": {"name": "x"}})).hook("createRuntime", &hook, json!({"timeout": 100})));
    let call = container.call_create().start();
    wait_until("the hook runs", || Path::new(&flag).exists() && !std::fs::read(&flag).unwrap().is_empty());
    let hook: i32 = std::fs::read_to_string(&flag).unwrap().trim().parse().unwrap();
    call.signal(nix::sys::signal::Signal::SIGKILL);
    call.wait();
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(hook), nix::sys::signal::Signal::SIGKILL);
    wait_until("the hook has ended", || !lives(hook));
    assert_eq!(on_host("lend0"), None);
    container.delete_force();
    assert_eq!(on_host("lend0"), as_lent());
    container.assert_gone();
}

fn device_that_cannot_be_is_refused() {
    host();
    lending(json!({"none0": {}})).refused().says("/linux/netDevices/none0: names no network device");
    lending(json!({"lo": {}})).refused().says("/linux/netDevices/lo: cannot be moved");
    let own = lending(json!({"lend0": {}})).without_namespace("network");
    own.refused().says("/linux/netDevices: needs a network namespace");
    lending(json!({"lend0": {"name": "a/b"}})).refused().says("/linux/netDevices/lend0/name");
    assert_eq!(on_host("lend0"), as_lent());
}
