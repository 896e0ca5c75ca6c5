//! What a command line says, as plain data: one struct a command, the options that all commands share, and nothing else.
//!
//! Texts come in as the caller typed them; numbers, identities, signals and formats are checked and converted. Whether
//! a path exists or an id is known is not asked here. Runs in the calling process, before anything is touched.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;

/// A whole command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The options before the command's name, as far as they could be read: a wrong command line is logged too.
    pub global: GlobalOptions,
    /// The command and its own options, or what is wrong with the command line.
    pub command: Result<Command>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `create`: makes a container that waits for `start`.
    Create(CreateOptions),
    /// `start`: lets the program of a created container run.
    Start(StartOptions),
    /// `run`: `create` and `start`, in the foreground unless detached.
    Run(RunOptions),
    /// `exec`: runs a further program in a container.
    Exec(ExecOptions),
    /// `kill`: sends a signal.
    Kill(KillOptions),
    /// `delete`: removes a container.
    Delete(DeleteOptions),
    /// `state`: prints one container's state as JSON.
    State(StateOptions),
    /// `list`: prints all containers.
    List(ListOptions),
    /// `ps`: prints the processes of a container.
    Ps(PsOptions),
    /// `pause`: freezes a container.
    Pause(PauseOptions),
    /// `resume`: thaws a container.
    Resume(ResumeOptions),
    /// `update`: changes the resource limits of a container.
    Update(UpdateOptions),
    /// `events`: prints statistics and out-of-memory events.
    Events(EventsOptions),
    /// `checkpoint`: saves a running container to disk.
    Checkpoint(CheckpointOptions),
    /// `restore`: makes a running container of a checkpoint.
    Restore(RestoreOptions),
    /// `spec`: writes a first config.json.
    Spec(SpecOptions),
    /// `features`: prints what this runtime supports as JSON.
    Features(FeaturesOptions),
    /// `check`: says what the host supports and whether a bundle would be accepted.
    Check(CheckOptions),
    /// `--help`, `help`, or no command at all: print this text on stdout.
    Help(String),
    /// `--version`: print [`super::version::text`] on stdout.
    Version,
}

/// The options that stand before the command's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalOptions {
    /// `--root` as typed; see [`super::root()`] for what it is by default.
    pub root: Option<PathBuf>,
    /// `--log`: the file that records go to, in place of stderr.
    pub log: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: LogFormat,
    /// `--log-level`, and `--debug`: the least grave records that are written.
    pub log_level: log::LevelFilter,
    /// `--cgroup-manager`, and `--systemd-cgroup`: the last one typed counts.
    pub cgroup_manager: CgroupManager,
    /// `--rootless`.
    pub rootless: Rootless,
}

impl Default for GlobalOptions {
    fn default() -> Self {
        Self {
            root: None,
            log: None,
            log_format: LogFormat::default(),
            log_level: log::LevelFilter::Warn,
            cgroup_manager: CgroupManager::default(),
            rootless: Rootless::default(),
        }
    }
}

/// How a log record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`.
    Json,
}

/// Who makes the container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupManager {
    /// We do, in the cgroup file systems.
    #[default]
    Cgroupfs,
    /// systemd does, asked over D-Bus.
    Systemd,
    /// Nobody does: the container stays in the caller's cgroup.
    Disabled,
}

/// Whether cgroups that may not be written are put up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rootless {
    /// Yes where we are not the host's root.
    #[default]
    Auto,
    /// Yes.
    True,
    /// No.
    False,
}

/// Which container or containers are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one with this id.
    Id(String),
    /// All whose id an extended POSIX regular expression matches anywhere in it (`--regex`).
    Pattern(String),
}

/// What list-like commands print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// `create [options] ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions {
    pub id: String,
    /// `-b`: the bundle's directory; the current one if absent.
    pub bundle: Option<PathBuf>,
    /// `-f`: the configuration, relative to the current directory; the bundle's `config.json` if absent.
    pub config: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the program gets, besides those of `LISTEN_FDS`.
    pub preserve_fds: u32,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Taken for compatibility: nothing outlives `create` that could need one.
    pub no_subreaper: bool,
}

/// `run [options] ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// What `run` has in common with `create`.
    pub create: CreateOptions,
    /// Return when the program runs.
    pub detach: bool,
    /// Do not delete the container when its program has ended.
    pub keep: bool,
}

/// `exec [options] ID COMMAND [ARG…]`, or `exec --process FILE [options] ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOptions {
    pub id: String,
    /// The program and its arguments; empty only where `process` is given.
    pub args: Vec<OsString>,
    /// A JSON file with a whole process object, in place of the container's own and all that follows.
    pub process: Option<PathBuf>,
    pub cwd: Option<PathBuf>,
    /// `NAME=VALUE`, in the order typed, after the variables of the container's config.
    pub env: Vec<OsString>,
    /// `--tty`: a terminal, whatever the container's config says.
    pub tty: bool,
    pub user: Option<User>,
    pub additional_gids: Vec<u32>,
    pub detach: bool,
    pub pid_file: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    /// The SELinux label.
    pub process_label: Option<String>,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// As typed (`--no-new-privs=false` too); the container's config counts if absent.
    pub no_new_privs: Option<bool>,
    /// Capabilities to add, as typed.
    pub caps: Vec<String>,
    pub preserve_fds: u32,
    pub cgroup: Vec<SubCgroup>,
    pub ignore_paused: bool,
}

/// `--user UID[:GID]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    /// The one of the container's config if absent.
    pub gid: Option<u32>,
}

/// `--cgroup [CONTROLLER[,CONTROLLER…]:]PATH`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubCgroup {
    /// cgroup v1: the hierarchies meant, none of them named twice. Empty on cgroup v2, where there is one `SubCgroup`.
    pub controllers: Vec<String>,
    /// Below the container's cgroup.
    pub path: PathBuf,
}

/// `start ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartOptions {
    pub id: String,
}

/// `kill [options] ID [SIGNAL]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillOptions {
    pub target: Target,
    /// 0 (only look whether it is there) to 64.
    pub signal: i32,
    /// All processes of the container, also when its first one is gone.
    pub all: bool,
}

/// `delete [options] ID`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOptions {
    pub target: Target,
    /// Kill what still runs; be content where nothing is there.
    pub force: bool,
}

/// `state ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateOptions {
    pub id: String,
}

/// `list [options]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListOptions {
    pub format: Format,
    /// Ids only.
    pub quiet: bool,
}

/// `ps [options] ID [ARG…]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PsOptions {
    pub id: String,
    pub format: Format,
    /// Arguments of the host's `ps`; `-ef` if empty.
    pub args: Vec<OsString>,
}

/// `pause ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PauseOptions {
    pub id: String,
}

/// `resume ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResumeOptions {
    pub id: String,
}

/// `update [options] ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateOptions {
    pub id: String,
    /// Where a resources object of the runtime-spec is read from; the limits below are ignored then.
    pub resources: Option<Input>,
    /// 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds, -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_burst: Option<u64>,
    pub cpu_share: Option<u64>,
    /// Microseconds.
    pub cpu_rt_period: Option<u64>,
    /// Microseconds.
    pub cpu_rt_runtime: Option<i64>,
    pub cpu_idle: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    /// Bytes, -1 for no limit.
    pub memory: Option<i64>,
    /// Bytes, -1 for no limit.
    pub memory_reservation: Option<i64>,
    /// Bytes of memory and swap together, -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Bytes; no kernel of today has such a limit: worth a warning.
    pub kernel_memory: Option<i64>,
    /// Likewise.
    pub kernel_memory_tcp: Option<i64>,
    /// -1 for no limit.
    pub pids_limit: Option<i64>,
    pub l3_cache_schema: Option<String>,
    pub mem_bw_schema: Option<String>,
}

/// Where a file's text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `-`
    Stdin,
    File(PathBuf),
}

/// `events [options] ID`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsOptions {
    pub id: String,
    /// Never zero; 5 s by default.
    pub interval: Duration,
    /// Print the statistics once.
    pub stats: bool,
}

/// `checkpoint [options] ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckpointOptions {
    pub id: String,
    /// What `checkpoint` has in common with `restore`.
    pub criu: CriuOptions,
    /// The images of an earlier `--pre-dump`, relative to `image_path`.
    pub parent_path: Option<PathBuf>,
    pub leave_running: bool,
    pub pre_dump: bool,
    pub link_remap: bool,
    pub tcp_skip_in_flight: bool,
    /// Where CRIU writes a NUL byte when lazy pages can be had.
    pub status_fd: Option<u32>,
    /// `ADDRESS:PORT`
    pub page_server: Option<PageServer>,
}

/// `--page-server ADDRESS:PORT`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    pub address: String,
    pub port: u16,
}

/// `restore [options] ID`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreOptions {
    /// What `restore` has in common with `create`, with the id.
    pub create: CreateOptions,
    /// What `restore` has in common with `checkpoint`.
    pub criu: CriuOptions,
    pub detach: bool,
    /// `TYPE:NAME`
    pub lsm_profile: Option<String>,
    pub lsm_mount_context: Option<String>,
}

/// What CRIU is told by `checkpoint` and by `restore`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CriuOptions {
    pub image_path: Option<PathBuf>,
    pub work_path: Option<PathBuf>,
    pub tcp_established: bool,
    pub tcp_close: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub lazy_pages: bool,
    pub auto_dedup: bool,
    pub manage_cgroups: ManageCgroups,
    /// `--empty-ns network`: make the network namespace, restore nothing in it.
    pub empty_network: bool,
}

/// `--manage-cgroups-mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ManageCgroups {
    #[default]
    Soft,
    Full,
    Strict,
    Ignore,
}

/// `spec [options]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecOptions {
    /// `-b`: the directory that gets a `config.json`; the current one if absent.
    pub bundle: Option<PathBuf>,
    /// `-f`: another file than `config.json`.
    pub file: Option<PathBuf>,
    pub rootless: bool,
}

/// `features`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeaturesOptions {}

/// `check [options]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// `-b`: a bundle to be looked at besides the host.
    pub bundle: Option<PathBuf>,
    pub format: ReportFormat,
}

/// What `check` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReportFormat {
    /// Lines for people.
    #[default]
    Text,
    /// JSON for programs.
    Json,
}
