//! Mount options: strings of `mounts[].options` → what they ask for.
//!
//! One table drives the parser and what `features` lists. Its names and meanings are those of runtime-spec,
//! config.md, Linux mount options, and mount(8). Pure; runs in the runtime's process.

use super::{Attributes, CopyUp, Propagation, PropagationKind, Reach};
use crate::sys::mount::{ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME};

/// What the options of one mount ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountOptions {
    /// `bind` or `rbind`.
    pub bind: Option<Reach>,
    /// `remount`.
    pub remount: bool,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and of all below it.
    pub recursive: Attributes,
    /// Superblock flags as `MS_*` of mount(2).
    pub flags: u64,
    /// In the order of the options.
    pub propagation: Vec<Propagation>,
    pub copy_up: CopyUp,
    /// `idmap` or `ridmap`.
    pub idmap: Option<Reach>,
    /// Options of the file system itself, joined by commas.
    pub data: String,
    /// Which options `data` was made of.
    pub data_places: Vec<usize>,
}

/// Whether an option sets a flag or clears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    Set,
    Clear,
}

#[derive(Debug, Clone, Copy)]
enum Effect {
    Nothing,
    Bind(Reach),
    Remount,
    /// Read-only as a mount and as a superblock.
    ReadOnly(Switch),
    Attribute(Reach, u64, Switch),
    /// One of the values of the field `MOUNT_ATTR__ATIME`.
    AccessTime(Reach, u64, Switch),
    Superblock(u64, Switch),
    Propagate(PropagationKind, Reach),
    CopyUp,
    Idmap(Reach),
}

use Effect::{AccessTime, Attribute, Bind, Idmap, Nothing, Propagate, ReadOnly, Remount, Superblock};
use PropagationKind::{Private, Shared, Slave, Unbindable};
use Reach::{Recursive, Single};
use Switch::{Clear, Set};

/// `MOUNT_ATTR_RELATIME`: the value that the field has when it is neither of the others.
const RELATIME: u64 = 0;

/// Every option that is not the file system's own, sorted by name.
const OPTIONS: [(&str, Effect); 62] = [
    ("async", Superblock(libc::MS_SYNCHRONOUS, Clear)),
    ("atime", AccessTime(Single, NOATIME, Clear)),
    ("bind", Bind(Single)),
    ("defaults", Nothing),
    ("dev", Attribute(Single, NODEV, Clear)),
    ("diratime", Attribute(Single, NODIRATIME, Clear)),
    ("dirsync", Superblock(libc::MS_DIRSYNC, Set)),
    ("exec", Attribute(Single, NOEXEC, Clear)),
    ("idmap", Idmap(Single)),
    ("iversion", Superblock(libc::MS_I_VERSION, Set)),
    ("lazytime", Superblock(libc::MS_LAZYTIME, Set)),
    ("loud", Superblock(libc::MS_SILENT, Clear)),
    ("mand", Superblock(libc::MS_MANDLOCK, Set)),
    ("noatime", AccessTime(Single, NOATIME, Set)),
    ("nodev", Attribute(Single, NODEV, Set)),
    ("nodiratime", Attribute(Single, NODIRATIME, Set)),
    ("noexec", Attribute(Single, NOEXEC, Set)),
    ("noiversion", Superblock(libc::MS_I_VERSION, Clear)),
    ("nolazytime", Superblock(libc::MS_LAZYTIME, Clear)),
    ("nomand", Superblock(libc::MS_MANDLOCK, Clear)),
    ("norelatime", AccessTime(Single, RELATIME, Clear)),
    ("nostrictatime", AccessTime(Single, STRICTATIME, Clear)),
    ("nosuid", Attribute(Single, NOSUID, Set)),
    ("nosymfollow", Attribute(Single, NOSYMFOLLOW, Set)),
    ("private", Propagate(Private, Single)),
    ("ratime", AccessTime(Recursive, NOATIME, Clear)),
    ("rbind", Bind(Recursive)),
    ("rdev", Attribute(Recursive, NODEV, Clear)),
    ("rdiratime", Attribute(Recursive, NODIRATIME, Clear)),
    ("relatime", AccessTime(Single, RELATIME, Set)),
    ("remount", Remount),
    ("rexec", Attribute(Recursive, NOEXEC, Clear)),
    ("ridmap", Idmap(Recursive)),
    ("rnoatime", AccessTime(Recursive, NOATIME, Set)),
    ("rnodev", Attribute(Recursive, NODEV, Set)),
    ("rnodiratime", Attribute(Recursive, NODIRATIME, Set)),
    ("rnoexec", Attribute(Recursive, NOEXEC, Set)),
    ("rnorelatime", AccessTime(Recursive, RELATIME, Clear)),
    ("rnostrictatime", AccessTime(Recursive, STRICTATIME, Clear)),
    ("rnosuid", Attribute(Recursive, NOSUID, Set)),
    ("rnosymfollow", Attribute(Recursive, NOSYMFOLLOW, Set)),
    ("ro", ReadOnly(Set)),
    ("rprivate", Propagate(Private, Recursive)),
    ("rrelatime", AccessTime(Recursive, RELATIME, Set)),
    ("rro", Attribute(Recursive, RDONLY, Set)),
    ("rrw", Attribute(Recursive, RDONLY, Clear)),
    ("rshared", Propagate(Shared, Recursive)),
    ("rslave", Propagate(Slave, Recursive)),
    ("rstrictatime", AccessTime(Recursive, STRICTATIME, Set)),
    ("rsuid", Attribute(Recursive, NOSUID, Clear)),
    ("rsymfollow", Attribute(Recursive, NOSYMFOLLOW, Clear)),
    ("runbindable", Propagate(Unbindable, Recursive)),
    ("rw", ReadOnly(Clear)),
    ("shared", Propagate(Shared, Single)),
    ("silent", Superblock(libc::MS_SILENT, Set)),
    ("slave", Propagate(Slave, Single)),
    ("strictatime", AccessTime(Single, STRICTATIME, Set)),
    ("suid", Attribute(Single, NOSUID, Clear)),
    ("symfollow", Attribute(Single, NOSYMFOLLOW, Clear)),
    ("sync", Superblock(libc::MS_SYNCHRONOUS, Set)),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Propagate(Unbindable, Single)),
];

/// Options that mount(8) and fstab(5) keep for themselves and never pass to the kernel.
const USERSPACE: [&str; 4] = ["_netdev", "auto", "noauto", "nofail"];

/// The names that are understood here, sorted; any other is the file system's own.
pub fn known() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

/// What `options` ask for, the later ones overriding the earlier.
pub fn parse<S: AsRef<str>>(options: &[S]) -> MountOptions {
    let mut parsed = MountOptions::default();
    // Chosen access times of the mount and of the tree.
    let mut access_times = [None, None];
    for (place, option) in options.iter().map(AsRef::as_ref).enumerate() {
        match OPTIONS.binary_search_by_key(&option, |(name, _)| name) {
            Ok(found) => apply(OPTIONS[found].1, &mut parsed, &mut access_times),
            Err(_) if for_userspace(option) => {}
            Err(_) => {
                if !parsed.data_places.is_empty() {
                    parsed.data.push(',');
                }
                parsed.data.push_str(option);
                parsed.data_places.push(place);
            }
        }
    }
    for (attributes, chosen) in [&mut parsed.attributes, &mut parsed.recursive].into_iter().zip(access_times) {
        if let Some(chosen) = chosen {
            // mount_setattr(2): a value of the field can only be set while the whole field is cleared.
            attributes.set |= chosen;
            attributes.clear |= ATIME;
        }
    }
    parsed
}

fn for_userspace(option: &str) -> bool {
    option.is_empty()
        || option.starts_with("x-")
        || option.starts_with("X-")
        || option.starts_with("comment=")
        || USERSPACE.contains(&option)
}

fn apply(effect: Effect, parsed: &mut MountOptions, access_times: &mut [Option<u64>; 2]) {
    match effect {
        Nothing => {}
        Bind(reach) => parsed.bind = Some(wider(parsed.bind, reach)),
        Remount => parsed.remount = true,
        ReadOnly(switch) => {
            turn(&mut parsed.attributes, RDONLY, switch);
            superblock(&mut parsed.flags, libc::MS_RDONLY, switch);
        }
        Attribute(Single, bit, switch) => turn(&mut parsed.attributes, bit, switch),
        Attribute(Recursive, bit, switch) => turn(&mut parsed.recursive, bit, switch),
        AccessTime(Single, value, switch) => choose(&mut access_times[0], value, switch),
        AccessTime(Recursive, value, switch) => choose(&mut access_times[1], value, switch),
        Superblock(flag, switch) => superblock(&mut parsed.flags, flag, switch),
        Propagate(kind, reach) => parsed.propagation.push(Propagation { kind, reach }),
        Effect::CopyUp => parsed.copy_up = CopyUp::Yes,
        Idmap(reach) => parsed.idmap = Some(wider(parsed.idmap, reach)),
    }
}

/// `bind` does not take back an `rbind` (both are flags that add up in mount(2)).
fn wider(one: Option<Reach>, other: Reach) -> Reach {
    if one == Some(Recursive) { Recursive } else { other }
}

fn turn(attributes: &mut Attributes, bit: u64, switch: Switch) {
    let (on, off) = match switch {
        Set => (&mut attributes.set, &mut attributes.clear),
        Clear => (&mut attributes.clear, &mut attributes.set),
    };
    *on |= bit;
    *off &= !bit;
}

fn superblock(flags: &mut u64, flag: u64, switch: Switch) {
    match switch {
        Set => *flags |= flag,
        Clear => *flags &= !flag,
    }
}

/// A clearing form takes back what it names, and leaves another choice alone. What then holds is relatime, the
/// kernel's default (mount(8)); of a tree that says otherwise, `norelatime` can only leave it so.
fn choose(chosen: &mut Option<u64>, value: u64, switch: Switch) {
    match switch {
        Set => *chosen = Some(value),
        Clear if value != RELATIME && chosen.is_none_or(|chosen| chosen == value) => *chosen = Some(RELATIME),
        Clear => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attributes(set: u64, clear: u64) -> Attributes {
        Attributes { set, clear }
    }

    #[test]
    fn the_table_is_sorted_and_has_every_option_of_the_spec() {
        let names: Vec<_> = known().collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        // runtime-spec 1.3, config.md, Linux mount options.
        let spec = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
                    nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private \
                    ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime \
                    rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid \
                    rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable \
                    idmap ridmap rnodev";
        for name in spec.split_whitespace() {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_options_of_an_ordinary_tmpfs() {
        let parsed = parse(&["nosuid", "strictatime", "mode=755", "size=65536k"]);
        assert_eq!(parsed.attributes, attributes(NOSUID | STRICTATIME, ATIME));
        assert_eq!(parsed.data, "mode=755,size=65536k");
        assert_eq!(parsed.data_places, [2, 3]);
        assert_eq!((parsed.bind, parsed.flags), (None, 0));
    }

    #[test]
    fn a_clearing_form_takes_back_what_it_names() {
        for (set, clear, bit) in [
            ("nosuid", "suid", NOSUID),
            ("nodev", "dev", NODEV),
            ("noexec", "exec", NOEXEC),
            ("nodiratime", "diratime", NODIRATIME),
            ("nosymfollow", "symfollow", NOSYMFOLLOW),
            ("ro", "rw", RDONLY),
        ] {
            assert_eq!(parse(&[set]).attributes, attributes(bit, 0), "{set}");
            assert_eq!(parse(&[set, clear]).attributes, attributes(0, bit), "{clear}");
            assert_eq!(parse(&[clear, set]).attributes, attributes(bit, 0), "{set}");
            let (set, clear) = (format!("r{set}"), format!("r{clear}"));
            assert_eq!(parse(&[&set]).recursive, attributes(bit, 0), "{set}");
            assert_eq!(parse(&[&set, &clear]).recursive, attributes(0, bit), "{clear}");
        }
        for (set, clear, flag) in [
            ("sync", "async", libc::MS_SYNCHRONOUS),
            ("mand", "nomand", libc::MS_MANDLOCK),
            ("lazytime", "nolazytime", libc::MS_LAZYTIME),
            ("iversion", "noiversion", libc::MS_I_VERSION),
            ("silent", "loud", libc::MS_SILENT),
            ("ro", "rw", libc::MS_RDONLY),
        ] {
            assert_eq!(parse(&[set]).flags, flag, "{set}");
            assert_eq!(parse(&[set, clear]).flags, 0, "{clear}");
        }
    }

    #[test]
    fn access_times_are_one_field() {
        let chosen = |options: &[&str]| parse(options).attributes;
        assert_eq!(chosen(&["noatime"]), attributes(NOATIME, ATIME));
        assert_eq!(chosen(&["noatime", "strictatime"]), attributes(STRICTATIME, ATIME));
        assert_eq!(chosen(&["strictatime", "relatime"]), attributes(RELATIME, ATIME));
        assert_eq!(chosen(&["noatime", "atime"]), attributes(RELATIME, ATIME));
        assert_eq!(chosen(&["strictatime", "atime"]), attributes(STRICTATIME, ATIME));
        assert_eq!(chosen(&["noatime", "nostrictatime"]), attributes(NOATIME, ATIME));
        assert_eq!(chosen(&["norelatime"]), attributes(0, 0));
        assert_eq!(parse(&["rnoatime"]).recursive, attributes(NOATIME, ATIME));
        assert_eq!(parse(&["rnoatime"]).attributes, attributes(0, 0));
    }

    #[test]
    fn binds_and_propagation_and_mappings() {
        let parsed = parse(&["rbind", "rprivate", "slave", "ridmap", "tmpcopyup", "remount", "bind", "idmap"]);
        assert_eq!(parsed.bind, Some(Recursive));
        assert_eq!(parsed.idmap, Some(Recursive));
        assert_eq!(
            parsed.propagation,
            [Propagation { kind: Private, reach: Recursive }, Propagation { kind: Slave, reach: Single }]
        );
        assert_eq!(parsed.copy_up, CopyUp::Yes);
        assert!(parsed.remount);
        assert_eq!(parsed.data, "");
    }

    #[test]
    fn what_is_for_fstab_is_not_for_the_kernel() {
        let parsed = parse(&["x-systemd.automount", "X-mount.mkdir", "_netdev", "comment=a", "", "defaults", "nofail"]);
        assert_eq!(parsed, MountOptions::default());
    }

    fn option() -> impl Strategy<Value = String> {
        let names: Vec<String> = known().map(str::to_owned).collect();
        prop_oneof![4 => proptest::sample::select(names), 1 => "[a-z=0-9]{0,8}", 1 => any::<String>()]
    }

    proptest! {
        #[test]
        fn no_bit_is_both_set_and_cleared(options in proptest::collection::vec(option(), 0..24)) {
            let parsed = parse(&options);
            for attributes in [parsed.attributes, parsed.recursive] {
                prop_assert_eq!(attributes.set & attributes.clear & !ATIME, 0);
                // mount_setattr(2) refuses a value of the field without all of the field cleared.
                prop_assert!(attributes.set & ATIME == 0 || attributes.clear & ATIME == ATIME);
                prop_assert!([0, NOATIME, STRICTATIME].contains(&(attributes.set & ATIME)));
            }
        }

        #[test]
        fn every_option_of_a_file_system_reaches_it(options in proptest::collection::vec("[a-z]{2,4}=[0-9]", 0..9)) {
            let parsed = parse(&options);
            prop_assert_eq!(parsed.data, options.join(","));
            prop_assert_eq!(parsed.data_places.len(), options.len());
        }

        #[test]
        fn what_is_said_twice_changes_nothing(options in proptest::collection::vec(option(), 0..9)) {
            let known_only: Vec<_> = options.into_iter().filter(|o| known().any(|k| k == o)).collect();
            let twice: Vec<_> = known_only.iter().flat_map(|o| [o.clone(), o.clone()]).collect();
            let (once, twice) = (parse(&known_only), parse(&twice));
            prop_assert_eq!(once.attributes, twice.attributes);
            prop_assert_eq!(once.recursive, twice.recursive);
            prop_assert_eq!(once.flags, twice.flags);
        }
    }
}
