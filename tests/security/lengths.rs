//! Lists that are longer than what a length can say (CVE-2021-43784).

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Bundle, ours_only, scratch};
use crate::mounts::rows;
use crate::tests;

tests![
    cve_2021_43784_a_length_of_16_bits_overflows,
    cve_2021_43784_long_mounts,
    cve_2021_43784_long_id_maps,
    cve_2021_43784_long_groups_and_environment,
];

/// An attribute as netlink(7) has it, and as runc sent its lists to init: a length of 16 bits, a type, what it holds.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let [low, high, ..] = (content.len() + 4).to_le_bytes();
    let [kind_low, kind_high] = kind.to_le_bytes();
    [&[low, high, kind_low, kind_high], content].concat()
}

fn kinds(mut message: &[u8]) -> Vec<u16> {
    let mut kinds = Vec::new();
    while let [low, high, kind_low, kind_high, ..] = *message {
        kinds.push(u16::from_le_bytes([kind_low, kind_high]));
        let length = usize::from(u16::from_le_bytes([low, high]));
        message = message.get(length.max(4)..).unwrap_or_default();
    }
    kinds
}

const NAMESPACES: u16 = 1;
const MOUNTS: u16 = 2;

/// The mounts of the attacker's, so long that their length is 4 again, hold a second list of namespaces: none.
fn forged() -> Vec<u8> {
    let forged = attribute(NAMESPACES, &[0; 4]);
    let filler = attribute(MOUNTS, &vec![b'x'; 65_536 - forged.len() - 4]);
    [forged, filler].concat()
}

/// The attack on few lines: what is in the list is taken for what comes after it.
fn cve_2021_43784_a_length_of_16_bits_overflows() {
    assert_eq!(kinds(&[attribute(NAMESPACES, &[1; 4]), attribute(MOUNTS, b"short")].concat()), [NAMESPACES, MOUNTS]);
    let message = [attribute(NAMESPACES, &[1; 4]), attribute(MOUNTS, &forged())].concat();
    assert_eq!(kinds(&message), [NAMESPACES, MOUNTS, NAMESPACES, MOUNTS]);
    // What is sent holds no NUL byte, so here it is text of that length: refused by the kernel, and nothing forgotten.
    const LENGTHS: [usize; 4] = [65_531, 65_532, 65_536, 131_072];
    for length in LENGTHS {
        let long = format!("/{}", "x/".repeat(length / 2));
        Bundle::new().bind(&long, "/mnt", &[]).run().fails();
        Bundle::new().bind("/etc", &long, &[]).run().fails();
    }
    ours_only("mount(2) reads a page of options and no more");
    for length in LENGTHS {
        Bundle::new().mount("/mnt", "tmpfs", "tmpfs", &[&format!("size={}", "1".repeat(length))]).run().fails();
    }
}

fn cve_2021_43784_long_mounts() {
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    let source = scratch::new_dir(&"s".repeat(100));
    let count = 700;
    let bundle = (0..count).fold(Bundle::new(), |bundle, number| {
        bundle.bind(&source, &format!("/mnt/{}{number}", "d".repeat(100)), &["ro"])
    });
    let printed = bundle.sh("cat /proc/self/mountinfo; readlink /proc/self/ns/pid").prints();
    let made = rows(&printed).iter().filter(|row| row.at.starts_with("/mnt/d") && row.flags[0] == "ro").count();
    assert_eq!(made, count);
    assert!(!printed.contains(&own), "a pid namespace of its own, still");
    let long = format!("/{}", "d/".repeat(2500));
    let output = Bundle::new().bind("/etc", &long, &[]).run();
    assert!(output.took < Duration::from_secs(10));
    output.fails();
}

fn cve_2021_43784_long_id_maps() {
    let with = |count: u32| {
        let map: Vec<Value> =
            (0..count).map(|id| json!({"containerID": id, "hostID": 100_000 + id, "size": 1})).collect();
        let bundle = Bundle::new().user_namespace(100_000);
        bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    };
    assert_eq!(with(200).sh("cat /proc/self/uid_map | wc -l").prints(), "200");
    // The kernel takes a page of them, and no more than 340 (user_namespaces(7)).
    for count in [400, 7000] {
        with(count).run().fails();
    }
}

fn cve_2021_43784_long_groups_and_environment() {
    let groups: Vec<u32> = (1..40_000).collect();
    assert_eq!(Bundle::new().set("/process/user/additionalGids", json!(groups)).sh("id -G | wc -w").prints(), "40000");
    let env: Vec<String> = (0..3000).map(|n| format!("NAME{n}={}", "x".repeat(100))).collect();
    let bundle = Bundle::new().set("/process/env", json!(env)).push("/process/env", "PATH=/bin");
    assert_eq!(bundle.sh("env | grep -c ^NAME").prints(), "3000");
}
