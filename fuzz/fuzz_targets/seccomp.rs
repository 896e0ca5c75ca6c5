//! Seccomp profile → BPF: any profile gets a refusal or a program that the kernel takes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rruntime::bpf::seccomp::{self, MAX_INSTRUCTIONS, compile, sock_filter};

fuzz_target!(|text: &[u8]| {
    let Ok(profile) = serde_json::from_slice(text) else { return };
    match compile(&profile, "/linux/seccomp") {
        Ok(filter) => {
            check(&filter.program);
            // SECCOMP_FILTER_FLAG_NEW_LISTENER
            assert_eq!(filter.flags & 8 != 0, filter.listener.is_some());
        }
        Err(error) => {
            assert!(error.pointer().is_some_and(|at| at.starts_with("/linux/seccomp")), "{error}");
            // What is judged without being compiled is not refused afterwards.
            assert!(seccomp::check(&profile, "/linux/seccomp").is_err());
        }
    }
});

/// The rules of bpf_check_classic() and seccomp_check_filter(): length, known instructions, loads inside of struct
/// seccomp_data, jumps forward and inside of the program, a return at the end. Forward jumps alone make it terminate.
fn check(program: &[sock_filter]) {
    assert!((1..=MAX_INSTRUCTIONS).contains(&program.len()), "{} instructions", program.len());
    for (at, instruction) in program.iter().enumerate() {
        let room = program.len() - at - 1;
        let good = match instruction.code {
            0x20 => instruction.k < 64 && instruction.k % 4 == 0,
            0x05 => (instruction.k as usize) < room,
            0x15 | 0x25 | 0x35 | 0x45 => usize::from(instruction.jt.max(instruction.jf)) < room,
            0x54 | 0x06 => true,
            _ => false,
        };
        assert!(good, "instruction {at} of {}: {instruction:?}", program.len());
    }
    assert_eq!(program.last().map(|last| last.code), Some(0x06));
}
