//! bpf(2), as far as device programs of a cgroup need it.

use std::ffi::c_uint;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;
use crate::bpf::devices::Instruction;
use crate::error::Errno;

/// Commands, types and flags of linux/bpf.h, which libc lacks.
const BPF_PROG_LOAD: c_uint = 5;
const BPF_PROG_ATTACH: c_uint = 8;
const BPF_PROG_DETACH: c_uint = 9;
const BPF_PROG_GET_FD_BY_ID: c_uint = 13;
const BPF_OBJ_GET_INFO_BY_FD: c_uint = 15;
const BPF_PROG_QUERY: c_uint = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// What the kernel shows of the programs that we load (BPF_OBJ_NAME_LEN is 16 with the NUL).
const NAME: [u8; 16] = *b"rruntime_device\0";

/// More programs than anybody attaches to one cgroup (the kernel's BPF_CGROUP_MAX_PROGS).
const MOST_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    reserved: u32,
    prog_attach_flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

fn bpf<T>(command: c_uint, attributes: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: the callers give the structure that the command takes, zeroed where it says nothing, and pointers in it
    // to memory that lives as long as the call; the kernel takes its size from the third argument.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // A descriptor is never negative.
    fd.as_raw_fd().cast_unsigned()
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just given this descriptor to nobody but us, with close-on-exec set.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Loads a device program.
///
/// # Errors
/// EPERM: no CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN); EINVAL: a kernel without CONFIG_CGROUP_BPF, or a program
/// that its verifier refuses.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let license = c"Apache-2.0";
    let mut load = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno(libc::E2BIG))?,
        insns: program.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
        prog_name: NAME,
        ..Load::default()
    };
    bpf(BPF_PROG_LOAD, &mut load).map(owned)
}

/// Attaches a device program to a cgroup, beside those that others attached; or in place of `old`, at once.
///
/// # Errors
/// EPERM: a cgroup above does not allow it; ENOENT: `old` is not attached any more.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attach = Attach {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | if old.is_some() { BPF_F_REPLACE } else { 0 },
        replace_bpf_fd: old.map_or(0, raw),
    };
    bpf(BPF_PROG_ATTACH, &mut attach).map(drop)
}

/// Takes a device program off a cgroup.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attach = Attach {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: BPF_CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(BPF_PROG_DETACH, &mut attach).map(drop)
}

/// The device programs attached to a cgroup that this runtime loaded, in whatever process.
pub fn own_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0u32; MOST_PROGRAMS];
    let mut query = Query {
        target_fd: raw(cgroup),
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: MOST_PROGRAMS as u32,
        ..Query::default()
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    let mut own = Vec::new();
    for &id in ids.iter().take(query.prog_cnt as usize) {
        let program = match bpf(BPF_PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() }) {
            Ok(fd) => owned(fd),
            // Detached meanwhile.
            Err(Errno(libc::ENOENT)) => continue,
            Err(errno) => return Err(errno),
        };
        if name(&program)? == NAME {
            own.push(program);
        }
    }
    Ok(own)
}

fn name(program: &OwnedFd) -> Result<[u8; 16], Errno> {
    let mut info = Info::default();
    let mut request = InfoByFd {
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        info_len: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info).expose_provenance() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut request)?;
    Ok(info.name)
}
