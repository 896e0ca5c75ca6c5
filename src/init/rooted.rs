//! The last phases, from a process in its namespaces to its program: the same for create and exec, so that nothing can be
//! forgotten for one of them.
//!
//! Enters with all privileges in the container's user namespace, in the container's root; what can fail before `start`
//! fails in [`Rooted::prepare`], with the program's own rights at its end, or when the filter is loaded after it.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;

use super::hand_over::{await_start, give_terminal, hand_over, outlive_runtime};
use super::identity::{self, Holding};
use super::labels::Labels;
use super::scheduling::{set_limits, set_memory_policy, set_scheduling};
use super::terminal::{self, Pty};
use super::{Fatal, Shared, own_pid, program};
use crate::bpf::seccomp::{Checked, Filter};
use crate::error::{Error, Result, Wrap};
use crate::host::hooks::{self, Surroundings};
use crate::plan::{Capabilities, NoNewPrivileges, Plan, Process, SECCOMP};
use crate::spawn::protocol::{Channel, Report};
use crate::state::{Record, Status};
use crate::sys;

/// Inside the container's root, with nothing of the host left to reach.
pub(super) struct Rooted {
    pub(super) terminal: Option<Pty>,
    /// Where the plan has left it for later.
    pub(super) filter: Option<Filter>,
}

impl Rooted {
    /// The way of create and exec alike: from a process in its namespaces to its program. Only a failure comes back.
    pub(super) fn run(
        self,
        process: &Process,
        container: Option<(&Plan, &Record)>,
        labels: Labels,
        mut shared: Shared<'_>,
    ) -> Fatal {
        match self.execute(process, container, labels, &mut shared) {
            Ok(never) => match never {},
            Err(error) => (shared.channel, error),
        }
    }

    fn execute(
        self,
        process: &Process,
        container: Option<(&Plan, &Record)>,
        labels: Labels,
        shared: &mut Shared<'_>,
    ) -> Result<Infallible> {
        let hooks = container.filter(|(plan, _)| !plan.hooks.start_container.is_empty());
        let (ready, master) = self.prepare(process, labels, shared)?;
        let confine_ahead = || if hooks.is_none() { ready.confine_ahead(process, shared) } else { Ok(Confined::No) };
        let confined = if shared.start_socket.is_some() {
            // The kernel's refusal is an error of `create`.
            let confined = confine_ahead()?;
            hand_over(&shared.channel, master)?;
            confined
        } else {
            // While the runtime does what comes between, and lets the program run.
            hand_over(&shared.channel, master)?;
            confine_ahead()?
        };
        await_start(&mut shared.channel, shared.start_socket.take())?;
        ready.execute(process, hooks, shared, confined)
    }

    /// All that can fail before `start`, but the filter. With the master of a terminal that the runtime relays.
    fn prepare(self, process: &Process, labels: Labels, shared: &mut Shared<'_>) -> Result<(Ready, Option<OwnedFd>)> {
        match &self.terminal {
            Some(pty) => pty.give_to(process.uid)?,
            None => terminal::give_stdio_to(process.uid)?,
        }
        set_scheduling(process)?;
        set_limits(process)?;
        let entered = program::enter_cwd(process);
        if let Some(personality) = process.personality {
            sys::personality::set(personality)
                .wrap_with(|| format!("personality({personality:#x})"))
                .map_err(|e| e.at("/linux/personality"))?;
        }
        if let Some(policy) = &process.memory_policy {
            set_memory_policy(policy)?;
        }
        let held = match (&process.security.seccomp, process.no_new_privileges) {
            (Some(_), NoNewPrivileges::Unset) => Holding::FilterPrivilege,
            _ => Holding::Nothing,
        };
        let left = identity::become_user(process, held)?;
        let entered = match entered {
            // The user may enter what root of a user namespace, or root on NFS, could not.
            Err(error) if error.is(libc::EACCES) => program::enter_cwd(process),
            entered => entered,
        };
        entered.map_err(|e| e.at(format!("{}/cwd", process.pointer)))?;
        rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
        let master = self.terminal.map(|pty| pty.take().map(|()| pty.master)).transpose()?;
        let ready =
            Ready { program: program::find(process)?, env: program::environment(process), filter: self.filter, left };
        // They take hold at the next exec, the program's or a hook's: the kernel's refusal is an error of `create`.
        labels.write()?;
        let master = give_terminal(master, shared.console.take())?;
        outlive_runtime()?;
        Ok((ready, master))
    }
}

/// Everything is done but the program itself.
struct Ready {
    program: CString,
    env: Vec<CString>,
    filter: Option<Filter>,
    /// The capabilities to be left with, where one more is held until the filter is loaded.
    left: Option<Capabilities>,
}

/// Whether the process is under its filter, with the rights of its program and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confined {
    Yes,
    No,
}

/// What is called from the filter on where it is loaded ahead: to say that all is done, wait for `start` and become the
/// program, or to tell why not, with what memory that takes.
const CALLED_CONFINED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_close,
    libc::SYS_capset,
    libc::SYS_execve,
    libc::SYS_write,
    libc::SYS_sendmsg,
    libc::SYS_exit_group,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_brk,
    // Looks at a descriptor before it closes it.
    #[cfg(debug_assertions)]
    libc::SYS_fcntl,
];

impl Ready {
    /// Loads the filter before `start` where it allows all that is still to be called: it takes the kernel a tenth of a
    /// millisecond, and the process waits anyway. Not for one that has an agent, to whom only `start` can lead.
    fn confine_ahead(&self, process: &Process, shared: &Shared<'_>) -> Result<Confined> {
        let allows = |filter: &Filter| CALLED_CONFINED.iter().all(|call| filter.always_allows(*call as u32));
        if !self.filter(process)?.is_some_and(|filter| filter.listener.is_none() && allows(filter)) {
            return Ok(Confined::No);
        }
        self.confine_at_last(process, shared)?;
        Ok(Confined::Yes)
    }

    /// `hooks`: the container that has some for startContainer.
    fn execute(
        &self,
        process: &Process,
        hooks: Option<(&Plan, &Record)>,
        shared: &Shared<'_>,
        confined: Confined,
    ) -> Result<Infallible> {
        if let Some((plan, record)) = hooks {
            forbid_new_privileges(process)?;
            let state = record.state(Status::Created, Some(own_pid()));
            let confine = || self.confine(process, &shared.channel);
            hooks::run(&plan.hooks.start_container, &state, &Surroundings::Confined(&confine))?;
        }
        if confined == Confined::No {
            self.confine_at_last(process, shared)?;
        }
        let errno = sys::exec::execve(&self.program, &process.args, &self.env);
        Err(explain_exec(&self.program, errno))
    }

    /// The last steps before the program.
    fn confine_at_last(&self, process: &Process, shared: &Shared<'_>) -> Result<()> {
        forbid_new_privileges(process)?;
        // Whatever the caller, a library or a bug left open ends with the exec; what is opened later is opened so.
        sys::exec::close_on_exec_from(3 + shared.inherited).wrap("close_range(CLOSE_RANGE_CLOEXEC)")?;
        self.confine(process, &shared.channel)
    }

    /// What holds for the program, and for each startContainer hook, a program of the image too: the filter, and then no
    /// more than the capabilities asked for. From the filter on every system call may be forbidden: as few as can be
    /// follow it.
    fn confine(&self, process: &Process, channel: &Channel) -> Result<()> {
        self.load_filter(process, channel)?;
        if process.no_new_privileges == NoNewPrivileges::Unset && process.security.seccomp.is_some() {
            identity::let_go(self.left.as_ref())?;
        }
        Ok(())
    }

    /// Puts the process under its seccomp filter; a listener goes to whoever started it, who knows the agent.
    fn load_filter(&self, process: &Process, channel: &Channel) -> Result<()> {
        let Some(filter) = self.filter(process)? else { return Ok(()) };
        match sys::seccomp::load(filter).map_err(|e| e.at(SECCOMP))? {
            Some(listener) => channel.send_with(&Report::Listening, Some(listener.as_fd())),
            None => Ok(()),
        }
    }

    fn filter<'a>(&'a self, process: &'a Process) -> Result<Option<&'a Filter>> {
        match (&process.security.seccomp, &self.filter) {
            (Some(Checked::Compiled(filter)), _) | (Some(Checked::Compiles), Some(filter)) => Ok(Some(filter)),
            (Some(Checked::Compiles), None) => Err(Error::new("the seccomp filter is missing")),
            (None, _) => Ok(None),
        }
    }
}

/// Before a hook in the container too, which is a program of the image.
fn forbid_new_privileges(process: &Process) -> Result<()> {
    match process.no_new_privileges {
        NoNewPrivileges::Set => rustix::thread::set_no_new_privs(true).wrap("prctl(PR_SET_NO_NEW_PRIVS)"),
        NoNewPrivileges::Unset => Ok(()),
    }
}

fn explain_exec(program: &CStr, errno: crate::error::Errno) -> Error {
    let error = Error::sys(format!("exec {}", program.to_string_lossy()), errno).kind(crate::error::Kind::Program);
    match errno.0 {
        libc::ENOEXEC => error.hint("neither a program for this machine nor a script with a #! line"),
        libc::ENOENT => error.hint("the interpreter or dynamic linker that it names is missing in the image"),
        _ => error,
    }
}
