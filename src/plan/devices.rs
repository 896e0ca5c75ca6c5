//! `linux.devices` and the default devices (config-linux.md, Devices).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount};

use super::paths::cleaned;
use super::report::Report;
use super::{Dev, Device, DeviceKind};

/// What every container has (config-linux.md, Default Devices), with the numbers of admin-guide/devices.txt.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// What may be written to a node that config.json gives no mode.
const DEFAULT_MODE: u32 = 0o666;

/// A device number has 12 bits for the major and 20 for the minor part (linux/kdev_t.h).
const MAJORS: i64 = 1 << 12;
const MINORS: i64 = 1 << 20;

/// The nodes to be made: the defaults, each unless config.json has its path, and then those of config.json.
pub fn build(listed: &[LinuxDevice], mounts: &[Mount], report: &mut Report) -> Dev {
    let mut own: Vec<Device> = Vec::with_capacity(listed.len());
    let mut by_path: HashMap<PathBuf, usize> = HashMap::with_capacity(listed.len());
    for (index, listed) in listed.iter().enumerate() {
        let Some(device) = device(listed, index, report) else { continue };
        if device.path == Path::new("/dev/ptmx") {
            // A link to the container's own pts/ptmx (config-linux.md, Default Devices); privileged engines list it.
            continue;
        }
        match by_path.get(&device.path).map(|place| &own[*place]) {
            None => {
                by_path.insert(device.path.clone(), own.len());
                own.push(device);
            }
            Some(other) if same_node(other, &device) => {}
            Some(other) => {
                let fault = format!("{:?} is another device at {}", device.path, other.pointer);
                report.fault(format!("{}/path", device.pointer), fault);
            }
        }
    }
    if mounts.iter().any(binds_dev) {
        return Dev::Untouched;
    }
    let default = DEFAULT.iter().filter(|(path, ..)| !by_path.contains_key(Path::new(path)));
    let mut devices: Vec<Device> = default.map(|(path, major, minor)| default_device(path, *major, *minor)).collect();
    devices.append(&mut own);
    Dev::Fill(devices)
}

fn same_node(a: &Device, b: &Device) -> bool {
    (a.kind, a.major, a.minor) == (b.kind, b.major, b.minor)
}

fn default_device(path: &str, major: u32, minor: u32) -> Device {
    Device {
        pointer: String::new(),
        path: PathBuf::from(path),
        kind: DeviceKind::Char,
        major,
        minor,
        mode: DEFAULT_MODE,
        uid: 0,
        gid: 0,
    }
}

/// Whose /dev is bound into the container keeps it as it is.
fn binds_dev(mount: &Mount) -> bool {
    let bind = mount.typ().as_deref() == Some("bind")
        || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
    bind && cleaned(mount.destination()) == Path::new("/dev")
}

fn device(listed: &LinuxDevice, index: usize, report: &mut Report) -> Option<Device> {
    let pointer = format!("/linux/devices/{index}");
    let kind = match listed.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
        LinuxDeviceType::B => DeviceKind::Block,
        LinuxDeviceType::P => DeviceKind::Fifo,
        LinuxDeviceType::A => {
            report.fault(format!("{pointer}/type"), "\"a\" is no type of a node; b, c, u and p are");
            return None;
        }
    };
    let path = listed.path();
    report.no_nul(path.as_os_str().as_encoded_bytes(), || format!("{pointer}/path"));
    if !path.is_absolute() || cleaned(path) == Path::new("/") {
        report.fault(format!("{pointer}/path"), format!("{path:?} names no node; an absolute path is needed"));
        return None;
    }
    let mut number = |number: i64, end: i64, field: &str| {
        if (0..end).contains(&number) {
            return number as u32;
        }
        report.fault(format!("{pointer}/{field}"), format!("{number} is not in 0..{}", end - 1));
        0
    };
    // A fifo has no numbers.
    let (major, minor) = match kind {
        DeviceKind::Fifo => (0, 0),
        _ => (number(listed.major(), MAJORS, "major"), number(listed.minor(), MINORS, "minor")),
    };
    Some(Device {
        path: cleaned(path),
        kind,
        major,
        minor,
        // Engines copy st_mode, with the bits of the file's type.
        mode: listed.file_mode().map_or(DEFAULT_MODE, |mode| mode & 0o7777),
        uid: listed.uid().unwrap_or(0),
        gid: listed.gid().unwrap_or(0),
        pointer,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(devices: Value, mounts: Value) -> (Dev, Vec<String>) {
        let mut report = Report::default();
        let devices: Vec<LinuxDevice> = serde_json::from_value(devices).unwrap();
        let mounts: Vec<Mount> = serde_json::from_value(mounts).unwrap();
        (build(&devices, &mounts, &mut report), report.texts())
    }

    fn nodes(devices: Value) -> Vec<Device> {
        match built(devices, json!([])) {
            (Dev::Fill(devices), faults) if faults.is_empty() => devices,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_come_first_and_can_be_overridden() {
        let own = json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 8576, "uid": 1, "gid": 2},
            {"path": "/dev/./null", "type": "c", "major": 1, "minor": 3, "fileMode": 0},
            {"path": "/run/fifo", "type": "p"},
        ]);
        let nodes = nodes(own);
        let paths: Vec<_> = nodes.iter().map(|node| node.path.to_str().unwrap()).collect();
        assert_eq!(
            paths,
            [
                "/dev/zero",
                "/dev/full",
                "/dev/random",
                "/dev/urandom",
                "/dev/tty",
                "/dev/fuse",
                "/dev/null",
                "/run/fifo"
            ]
        );
        let fuse = &nodes[5];
        assert_eq!((fuse.mode, fuse.uid, fuse.gid, fuse.pointer.as_str()), (0o600, 1, 2, "/linux/devices/0"));
        assert_eq!(nodes[6].mode, 0);
        assert_eq!((nodes[7].kind, nodes[7].mode), (DeviceKind::Fifo, 0o666));
    }

    #[test]
    fn what_engines_list_twice_is_made_once() {
        let tun = json!({"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200});
        let ptmx = json!({"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2});
        assert_eq!(nodes(json!([tun, tun, ptmx])).len(), DEFAULT.len() + 1);
    }

    #[test]
    fn what_is_no_node_is_refused() {
        let (_, faults) = built(
            json!([
                {"path": "/dev/a", "type": "a"},
                {"path": "dev/b", "type": "b"},
                {"path": "/dev/c", "type": "c", "major": -1, "minor": 1048576},
                {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
                {"path": "/dev//null", "type": "c", "major": 1, "minor": 5},
                {"path": "/..", "type": "p"},
            ]),
            json!([]),
        );
        assert_eq!(
            faults,
            [
                "/linux/devices/0/type: \"a\" is no type of a node; b, c, u and p are",
                "/linux/devices/1/path: \"dev/b\" names no node; an absolute path is needed",
                "/linux/devices/2/major: -1 is not in 0..4095",
                "/linux/devices/2/minor: 1048576 is not in 0..1048575",
                "/linux/devices/4/path: \"/dev/null\" is another device at /linux/devices/3",
                "/linux/devices/5/path: \"/..\" names no node; an absolute path is needed",
            ]
        );
    }

    #[test]
    fn a_bound_dev_is_left_alone() {
        let bind = json!([{"destination": "/dev/", "source": "/dev", "options": ["rbind"]}]);
        assert_eq!(built(json!([]), bind).0, Dev::Untouched);
        let tmpfs = json!([{"destination": "/dev", "type": "tmpfs"}]);
        assert_ne!(built(json!([]), tmpfs).0, Dev::Untouched);
    }
}
