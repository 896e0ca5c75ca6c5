//! Labels of security modules: what the program, its keyring and its terminal are called by AppArmor and SELinux.
//!
//! A process names its own next label by writing it below /proc/self/attr. What is written to a file that only looks
//! like that one is lost without an error (CVE-2019-16884, CVE-2025-52881), so the files are opened on the host's
//! procfs, which nothing in the container can have covered, before any namespace is joined. The kernel takes the label
//! from the process that opened the file and from no other, and forgets it when that process executes a program.
//!
//! Runs in init and in the process of an exec: opened with the runtime's privilege, written with the program's.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use super::root::openat2;
use crate::error::{Error, Result, Wrap};
use crate::plan::{NoNewPrivileges, Process};

/// Where SELinux keeps the label of a file (xattr(7)).
const SELINUX_XATTR: &str = "security.selinux";

/// The labels of the program to be, each with the open file that takes it.
#[derive(Debug)]
pub(super) struct Labels(Vec<Label>);

#[derive(Debug)]
struct Label {
    file: OwnedFd,
    attribute: &'static str,
    text: String,
    pointer: String,
}

impl Labels {
    /// Opens what will be written to, and names the labels of keys made from now on. No label, no system call.
    pub(super) fn open(process: Option<&Process>) -> Result<Self> {
        let Some(process) = process else { return Ok(Self(Vec::new())) };
        let (apparmor, selinux) = (&process.security.apparmor, &process.security.selinux);
        if apparmor.is_none() && selinux.is_none() {
            return Ok(Self(Vec::new()));
        }
        let attributes = Attributes::open().wrap("open the attributes of the process")?;
        let mut labels = Vec::new();
        if let Some(profile) = apparmor {
            let (attribute, file) = attributes.either("apparmor/exec", "exec")?;
            let text = apparmor_command(profile, transition(process, &attributes)?);
            labels.push(Label { file, attribute, text, pointer: format!("{}/apparmorProfile", process.pointer) });
        }
        if let Some(context) = selinux {
            let pointer = format!("{}/selinuxLabel", process.pointer);
            let open = |attribute| -> Result<Label> {
                let file = attributes.file(attribute, OFlags::WRONLY)?;
                Ok(Label { file, attribute, text: context.clone(), pointer: pointer.clone() })
            };
            // The session keyring is made next; without it the program could not use its own keys.
            open("keycreate")?.write()?;
            labels.push(open("exec")?);
        }
        Ok(Self(labels))
    }

    /// Tells the kernel what the next program of this process is to be called, and closes the host's procfs.
    pub(super) fn write(self) -> Result<()> {
        self.0.iter().try_for_each(Label::write)
    }
}

impl Label {
    /// In one write: the kernel takes it as a whole (proc_pid_attr(5)).
    fn write(&self) -> Result<()> {
        let Self { file, attribute, text, pointer } = self;
        let written = rustix::io::write(file, text.as_bytes()).map_err(|errno| {
            explain(Error::sys(format!("write(\"/proc/self/attr/{attribute}\", {text:?})"), errno), errno)
        });
        match written {
            Ok(size) if size == text.len() => Ok(()),
            Ok(size) => Err(Error::new(format!("the kernel took {size} of {} bytes of a label", text.len()))),
            Err(error) => Err(error),
        }
        .map_err(|e| e.at(pointer.clone()))
    }
}

fn explain(error: Error, errno: Errno) -> Error {
    match errno {
        Errno::NOENT => error.hint("the profile is not loaded: apparmor_parser(8) loads one, aa-status(8) lists them"),
        Errno::INVAL => error.hint("the security policy in force knows no such label"),
        Errno::ACCESS | Errno::PERM => error.hint("the security policy does not let the runtime use this label"),
        _ => error,
    }
}

/// How AppArmor gets from the profile of the runtime to the one of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transition {
    /// The new profile takes the place of the old one.
    Exec,
    /// Both hold.
    Stack,
}

/// With no_new_privs a confined process can only be confined further (aa_stack_onexec(2)): a runtime that is itself in
/// a container, under a profile.
fn transition(process: &Process, attributes: &Attributes) -> Result<Transition> {
    let no_new_privileges = process.no_new_privileges == NoNewPrivileges::Set
        || rustix::thread::no_new_privs().wrap("prctl(PR_GET_NO_NEW_PRIVS)")?;
    if !no_new_privileges {
        return Ok(Transition::Exec);
    }
    let (_, current) = attributes.either_to_read("apparmor/current", "current")?;
    let mut text = [0u8; 4096];
    let size = rustix::io::read(&current, &mut text).wrap("read(\"/proc/self/attr/current\")")?;
    Ok(if is_unconfined(&text[..size]) { Transition::Exec } else { Transition::Stack })
}

/// `unconfined`, or `unconfined (mode)` as other kernels say it.
fn is_unconfined(current: &[u8]) -> bool {
    let name = current.split(|b| matches!(b, b'\n' | b'\0' | b' ')).next().unwrap_or_default();
    name == b"unconfined"
}

fn apparmor_command(profile: &str, transition: Transition) -> String {
    match transition {
        Transition::Exec => format!("exec {profile}"),
        Transition::Stack => format!("stack {profile}"),
    }
}

/// /proc/self/attr of a procfs that is one.
struct Attributes {
    procfs: OwnedFd,
    /// `PID/attr`; `self` is a link, and none is followed.
    directory: PathBuf,
}

impl Attributes {
    fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let procfs = rustix::fs::open(c"/proc", flags, Mode::empty()).wrap("open(\"/proc\")")?;
        Self::below(procfs)
    }

    fn below(procfs: OwnedFd) -> Result<Self> {
        let filesystem = rustix::fs::fstatfs(&procfs).wrap("fstatfs(\"/proc\")")?;
        if filesystem.f_type != rustix::fs::PROC_SUPER_MAGIC {
            return Err(Error::new("/proc is not a procfs: a label written there would be lost"));
        }
        // In the pid namespace of that procfs, which is not the one that this process may be the first in.
        let own = rustix::fs::readlinkat(&procfs, "self", Vec::new()).wrap("readlink(\"/proc/self\")")?;
        let own = own.to_str().ok().and_then(|own| own.parse::<u32>().ok());
        let own = own.ok_or_else(|| Error::new("/proc/self names no process"))?;
        Ok(Self { procfs, directory: Path::new(&own.to_string()).join("attr") })
    }

    /// Opens one of them: below the procfs, over no link, and on no other mount.
    fn file(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let path = self.directory.join(name);
        openat2(self.procfs.as_fd(), &path, flags, resolve).map_err(|errno| {
            let error = Error::sys(format!("openat2(\"/proc\", {path:?})"), errno);
            if errno == Errno::XDEV { error.hint("something is mounted over it") } else { error }
        })
    }

    /// The module's own file, or the one that modules shared before Linux 5.8.
    fn either(&self, own: &'static str, shared: &'static str) -> Result<(&'static str, OwnedFd)> {
        self.first_of([own, shared], OFlags::WRONLY)
    }

    fn either_to_read(&self, own: &'static str, shared: &'static str) -> Result<(&'static str, OwnedFd)> {
        self.first_of([own, shared], OFlags::RDONLY)
    }

    fn first_of(&self, [own, shared]: [&'static str; 2], flags: OFlags) -> Result<(&'static str, OwnedFd)> {
        match self.file(own, flags) {
            Err(error) if error.is(libc::ENOENT) => Ok((shared, self.file(shared, flags)?)),
            file => Ok((own, file?)),
        }
    }
}

/// Labels a terminal as the container's files are. One of a devpts that was mounted with the label has it already, and
/// can have no other.
pub(super) fn label_terminal(slave: impl AsFd, label: &str) -> Result<()> {
    if current_label(&slave).is_some_and(|current| current == label.as_bytes()) {
        return Ok(());
    }
    rustix::fs::fsetxattr(&slave, SELINUX_XATTR, label.as_bytes(), XattrFlags::empty())
        .wrap_with(|| format!("fsetxattr(terminal, {SELINUX_XATTR:?}, {label:?})"))
        .map_err(|e| e.at("/linux/mountLabel"))
}

/// Labels the root of a file system that takes no label when it is mounted. It is the current directory: a descriptor
/// opened with `O_PATH` has no attributes to set.
pub(super) fn label_mounted(directory: &OwnedFd, label: &str) -> Result<()> {
    rustix::process::fchdir(directory).wrap("fchdir(the new mount)")?;
    rustix::fs::setxattr(c".", SELINUX_XATTR, label.as_bytes(), XattrFlags::empty())
        .wrap_with(|| format!("setxattr(\".\", {SELINUX_XATTR:?}, {label:?})"))
        .map_err(|e| e.at("/linux/mountLabel"))
}

fn current_label(file: impl AsFd) -> Option<Vec<u8>> {
    let mut label = vec![0u8; 4096];
    let size = rustix::fs::fgetxattr(file, SELINUX_XATTR, &mut label[..]).ok()?;
    label.truncate(size);
    // With or without the NUL that ends it (libselinux writes one).
    while label.last() == Some(&0) {
        label.pop();
    }
    Some(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_confined_runtime_stacks_what_it_may_not_leave() {
        assert_eq!(apparmor_command("crun (x)", Transition::Exec), "exec crun (x)");
        assert_eq!(apparmor_command("p", Transition::Stack), "stack p");
        for unconfined in ["unconfined\n", "unconfined", "unconfined (unconfined)\n"] {
            assert!(is_unconfined(unconfined.as_bytes()), "{unconfined:?}");
        }
        for confined in ["docker-default (enforce)\n", "", "unconfined//&p (mixed)", "lxc-unconfined\n"] {
            // The stack's text has no space before its end.
            assert!(!is_unconfined(confined.as_bytes()), "{confined:?}");
        }
    }

    #[test]
    fn cve_2019_16884_a_fake_proc_is_no_place_for_a_label() {
        let fake = Scratch::new();
        let attributes = fake.join(std::process::id().to_string()).join("attr/apparmor");
        std::fs::create_dir_all(&attributes).unwrap();
        std::fs::write(attributes.join("exec"), "").unwrap();
        std::os::unix::fs::symlink(std::process::id().to_string(), fake.join("self")).unwrap();
        let open = || rustix::fs::open(&*fake, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let refused = Attributes::below(open()).map(drop).unwrap_err();
        assert_eq!(refused.to_string(), "/proc is not a procfs: a label written there would be lost");
        // The attack works where nobody looks what file system it is.
        let unchecked =
            Attributes { procfs: open(), directory: Path::new(&std::process::id().to_string()).join("attr") };
        let (attribute, file) = unchecked.either("apparmor/exec", "exec").unwrap();
        Label { file, attribute, text: "exec lost".into(), pointer: String::new() }.write().unwrap();
        assert_eq!(std::fs::read_to_string(attributes.join("exec")).unwrap(), "exec lost");
    }

    #[test]
    fn attributes_are_those_of_this_process_and_no_link_leads_to_them() {
        let attributes = Attributes::open().unwrap();
        assert_eq!(attributes.directory, Path::new(&std::process::id().to_string()).join("attr"));
        // A kernel without the module still has the shared files.
        let (name, _) = attributes.either_to_read("no-such-module/current", "current").unwrap();
        assert_eq!(name, "current");
        let linked = Attributes { directory: "self/attr".into(), ..attributes };
        assert!(linked.file("current", OFlags::RDONLY).unwrap_err().is(libc::ELOOP));
    }

    #[test]
    fn a_label_that_the_kernel_refuses_is_an_error_with_its_place() {
        let attributes = Attributes::open().unwrap();
        let (attribute, file) = attributes.either("apparmor/exec", "exec").unwrap();
        let text = apparmor_command("rruntime-no-such-profile", Transition::Exec);
        let label = Label { file, attribute, text, pointer: "/process/apparmorProfile".into() };
        let error = Labels(vec![label]).write().unwrap_err();
        assert_eq!(error.pointer(), Some("/process/apparmorProfile"));
        assert!(error.to_string().contains("exec rruntime-no-such-profile"), "{error}");
    }
}
