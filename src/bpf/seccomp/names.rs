//! Numbers of system calls by name: one hash table for all machines, made at compile time of those in `syscalls`.
//!
//! A profile names some 400 calls for each of three machines. A table for each, and the names of each apart, were three
//! searches in 40 KB that no cache holds when a container is made, and 2,700 pointers to be relocated at each start of
//! the runtime: here it is one search in a third of that, and no pointer. Pure.

/// The columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    X86_64,
    /// Without [`super::architecture::X32_BIT`].
    X32,
    X86,
    Aarch64,
    Arm,
    Riscv64,
    Loongarch64,
    /// What calls the multiplexer on x86: see [`Multiplexed`].
    Multiplexed,
}

const COLUMNS: usize = 8;

/// A call that socketcall(2) or ipc(2) carries, with the value of their first argument that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multiplexed {
    Socketcall(u32),
    Ipc(u32),
}

/// A name, and what each machine makes of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Where its name begins in [`NAMES`].
    at: u16,
    length: u16,
    numbers: [u16; COLUMNS],
}

impl Call {
    /// Its number on a machine.
    pub(super) fn number(&self, column: Column) -> Option<u32> {
        let number = self.numbers[column as usize];
        (number != NONE).then(|| number.into())
    }

    /// What carries it on x86.
    pub(super) fn multiplexed(&self) -> Option<Multiplexed> {
        self.number(Column::Multiplexed).map(|code| match code.checked_sub(OF_IPC) {
            None => Multiplexed::Socketcall(code),
            Some(call) => Multiplexed::Ipc(call),
        })
    }
}

/// What some machine knows by this name.
pub(super) fn find(name: &str) -> Option<&'static Call> {
    let mut slot = slot_of(name.as_bytes());
    loop {
        let call = CALLS.get(usize::from(SLOTS[slot]))?;
        let at = usize::from(call.at);
        if &NAMES[at..at + usize::from(call.length)] == name.as_bytes() {
            return Some(call);
        }
        slot = (slot + 1) % ROOM;
    }
}

/// Slots of the hash table: some four for each name, and a power of two.
const ROOM: usize = 2048;

/// No call's number, and no call's index.
const NONE: u16 = u16::MAX;

/// Codes of [`Column::Multiplexed`] from here on are of ipc(2).
const OF_IPC: u32 = 0x100;

static SLOTS: [u16; ROOM] = TABLE.slots;
static CALLS: [Call; TABLE.count] = front(&TABLE.calls);
static NAMES: [u8; TABLE.bytes] = front(&TABLE.names);

/// The slot at which the search for a name begins (FNV-1a, folded).
const fn slot_of(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 15)) as usize % ROOM
}

const fn front<T: Copy, const ALL: usize, const SOME: usize>(all: &[T; ALL]) -> [T; SOME] {
    let mut some = [all[0]; SOME];
    let mut at = 0;
    while at < SOME {
        some[at] = all[at];
        at += 1;
    }
    some
}

/// The table while it is made, with more room than it takes.
struct Table {
    slots: [u16; ROOM],
    calls: [Call; ROOM / 2],
    count: usize,
    names: [u8; 16 * 1024],
    bytes: usize,
}

impl Table {
    /// The index of a name's call, which is made where it is not there.
    const fn index(&mut self, name: &[u8]) -> usize {
        let mut slot = slot_of(name);
        while self.slots[slot] != NONE {
            if self.is_name(self.slots[slot] as usize, name) {
                return self.slots[slot] as usize;
            }
            slot = (slot + 1) % ROOM;
        }
        let call = self.count;
        self.slots[slot] = call as u16;
        self.calls[call] = Call { at: self.bytes as u16, length: name.len() as u16, numbers: [NONE; COLUMNS] };
        self.count += 1;
        let mut at = 0;
        while at < name.len() {
            self.names[self.bytes] = name[at];
            self.bytes += 1;
            at += 1;
        }
        call
    }

    const fn is_name(&self, call: usize, name: &[u8]) -> bool {
        let Call { at: start, length, .. } = self.calls[call];
        let mut at = 0;
        while at < name.len() && at < length as usize && self.names[start as usize + at] == name[at] {
            at += 1;
        }
        at == name.len() && at == length as usize
    }

    const fn put(&mut self, name: &str, column: Column, number: u32) {
        assert!(number < NONE as u32);
        let call = self.index(name.as_bytes());
        self.calls[call].numbers[column as usize] = number as u16;
    }

    const fn number(&mut self, name: &str, column: Column) -> u16 {
        let call = self.index(name.as_bytes());
        self.calls[call].numbers[column as usize]
    }
}

/// All names of one machine of `syscalls`.
macro_rules! column {
    ($table:ident, $machine:ident, $column:expr) => {{
        use syscalls::$machine::Sysno;
        let mut call = Sysno::first();
        // `Sysno::next` ends before the last.
        while let Some(following) = call.next() {
            $table.put(call.name(), $column, call.id() as u32);
            call = following;
        }
        $table.put(call.name(), $column, call.id() as u32);
        $table.put(Sysno::last().name(), $column, Sysno::last().id() as u32);
    }};
}

const TABLE: Table = {
    let call = Call { at: 0, length: 0, numbers: [NONE; COLUMNS] };
    let mut table = Table { slots: [NONE; ROOM], calls: [call; ROOM / 2], count: 0, names: [0; 16 * 1024], bytes: 0 };
    column!(table, x86_64, Column::X86_64);
    column!(table, x86_64, Column::X32);
    column!(table, x86, Column::X86);
    column!(table, aarch64, Column::Aarch64);
    column!(table, arm, Column::Arm);
    column!(table, riscv64, Column::Riscv64);
    column!(table, loongarch64, Column::Loongarch64);
    let mut at = 0;
    while at < X32.len() {
        let (name, number) = X32[at];
        table.put(name, Column::X32, number);
        at += 1;
    }
    at = 0;
    while at < NOT_ON_X32.len() {
        let call = table.index(NOT_ON_X32[at].as_bytes());
        table.calls[call].numbers[Column::X32 as usize] = NONE;
        at += 1;
    }
    at = 0;
    while at < MULTIPLEXED.len() {
        let (name, code) = MULTIPLEXED[at];
        table.put(name, Column::Multiplexed, code);
        at += 1;
    }
    // The kernel's name where libseccomp and profiles have another.
    let renamed = [Column::Aarch64, Column::Loongarch64];
    at = 0;
    while at < renamed.len() {
        let number = table.number("fstatat", renamed[at]);
        table.put("newfstatat", renamed[at], number as u32);
        at += 1;
    }
    table
};

/// x32: calls that pass structures with pointers have numbers of their own from 512 on, some old ones do not exist,
/// the rest are x86_64's (the column "abi" of arch/x86/entry/syscalls/syscall_64.tbl).
const X32: [(&str, u32); 36] = [
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

const NOT_ON_X32: [&str; 11] = [
    "_sysctl",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "get_kernel_syms",
    "get_thread_area",
    "nfsservctl",
    "query_module",
    "set_thread_area",
    "uselib",
    "vserver",
];

/// The kernel's include/uapi/linux/net.h (SYS_*) and ipc.h.
const MULTIPLEXED: [(&str, u32); 32] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
    ("semop", OF_IPC + 1),
    ("semget", OF_IPC + 2),
    ("semctl", OF_IPC + 3),
    ("semtimedop", OF_IPC + 4),
    ("msgsnd", OF_IPC + 11),
    ("msgrcv", OF_IPC + 12),
    ("msgget", OF_IPC + 13),
    ("msgctl", OF_IPC + 14),
    ("shmat", OF_IPC + 21),
    ("shmdt", OF_IPC + 22),
    ("shmget", OF_IPC + 23),
    ("shmctl", OF_IPC + 24),
];

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn every_call_is_found_and_nothing_else() {
        macro_rules! check {
            ($($machine:ident $column:ident),*) => {$({
                use syscalls::$machine::Sysno;
                let number = |name: &str| find(name).and_then(|call| call.number(Column::$column));
                for call in (0..1024).filter_map(Sysno::new) {
                    assert_eq!(number(call.name()), Some(call as u32), "{} {call}", stringify!($machine));
                }
                let found = CALLS.iter().filter(|call| call.number(Column::$column).is_some()).count();
                let renamed = matches!(Column::$column, Column::Aarch64 | Column::Loongarch64);
                assert_eq!(found, Sysno::count() + usize::from(renamed));
                for name in ["", "no_such_call", "Read", "read ", "openat2\0"] {
                    assert!(find(name).is_none());
                    assert!(Sysno::from_str(name).is_err());
                }
            })*};
        }
        check!(x86_64 X86_64, x86 X86, aarch64 Aarch64, arm Arm, riscv64 Riscv64, loongarch64 Loongarch64);
    }

    #[test]
    fn what_is_carried_on_x86_is_a_call_somewhere() {
        let columns = [Column::X86_64, Column::X86, Column::Arm];
        for (name, _) in MULTIPLEXED {
            let call = find(name).unwrap();
            assert!(columns.iter().any(|column| call.number(*column).is_some()), "{name}");
        }
        assert_eq!(find("shmctl").unwrap().multiplexed(), Some(Multiplexed::Ipc(24)));
        assert_eq!(find("socket").unwrap().multiplexed(), Some(Multiplexed::Socketcall(1)));
        assert_eq!(find("read").unwrap().multiplexed(), None);
    }

    #[test]
    fn the_table_is_no_larger_than_it_was_made_for() {
        assert!(CALLS.len() < ROOM / 3, "{} names in {ROOM} slots", CALLS.len());
    }
}
