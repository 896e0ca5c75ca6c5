//! What was typed for one command → its options, every value checked. Pure.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::scan::{Given, fault};
use super::table::{Operands, Verb};
use super::values;
use super::{
    CheckOptions, CheckpointOptions, Command, CreateOptions, CriuOptions, DeleteOptions, EventsOptions, ExecOptions,
    FeaturesOptions, Input, KillOptions, ListOptions, PauseOptions, PsOptions, RestoreOptions, ResumeOptions,
    RunOptions, SpecOptions, StartOptions, StateOptions, Target, UpdateOptions,
};
use crate::error::{Error, Kind, Result};

/// The command that `verb` is with these flags and operands.
pub(super) fn command(verb: &Verb, given: &mut Given) -> Result<Command> {
    let operands = Words::new(verb, std::mem::take(&mut given.operands))?;
    let given = &*given;
    let id = || operands.id.clone();
    Ok(match verb.name {
        "create" => Command::Create(create(given, id())?),
        "start" => Command::Start(StartOptions { id: id() }),
        "run" => Command::Run(RunOptions {
            create: create(given, id())?,
            detach: given.on("detach"),
            keep: given.on("keep"),
        }),
        "exec" => Command::Exec(exec(given, id(), operands.rest)?),
        "kill" => {
            Command::Kill(KillOptions { target: target(given, id()), signal: operands.signal()?, all: given.on("all") })
        }
        "delete" => Command::Delete(DeleteOptions { target: target(given, id()), force: given.on("force") }),
        "state" => Command::State(StateOptions { id: id() }),
        "list" => Command::List(ListOptions { format: format(given)?, quiet: given.on("quiet") }),
        "ps" => Command::Ps(PsOptions { id: id(), format: format(given)?, args: operands.rest }),
        "pause" => Command::Pause(PauseOptions { id: id() }),
        "resume" => Command::Resume(ResumeOptions { id: id() }),
        "update" => Command::Update(update(given, id())?),
        "events" => Command::Events(EventsOptions {
            id: id(),
            interval: given.parsed("interval", values::interval)?.unwrap_or(Duration::from_secs(5)),
            stats: given.on("stats"),
        }),
        "checkpoint" => Command::Checkpoint(checkpoint(given, id())?),
        "restore" => Command::Restore(RestoreOptions {
            create: create(given, id())?,
            criu: criu(given)?,
            detach: given.on("detach"),
            lsm_profile: given.text("lsm-profile")?,
            lsm_mount_context: given.text("lsm-mount-context")?,
        }),
        "spec" => Command::Spec(SpecOptions {
            bundle: given.path("bundle"),
            file: given.path("file"),
            rootless: given.on("rootless"),
        }),
        "features" => Command::Features(FeaturesOptions {}),
        "check" => Command::Check(CheckOptions {
            bundle: given.path("bundle"),
            format: given.parsed("format", values::report_format)?.unwrap_or_default(),
        }),
        name => return Err(super::unknown_command(OsStr::new(name))),
    })
}

/// What stood beside the flags, taken apart.
struct Words {
    /// Empty where the command has none.
    id: String,
    rest: Vec<OsString>,
}

impl Words {
    fn new(verb: &Verb, operands: Vec<OsString>) -> Result<Self> {
        let usage = |what: String| Error::new(what).kind(Kind::Usage);
        let most = match verb.operands {
            Operands::None => 0,
            Operands::Id => 1,
            Operands::IdSignal => 2,
            Operands::IdCommand | Operands::IdPsArgs => usize::MAX,
        };
        if let Some(extra) = operands.get(most) {
            return Err(usage(format!("{} takes no argument {extra:?}", verb.name)));
        }
        let mut words = operands.into_iter();
        let id = match (verb.operands, words.next()) {
            (Operands::None, _) => String::new(),
            (_, None) => {
                let hint = format!("see rruntime {} --help", verb.name);
                return Err(usage(format!("{} needs the id of a container", verb.name)).hint(hint));
            }
            // What else an id may not be is said by the state store.
            (_, Some(id)) => id.into_string().map_err(|id| usage(format!("container id {id:?} is not UTF-8")))?,
        };
        let mut rest: Vec<_> = words.collect();
        if most == usize::MAX && rest.first().is_some_and(|first| first == "--") {
            // `exec ID -- COMMAND`: the two dashes say again that the flags are over.
            rest.remove(0);
        }
        Ok(Self { id, rest })
    }

    fn signal(&self) -> Result<i32> {
        let Some(word) = self.rest.first().filter(|word| !word.is_empty()) else {
            return Ok(nix::sys::signal::Signal::SIGTERM as i32);
        };
        values::signal(&word.to_string_lossy()).map_err(|what| Error::new(what).kind(Kind::Usage))
    }
}

fn create(given: &Given, id: String) -> Result<CreateOptions> {
    Ok(CreateOptions {
        id,
        bundle: given.path("bundle"),
        config: given.path("config"),
        pid_file: given.path("pid-file"),
        console_socket: given.path("console-socket"),
        pidfd_socket: given.path("pidfd-socket"),
        preserve_fds: given.parsed("preserve-fds", values::unsigned)?.unwrap_or_default(),
        no_pivot: given.on("no-pivot"),
        no_new_keyring: given.on("no-new-keyring"),
        no_subreaper: given.on("no-subreaper"),
    })
}

fn exec(given: &Given, id: String, args: Vec<OsString>) -> Result<ExecOptions> {
    let process = given.path("process");
    match (&process, args.as_slice()) {
        (None, []) => return Err(Error::new("exec needs a command, or --process FILE").kind(Kind::Usage)),
        (None, _) | (Some(_), []) => {}
        (Some(_), [first, ..]) => {
            return Err(Error::new(format!("exec takes no argument {first:?} with --process")).kind(Kind::Usage));
        }
    }
    let cgroups: Vec<String> = given.all_parsed("cgroup", |text| Ok(text.to_owned()))?;
    Ok(ExecOptions {
        id,
        args,
        process,
        cwd: given.path("cwd"),
        env: given.all("env").map(variable).collect::<Result<_>>()?,
        tty: given.on("tty"),
        user: given.parsed("user", values::user)?,
        additional_gids: given.all_parsed("additional-gids", values::identity)?,
        detach: given.on("detach"),
        pid_file: given.path("pid-file"),
        console_socket: given.path("console-socket"),
        pidfd_socket: given.path("pidfd-socket"),
        process_label: given.text("process-label")?,
        apparmor: given.text("apparmor")?,
        no_new_privs: given.switch("no-new-privs"),
        caps: given.all_parsed("cap", |text| Ok(text.to_owned()))?,
        preserve_fds: given.parsed("preserve-fds", values::unsigned)?.unwrap_or_default(),
        cgroup: values::sub_cgroups(&cgroups).map_err(|what| fault("cgroup", what))?,
        ignore_paused: given.on("ignore-paused"),
    })
}

/// `NAME=VALUE` with a name.
fn variable(text: &OsStr) -> Result<OsString> {
    match text.as_encoded_bytes().iter().position(|byte| *byte == b'=') {
        Some(1..) => Ok(text.to_owned()),
        Some(0) | None => Err(fault("env", format_args!("{text:?} is not NAME=VALUE"))),
    }
}

fn target(given: &Given, id: String) -> Target {
    if given.on("regex") { Target::Pattern(id) } else { Target::Id(id) }
}

fn format(given: &Given) -> Result<super::Format> {
    Ok(given.parsed("format", values::format)?.unwrap_or_default())
}

fn update(given: &Given, id: String) -> Result<UpdateOptions> {
    let bytes = |name| given.parsed(name, values::bytes);
    Ok(UpdateOptions {
        id,
        resources: given.path("resources").map(|path| match path.as_os_str() == "-" {
            true => Input::Stdin,
            false => Input::File(path),
        }),
        // As with runc, 0 leaves the weight as it is.
        blkio_weight: given.parsed("blkio-weight", values::unsigned)?.filter(|weight| *weight != 0),
        cpu_period: given.parsed("cpu-period", values::unsigned)?,
        cpu_quota: given.parsed("cpu-quota", values::signed)?,
        cpu_burst: given.parsed("cpu-burst", values::unsigned)?,
        cpu_share: given.parsed("cpu-share", values::unsigned)?,
        cpu_rt_period: given.parsed("cpu-rt-period", values::unsigned)?,
        cpu_rt_runtime: given.parsed("cpu-rt-runtime", values::signed)?,
        cpu_idle: given.parsed("cpu-idle", values::signed)?,
        cpuset_cpus: given.text("cpuset-cpus")?,
        cpuset_mems: given.text("cpuset-mems")?,
        memory: bytes("memory")?,
        memory_reservation: bytes("memory-reservation")?,
        memory_swap: bytes("memory-swap")?,
        kernel_memory: bytes("kernel-memory")?,
        kernel_memory_tcp: bytes("kernel-memory-tcp")?,
        pids_limit: given.parsed("pids-limit", values::signed)?,
        l3_cache_schema: given.text("l3-cache-schema")?,
        mem_bw_schema: given.text("mem-bw-schema")?,
    })
}

fn checkpoint(given: &Given, id: String) -> Result<CheckpointOptions> {
    let parent_path = given.path("parent-path");
    if parent_path.as_ref().is_some_and(|path: &PathBuf| path.is_absolute()) {
        return Err(fault("parent-path", "must be relative to --image-path"));
    }
    Ok(CheckpointOptions {
        id,
        criu: criu(given)?,
        parent_path,
        leave_running: given.on("leave-running"),
        pre_dump: given.on("pre-dump"),
        link_remap: given.on("link-remap"),
        tcp_skip_in_flight: given.on("tcp-skip-in-flight"),
        status_fd: given.parsed("status-fd", status_fd)?.flatten(),
        page_server: given.parsed("page-server", values::page_server)?,
    })
}

/// A descriptor; -1 is runc's way to say none.
fn status_fd(text: &str) -> Result<Option<u32>, String> {
    if text == "-1" { Ok(None) } else { values::unsigned(text).map(Some) }
}

fn criu(given: &Given) -> Result<CriuOptions> {
    let namespaces: Vec<()> = given.all_parsed("empty-ns", |text| match text {
        "network" => Ok(()),
        _ => Err(format!("{text:?} is none of network")),
    })?;
    Ok(CriuOptions {
        image_path: given.path("image-path"),
        work_path: given.path("work-path"),
        tcp_established: given.on("tcp-established"),
        tcp_close: given.on("tcp-close"),
        ext_unix_sk: given.on("ext-unix-sk"),
        shell_job: given.on("shell-job"),
        file_locks: given.on("file-locks"),
        lazy_pages: given.on("lazy-pages"),
        auto_dedup: given.on("auto-dedup"),
        manage_cgroups: given.parsed("manage-cgroups-mode", values::manage_cgroups)?.unwrap_or_default(),
        empty_network: !namespaces.is_empty(),
    })
}
