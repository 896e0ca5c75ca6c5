//! `pids`, `hugepageLimits`, `network` and `rdma` of `linux.resources` (kernel: cgroup-v1/pids.rst, hugetlb.rst,
//! net_cls.rst, net_prio.rst, rdma.rst, and the same in cgroup-v2.rst).

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxResources};

use super::{Missing, Planner, Version, or_max};

const PIDS: &str = "/linux/resources/pids/limit";
const HUGEPAGES: &str = "/linux/resources/hugepageLimits";
const CLASS_ID: &str = "/linux/resources/network/classID";
const PRIORITIES: &str = "/linux/resources/network/priorities";
const RDMA: &str = "/linux/resources/rdma";

impl Planner<'_> {
    pub(super) fn others(&mut self, new: &LinuxResources) {
        if let Some(limit) = new.pids().and_then(|pids| self.limit(Some(pids.limit()), PIDS))
            && let Some((_, which)) = self.home("pids", Some("pids"), PIDS)
        {
            self.write(&which, "pids.max", or_max(limit), PIDS);
        }
        for (index, limit) in new.hugepage_limits().iter().flatten().enumerate() {
            self.hugepages(limit, index);
        }
        if let Some(network) = new.network() {
            self.network(network);
        }
        self.rdma(new);
    }

    fn hugepages(&mut self, limit: &LinuxHugepageLimit, index: usize) {
        let size = limit.page_size().as_str();
        let pointer = format!("{HUGEPAGES}/{index}");
        if !is_page_size(size) {
            self.fault(format!("{pointer}/pageSize"), format!("{size:?} is no size like \"64KB\", \"2MB\" or \"1GB\""));
            return;
        }
        if limit.limit() < -1 {
            self.fault(format!("{pointer}/limit"), format!("{} is below -1, which stands for no limit", limit.limit()));
            return;
        }
        let Some((version, which)) = self.home("hugetlb", Some("hugetlb"), &pointer) else { return };
        let (file, value) = match version {
            Version::V1 => ("limit_in_bytes", limit.limit().to_string()),
            Version::V2 => ("max", or_max(limit.limit())),
        };
        self.write(&which, format!("hugetlb.{size}.{file}"), &value, pointer.clone())
            .hint("the page sizes of the host are in /sys/kernel/mm/hugepages");
        // Reservations are limited since Linux 5.7: the program then gets an error instead of a SIGBUS.
        self.write(&which, format!("hugetlb.{size}.rsvd.{file}"), &value, pointer).if_missing(Missing::Skip);
    }

    fn network(&mut self, network: &LinuxNetwork) {
        if let Some(id) = network.class_id().filter(|id| *id != 0)
            && let Some((_, which)) = self.home("net_cls", None, CLASS_ID)
        {
            self.write(&which, "net_cls.classid", id, CLASS_ID);
        }
        let priorities = network.priorities().as_deref().unwrap_or_default();
        if priorities.is_empty() {
            return;
        }
        let Some((_, which)) = self.home("net_prio", None, PRIORITIES) else { return };
        for (index, priority) in priorities.iter().enumerate() {
            let name = priority.name().as_str();
            let pointer = format!("{PRIORITIES}/{index}");
            // IFNAMSIZ is 16 with the NUL (netdevice(7)).
            if name.is_empty() || name.len() > 15 || name.contains(|c: char| c.is_whitespace() || c == '/') {
                self.fault(format!("{pointer}/name"), format!("{name:?} is no name of a network interface"));
                continue;
            }
            self.write(&which, "net_prio.ifpriomap", format!("{name} {}", priority.priority()), pointer);
        }
    }

    fn rdma(&mut self, new: &LinuxResources) {
        let Some(devices) = new.rdma().as_ref().filter(|devices| !devices.is_empty()) else { return };
        let Some((_, which)) = self.home("rdma", Some("rdma"), RDMA) else { return };
        let mut devices: Vec<_> = devices.iter().collect();
        devices.sort_unstable_by_key(|device| device.0);
        for (name, limits) in devices {
            let pointer = format!("{RDMA}/{}", super::unified::escaped(name));
            if name.is_empty() || name.contains(char::is_whitespace) {
                self.fault(pointer, format!("{name:?} is no name of a device"));
                continue;
            }
            let handles = limits.hca_handles().map(|n| format!(" hca_handle={n}")).unwrap_or_default();
            let objects = limits.hca_objects().map(|n| format!(" hca_object={n}")).unwrap_or_default();
            if !(handles.is_empty() && objects.is_empty()) {
                self.write(&which, "rdma.max", format!("{name}{handles}{objects}"), pointer)
                    .hint("the devices of the host are in /sys/class/infiniband");
            }
        }
    }
}

/// `<digits>KB`, `MB` or `GB` as the kernel names its files.
fn is_page_size(size: &str) -> bool {
    let digits = ["KB", "MB", "GB"].into_iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
    !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}
