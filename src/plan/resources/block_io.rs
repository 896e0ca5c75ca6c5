//! `linux.resources.blockIO` (kernel: cgroup-v1/blkio-controller.rst, cgroup-v2.rst "IO", block/bfq-iosched.rst).

use std::borrow::Cow;

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::{Missing, Planner, Version, Which};

const ROOT: &str = "/linux/resources/blockIO";
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;
const NO_WEIGHT: &str = "a weight needs the bfq I/O scheduler, or on v2 the kernel's iocost";
const NO_LEAF: &str = "leaf weights went with the CFQ I/O scheduler in Linux 5.0: leave it out";
const NO_BFQ: &str =
    "ENODEV: the host has no such block device, or it is a partition; EOPNOTSUPP: its I/O scheduler is not bfq";
const NO_DEVICE: &str = "ENODEV: the host has no such block device, or it is a partition";

/// The four throttles: name in config.json, file of v1, key of v2's `io.max`.
type Throttle<'a> = (&'static str, &'static str, &'static str, &'a Option<Vec<LinuxThrottleDevice>>);

impl Planner<'_> {
    pub(super) fn block_io(&mut self, block_io: &LinuxBlockIo) {
        if *block_io == LinuxBlockIo::default() {
            return;
        }
        let Some((version, which)) = self.home("blkio", Some("io"), ROOT) else { return };
        self.weight_of_all(version, &which, block_io);
        for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
            self.weight_of_device(version, &which, device, index);
        }
        let throttles: [Throttle<'_>; 4] = [
            ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps", block_io.throttle_read_bps_device()),
            ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps", block_io.throttle_write_bps_device()),
            (
                "throttleReadIOPSDevice",
                "blkio.throttle.read_iops_device",
                "riops",
                block_io.throttle_read_iops_device(),
            ),
            (
                "throttleWriteIOPSDevice",
                "blkio.throttle.write_iops_device",
                "wiops",
                block_io.throttle_write_iops_device(),
            ),
        ];
        match version {
            Version::V1 => self.throttle_v1(&which, &throttles),
            Version::V2 => self.throttle_v2(&which, &throttles),
        }
    }

    fn checked(&mut self, weight: Option<u16>, pointer: &str) -> Option<u16> {
        let weight = weight.filter(|v| *v != 0)?;
        if WEIGHTS.contains(&weight) {
            return Some(weight);
        }
        self.fault(pointer, format!("{weight} is not within {} to {}", WEIGHTS.start(), WEIGHTS.end()));
        None
    }

    fn weight_of_all(&mut self, version: Version, which: &Which, block_io: &LinuxBlockIo) {
        if let Some(weight) = self.checked(block_io.weight(), &format!("{ROOT}/weight")) {
            self.weights(version, which, "", weight, format!("{ROOT}/weight"));
        }
        let leaf = format!("{ROOT}/leafWeight");
        if let Some(weight) = self.checked(block_io.leaf_weight(), &leaf) {
            match version {
                Version::V1 => drop(self.write(which, "blkio.leaf_weight", weight, leaf).hint(NO_LEAF)),
                Version::V2 => self.v1_only(&leaf, "a leaf weight", "leave it out: put processes into a sub-cgroup"),
            }
        }
    }

    fn weight_of_device(&mut self, version: Version, which: &Which, device: &LinuxWeightDevice, index: usize) {
        let pointer = format!("{ROOT}/weightDevice/{index}");
        let Some(number) = self.number(device.major(), device.minor(), &pointer) else { return };
        if let Some(weight) = self.checked(device.weight(), &format!("{pointer}/weight")) {
            self.weights(version, which, &format!("{number} "), weight, pointer.clone());
        }
        if let Some(weight) = self.checked(device.leaf_weight(), &format!("{pointer}/leafWeight")) {
            let value = format!("{number} {weight}");
            match version {
                Version::V1 => drop(self.write(which, "blkio.leaf_weight_device", value, pointer).hint(NO_LEAF)),
                Version::V2 => self.v1_only(&format!("{pointer}/leafWeight"), "a leaf weight", "leave it out"),
            }
        }
    }

    /// A weight for bfq where the kernel has it, and else for the proportional controller.
    fn weights(&mut self, version: Version, which: &Which, device: &str, weight: u16, pointer: String) {
        let pointer = Cow::<'static, str>::Owned(pointer);
        let plain = format!("{device}{weight}");
        let (bfq, other, value) = match (version, device.is_empty()) {
            (Version::V1, true) => ("blkio.bfq.weight", "blkio.weight", plain.clone()),
            (Version::V1, false) => ("blkio.bfq.weight_device", "blkio.weight_device", plain.clone()),
            (Version::V2, _) => ("io.bfq.weight", "io.weight", format!("{device}{}", io_weight(weight))),
        };
        self.write(which, bfq, plain, pointer.clone()).if_missing(Missing::Next).hint(NO_BFQ);
        self.write(which, other, value, pointer).hint(NO_WEIGHT);
    }

    fn throttle_v1(&mut self, which: &Which, throttles: &[Throttle<'_>]) {
        for (name, file, _, devices) in throttles {
            for (index, device) in devices.iter().flatten().enumerate() {
                let pointer = format!("{ROOT}/{name}/{index}");
                if let Some(number) = self.number(device.major(), device.minor(), &pointer) {
                    self.write(which, *file, format!("{number} {}", device.rate()), pointer).hint(NO_DEVICE);
                }
            }
        }
    }

    /// v2 has one line for each device, with the four as keys.
    fn throttle_v2(&mut self, which: &Which, throttles: &[Throttle<'_>]) {
        let mut lines: Vec<(String, String, String)> = Vec::new();
        for (name, _, key, devices) in throttles {
            for (index, device) in devices.iter().flatten().enumerate() {
                let pointer = format!("{ROOT}/{name}/{index}");
                let Some(number) = self.number(device.major(), device.minor(), &pointer) else { continue };
                // v1 lifts a throttle by a rate of 0.
                let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
                match lines.iter_mut().find(|line| line.0 == number) {
                    Some(line) => line.1.push_str(&format!(" {key}={rate}")),
                    None => lines.push((number, format!(" {key}={rate}"), pointer)),
                }
            }
        }
        for (number, keys, pointer) in lines {
            self.write(which, "io.max", format!("{number}{keys}"), pointer).hint(NO_DEVICE);
        }
    }

    fn number(&mut self, major: i64, minor: i64, pointer: &str) -> Option<String> {
        if u32::try_from(major).is_ok() && u32::try_from(minor).is_ok() {
            return Some(format!("{major}:{minor}"));
        }
        self.fault(pointer, format!("{major}:{minor} is no device number"));
        None
    }
}

/// blkio's 10 to 1000 as io.weight's 1 to 10000, in a straight line (runtime-spec, config-linux.md leaves it open;
/// crun and runc do this).
pub(crate) fn io_weight(weight: u16) -> u32 {
    1 + (u32::from(weight) - 10) * 9999 / 990
}
