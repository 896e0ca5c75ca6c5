//! The program's entry, in place of the standard library's: that one asks for the stack's bounds by reading
//! /proc/self/maps and sets up a stack for signal handlers, some 16 system calls that each start pays for twice, since
//! the runtime executes itself again.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

/// What the standard library would have done that matters: standard descriptors that are closed are opened on /dev/null,
/// so that no file of ours becomes standard output, and a reader that is gone is an error and not a signal.
pub fn prepare() {
    // SAFETY: these are only asked about, and never closed or owned.
    let standard = [0, 1, 2].map(|number| unsafe { std::os::fd::BorrowedFd::borrow_raw(number) });
    let mut watched = standard.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let asked = poll(&mut watched, Some(&now));
    if asked.is_err() || watched.iter().any(|fd| fd.revents().contains(PollFlags::NVAL)) {
        open_standard();
    }
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The lowest free number is what open(2) gives.
fn open_standard() {
    use std::os::fd::{AsRawFd, IntoRawFd};
    while let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
        if null.as_raw_fd() > 2 {
            return;
        }
        // It stays open for good.
        let _ = null.into_raw_fd();
    }
}

/// Commands that enter a container, as the eight bytes that a word is compared by.
pub mod entering {
    pub const CREATE: u64 = u64::from_le_bytes(*b"create\0\0");
    pub const RUN: u64 = u64::from_le_bytes(*b"run\0\0\0\0\0");
    pub const EXEC: u64 = u64::from_le_bytes(*b"exec\0\0\0\0");
    pub const RESTORE: u64 = u64::from_le_bytes(*b"restore\0");
}

/// Paths for the entry, terminated.
pub static EXE: [u8; 15] = *b"/proc/self/exe\0";
pub static EMPTY: [u8; 1] = *b"\0";

/// Makes `main` of an expression that gives the exit status, and before it the program's entry.
///
/// The entry (named by build.rs) looks for a command that enters a container among the arguments, and for such a one
/// executes the runtime again from a detached read-only mount, as `spawn::seal` does and says why: before the C library
/// has started, which costs some 0.2 ms of page faults, relocation and CPUID, and would be for nothing. There is no C
/// library, no relocated pointer and no stack protector yet, so that it is written in assembly and not left to the
/// compiler. What fails here is not told: `spawn::seal` tries again and tells.
#[macro_export]
macro_rules! entry {
    ($run:expr) => {
        // SAFETY: the C library calls the one `main` of the program, with a signature that it knows (exec(3), crt1).
        #[unsafe(no_mangle)]
        pub extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
            $crate::sys::entry::prepare();
            i32::from($run)
        }

        // SAFETY: only the kernel enters here, with the count of arguments, their pointers, a null pointer and those of
        // the environment on the stack (execve(2), System V ABI 3.4.1). It reads these, writes below them, and goes on
        // to the C library's own entry with the stack and rdx as the kernel left them.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn rruntime_start() -> ! {
            core::arch::naked_asm!(
                "mov r12, rdx",        // for _start
                "mov r13, rsp",        // likewise
                "mov rbp, [r13]",      // count of arguments
                "lea r14, [r13 + 8]",  // arguments
                "sub rsp, 256",
                "mov ebx, 1",
                // Each argument's first eight bytes, with zeros behind its end.
                "2:",
                "cmp rbx, rbp",
                "jae 8f",
                "mov rsi, [r14 + rbx * 8]",
                "inc rbx",
                "xor eax, eax",
                "xor edx, edx",
                "3:",
                "movzx edi, byte ptr [rsi + rdx]",
                "test edi, edi",
                "jz 4f",
                "cmp edx, 8",
                "je 2b",
                "lea ecx, [rdx * 8]",
                "shl rdi, cl",
                "or rax, rdi",
                "inc edx",
                "jmp 3b",
                "4:",
                "mov rdi, {create}",
                "cmp rax, rdi",
                "je 5f",
                "mov rdi, {run}",
                "cmp rax, rdi",
                "je 5f",
                "mov rdi, {exec}",
                "cmp rax, rdi",
                "je 5f",
                "mov rdi, {restore}",
                "cmp rax, rdi",
                "jne 2b",
                // statfs(EXE, stack): f_flags is its eleventh word.
                "5:",
                "mov eax, {statfs}",
                "lea rdi, [rip + {exe}]",
                "mov rsi, rsp",
                "syscall",
                "test rax, rax",
                "jnz 8f",
                "test byte ptr [rsp + 80], {read_only}",
                "jnz 8f",
                // open_tree(AT_FDCWD, EXE, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
                "mov eax, {open_tree}",
                "mov rdi, {cwd}",
                "lea rsi, [rip + {exe}]",
                "mov edx, {clone}",
                "syscall",
                "test rax, rax",
                "js 8f",
                "mov r15, rax",
                // mount_setattr(mount, "", AT_EMPTY_PATH, {{attr_set = MOUNT_ATTR_RDONLY}}, 32)
                "mov qword ptr [rsp], {rdonly}",
                "mov qword ptr [rsp + 8], 0",
                "mov qword ptr [rsp + 16], 0",
                "mov qword ptr [rsp + 24], 0",
                "mov eax, {mount_setattr}",
                "mov rdi, r15",
                "lea rsi, [rip + {empty}]",
                "mov edx, {empty_path}",
                "mov r10, rsp",
                "mov r8d, 32",
                "syscall",
                "test rax, rax",
                "jnz 7f",
                // execveat(mount, "", arguments, environment, AT_EMPTY_PATH)
                "mov eax, {execveat}",
                "mov rdi, r15",
                "lea rsi, [rip + {empty}]",
                "mov rdx, r14",
                "lea r10, [r14 + rbp * 8 + 8]",
                "mov r8d, {empty_path}",
                "syscall",
                // close(mount)
                "7:",
                "mov eax, {close}",
                "mov rdi, r15",
                "syscall",
                "8:",
                "mov rsp, r13",
                "mov rdx, r12",
                "xor ebp, ebp",
                "jmp _start",
                create = const $crate::sys::entry::entering::CREATE,
                run = const $crate::sys::entry::entering::RUN,
                exec = const $crate::sys::entry::entering::EXEC,
                restore = const $crate::sys::entry::entering::RESTORE,
                exe = sym $crate::sys::entry::EXE,
                empty = sym $crate::sys::entry::EMPTY,
                statfs = const 137,         // numbers of x86_64 (asm/unistd_64.h)
                open_tree = const 428,
                mount_setattr = const 442,
                execveat = const 322,
                close = const 3,
                cwd = const -100,           // AT_FDCWD
                clone = const 0x80001,      // OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
                rdonly = const 1,           // MOUNT_ATTR_RDONLY
                read_only = const 1,        // ST_RDONLY
                empty_path = const 0x1000,  // AT_EMPTY_PATH
            )
        }
    };
}
