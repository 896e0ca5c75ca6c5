//! Numbers of system calls by name: a hash table for each machine, made at compile time of the tables in `syscalls`.
//!
//! A profile names some 400 calls for each of three machines; to compare each with all names of its length was half of
//! what a container with a filter costs more than one without. Pure.

/// Slots of a table: twice as many as any machine has calls, and a power of two.
pub(super) const ROOM: usize = 1024;

/// A slot without a call; no number is as high.
pub(super) const EMPTY: u16 = u16::MAX;

/// The slot at which the search for a name begins (FNV-1a, folded).
pub(super) const fn slot(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 15)) as usize % ROOM
}

/// The slot after it.
pub(super) const fn next(slot: usize) -> usize {
    (slot + 1) % ROOM
}

/// A function from a name to its number, of one of the machines of `syscalls`.
macro_rules! by_name {
    ($machine:ident) => {{
        use $crate::bpf::seccomp::names::{EMPTY, ROOM, next, slot};
        use $machine::Sysno;

        const fn put(table: &mut [u16; ROOM], call: Sysno) {
            let mut at = slot(call.name());
            while table[at] != EMPTY {
                at = next(at);
            }
            table[at] = call.id() as u16;
        }

        static TABLE: [u16; ROOM] = {
            let mut table = [EMPTY; ROOM];
            let mut call = Sysno::first();
            // `Sysno::next` ends before the last.
            while let Some(following) = call.next() {
                put(&mut table, call);
                call = following;
            }
            put(&mut table, call);
            if call.id() != Sysno::last().id() {
                put(&mut table, Sysno::last());
            }
            table
        };

        fn number(name: &str) -> Option<u32> {
            let mut at = slot(name);
            while TABLE[at] != EMPTY {
                if Sysno::new(TABLE[at].into()).is_some_and(|call| call.name() == name) {
                    return Some(TABLE[at].into());
                }
                at = next(at);
            }
            None
        }

        number
    }};
}

pub(super) use by_name;

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use syscalls::{aarch64, arm, loongarch64, riscv64, x86, x86_64};

    #[test]
    fn every_call_is_found_and_nothing_else() {
        macro_rules! check {
            ($($machine:ident),*) => {$({
                let number = by_name!($machine);
                let mut found = 0;
                for call in (0..1024).filter_map($machine::Sysno::new) {
                    assert_eq!(number(call.name()), Some(call as u32), "{} {call}", stringify!($machine));
                    found += 1;
                }
                assert_eq!(found, $machine::Sysno::count());
                for name in ["", "no_such_call", "Read", "read ", "openat2\0"] {
                    assert_eq!(number(name), None);
                    assert!($machine::Sysno::from_str(name).is_err());
                }
            })*};
        }
        check!(x86_64, x86, aarch64, arm, riscv64, loongarch64);
    }
}
