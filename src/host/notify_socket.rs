//! `NOTIFY_SOCKET` (sd_notify(3)): a service manager's socket, reachable for the container's program.
//!
//! The directory that holds the socket cannot be shared with the container, and the manager takes messages from known
//! processes only. So the socket itself is bound into the container, at the path by which the variable names it, and the
//! manager is told that the program is the main process now: what it says (READY, BARRIER with its descriptor) needs no
//! relay then. Runs in the runtime's process.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::plan::{Attributes, Mount, MountWhat, Plan, Reach, TargetKind};

/// Where the container finds it, as runc and crun have it.
const INSIDE: &str = "/run/notify/notify.sock";

/// Puts the caller's notify socket into the plan, if there is one.
pub fn forward(plan: &mut Plan) -> Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Ok(()) };
    let Some(process) = &mut plan.process else { return Ok(()) };
    let source = PathBuf::from(path);
    if !source.is_absolute() {
        // An abstract socket (`@…`) belongs to a network namespace: it works where that is shared, by its own name.
        let variable = format!("NOTIFY_SOCKET={}", source.display());
        process.env.push(std::ffi::CString::new(variable).map_err(|_| Error::new("a NUL in NOTIFY_SOCKET"))?);
        return Ok(());
    }
    process.env.push(c"NOTIFY_SOCKET=/run/notify/notify.sock".into());
    plan.mounts.push(Mount {
        pointer: String::new(),
        destination: INSIDE.into(),
        what: MountWhat::Bind { source, reach: Reach::Single, target: TargetKind::File },
        attributes: Attributes::default(),
        recursive: Attributes::default(),
        propagation: Vec::new(),
        idmap: None,
    });
    Ok(())
}

/// Tells the manager which process is the service's main one from now on.
pub fn tell_main_pid(pid: i32) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return };
    let told = UnixDatagram::unbound().and_then(|socket| {
        let message = format!("MAINPID={pid}\n");
        match path.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.send_to_addr(message.as_bytes(), &SocketAddr::from_abstract_name(name)?),
            None => socket.send_to(message.as_bytes(), &path),
        }
    });
    if let Err(error) = told {
        log::warn!("NOTIFY_SOCKET: {error}");
    }
}
