//! Where the C library gets memory from, in place of brk(2): the program's own .bss for the thread's control block, and
//! mmap(2) for the heap.
//!
//! The kernel tells a refused brk(2) by the break that it returns, and not by an error. A C library takes any other
//! answer, such as one of a seccomp filter or a tracer around us, for an address: it crashes before `main`, without a
//! word. Both functions are glibc's own by name, and found here first in a static program. Each start is four system
//! calls shorter, and a C library that knows neither name starts as it always did.

use std::cell::UnsafeCell;
use std::ffi::c_void;

/// More than the control block and the few words of thread-local storage of this program take (some 3.5 KB).
const ROOM: usize = 8192;

#[repr(align(64))]
struct Block(UnsafeCell<[u8; ROOM]>);

// SAFETY: asked for once, before there is a second thread.
unsafe impl Sync for Block {}

static BLOCK: Block = Block(UnsafeCell::new([0; ROOM]));

/// The memory of the first thread's control block, all zero (glibc, `__libc_setup_tls`); null where it is too little,
/// of which the C library then says so.
///
/// # Safety
/// Called by the C library alone, once.
// SAFETY: the name is the C library's, and so is the signature.
#[unsafe(no_mangle)]
unsafe extern "C" fn _dl_early_allocate(size: usize) -> *mut c_void {
    if size > ROOM { std::ptr::null_mut() } else { BLOCK.0.get().cast() }
}

/// Refuses to move the break: malloc(3) then takes a mebibyte at a time from mmap(2).
///
/// # Safety
/// Touches nothing but errno.
// SAFETY: the name is the C library's, and so are the signature and what it returns (sbrk(2)).
#[unsafe(no_mangle)]
unsafe extern "C" fn __sbrk(_increment: isize) -> *mut c_void {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    std::ptr::without_provenance_mut(usize::MAX)
}

/// [`__sbrk`] by its other name.
///
/// # Safety
/// Touches nothing but errno.
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn sbrk(increment: isize) -> *mut c_void {
    // SAFETY: it is safe to call at any time.
    unsafe { __sbrk(increment) }
}
