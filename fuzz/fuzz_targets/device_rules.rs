//! Device rules → eBPF: any rules get a program that the kernel's verifier would take, and that decides as the rules do.
//!
//! Three bytes are a rule: what it is, its major and its minor.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use rruntime::bpf::devices::{Instruction, compile};
use rruntime::plan::device_rules::{DeviceRules, Kind};

/// `BPF_DEVCG_DEV_*` and `BPF_DEVCG_ACC_*` of linux/bpf.h.
const BLOCK: u32 = 1;
const CHAR: u32 = 2;
const ACCESS: [(u32, char); 3] = [(1, 'm'), (2, 'r'), (4, 'w')];

fuzz_target!(|bytes: &[u8]| {
    let given: Vec<Given> = bytes.chunks_exact(3).take(12).map(|rule| Given::of([rule[0], rule[1], rule[2]])).collect();
    let config: Vec<LinuxDeviceCgroup> = given.iter().map(Given::as_config).collect();
    let rules = DeviceRules::with_defaults(&config).expect("nothing is wrong with these");
    let program = compile(&rules);
    check(&program);
    assert!(rules.allow_all() <= (program.len() == 2));
    let numbers = |used: fn(&Given) -> Option<u32>| {
        let used = given.iter().filter_map(used).chain([0, 1, 5, 136]);
        let mut all: Vec<u32> = used.flat_map(|n| [n.saturating_sub(1), n, n.saturating_add(1)]).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let (majors, minors) = (numbers(|given| given.major), numbers(|given| given.minor));
    for kind in [Kind::Char, Kind::Block] {
        for (major, minor) in majors.iter().flat_map(|major| minors.iter().map(|minor| (*major, *minor))) {
            for wanted in 1..8 {
                let found = run(&program, [wanted << 16 | if kind == Kind::Char { CHAR } else { BLOCK }, major, minor]);
                let meant = meaning(&given, kind, major, minor, wanted);
                // Where two rules, neither of which is wider, allow a device together, one has to have all that is
                // wanted at once, as with the v1 controller.
                let exact = wanted.count_ones() == 1;
                assert!(found == meant || !exact && !found, "{kind:?} {major}:{minor} {wanted}: {found}, {given:?}");
            }
        }
    }
});

/// A rule of config.json.
#[derive(Debug)]
struct Given {
    allow: bool,
    kinds: LinuxDeviceType,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

impl Given {
    fn of([what, major, minor]: [u8; 3]) -> Self {
        use LinuxDeviceType::{A, B, C, U};
        let number = |any: u8, number: u8| match number {
            _ if what & any != 0 => None,
            255 => Some(u32::MAX),
            254 => Some(1 << 31),
            number => Some(u32::from(number)),
        };
        Self {
            allow: what & 1 != 0,
            kinds: [A, B, C, U][usize::from(what >> 1 & 3)],
            access: u32::from(what >> 3 & 7),
            major: number(0x40, major),
            minor: number(0x80, minor),
        }
    }

    fn as_config(&self) -> LinuxDeviceCgroup {
        let number = |number: Option<u32>| number.map_or(-1, i64::from);
        let letters: String =
            ACCESS.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect();
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(self.allow).set_typ(Some(self.kinds));
        rule.set_major(Some(number(self.major))).set_minor(Some(number(self.minor)));
        // Absent, it is all access.
        rule.set_access((self.access != 0).then_some(letters));
        rule
    }

    fn names(&self, kind: Kind, major: u32, minor: u32, bit: u32) -> bool {
        let of_kind = match self.kinds {
            LinuxDeviceType::A => true,
            LinuxDeviceType::B => kind == Kind::Block,
            _ => kind == Kind::Char,
        };
        let number = |own: Option<u32>, wanted| own.is_none_or(|own| own == wanted);
        of_kind
            && number(self.major, major)
            && number(self.minor, minor)
            && (self.access == 0 || self.access & bit != 0)
    }
}

/// For each wanted access the last rule that names it decides; the default devices come last (config-linux.md).
fn meaning(given: &[Given], kind: Kind, major: u32, minor: u32, wanted: u32) -> bool {
    let is_default = kind == Kind::Char && matches!((major, minor), (1, 3 | 5 | 7 | 8 | 9) | (5, 0..=2) | (136, _));
    ACCESS.iter().filter(|(bit, _)| wanted & bit != 0).all(|(bit, letter)| {
        let last = given.iter().rev().find(|rule| rule.names(kind, major, minor, *bit));
        is_default || *letter == 'm' || last.is_some_and(|rule| rule.allow)
    })
}

/// What the verifier asks of a program without loops, calls and stack: known instructions, jumps forward and inside,
/// an exit at the end.
fn check(program: &[Instruction]) {
    for (at, instruction) in program.iter().enumerate() {
        let room = program.len() - at - 1;
        let good = match instruction.opcode {
            0x61 | 0x69 => instruction.registers >> 4 == 1 && (0..12).contains(&instruction.offset),
            0x05 | 0x16 | 0x26 | 0x46 | 0x56 | 0xa6 | 0xb6 => {
                usize::try_from(instruction.offset).is_ok_and(|offset| offset < room)
            }
            0xb4 | 0x54 | 0x95 => true,
            _ => false,
        };
        assert!(good, "instruction {at} of {}: {instruction:?}", program.len());
    }
    assert_eq!(program.last().map(|last| last.opcode), Some(0x95));
}

/// Runs a program on a `struct bpf_cgroup_dev_ctx`; a register has to be set before it is read.
fn run(program: &[Instruction], context: [u32; 3]) -> bool {
    let mut registers: [Option<u32>; 11] = [None; 11];
    let mut at = 0;
    loop {
        let Instruction { opcode, registers: operands, offset, immediate } = program[at];
        let register = usize::from(operands & 15);
        let immediate = immediate.cast_unsigned();
        let read = || registers[register].expect("the register is set");
        at += 1;
        let jumps = match opcode {
            0x61 => {
                registers[register] = Some(context[offset as usize / 4]);
                continue;
            }
            0x69 => {
                registers[register] = Some(context[offset as usize / 4] >> (offset % 4 * 8) & 0xffff);
                continue;
            }
            0xb4 => {
                registers[register] = Some(immediate);
                continue;
            }
            0x54 => {
                registers[register] = Some(read() & immediate);
                continue;
            }
            0x95 => return registers[0].expect("the result is set") == 1,
            0x05 => true,
            0x16 => read() == immediate,
            0x26 => read() > immediate,
            0x46 => read() & immediate != 0,
            0x56 => read() != immediate,
            0xa6 => read() < immediate,
            0xb6 => read() <= immediate,
            _ => unreachable!("check() has looked"),
        };
        if jumps {
            at += offset as usize;
        }
    }
}
