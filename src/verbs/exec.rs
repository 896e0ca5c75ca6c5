//! `exec`: a further program in a container.

use std::ffi::{OsStr, OsString};
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};

use super::Context;
use super::container::{cgroup, status};
use super::create::{Ends, check_terminal, write_pid_file};
use crate::bundle::{self, Bundle, Read};
use crate::cli::ExecOptions;
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::Cgroup;
use crate::plan::{self, Host};
use crate::spawn::descriptors::Inherited;
use crate::spawn::enter::{self, Entered};
use crate::spawn::foreground::{Foreground, Signals};
use crate::state::{Entry, Lock, Record, Status};
use crate::sys::clone::Child;

/// Gives the program's exit status in the foreground, 0 when detached.
pub(super) fn exec(context: &Context, options: &ExecOptions, inherited: Inherited) -> Result<u8> {
    let entry = context.store.find(&options.id, Lock::None)?;
    refuse_by_status(&entry, options)?;
    // Not taken apart before the program runs: that would only take time.
    let config = ManuallyDrop::new(Bundle::from_text(entry.record.bundle.clone(), entry.dir.config()?)?);
    let spec = &config.config.value;
    let process = ManuallyDrop::new(process(spec, options, &inherited)?);
    let ends = if options.detach { Ends::Detached } else { Ends::Foreground };
    check_terminal(process.terminal, options.console_socket.as_deref(), ends)?;
    let signals = match ends {
        Ends::Foreground => Some(Signals::block()?),
        Ends::Detached => None,
    };
    let cgroup = sub_cgroup(cgroup(&entry.record), options)?;
    let entered = enter::enter(&enter::Request {
        record: &entry.record,
        process: &process,
        profile: spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()),
        cgroup: cgroup.as_ref(),
        console_socket: options.console_socket.clone(),
        pidfd_socket: options.pidfd_socket.clone(),
        inherited: inherited.count,
    })?;
    let (foreground, child) = start(entered, &entry.record, options, signals)?;
    match foreground {
        Some(foreground) => {
            // It may run for long.
            drop((ManuallyDrop::into_inner(process), ManuallyDrop::into_inner(config)));
            foreground.wait(&child)
        }
        None => Ok(0),
    }
}

/// The container's cgroup, or the one below it that `--cgroup` names.
fn sub_cgroup(cgroup: Option<Cgroup>, options: &ExecOptions) -> Result<Option<Cgroup>> {
    let Some(mut cgroup) = cgroup else {
        return match options.cgroup.is_empty() {
            true => Ok(None),
            false => Err(Error::new("flag --cgroup: the container has no cgroup of its own").kind(Kind::Usage)),
        };
    };
    for sub in &options.cgroup {
        cgroup = cgroup.below(&sub.controllers, &sub.path)?;
    }
    Ok(Some(cgroup))
}

fn start(
    mut entered: Entered,
    record: &Record,
    options: &ExecOptions,
    signals: Option<Signals>,
) -> Result<(Option<Foreground>, Child)> {
    let prepared = signals
        .map(|signals| Foreground::new(signals, entered.terminal.take()))
        .transpose()
        .and_then(|foreground| write_pid_file(options.pid_file.as_deref(), entered.child.pid).map(|()| foreground));
    let foreground = match prepared {
        Ok(foreground) => foreground,
        Err(error) => {
            entered.abandon();
            return Err(error);
        }
    };
    entered.start(record)?;
    Ok((foreground, entered.child))
}

fn refuse_by_status(entry: &Entry, options: &ExecOptions) -> Result<()> {
    match status(entry) {
        Status::Running | Status::Created => Ok(()),
        Status::Paused if options.ignore_paused => Ok(()),
        Status::Paused => Err(Error::new("cannot exec in a paused container (use --ignore-paused to override)")),
        Status::Stopped => Err(Error::new("cannot exec in a stopped container").kind(Kind::NotRunning)),
        Status::Creating => Err(Error::new("cannot exec in a container that is not created yet")),
    }
}

/// What is to run: a process file, or the container's own process with what the command line changes.
fn process(config: &Spec, options: &ExecOptions, inherited: &Inherited) -> Result<plan::Process> {
    let (asked, pointer) = match &options.process {
        Some(file) => (bundle::process_file(file)?, ""),
        None => (own_process(config, options)?, "/process"),
    };
    let (mut process, warnings) = plan::exec_process(&asked, pointer, config, &Host::here())?;
    for warning in warnings {
        log::warn!("{warning}");
    }
    process.env.extend(inherited.env.iter().cloned());
    Ok(process)
}

fn own_process(spec: &Spec, options: &ExecOptions) -> Result<Read<Process>> {
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(options.args.iter().map(|arg| text(arg, "argument")).collect::<Result<_>>()?));
    process.set_terminal(Some(options.tty));
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for variable in &options.env {
        env.push(text(variable, "flag --env")?);
    }
    process.set_env(Some(env));
    let mut user = process.user().clone();
    if let Some(typed) = options.user {
        user.set_uid(typed.uid);
        user.set_gid(typed.gid.unwrap_or(user.gid()));
    }
    if !options.additional_gids.is_empty() {
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        gids.extend(&options.additional_gids);
        user.set_additional_gids(Some(gids));
    }
    process.set_user(user);
    if let Some(set) = options.no_new_privs {
        process.set_no_new_privileges(Some(set));
    }
    if let Some(profile) = &options.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &options.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    add_capabilities(&mut process, &options.caps)?;
    Ok(Read { value: process, warnings: Vec::new(), faults: Vec::new() })
}

/// Into the bounding, effective, permitted and ambient sets. Never into the inheritable one: a program with inheritable
/// file capabilities would gain them (CVE-2022-29162). Ambient is only what config.json has among the inheritable ones.
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut sets = process.capabilities().clone().unwrap_or_else(no_capabilities);
    for name in names {
        let capability: Capability = name.trim_start_matches("CAP_").parse().map_err(|_| {
            Error::new(format!("flag --cap: {name:?} is no capability"))
                .kind(Kind::Usage)
                .hint("capabilities(7) lists them: CAP_NET_ADMIN")
        })?;
        let with = |set: &Option<oci_spec::runtime::Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
        let ambient = with(sets.ambient());
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted).set_ambient(ambient);
    }
    process.set_capabilities(Some(sets));
    Ok(())
}

/// Empty sets; the default of oci-spec is an example.
fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    sets
}

/// Arguments become C strings in the end; the spec's types hold UTF-8.
fn text(value: &OsStr, what: &str) -> Result<String> {
    value.to_str().map(str::to_owned).ok_or_else(|| {
        let shown = PathBuf::from(OsString::from(value));
        Error::new(format!("{what}: {shown:?} is not UTF-8")).kind(Kind::Usage)
    })
}
