//! `create`: bundle → plan → a container that waits for `start`. Shares all but the end with `run`.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::path::Path;

use oci_spec::runtime::LinuxSeccomp;

use super::Context;
use crate::bpf::seccomp::Checked;
use crate::bundle::{Bundle, ContainerId};
use crate::cli::{CgroupManager, CreateOptions};
use crate::error::{Error, Failure, Kind, Result};
use crate::host::cgroup::layout::Layout;
use crate::host::notify_socket;
use crate::host::scope::{self, Planned};
use crate::host::systemd::Systemd;
use crate::plan::cgroup::{self, CgroupPlan, Driver};
use crate::plan::cgroup_owner;
use crate::plan::{self, CgroupTree, Host, Namespace, NamespaceKind, Plan, RootChange, Terminal};
use crate::spawn::create::{self as spawn, Created, NewKeyring, StartBy};
use crate::spawn::descriptors::Inherited;
use crate::state::{Phase, Record, SeccompAgent, write_atomically};

/// Makes a container and leaves it waiting.
pub(super) fn create(context: &Context, options: &CreateOptions, inherited: Inherited) -> Result<(), Failure> {
    // Not taken apart again: the kernel frees it with the process, and nobody has to wait for that.
    let mut prepared = ManuallyDrop::new(prepare(context, options, inherited)?);
    prepared.check_terminal(options.console_socket.as_deref(), Ends::Detached)?;
    let created = prepared.make(context, options, StartBy::Socket)?;
    if let Err(error) = write_pid_file(options.pid_file.as_deref(), created.child.pid) {
        return Err(created.fail(error));
    }
    created.release()
}

/// Whether the runtime stays while the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Detached,
    Foreground,
}

/// All decided, nothing made.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    bundle: Bundle,
    cgroup: Option<CgroupPlan>,
    scope: Option<Planned>,
    inherited: u32,
}

/// What a bundle comes to on this host.
pub(super) struct Decided {
    pub(super) plan: Plan,
    bundle: Bundle,
    cgroup: Option<CgroupPlan>,
    scope: Option<Planned>,
}

impl Decided {
    /// `linux.seccomp`
    pub(super) fn profile(&self) -> Option<&LinuxSeccomp> {
        profile(&self.bundle)
    }
}

fn profile(bundle: &Bundle) -> Option<&LinuxSeccomp> {
    bundle.config.value.linux().as_ref()?.seccomp().as_ref()
}

/// Reads the bundle and decides everything, or says all that is wrong.
pub(super) fn prepare(context: &Context, options: &CreateOptions, inherited: Inherited) -> Result<Prepared> {
    let Decided { mut plan, bundle, cgroup, scope } = decide(context, options)?;
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    if let Some(process) = &mut plan.process {
        process.env.extend(inherited.env);
    }
    notify_socket::forward(&mut plan)?;
    Ok(Prepared { plan, bundle, cgroup, scope, inherited: inherited.count })
}

/// All of [`prepare`] that depends on the bundle and the host alone.
pub(super) fn decide(context: &Context, options: &CreateOptions) -> Result<Decided> {
    let id = ContainerId::new(&options.id)?;
    let bundle = Bundle::load(options.bundle.as_deref().unwrap_or(Path::new(".")), options.config.as_deref())?;
    let layout = Layout::detect()?;
    let cgroup = plan_cgroup(context, id.as_str(), &bundle, &layout);
    let tree = match &cgroup {
        Ok((Some(cgroup), _)) => CgroupTree::of(&layout, &cgroup.membership, context.authority),
        _ => CgroupTree::outside(&layout),
    };
    let root_change = if options.no_pivot { RootChange::Move } else { RootChange::Pivot };
    let request = plan::Request { id: &id, root_change, cgroups: &tree };
    let plan = plan::build(&request, &bundle, &Host::here());
    // Both are told at once.
    match (plan, cgroup) {
        (Ok(mut plan), Ok((cgroup, scope))) => {
            if cgroup.is_none() && bundle.config.value.linux().as_ref().is_some_and(|l| l.resources().is_some()) {
                let warning = "/linux/resources: no limit and no device rule holds: --cgroup-manager disabled";
                plan.warnings.push(warning.into());
            }
            Ok(Decided { plan, bundle, cgroup, scope })
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(one), Err(other)) => Err(one.and(other)),
    }
}

/// The cgroup, and the scope that is to hold it where systemd makes it.
type CgroupAndScope = (Option<CgroupPlan>, Option<Planned>);

fn plan_cgroup(context: &Context, id: &str, bundle: &Bundle, layout: &Layout) -> Result<CgroupAndScope> {
    let linux = bundle.config.value.linux().as_ref();
    let request = cgroup::Request {
        id,
        state_root: context.store.root(),
        cgroups_path: linux.and_then(|linux| linux.cgroups_path().as_deref()).filter(|p| !p.as_os_str().is_empty()),
        driver: Driver::Cgroupfs,
        authority: context.authority,
        resources: linux.and_then(|linux| linux.resources().as_ref()),
        owner: cgroup_owner::owner(&bundle.config.value, layout),
    };
    match context.cgroup_manager {
        CgroupManager::Disabled => Ok((None, None)),
        CgroupManager::Cgroupfs => Ok((Some(cgroup::plan(layout, &request)?), None)),
        CgroupManager::Systemd => {
            let manager = scope::manager(context.authority);
            let systemd = Systemd::connect(manager)?;
            let facts = systemd.facts(plan::scope::controllers(layout));
            let none = HashMap::new();
            let annotations = bundle.config.value.annotations().as_ref().unwrap_or(&none);
            let (cgroup, scope) = plan::scope::plan(layout, &request, &facts, annotations)?;
            Ok((Some(cgroup), Some(Planned { systemd, scope, manager })))
        }
    }
}

impl Prepared {
    /// Makes the container, up to the point where its program could run. Only once: its cgroup goes with it.
    pub(super) fn make(
        &mut self,
        context: &Context,
        options: &CreateOptions,
        start: StartBy,
    ) -> Result<Created, Failure> {
        let record = self.record();
        spawn::create(spawn::Request {
            store: &context.store,
            plan: &self.plan,
            cgroup: self.cgroup.take(),
            scope: self.scope.take(),
            record,
            config: &self.bundle.text,
            profile: profile(&self.bundle),
            start,
            console_socket: options.console_socket.clone(),
            pidfd_socket: options.pidfd_socket.clone(),
            inherited: self.inherited,
            keyring: if options.no_new_keyring { NewKeyring::No } else { NewKeyring::Yes },
        })
    }

    fn record(&self) -> Record {
        let spec = &self.bundle.config.value;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Record {
            oci_version: spec.version().clone(),
            id: self.plan.id.clone(),
            bundle: self.plan.bundle.clone(),
            rootfs: self.plan.rootfs.clone(),
            annotations: spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
            created: (now.as_secs() as i64, now.subsec_nanos()),
            owner: rustix::process::getuid().as_raw(),
            phase: Phase::Creating,
            init: None,
            keyring: None,
            cgroup: None,
            scope: self.scope.as_ref().map(Planned::kept),
            resources: None,
            namespaces: own_namespaces(&self.plan),
            net_devices: Vec::new(),
            resctrl: self.plan.intel_rdt.as_ref().map(|rdt| rdt.groups.clone()),
            root_mount: None,
            seccomp_agent: self.seccomp_agent(),
            hooks: self.plan.hooks.clone(),
        }
    }

    fn seccomp_agent(&self) -> Option<SeccompAgent> {
        let Some(Checked::Compiled(filter)) = &self.plan.process.as_ref()?.security.seccomp else { return None };
        filter
            .listener
            .as_ref()
            .map(|agent| SeccompAgent { path: agent.path.clone(), metadata: agent.metadata.clone() })
    }

    /// A terminal needs somebody at its other end, and who waits for one must get one.
    pub(super) fn check_terminal(&self, console_socket: Option<&Path>, ends: Ends) -> Result<()> {
        let terminal = self.plan.process.as_ref().map_or(Terminal::None, |process| process.terminal);
        check_terminal(terminal, console_socket, ends)
    }
}

/// [`Prepared::check_terminal`], for `exec` too.
pub(super) fn check_terminal(terminal: Terminal, console_socket: Option<&Path>, ends: Ends) -> Result<()> {
    let fault = match (terminal, console_socket, ends) {
        (Terminal::Pty { .. }, None, Ends::Detached) => {
            "cannot allocate tty if runtime will detach without setting console socket"
        }
        (Terminal::None, Some(_), _) => "cannot use console socket if runtime will not detach or allocate tty",
        _ => return Ok(()),
    };
    let hint = "process.terminal and --console-socket go together, except in the foreground";
    Err(Error::new(fault).kind(Kind::Usage).hint(hint))
}

/// Namespaces that are not the runtime's own.
fn own_namespaces(plan: &Plan) -> Vec<NamespaceKind> {
    let own = |kind: &NamespaceKind| !matches!(plan.namespaces.get(*kind), Namespace::Host);
    NamespaceKind::ALL.into_iter().filter(own).collect()
}

/// Digits only, there as a whole or not at all.
pub(super) fn write_pid_file(path: Option<&Path>, pid: i32) -> Result<()> {
    path.map_or(Ok(()), |path| {
        write_atomically(path, pid.to_string().as_bytes()).map_err(|e| e.wrap("flag --pid-file"))
    })
}
