//! set_mempolicy(2).

use super::check;
use crate::error::Errno;

/// Sets the NUMA policy of this thread, which the program inherits. `nodes` has a bit for each node; none for no nodes.
///
/// # Errors
/// EINVAL: a policy that makes no sense, or no node of it that this thread may use; ENOSYS: a kernel without NUMA.
pub fn set(mode: u32, nodes: &[libc::c_ulong]) -> Result<(), Errno> {
    let (mask, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel takes one bit less than it is told (set_mempolicy(2), BUGS of get_mempolicy(2)).
        words => (words.as_ptr(), words.len() * libc::c_ulong::BITS as usize + 1),
    };
    // SAFETY: the kernel reads `bits` - 1 bits at `mask`, all of which are in `nodes`; nothing for 0.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}
