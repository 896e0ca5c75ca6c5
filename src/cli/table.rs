//! What a command line can say: the one definition of each flag and command, as constant data.
//!
//! [`super::scan`] reads command lines by it, [`mod@super::tree`] makes help, man pages and completions of it.
//! To turn a command on, set `supported` and run `cargo run --example generate` for its man page and completions.

/// A flag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    /// Long name without dashes.
    pub(super) name: &'static str,
    pub(super) short: Option<char>,
    pub(super) value: Value,
    pub(super) help: &'static str,
    /// Taken, but told nobody: obsolete or without effect.
    pub(super) hidden: bool,
}

/// What is typed with a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// One value, by this name; of several the last one counts.
    One(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// One value each time.
    Many(&'static str),
}

impl Flag {
    /// What the flags of the tables are made from.
    pub(super) const SWITCH: Self = Self { name: "", short: None, value: Value::Switch, help: "", hidden: false };
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, help, ..Flag::SWITCH }
}

const fn one(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value: Value::One(value), help, ..Flag::SWITCH }
}

const fn many(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value: Value::Many(value), help, ..Flag::SWITCH }
}

const fn word(name: &'static str, words: &'static [&'static str], help: &'static str) -> Flag {
    Flag { name, value: Value::Word(words), help, ..Flag::SWITCH }
}

impl Flag {
    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}

/// A command.
#[derive(Debug)]
pub(super) struct Verb {
    pub(super) name: &'static str,
    /// One line for the list of commands.
    pub(super) about: &'static str,
    /// A paragraph for the command's own help, after `about`.
    pub(super) more: &'static str,
    pub(super) flags: &'static [&'static [Flag]],
    pub(super) operands: Operands,
    /// What it does, and the command line for it.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// False until the command is built: it is refused then, and help does not list it.
    pub(super) supported: bool,
}

/// What follows the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    None,
    /// A container's id.
    Id,
    /// A container's id and, if need be, a signal.
    IdSignal,
    /// A container's id and a program's command line, which ends our flags.
    IdCommand,
    /// A container's id and arguments for `ps`, which end our flags.
    IdPsArgs,
}

impl Verb {
    /// All flags of the command, in the order of the help.
    pub(super) fn each_flag(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().copied().flatten()
    }
}

/// The command of that name, built or not.
pub(super) fn verb(name: &str) -> Option<&'static Verb> {
    COMMANDS.iter().find(|verb| verb.name == name)
}

/// The flag that every command and the program itself have.
pub(super) const HELP: &[Flag] = &[switch("help", "print help and exit").short('h')];

/// The flags before the command's name.
pub(super) const GLOBAL: &[Flag] = &[
    one(
        "root",
        "DIR",
        "directory of the containers' state (default: /run/rruntime, rootless $XDG_RUNTIME_DIR/rruntime)",
    ),
    one("log", "FILE", "append log records to FILE instead of printing them on stderr"),
    word("log-format", &["text", "json"], "how log records are written (default: text)"),
    word("log-level", &["error", "warning", "info", "debug"], "the least grave records to write (default: warning)"),
    switch("debug", "the same as --log-level debug"),
    word(
        "cgroup-manager",
        &["cgroupfs", "systemd", "disabled"],
        "who makes the container's cgroup (default: cgroupfs)",
    ),
    switch("systemd-cgroup", "the same as --cgroup-manager systemd"),
    word("rootless", &["auto", "true", "false"], "go on where cgroups may not be written (default: auto)"),
    one("criu", "FILE", "taken from old callers: CRIU is found in $PATH").hidden(),
    switch("version", "print the version and exit").short('v'),
];

const BUNDLE: &[Flag] = &[one("bundle", "DIR", "directory of the bundle (default: the current directory)").short('b')];

const CONFIG: &[Flag] = &[one("config", "FILE", "configuration to use instead of the bundle's config.json").short('f')];

/// How the caller gets hold of the new process.
const HANDLES: &[Flag] = &[
    one("pid-file", "FILE", "write the process id to FILE"),
    one("console-socket", "SOCKET", "AF_UNIX socket that receives the master end of the terminal"),
    one("pidfd-socket", "SOCKET", "AF_UNIX socket that receives a pidfd of the process"),
];

const PRESERVE_FDS: &[Flag] =
    &[one("preserve-fds", "N", "pass N more descriptors, from 3 on, besides those of $LISTEN_FDS")];

const NEW: &[Flag] = &[
    switch("no-pivot", "enter the root file system by moving it, not by pivot_root: for a host root on a ramdisk"),
    switch("no-new-keyring", "keep the caller's session keyring"),
];

const NO_SUBREAPER: &[Flag] = &[switch("no-subreaper", "do not adopt orphaned processes of the container")];

const NO_SUBREAPER_NEEDED: &[Flag] = &[switch("no-subreaper", "without effect here").hidden()];

const DETACH: &[Flag] = &[switch("detach", "return as soon as the program runs").short('d')];

const KEEP: &[Flag] = &[switch("keep", "do not delete the container when its program has ended")];

const PROCESS: &[Flag] = &[
    one("process", "FILE", "JSON file with the whole process object: no other description is used").short('p'),
    one("cwd", "DIR", "working directory in the container"),
    many("env", "NAME=VALUE", "set an environment variable; may be repeated").short('e'),
    switch("tty", "give the program a terminal").short('t'),
    one("user", "UID[:GID]", "user and group, as numbers").short('u'),
    many("additional-gids", "GID", "add a supplementary group; may be repeated").short('g'),
    many("cap", "CAPABILITY", "add a capability; may be repeated").short('c'),
    switch("no-new-privs", "set no_new_privs"),
    one("process-label", "LABEL", "SELinux label"),
    one("apparmor", "PROFILE", "AppArmor profile"),
    many(
        "cgroup",
        "[CONTROLLER,…:]PATH",
        "run in this existing cgroup below the container's; may be repeated on cgroup v1",
    ),
    switch("ignore-paused", "go on if the container is paused"),
];

const FORMAT: &[Flag] = &[word("format", &["table", "json"], "what to print (default: table)").short('f')];

const REGEX: &[Flag] =
    &[switch("regex", "ID is an extended regular expression: act on every container that it matches").short('r')];

const LIMITS: &[Flag] = &[
    one("resources", "FILE", "JSON file with a resources object, - for stdin; the limits below are ignored then")
        .short('r'),
    one("blkio-weight", "N", "weight of block I/O, 10 to 1000"),
    one("cpu-period", "US", "period of the CPU limit in microseconds"),
    one("cpu-quota", "US", "CPU time in each period in microseconds, -1 for no limit"),
    one("cpu-burst", "US", "unused CPU time that may be used later, in microseconds"),
    one("cpu-share", "N", "share of the CPU relative to others"),
    one("cpu-rt-period", "US", "period of the realtime limit in microseconds"),
    one("cpu-rt-runtime", "US", "realtime CPU time in each period in microseconds"),
    one("cpu-idle", "N", "1: run only when nobody else wants the CPU"),
    one("cpuset-cpus", "LIST", "CPUs to use: 0-3,7"),
    one("cpuset-mems", "LIST", "memory nodes to use: 0-1"),
    one("memory", "BYTES", "memory limit, with k, m, g if need be, -1 for no limit"),
    one("memory-reservation", "BYTES", "memory to keep to when it is scarce"),
    one("memory-swap", "BYTES", "limit of memory and swap together, -1 for no limit"),
    one("kernel-memory", "BYTES", "without effect on today's kernels").hidden(),
    one("kernel-memory-tcp", "BYTES", "without effect on today's kernels").hidden(),
    one("pids-limit", "N", "number of tasks, -1 for no limit"),
    one("l3-cache-schema", "SCHEMA", "Intel RDT: share of the L3 cache"),
    one("mem-bw-schema", "SCHEMA", "Intel RDT: share of the memory bandwidth"),
];

const EVENTS: &[Flag] = &[
    one("interval", "TIME", "time between two statistics: 500ms, 5s, 1m30s (default: 5s)"),
    switch("stats", "print the statistics once and exit"),
];

/// What `checkpoint` and `restore` tell CRIU.
const CRIU: &[Flag] = &[
    one("image-path", "DIR", "directory of the images (default: checkpoint)"),
    one("work-path", "DIR", "directory for CRIU's own files and logs"),
    switch("tcp-established", "allow open TCP connections"),
    switch("ext-unix-sk", "allow sockets connected to the outside"),
    switch("shell-job", "allow a terminal that belongs to a shell"),
    switch("file-locks", "allow file locks"),
    switch("lazy-pages", "load memory when it is used (userfaultfd)"),
    switch("auto-dedup", "drop pages from older images"),
    word("manage-cgroups-mode", &["soft", "full", "strict", "ignore"], "what to do about cgroups (default: soft)"),
    many("empty-ns", "NAMESPACE", "make the namespace, restore nothing in it (network)"),
];

const CHECKPOINT: &[Flag] = &[
    one("parent-path", "DIR", "images of an earlier --pre-dump, relative to --image-path"),
    switch("leave-running", "let the container run on"),
    switch("pre-dump", "save memory only and let the container run on"),
    switch("link-remap", "give unlinked files a name again"),
    switch("tcp-skip-in-flight", "leave out TCP connections that are being made"),
    one("status-fd", "FD", "where CRIU writes a NUL byte when lazy pages are ready"),
    one("page-server", "ADDRESS:PORT", "send pages to this server"),
];

const RESTORE: &[Flag] = &[
    switch("tcp-close", "close TCP connections"),
    one("lsm-profile", "TYPE:NAME", "AppArmor profile or SELinux label to restore with"),
    one("lsm-mount-context", "CONTEXT", "SELinux context for mounts"),
];

const SPEC: &[Flag] = &[
    one("file", "FILE", "write to FILE instead of config.json").short('f'),
    switch("rootless", "for a container of an ordinary user"),
];

const CHECK: &[Flag] = &[
    one("bundle", "DIR", "say too whether the bundle in DIR would be accepted").short('b'),
    word("format", &["text", "json"], "what to print (default: text)").short('f'),
];

/// All commands, in the order of the help.
pub(super) const COMMANDS: &[Verb] = &[
    Verb {
        name: "create",
        about: "Make a container that waits for start",
        more: "The container is made as the bundle's config.json says. Its program does not run before start.",
        flags: &[BUNDLE, CONFIG, HANDLES, PRESERVE_FDS, NEW, NO_SUBREAPER_NEEDED],
        operands: Operands::Id,
        examples: &[
            ("Make a container of the bundle in the current directory", "rruntime create web1"),
            ("As an engine does it", "rruntime create --bundle /run/b/web1 --pid-file /run/b/web1.pid web1"),
        ],
        supported: true,
    },
    Verb {
        name: "start",
        about: "Let the program of a created container run",
        more: "Returns when the program runs. Where it cannot be executed, the error says why.",
        flags: &[],
        operands: Operands::Id,
        examples: &[("Start what create made", "rruntime start web1")],
        supported: true,
    },
    Verb {
        name: "run",
        about: "Make a container and run it",
        more: "In the foreground, signals and the terminal are passed on, the container is deleted at the end, and \
               the exit status is the program's, or 128+N where signal N ended it.",
        flags: &[BUNDLE, CONFIG, DETACH, KEEP, HANDLES, PRESERVE_FDS, NEW, NO_SUBREAPER],
        operands: Operands::Id,
        examples: &[
            ("Run a bundle in the foreground", "rruntime run -b ./bundles/hello demo"),
            ("In the background", "rruntime run -d -b ./bundles/web --pid-file web.pid web1"),
        ],
        supported: true,
    },
    Verb {
        name: "exec",
        about: "Run a further program in a container",
        more: "The program gets the container's own process object with what the flags change. All that follows ID \
               is its command line. The exit status is the program's, 128+N where signal N ended it, or 255 where it \
               could not be run.",
        flags: &[PROCESS, DETACH, HANDLES, PRESERVE_FDS],
        operands: Operands::IdCommand,
        examples: &[
            ("A shell with a terminal", "rruntime exec -t web1 sh"),
            ("As another user, with a variable", "rruntime exec -u 1000:1000 -e LANG=C web1 id -u"),
            ("As an engine does it", "rruntime exec --process p.json --detach --pid-file e.pid web1"),
        ],
        supported: true,
    },
    Verb {
        name: "kill",
        about: "Send a signal to a container",
        more: "SIGNAL is a name, with or without SIG, or a number; TERM if absent.",
        flags: &[&[switch("all", "send it to all processes of the container").short('a')], REGEX],
        operands: Operands::IdSignal,
        examples: &[
            ("Ask the program to end", "rruntime kill web1"),
            ("End all processes", "rruntime kill --all web1 KILL"),
            ("Reload all containers whose id begins with web", "rruntime kill --regex '^web' HUP"),
        ],
        supported: true,
    },
    Verb {
        name: "delete",
        about: "Remove a container",
        more: "A running container is not removed without --force.",
        flags: &[&[switch("force", "kill it if it runs; do nothing if it does not exist").short('f')], REGEX],
        operands: Operands::Id,
        examples: &[
            ("Remove a stopped container", "rruntime delete web1"),
            ("Remove whatever is there", "rruntime delete --force web1"),
        ],
        supported: true,
    },
    Verb {
        name: "state",
        about: "Print a container's state as JSON",
        more: "The object is the runtime-spec's, with rootfs, created and owner.",
        flags: &[],
        operands: Operands::Id,
        examples: &[("Ask after one container", "rruntime state web1")],
        supported: true,
    },
    Verb {
        name: "list",
        about: "Print all containers",
        more: "The containers are those of the state directory that --root names.",
        flags: &[FORMAT, &[switch("quiet", "print ids only").short('q')]],
        operands: Operands::None,
        examples: &[
            ("A table", "rruntime list"),
            ("Containers of another state directory as JSON", "rruntime --root /run/other list -f json"),
        ],
        supported: true,
    },
    Verb {
        name: "ps",
        about: "Print the processes of a container",
        more: "The host's ps is called with ARGs, or -ef; of what it prints the lines of the container's processes \
               remain.",
        flags: &[FORMAT],
        operands: Operands::IdPsArgs,
        examples: &[
            ("A table", "rruntime ps web1"),
            ("Only the process ids", "rruntime ps --format json web1"),
            ("With other columns", "rruntime ps web1 -eo pid,comm"),
        ],
        supported: true,
    },
    Verb {
        name: "pause",
        about: "Freeze all processes of a container",
        more: "They are frozen until resume. Signals reach them then.",
        flags: &[],
        operands: Operands::Id,
        examples: &[("Freeze a container", "rruntime pause web1")],
        supported: true,
    },
    Verb {
        name: "resume",
        about: "Let a paused container run on",
        more: "The opposite of pause.",
        flags: &[],
        operands: Operands::Id,
        examples: &[("Let it run on", "rruntime resume web1")],
        supported: true,
    },
    Verb {
        name: "update",
        about: "Change the resource limits of a container",
        more: "Limits that are not named stay as they are.",
        flags: &[LIMITS],
        operands: Operands::Id,
        examples: &[
            ("Half a CPU and 512 MiB", "rruntime update --cpu-quota 50000 --cpu-period 100000 --memory 512m web1"),
            ("From a file", "rruntime update --resources limits.json web1"),
        ],
        supported: true,
    },
    Verb {
        name: "events",
        about: "Print statistics and out-of-memory events as lines of JSON",
        more: "Ends with the container.",
        flags: &[EVENTS],
        operands: Operands::Id,
        examples: &[("Each second", "rruntime events --interval 1s web1"), ("Once", "rruntime events --stats web1")],
        supported: true,
    },
    Verb {
        name: "checkpoint",
        about: "Save a running container to disk",
        more: "CRIU does the work. The container ends unless it is left running.",
        flags: &[CRIU, CHECKPOINT],
        operands: Operands::Id,
        examples: &[("Save a container", "rruntime checkpoint --image-path /var/lib/cp/web1 web1")],
        supported: false,
    },
    Verb {
        name: "restore",
        about: "Make a running container of a checkpoint",
        more: "CRIU does the work. The bundle must be the one that the container was made of.",
        flags: &[CRIU, RESTORE, BUNDLE, DETACH, HANDLES, NEW, NO_SUBREAPER],
        operands: Operands::Id,
        examples: &[("Bring it back", "rruntime restore -d -b ./bundles/web --image-path /var/lib/cp/web1 web1")],
        supported: false,
    },
    Verb {
        name: "spec",
        about: "Write a first config.json",
        more: "The file is a start: set its args to the program that is to run. An existing file is not overwritten.",
        flags: &[BUNDLE, SPEC],
        operands: Operands::None,
        examples: &[
            ("In the current directory", "rruntime spec"),
            ("For an ordinary user, in a bundle's directory", "rruntime spec --rootless -b ./mine"),
        ],
        supported: true,
    },
    Verb {
        name: "features",
        about: "Print what this runtime supports as JSON",
        more: "The object is the runtime-spec's.",
        flags: &[],
        operands: Operands::None,
        examples: &[("Ask", "rruntime features")],
        supported: true,
    },
    Verb {
        name: "check",
        about: "Say what this host has for containers, and whether a bundle would be accepted",
        more: "Each line is a finding: ok; lacks, where containers run but not with all that can be asked for; fails, \
               where none runs. All that is wrong with the bundle is told by its place in config.json. Nothing is made, \
               and an ordinary user may ask. The exit status is 0 where containers can run and the bundle is \
               accepted, else 1.",
        flags: &[CHECK],
        operands: Operands::None,
        examples: &[
            ("Look at the host", "rruntime check"),
            ("Look at a bundle too", "rruntime check -b ./bundles/web"),
            ("For a program", "rruntime check -b . --format json"),
        ],
        supported: true,
    },
];
