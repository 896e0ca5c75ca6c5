//! Architectures: what the kernel calls them, how wide their arguments are, and what numbers their calls have.

use std::ops::Range;

use oci_spec::runtime::Arch;
use seccompiler::SeccompCmpArgLen;

#[cfg(test)]
use super::names;
use super::names::{Call, Column, Multiplexed};

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
    column: Column,
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

    /// The number of a call by its name, and by what [`names::find`] gives for that.
    pub(super) fn number_of(&self, name: &str, call: Option<&Call>) -> Option<u32> {
        if self.arch == Arch::ScmpArchArm
            && let Some(number) = arm_private(name)
        {
            return Some(number);
        }
        call?.number(self.column).map(|number| number | self.first)
    }

    /// The number of a call by its name.
    #[cfg(test)]
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.number_of(name, names::find(name))
    }

    /// The multiplexer that carries a call, and the value of its first argument that says so.
    pub(super) fn multiplexed(&self, call: Option<&Call>) -> Option<(u32, u32)> {
        let Multiplexers { socketcall, ipc } = self.multiplexers?;
        Some(match call?.multiplexed()? {
            Multiplexed::Socketcall(call) => (socketcall, call),
            Multiplexed::Ipc(call) => (ipc, call),
        })
    }
}

/// The machines whose numbers are known. Those of the other byte order are not here: no kernel that runs this binary
/// can report their calls, nor would the offsets of argument halves be right for them.
pub(super) static MACHINES: [Machine; 7] = [
    machine(Arch::ScmpArchX86_64, Column::X86_64),
    Machine {
        audit: Arch::ScmpArchX86_64 as u32,
        first: X32_BIT,
        ageless: X32_BIT + 512..X32_BIT + 548,
        ..machine(Arch::ScmpArchX32, Column::X32)
    },
    Machine {
        multiplexers: Some(Multiplexers { socketcall: 102, ipc: 117 }),
        ..machine(Arch::ScmpArchX86, Column::X86)
    },
    machine(Arch::ScmpArchAarch64, Column::Aarch64),
    Machine { ageless: ARM_PRIVATE..ARM_PRIVATE + 16, ..machine(Arch::ScmpArchArm, Column::Arm) },
    machine(Arch::ScmpArchRiscv64, Column::Riscv64),
    machine(Arch::ScmpArchLoongarch64, Column::Loongarch64),
];

const fn machine(arch: Arch, column: Column) -> Machine {
    // The spec's enum has the kernel's values, but for x32.
    Machine { arch, audit: arch as u32, first: 0, ageless: u32::MAX..u32::MAX, multiplexers: None, column }
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

/// ARM's calls of its own start here (`__ARM_NR_BASE` in arch/arm/include/uapi/asm/unistd.h).
const ARM_PRIVATE: u32 = 0x000f_0000;

fn arm_private(name: &str) -> Option<u32> {
    let position =
        ["breakpoint", "cacheflush", "usr26", "usr32", "set_tls", "get_tls"].iter().position(|n| *n == name)?;
    Some(ARM_PRIVATE + 1 + position as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let number = |arch, name| find(arch).unwrap().number(name);
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
