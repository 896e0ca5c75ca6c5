//! Config + host facts → [`Plan`]: everything decided, nothing done.
//!
//! The types here are the contract between the builders (the other files of this room, which refuse all that is
//! wrong at once and name its JSON pointer) and the rooms that act (`spawn`, `host`, `init`), which only walk them.
//! Nothing in a plan has to be parsed, looked up by name or converted again: init runs in the container with
//! little memory and must not compute.

mod build;
mod capabilities;
pub mod cgroup;
pub mod cgroup_owner;
mod cgroup_tree;
#[cfg(test)]
mod configs;
pub mod device_rules;
mod devices;
mod hooks;
mod host;
mod id_maps;
pub mod intel_rdt;
pub mod memory_policy;
pub mod mount_options;
mod mounts;
mod namespaces;
pub mod net_devices;
pub(crate) mod paths;
mod process;
mod report;
pub(crate) mod resources;
mod scheduling;
pub mod scope;
mod sysctl;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bpf::seccomp::Checked;

pub use build::{Request, build, exec_process};
pub use capabilities::names as capability_names;
pub use host::{Confinement, Host};
pub use intel_rdt::IntelRdt;
pub use memory_policy::MemoryPolicy;
pub use mounts::CgroupTree;
pub use net_devices::NetDevice;

/// All that is decided of a container before anything of it is made.
#[derive(Debug)]
pub struct Plan {
    /// The container's id, checked.
    pub id: String,
    /// The bundle's directory, absolute and canonical.
    pub bundle: PathBuf,
    /// `root.path`, absolute and canonical.
    pub rootfs: PathBuf,
    /// `root.readonly`.
    pub rootfs_access: Access,
    /// `linux.rootfsPropagation`; slave and recursive where config.json is silent.
    pub rootfs_propagation: Propagation,
    /// Which namespaces are new, joined or shared with the runtime.
    pub namespaces: Namespaces,
    /// `linux.uidMappings` and `linux.gidMappings` of a new user namespace.
    pub id_maps: Option<IdMaps>,
    /// `linux.timeOffsets`, as lines for /proc/PID/timens_offsets (`monotonic 10 0`).
    pub time_offsets: Vec<String>,
    /// `linux.netDevices`, by name.
    pub net_devices: Vec<NetDevice>,
    /// `linux.intelRdt`.
    pub intel_rdt: Option<IntelRdt>,
    /// `hostname`.
    pub hostname: Option<CString>,
    /// `domainname`.
    pub domainname: Option<CString>,
    /// In the order in which they are made.
    pub mounts: Vec<Mount>,
    /// `linux.mountLabel`, for file systems that do not take it as an option of theirs.
    pub mount_label: Option<String>,
    /// Whether `/dev` is the runtime's to fill.
    pub dev: Dev,
    /// `linux.sysctl`: paths below /proc/sys (`net/ipv4/ip_forward`) and values.
    pub sysctls: Vec<Sysctl>,
    /// `linux.maskedPaths`: absolute, as the container sees them.
    pub masked_paths: Vec<PathBuf>,
    /// `linux.readonlyPaths`: absolute, as the container sees them.
    pub readonly_paths: Vec<PathBuf>,
    /// `hooks`.
    pub hooks: Hooks,
    /// `process`; absent where config.json has none, which `create` allows and `start` refuses.
    pub process: Option<Process>,
    /// `--no-pivot` says to move the root instead.
    pub root_change: RootChange,
    /// Things that are wrong but do not stop the container, to be printed once.
    pub warnings: Vec<String>,
}

/// Whether something may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// How the container's root becomes `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootChange {
    /// pivot_root(2).
    Pivot,
    /// `MS_MOVE` and chroot(2), for an initramfs, which cannot be pivoted away from.
    Move,
}

/// Mount propagation (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub reach: Reach,
}

/// The four propagation types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropagationKind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// Whether something holds for one mount or for all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Single,
    Recursive,
}

/// The kinds of namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    User,
    Mount,
    Pid,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Time,
}

impl NamespaceKind {
    /// In the order in which they are joined: user first, since it gives the privilege for the others.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Mount, Self::Pid, Self::Network, Self::Ipc, Self::Uts, Self::Cgroup, Self::Time];

    /// Its name in config.json (runtime-spec, config-linux.md, Namespaces).
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// Its file below /proc/PID/ns.
    pub fn proc_name(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            other => other.name(),
        }
    }

    /// Its `CLONE_NEW*` bit.
    pub fn clone_flag(self) -> u64 {
        let flag = match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Network => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => libc::CLONE_NEWTIME,
        };
        flag as u64
    }
}

/// What becomes of one kind of namespace.
#[derive(Debug, Default)]
pub enum Namespace {
    /// The runtime's own.
    #[default]
    Host,
    /// A new one.
    New,
    /// An existing one, opened (nsfs, its type checked) when the plan was made, so that the path is used once.
    Join { path: PathBuf, fd: OwnedFd },
}

impl Namespace {
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }

    pub fn is_host(&self) -> bool {
        matches!(self, Self::Host)
    }
}

/// `linux.namespaces`, by kind.
#[derive(Debug, Default)]
pub struct Namespaces {
    pub user: Namespace,
    pub mount: Namespace,
    pub pid: Namespace,
    pub network: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
    pub time: Namespace,
}

impl Namespaces {
    pub fn get(&self, kind: NamespaceKind) -> &Namespace {
        match kind {
            NamespaceKind::User => &self.user,
            NamespaceKind::Mount => &self.mount,
            NamespaceKind::Pid => &self.pid,
            NamespaceKind::Network => &self.network,
            NamespaceKind::Ipc => &self.ipc,
            NamespaceKind::Uts => &self.uts,
            NamespaceKind::Cgroup => &self.cgroup,
            NamespaceKind::Time => &self.time,
        }
    }

    pub fn get_mut(&mut self, kind: NamespaceKind) -> &mut Namespace {
        match kind {
            NamespaceKind::User => &mut self.user,
            NamespaceKind::Mount => &mut self.mount,
            NamespaceKind::Pid => &mut self.pid,
            NamespaceKind::Network => &mut self.network,
            NamespaceKind::Ipc => &mut self.ipc,
            NamespaceKind::Uts => &mut self.uts,
            NamespaceKind::Cgroup => &mut self.cgroup,
            NamespaceKind::Time => &mut self.time,
        }
    }
}

/// One line of a uid_map or gid_map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

/// The maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    pub uids: Vec<IdMapping>,
    pub gids: Vec<IdMapping>,
}

/// One mount, ready to be made.
#[derive(Debug)]
pub struct Mount {
    /// Where config.json asks for it: `/mounts/3`. Empty for one that the runtime adds.
    pub pointer: String,
    /// Absolute, as the container sees it; resolved inside the root when it is made.
    pub destination: PathBuf,
    pub what: MountWhat,
    /// `MOUNT_ATTR_*` bits (mount_setattr(2)) that the options set and clear on the mount itself, and on all below it
    /// (`rro`, `rnosuid`, …). For an ordinary file system the set bits become `MS_*` flags of mount(2).
    pub attributes: Attributes,
    pub recursive: Attributes,
    /// In the order of the options.
    pub propagation: Vec<Propagation>,
    /// `idmap`/`ridmap` or `uidMappings`/`gidMappings` of the mount.
    pub idmap: Option<MountIdmap>,
}

/// Bits of mount_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
}

impl Attributes {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// An id-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountIdmap {
    /// Absent: the maps of the container's own user namespace.
    pub maps: Option<IdMaps>,
    pub reach: Reach,
}

/// What is mounted.
#[derive(Debug)]
pub enum MountWhat {
    /// A part of the host's tree. `file` says whether a missing destination becomes a file or a directory.
    Bind { source: PathBuf, reach: Reach, target: TargetKind },
    /// A file system by type, with its superblock flags (`MS_SYNCHRONOUS`, `MS_RDONLY`, … of mount(2)) and its own
    /// options (`size=64k,mode=755`).
    Filesystem { fstype: CString, source: CString, flags: u64, data: String, copy_up: CopyUp },
    /// `remount`: new attributes for what is mounted at the destination already, and for its superblock where
    /// `superblock` has the flags and options for one (absent with `bind`).
    Remount { superblock: Option<SuperblockOptions> },
    /// The container's cgroups on a host with v1 hierarchies: a tmpfs with one mount for each.
    CgroupV1 { hierarchies: Vec<CgroupV1Mount> },
    /// The container's cgroup on a host whose /sys/fs/cgroup is cgroup2 (`linux` mount type `cgroup` or `cgroup2`).
    CgroupV2 {
        /// The container's own cgroup on the host, to be bound where there is no cgroup namespace of its own or a
        /// user namespace may not mount cgroup2.
        host_dir: PathBuf,
    },
}

impl MountWhat {
    /// Whether it shows the cgroups that a process is in, as its cgroup namespace has them.
    pub fn shows_cgroups(&self) -> bool {
        match self {
            Self::CgroupV1 { .. } | Self::CgroupV2 { .. } => true,
            Self::Filesystem { fstype, .. } => fstype.to_bytes().starts_with(b"cgroup"),
            Self::Bind { .. } | Self::Remount { .. } => false,
        }
    }
}

/// Options of a file system as mount(2) takes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SuperblockOptions {
    /// `MS_SYNCHRONOUS`, `MS_RDONLY`, …
    pub flags: u64,
    /// `size=64k,mode=755`
    pub data: String,
}

/// What a bind mount's source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    Directory,
    /// Regular files, sockets, devices: anything that mounts on a file.
    File,
}

/// `tmpcopyup`: whether what the directory held is copied into the tmpfs over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyUp {
    #[default]
    No,
    Yes,
}

/// One v1 hierarchy inside the container's /sys/fs/cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupV1Mount {
    /// Directory name: `cpu,cpuacct`, `systemd`; for cgroup2 on a hybrid host `unified`.
    pub name: String,
    /// Mount type (`cgroup` or `cgroup2`) and data (`cpu,cpuacct`, `none,name=systemd`, empty for cgroup2).
    pub fstype: &'static str,
    pub data: String,
    /// Names to be linked to it: `cpu`, `cpuacct`.
    pub links: Vec<String>,
    /// The container's own cgroup on the host, bound where there is no cgroup namespace.
    pub host_dir: PathBuf,
}

/// Whether /dev is the runtime's to fill with nodes and links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dev {
    /// config.json binds a /dev of its own: nothing is put into it.
    Untouched,
    /// These nodes, then the links fd, stdin, stdout, stderr, ptmx (and core where the kernel has it).
    Fill(Vec<Device>),
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `/linux/devices/0`; empty for a default device.
    pub pointer: String,
    /// Absolute, as the container sees it; not always below /dev.
    pub path: PathBuf,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits, 0o666 where config.json is silent.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

/// A kernel parameter of one of the container's namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// The key as config.json has it.
    pub key: String,
    /// Below /proc/sys: `net/ipv4/conf/eth0.1/forwarding`.
    pub path: PathBuf,
    pub value: String,
}

/// `hooks`, each list in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// Whether any runs while the container is being created.
    pub fn any_before_start(&self) -> bool {
        [&self.prestart, &self.create_runtime, &self.create_container].iter().any(|hooks| !hooks.is_empty())
    }
}

/// One hook. Its strings come from JSON and so are UTF-8; none holds a NUL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// `/hooks/poststop/0`.
    pub pointer: String,
    pub path: PathBuf,
    /// argv including argv\[0\]; the path where config.json is silent.
    pub args: Vec<String>,
    /// `None`: the runtime's own environment is not inherited either (runtime-spec: env is the hook's environment).
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<u64>,
}

/// A process to be run in the container: config.json's, or an exec's.
#[derive(Debug)]
pub struct Process {
    /// `/process`, or empty for a process file of exec, whose root it is.
    pub pointer: String,
    pub args: Vec<CString>,
    /// In order, the last of duplicates kept; `HOME` is added by init from the container's passwd where it is unset
    /// or empty.
    pub env: Vec<CString>,
    /// Absolute.
    pub cwd: CString,
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    pub umask: Option<u32>,
    /// Absent: the process keeps what its user namespace and user give it.
    pub capabilities: Option<Capabilities>,
    pub no_new_privileges: NoNewPrivileges,
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: Option<i32>,
    pub scheduler: Option<Scheduler>,
    pub io_priority: Option<IoPriority>,
    /// CPUs before the process is in its cgroup, and for its program (`execCPUAffinity`).
    pub cpu_affinity_initial: Option<Vec<u32>>,
    pub cpu_affinity_final: Option<Vec<u32>>,
    /// personality(2) bits.
    pub personality: Option<u64>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    pub terminal: Terminal,
    pub security: Security,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoNewPrivileges {
    Unset,
    Set,
}

/// Sets of capabilities(7) as bit masks by capability number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// setrlimit(2): the resource's number and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    pub resource: u32,
    /// `RLIMIT_NOFILE`, for errors.
    pub name: &'static str,
    pub soft: u64,
    pub hard: u64,
}

/// sched_setattr(2); times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduler {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// ioprio_set(2): the class (1 realtime, 2 best effort, 3 idle) and the level in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoPriority {
    pub class: u16,
    pub level: u16,
}

/// Whether the process has a terminal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    None,
    /// A pseudo-terminal; rows and columns where config.json names them.
    Pty {
        size: Option<(u16, u16)>,
    },
}

/// Where the seccomp profile stands.
pub const SECCOMP: &str = "/linux/seccomp";

/// What confines the process beyond capabilities.
#[derive(Debug, Default)]
pub struct Security {
    /// `process.apparmorProfile`; `unconfined` only where AppArmor is there to be told so.
    pub apparmor: Option<String>,
    /// `process.selinuxLabel`.
    pub selinux: Option<String>,
    /// `linux.mountLabel`, for the file of a terminal.
    pub terminal: Option<String>,
    /// `linux.seccomp`.
    pub seccomp: Option<Checked>,
}
