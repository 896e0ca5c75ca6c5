//! One file a command, each a short pipeline over the rooms. A [`Command`] goes in, an exit status comes out.
//!
//! Runs in the runtime's process, with the caller's privilege.

mod check;
mod container;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::path::PathBuf;

use crate::cli::{self, Caller, CgroupManager, Command, GlobalOptions};
use crate::error::{Error, Failure, Kind, Result, Wrap};
use crate::plan::Host;
use crate::plan::cgroup::Authority;
use crate::spawn::descriptors::{self, Inherited};
use crate::spawn::seal;
use crate::state::Store;
use crate::sys;

/// Carries out a command.
pub fn run(global: &GlobalOptions, command: Command) -> Result<u8, Failure> {
    carry_out(global, command).map_err(|mut failure| {
        if failure.error.is(libc::ENOSYS) {
            let hidden =
                || "the kernel lacks it, or a seccomp filter around us hides it: see rruntime check".to_owned();
            *failure.error = std::mem::take(&mut *failure.error).hint(Host::kernel_hint().unwrap_or_else(hidden));
        }
        failure
    })
}

fn carry_out(global: &GlobalOptions, command: Command) -> Result<u8, Failure> {
    sys::signal::keep_children();
    // What enters a container makes sure of its own binary first, before it opens anything.
    let inherited = match &command {
        Command::Create(options) => enter_with(options.preserve_fds)?,
        Command::Run(options) => enter_with(options.create.preserve_fds)?,
        Command::Exec(options) => enter_with(options.preserve_fds)?,
        _ => Inherited::default(),
    };
    let done = |result: Result<()>| Ok(result.map(|()| 0)?);
    match command {
        Command::Create(options) => create::create(&Context::of(global)?, &options, inherited).map(|()| 0),
        Command::Run(options) => run::run(&Context::of(global)?, &options, inherited),
        Command::Exec(options) => Ok(exec::exec(&Context::of(global)?, &options, inherited)?),
        Command::Start(options) => done(start::start(&Context::of(global)?, &options)),
        Command::Kill(options) => done(kill::kill(&Context::of(global)?, &options)),
        Command::Delete(options) => done(delete::delete(&Context::of(global)?, &options)),
        Command::State(options) => done(state::state(&Context::of(global)?, &options)),
        Command::List(options) => done(list::list(&Context::of(global)?, &options)),
        Command::Ps(options) => done(ps::ps(&Context::of(global)?, &options)),
        Command::Spec(options) => done(spec::spec(&options)),
        Command::Features(_) => done(features::features()),
        Command::Check(options) => Ok(check::check(&Context::of(global)?, &options)?),
        Command::Pause(options) => done(pause::pause(&Context::of(global)?, &options)),
        Command::Resume(options) => done(pause::resume(&Context::of(global)?, &options)),
        Command::Update(options) => done(update::update(&Context::of(global)?, &options)),
        Command::Events(options) => done(events::events(&Context::of(global)?, &options)),
        Command::Checkpoint(_) | Command::Restore(_) | Command::Help(_) | Command::Version => {
            Err(Error::new("this command is not supported yet").kind(Kind::Usage).into())
        }
    }
}

fn enter_with(preserve_fds: u32) -> Result<Inherited> {
    seal::seal()?;
    let inherited = descriptors::inherited(preserve_fds)?;
    descriptors::hide_others(&inherited)?;
    Ok(inherited)
}

/// What commands need to know of their caller.
struct Context {
    store: Store,
    authority: Authority,
    cgroup_manager: CgroupManager,
}

impl Context {
    fn of(global: &GlobalOptions) -> Result<Self> {
        let authority = authority(global);
        let caller = Caller {
            rootless: authority == Authority::Rootless,
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            cwd: current_directory(global)?,
        };
        let root = cli::root(global, &caller)?;
        Ok(Self { store: Store::new(root), authority, cgroup_manager: global.cgroup_manager })
    }
}

/// Only a relative `--root` needs to know where we are.
fn current_directory(global: &GlobalOptions) -> Result<PathBuf> {
    if global.root.as_ref().is_some_and(|root| root.is_relative()) {
        return std::env::current_dir().wrap("getcwd");
    }
    Ok(PathBuf::from("/"))
}

/// Root of the initial user namespace, or somebody with less.
fn authority(global: &GlobalOptions) -> Authority {
    /// The inode of the initial user namespace (linux/proc_ns.h, `PROC_USER_INIT_INO`).
    const INITIAL: u64 = 0xefff_fffd;
    match global.rootless {
        cli::Rootless::True => return Authority::Rootless,
        cli::Rootless::False => return Authority::Root,
        cli::Rootless::Auto => {}
    }
    let initial = || rustix::fs::stat("/proc/self/ns/user").is_ok_and(|namespace| namespace.st_ino == INITIAL);
    if rustix::process::geteuid().is_root() && initial() { Authority::Root } else { Authority::Rootless }
}
