//! Classic BPF as the kernel checks it for seccomp (net/core/filter.c, kernel/seccomp.c) and runs it.

use seccompiler::sock_filter;

pub(crate) const X86_64: u32 = 0xc000_003e;
pub(crate) const X86: u32 = 0x4000_0003;

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) audit: u32,
    pub(crate) args: [u64; 6],
}

impl Call {
    /// A call; arguments that are not given are 0.
    pub(crate) fn new(audit: u32, number: u32, args: &[u64]) -> Self {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        Self { number, audit, args: all }
    }

    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            8 | 12 => 0,
            _ => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
        }
    }
}

/// The kernel's checks: length, known instructions, aligned loads inside the data, jumps forward and inside.
pub(crate) fn check(program: &[sock_filter]) -> Result<(), String> {
    if program.is_empty() || program.len() > 4096 {
        return Err(format!("{} instructions", program.len()));
    }
    for (at, instruction) in program.iter().enumerate() {
        let room = (program.len() - at - 1) as u64;
        let fits = match instruction.code {
            0x20 => instruction.k < 64 && instruction.k % 4 == 0,
            0x05 => u64::from(instruction.k) < room,
            0x15 | 0x25 | 0x35 | 0x45 => u64::from(instruction.jt.max(instruction.jf)) < room,
            0x54 | 0x06 => true,
            _ => false,
        };
        if !fits {
            return Err(format!("instruction {at}: {instruction:?}"));
        }
    }
    match program.last() {
        Some(last) if last.code == 0x06 => Ok(()),
        last => Err(format!("ends in {last:?}")),
    }
}

/// The verdict of a program that has been checked.
pub(crate) fn run(program: &[sock_filter], call: &Call) -> u32 {
    let mut accumulator = 0u32;
    let mut at = 0;
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                accumulator = call.word(k);
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            0x45 => accumulator & k != 0,
            _ => panic!("instruction {code:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}
