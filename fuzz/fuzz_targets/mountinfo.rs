//! /proc/self/mountinfo and /proc/self/cgroup: any bytes are a layout of cgroups or refused, and of a layout every
//! path is good to be used.
//!
//! The two files stand in the input one after the other, with a NUL byte between them.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use rruntime::host::cgroup::layout::{Layout, Mode, mount_point};

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (mountinfo, rest) = bytes.split_at(split);
    if let Some(found) = mount_point(mountinfo, b"resctrl") {
        is_of(mountinfo, &found);
    }
    let Ok(layout) = Layout::parse(mountinfo, rest.get(1..).unwrap_or_default()) else { return };
    let unified = layout.hierarchies.iter().filter(|hierarchy| hierarchy.is_v2()).count();
    assert!(unified <= 1 && layout.v2().is_some() == (unified == 1));
    let mode = match (unified, layout.hierarchies.len()) {
        (0, 0) => None,
        (0, _) => Some(Mode::V1),
        (_, 1) => Some(Mode::V2),
        _ => Some(Mode::Hybrid),
    };
    assert_eq!(layout.mode(), mode);
    for hierarchy in &layout.hierarchies {
        is_of(mountinfo, &hierarchy.mount);
        if let Some(own) = &hierarchy.own {
            let plain = |component| matches!(component, Component::Normal(_) | Component::CurDir);
            assert!(own.components().all(plain), "{own:?} leads out of {:?}", hierarchy.mount);
        }
    }
});

/// A mount point is never longer than it is written.
fn is_of(mountinfo: &[u8], point: &Path) {
    assert!(point.as_os_str().len() <= mountinfo.len());
}
