//! Architectures: what the kernel calls them, how wide their arguments are, and what numbers their calls have.

use std::ops::Range;

use oci_spec::runtime::Arch;
use seccompiler::SeccompCmpArgLen;
use syscalls::{aarch64, arm, loongarch64, riscv64, x86, x86_64};

use super::names::by_name;

/// x32 calls are x86_64 calls with this bit set (`__X32_SYSCALL_BIT`); they share one `AUDIT_ARCH`.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// One table of system calls.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) arch: Arch,
    /// `seccomp_data.arch` of its calls (`AUDIT_ARCH_*` in linux/audit.h).
    pub(super) audit: u32,
    /// The number of its first call.
    pub(super) first: u32,
    /// Numbers that say nothing about age: numbers outside it are given out in the order calls are added.
    pub(super) ageless: Range<u32>,
    /// `socketcall` and `ipc`, through which calls go that are (or were) not system calls of their own.
    pub(super) multiplexers: Option<Multiplexers>,
    pub(super) number: fn(&str) -> Option<u32>,
}

/// The numbers of socketcall(2) and ipc(2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Multiplexers {
    socketcall: u32,
    ipc: u32,
}

impl Machine {
    /// How much of an argument a condition looks at. On 32-bit machines, x32 included, this is the lower half of
    /// both the argument and the value, as libseccomp has it.
    pub(super) fn argument(&self) -> SeccompCmpArgLen {
        const AUDIT_ARCH_64BIT: u32 = 0x8000_0000;
        if self.audit & AUDIT_ARCH_64BIT != 0 && self.arch != Arch::ScmpArchX32 {
            SeccompCmpArgLen::Qword
        } else {
            SeccompCmpArgLen::Dword
        }
    }

    /// The multiplexer that carries `name`, and the value of its first argument that says so.
    pub(super) fn multiplexed(&self, name: &str) -> Option<(u32, u32)> {
        let Multiplexers { socketcall, ipc } = self.multiplexers?;
        // The kernel's include/uapi/linux/net.h (SYS_*) and ipc.h.
        Some(match name {
            "socket" => (socketcall, 1),
            "bind" => (socketcall, 2),
            "connect" => (socketcall, 3),
            "listen" => (socketcall, 4),
            "accept" => (socketcall, 5),
            "getsockname" => (socketcall, 6),
            "getpeername" => (socketcall, 7),
            "socketpair" => (socketcall, 8),
            "send" => (socketcall, 9),
            "recv" => (socketcall, 10),
            "sendto" => (socketcall, 11),
            "recvfrom" => (socketcall, 12),
            "shutdown" => (socketcall, 13),
            "setsockopt" => (socketcall, 14),
            "getsockopt" => (socketcall, 15),
            "sendmsg" => (socketcall, 16),
            "recvmsg" => (socketcall, 17),
            "accept4" => (socketcall, 18),
            "recvmmsg" => (socketcall, 19),
            "sendmmsg" => (socketcall, 20),
            "semop" => (ipc, 1),
            "semget" => (ipc, 2),
            "semctl" => (ipc, 3),
            "semtimedop" => (ipc, 4),
            "msgsnd" => (ipc, 11),
            "msgrcv" => (ipc, 12),
            "msgget" => (ipc, 13),
            "msgctl" => (ipc, 14),
            "shmat" => (ipc, 21),
            "shmdt" => (ipc, 22),
            "shmget" => (ipc, 23),
            "shmctl" => (ipc, 24),
            _ => return None,
        })
    }
}

/// The machines whose numbers are known. Those of the other byte order are not here: no kernel that runs this binary
/// can report their calls, nor would the offsets of argument halves be right for them.
pub(super) static MACHINES: [Machine; 7] = [
    machine(Arch::ScmpArchX86_64, X86_64),
    Machine {
        audit: Arch::ScmpArchX86_64 as u32,
        first: X32_BIT,
        ageless: X32_BIT + 512..X32_BIT + 548,
        ..machine(Arch::ScmpArchX32, x32)
    },
    Machine {
        multiplexers: Some(Multiplexers { socketcall: 102, ipc: 117 }),
        ..machine(Arch::ScmpArchX86, by_name!(x86))
    },
    machine(Arch::ScmpArchAarch64, |name| by_name!(aarch64)(renamed(name))),
    Machine { ageless: ARM_PRIVATE..ARM_PRIVATE + 16, ..machine(Arch::ScmpArchArm, arm_eabi) },
    machine(Arch::ScmpArchRiscv64, by_name!(riscv64)),
    machine(Arch::ScmpArchLoongarch64, |name| by_name!(loongarch64)(renamed(name))),
];

const X86_64: fn(&str) -> Option<u32> = by_name!(x86_64);

const fn machine(arch: Arch, number: fn(&str) -> Option<u32>) -> Machine {
    // The spec's enum has the kernel's values, but for x32.
    Machine { arch, audit: arch as u32, first: 0, ageless: u32::MAX..u32::MAX, multiplexers: None, number }
}

/// The machine of an architecture of the spec; none where its numbers are not known.
pub(super) fn find(arch: Arch) -> Option<&'static Machine> {
    MACHINES.iter().find(|machine| machine.arch == arch)
}

/// The machine that this binary is built for.
pub(super) fn native() -> &'static Machine {
    #[cfg(target_arch = "x86_64")]
    const NATIVE: usize = 0;
    #[cfg(target_arch = "aarch64")]
    const NATIVE: usize = 3;
    #[cfg(target_arch = "riscv64")]
    const NATIVE: usize = 5;
    #[cfg(target_arch = "loongarch64")]
    const NATIVE: usize = 6;
    &MACHINES[NATIVE]
}

/// The kernel's name where libseccomp and profiles have another: `fstatat` is called `newfstatat` there too.
fn renamed(name: &str) -> &str {
    if name == "newfstatat" { "fstatat" } else { name }
}

/// ARM's calls of its own start here (`__ARM_NR_BASE` in arch/arm/include/uapi/asm/unistd.h).
const ARM_PRIVATE: u32 = 0x000f_0000;

fn arm_eabi(name: &str) -> Option<u32> {
    Some(match name {
        "breakpoint" => ARM_PRIVATE + 1,
        "cacheflush" => ARM_PRIVATE + 2,
        "usr26" => ARM_PRIVATE + 3,
        "usr32" => ARM_PRIVATE + 4,
        "set_tls" => ARM_PRIVATE + 5,
        "get_tls" => ARM_PRIVATE + 6,
        name => by_name!(arm)(name)?,
    })
}

/// x32: calls that pass structures with pointers have numbers of their own from 512 on, some old ones do not exist,
/// the rest are x86_64's (the column "abi" of arch/x86/entry/syscalls/syscall_64.tbl).
fn x32(name: &str) -> Option<u32> {
    let number = match name {
        "rt_sigaction" => 512,
        "rt_sigreturn" => 513,
        "ioctl" => 514,
        "readv" => 515,
        "writev" => 516,
        "recvfrom" => 517,
        "sendmsg" => 518,
        "recvmsg" => 519,
        "execve" => 520,
        "ptrace" => 521,
        "rt_sigpending" => 522,
        "rt_sigtimedwait" => 523,
        "rt_sigqueueinfo" => 524,
        "sigaltstack" => 525,
        "timer_create" => 526,
        "mq_notify" => 527,
        "kexec_load" => 528,
        "waitid" => 529,
        "set_robust_list" => 530,
        "get_robust_list" => 531,
        "vmsplice" => 532,
        "move_pages" => 533,
        "preadv" => 534,
        "pwritev" => 535,
        "rt_tgsigqueueinfo" => 536,
        "recvmmsg" => 537,
        "sendmmsg" => 538,
        "process_vm_readv" => 539,
        "process_vm_writev" => 540,
        "setsockopt" => 541,
        "getsockopt" => 542,
        "io_setup" => 543,
        "io_submit" => 544,
        "execveat" => 545,
        "preadv2" => 546,
        "pwritev2" => 547,
        "_sysctl" | "create_module" | "epoll_ctl_old" | "epoll_wait_old" | "get_kernel_syms" | "get_thread_area"
        | "nfsservctl" | "query_module" | "set_thread_area" | "uselib" | "vserver" => return None,
        name => X86_64(name)?,
    };
    Some(number | X32_BIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let number = |arch, name| (find(arch).unwrap().number)(name);
        for (arch, name, expected) in [
            (Arch::ScmpArchX86_64, "clone3", Some(435)),
            (Arch::ScmpArchX86_64, "socketcall", None),
            (Arch::ScmpArchX32, "clone3", Some(X32_BIT | 435)),
            (Arch::ScmpArchX32, "execve", Some(X32_BIT | 520)),
            (Arch::ScmpArchX32, "uselib", None),
            (Arch::ScmpArchX86, "socketcall", Some(102)),
            (Arch::ScmpArchX86, "clock_gettime64", Some(403)),
            (Arch::ScmpArchAarch64, "newfstatat", Some(79)),
            (Arch::ScmpArchAarch64, "open", None),
            (Arch::ScmpArchArm, "set_tls", Some(0xf0005)),
            (Arch::ScmpArchArm, "open", Some(5)),
            (Arch::ScmpArchRiscv64, "riscv_flush_icache", Some(259)),
            (Arch::ScmpArchRiscv64, "newfstatat", Some(79)),
            (Arch::ScmpArchLoongarch64, "openat", Some(56)),
        ] {
            assert_eq!(number(arch, name), expected, "{arch} {name}");
        }
    }

    #[test]
    fn audit_values_and_widths_are_the_kernels() {
        // linux/audit.h: EM_* | __AUDIT_ARCH_64BIT | __AUDIT_ARCH_LE
        let expected = [0xc000_003e, 0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 0xc000_00f3, 0xc000_0102];
        assert_eq!(MACHINES.each_ref().map(|machine| machine.audit), expected);
        let narrow: Vec<Arch> =
            MACHINES.iter().filter(|m| m.argument() == SeccompCmpArgLen::Dword).map(|m| m.arch).collect();
        assert_eq!(narrow, [Arch::ScmpArchX32, Arch::ScmpArchX86, Arch::ScmpArchArm]);
    }
}
