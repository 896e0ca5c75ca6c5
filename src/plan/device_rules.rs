//! Which devices the container's processes may make, read and write.
//!
//! `linux.resources.devices` enters, [`DeviceRules`] leave: the same access as a default and as few exceptions as it
//! can be told with. The v1 controller takes them as lines, `bpf::devices` makes a program of them. Pure.

use std::borrow::Cow;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::cgroup::{Which, Write};
use crate::error::{Error, Faults, Result};

const POINTER: &str = "/linux/resources/devices";

/// As many rules as a program has room for: a jump of eBPF spans 32,767 instructions, and a rule is at most two
/// exceptions of five.
pub const MOST_RULES: usize = 2048;

/// Allowed or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

/// Character or block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Block,
    Char,
}

/// What may be done with a device: a set of the kernel's `BPF_DEVCG_ACC_*` bits (linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(pub u8);

impl Access {
    pub const MKNOD: Self = Self(1);
    pub const READ: Self = Self(2);
    pub const WRITE: Self = Self(4);
    pub const ALL: Self = Self(7);

    fn parse(text: &str) -> Option<Self> {
        let bits = text.bytes().try_fold(0, |bits, letter| {
            Some(
                bits | [(b'm', Self::MKNOD), (b'r', Self::READ), (b'w', Self::WRITE)]
                    .iter()
                    .find(|p| p.0 == letter)?
                    .1
                    .0,
            )
        })?;
        (bits != 0).then_some(Self(bits))
    }

    /// True where this has all that `other` has.
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    fn text(self) -> &'static str {
        ["", "m", "r", "rm", "w", "wm", "rw", "rwm"][usize::from(self.0 & 7)]
    }
}

/// Some devices of a kind; an absent number stands for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Devices {
    pub kind: Kind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

impl Devices {
    const fn new(kind: Kind, major: Option<u32>, minor: Option<u32>) -> Self {
        Self { kind, major, minor }
    }

    /// True where all of `other`'s are among these.
    pub fn cover(&self, other: &Self) -> bool {
        let number = |own: Option<u32>, other: Option<u32>| own.is_none() || own == other;
        self.kind == other.kind && number(self.major, other.major) && number(self.minor, other.minor)
    }

    fn overlap(&self, other: &Self) -> bool {
        let number = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && number(self.major, other.major) && number(self.minor, other.minor)
    }
}

/// What every container may use unless all is allowed anyway (runtime-spec, config-linux.md, "Default Devices"), and
/// the making of any node, which gives no access to the device.
const DEFAULT: [(Devices, Access); 11] = {
    const fn char(major: u32, minor: u32) -> (Devices, Access) {
        (Devices::new(Kind::Char, Some(major), Some(minor)), Access::ALL)
    }
    [
        (Devices::new(Kind::Char, None, None), Access::MKNOD),
        (Devices::new(Kind::Block, None, None), Access::MKNOD),
        char(1, 3),                                               // null
        char(1, 5),                                               // zero
        char(1, 7),                                               // full
        char(1, 8),                                               // random
        char(1, 9),                                               // urandom
        char(5, 0),                                               // tty
        char(5, 1),                                               // console
        char(5, 2),                                               // ptmx
        (Devices::new(Kind::Char, Some(136), None), Access::ALL), // pts/*
    ]
};

/// One rule, in the order of config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub verdict: Verdict,
    pub devices: Devices,
    pub access: Access,
    /// Its place in `linux.resources.devices`; absent for one of the default devices.
    index: Option<usize>,
}

/// Access to all devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRules {
    /// What holds for a device that no exception names.
    pub default: Verdict,
    /// In order: the last one that names a device and an access decides. Unless `is_ordered`, all have the verdict
    /// that `default` is not, and their order does not matter.
    pub rules: Vec<Rule>,
}

/// What a v1 cgroup holds before the rules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It is new: the kernel copied its parent's rules.
    Fresh,
    /// It existed, with whatever rules.
    Unknown,
}

impl DeviceRules {
    /// The rules of config.json on top of "nothing is allowed", and then the default devices.
    pub fn with_defaults(config: &[LinuxDeviceCgroup]) -> Result<Self> {
        if config.len() > MOST_RULES {
            return Err(Error::config(POINTER, format!("has {} rules; {MOST_RULES} are possible", config.len())));
        }
        let mut faults = Faults::default();
        let mut own = Self { default: Verdict::Deny, rules: Vec::with_capacity(config.len() + DEFAULT.len()) };
        for (index, rule) in config.iter().enumerate() {
            faults.take(own.read(index, rule));
        }
        for (devices, access) in DEFAULT {
            own.add(Rule { verdict: Verdict::Allow, devices, access, index: None });
        }
        own.simplify();
        faults.into_result(own)
    }

    /// True where the order of the rules matters.
    pub fn is_ordered(&self) -> bool {
        self.hole().is_some()
    }

    /// A rule that takes back a part of what a wider one gave.
    fn hole(&self) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.verdict == self.default)
    }

    /// True where every access to every device is allowed.
    pub fn allow_all(&self) -> bool {
        self.default == Verdict::Allow && self.rules.is_empty()
    }

    fn read(&mut self, index: usize, rule: &LinuxDeviceCgroup) -> Result<()> {
        let mut faults = Faults::default();
        let pointer = |field: &str| format!("{POINTER}/{index}/{field}");
        let access = rule.access().as_deref().map_or(Some(Access::ALL), Access::parse);
        if access.is_none() {
            let given = rule.access().as_deref().unwrap_or_default();
            faults.push(Error::config(pointer("access"), format!("{given:?} is not made of \"r\", \"w\" and \"m\"")));
        }
        let mut number = |field: &str, value: Option<i64>| {
            // Both the absent number and -1 stand for any (runc's and podman's usage).
            let value = value.filter(|v| *v != -1)?;
            let number = u32::try_from(value).ok();
            if number.is_none() {
                faults.push(Error::config(
                    pointer(field),
                    format!("{value} is no device number: 0 to 4294967295, or -1"),
                ));
            }
            number
        };
        let (major, minor) = (number("major", rule.major()), number("minor", rule.minor()));
        let kinds: &[Kind] = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::A => &[Kind::Char, Kind::Block],
            LinuxDeviceType::B => &[Kind::Block],
            LinuxDeviceType::C | LinuxDeviceType::U => &[Kind::Char],
            LinuxDeviceType::P => {
                faults.push(Error::config(pointer("type"), "\"p\" (a FIFO) is no device: \"a\", \"b\" or \"c\""));
                &[]
            }
        };
        let verdict = if rule.allow() { Verdict::Allow } else { Verdict::Deny };
        let access = access.unwrap_or(Access::ALL);
        if kinds.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
            // It names everything: nothing before it matters.
            self.default = verdict;
            self.rules.clear();
        } else {
            for &kind in kinds {
                self.add(Rule { verdict, devices: Devices { kind, major, minor }, access, index: Some(index) });
            }
        }
        faults.into_result(())
    }

    /// Adds a rule that overrides those before it.
    fn add(&mut self, rule: Rule) {
        // What is wholly overridden goes.
        for old in &mut self.rules {
            if rule.devices.cover(&old.devices) && (rule.verdict != old.verdict) {
                old.access.0 &= !rule.access.0;
            }
        }
        self.rules.retain(|old| old.access.0 != 0);
        if self.rules.iter().any(|old| rule.conflicts(old)) {
            self.rules.push(rule);
        } else if rule.verdict != self.default {
            let ordered = self.is_ordered();
            match self.rules.iter_mut().find(|old| old.devices == rule.devices && old.verdict == rule.verdict) {
                Some(same) if !ordered => same.access.0 |= rule.access.0,
                _ => self.rules.push(rule),
            }
        }
    }

    /// Lets each rule say what may be read and written of its devices, and drops what a wider one says already.
    ///
    /// The kernel's controller wants one exception that has all of the wanted access: with `c 1:* r` and `c 1:3 w`,
    /// the latter has to be `c 1:3 rw`. A node is made apart from being opened (mknod(2)): for that, the rule that
    /// allows it is enough, and the others stay as they were given.
    fn simplify(&mut self) {
        // A hole in a rule that went later is none.
        let all = self.rules.clone();
        let is_needed = |rule: &Rule| rule.verdict != self.default || all.iter().any(|other| rule.conflicts(other));
        self.rules.retain(is_needed);
        if self.is_ordered() {
            return;
        }
        for at in 0..self.rules.len() {
            let own = self.rules[at].devices;
            let wider = self.rules.iter().filter(|other| other.devices.cover(&own));
            let opened = wider.fold(0, |bits, other| bits | other.access.0 & !Access::MKNOD.0);
            self.rules[at].access.0 |= opened;
        }
        let all = std::mem::take(&mut self.rules);
        let redundant = |rule: &Rule| {
            all.iter()
                .any(|o| o.devices != rule.devices && o.devices.cover(&rule.devices) && o.access.covers(rule.access))
        };
        self.rules.extend(all.iter().filter(|rule| !redundant(rule)));
    }

    /// The v1 controller knows a default and exceptions to it, but no exceptions to exceptions.
    pub fn check_v1(&self) -> Result<()> {
        let Some(rule) = self.hole() else { return Ok(()) };
        Err(Error::config(
            rule.pointer().into_owned(),
            "takes back a part of what a wider rule gave, which the v1 devices controller cannot do",
        )
        .hint("name the devices of the wider rule one by one, or use cgroup v2"))
    }

    /// The lines for `devices.allow` and `devices.deny`, in order (kernel: admin-guide/cgroup-v1/devices.rst).
    ///
    /// A new cgroup has what its parent has, and can never have more: where all is allowed, nothing is left to write.
    pub fn v1_writes(&self, before: Before) -> Vec<Write> {
        let line = |file: &'static str, value: Cow<'static, str>, pointer: Cow<'static, str>| {
            Write::new(Which::V1("devices"), file, value, pointer)
        };
        let (default, exception) = match self.default {
            Verdict::Deny => ("devices.deny", "devices.allow"),
            Verdict::Allow => ("devices.allow", "devices.deny"),
        };
        let inherited = self.default == Verdict::Allow && before == Before::Fresh;
        let first = (!inherited).then(|| line(default, Cow::Borrowed("a"), POINTER.into()));
        let rest = self.rules.iter().map(|r| line(exception, Cow::Owned(r.line()), r.pointer()));
        first.into_iter().chain(rest).collect()
    }

    /// The lines that make these rules of `old` ones without a moment in which less is allowed than both allow.
    pub fn v1_update(&self, old: &Self) -> Vec<Write> {
        if self == old {
            return Vec::new();
        }
        if self.default != old.default || self.default == Verdict::Allow {
            return self.v1_writes(Before::Unknown);
        }
        let write = |file: &'static str, rule: &Rule, access| {
            Write::new(Which::V1("devices"), file, Rule { access, ..*rule }.line(), POINTER)
        };
        let find = |rules: &[Rule], rule: &Rule| {
            rules.iter().find(|other| other.devices == rule.devices).map_or(Access(0), |other| other.access)
        };
        let missing = |rules: &[Rule], rule: &Rule| Access(rule.access.0 & !find(rules, rule).0);
        let given = self.rules.iter().map(|r| write("devices.allow", r, missing(&old.rules, r)));
        let taken = old.rules.iter().map(|r| write("devices.deny", r, missing(&self.rules, r)));
        given.chain(taken).filter(|w| !w.value.ends_with(' ')).collect()
    }
}

impl Rule {
    /// True where the two say different things of the same access to the same device.
    fn conflicts(&self, other: &Self) -> bool {
        self.verdict != other.verdict && self.access.0 & other.access.0 != 0 && self.devices.overlap(&other.devices)
    }

    /// Where config.json has it; empty for a default device.
    fn pointer(&self) -> Cow<'static, str> {
        self.index.map_or(Cow::Borrowed(""), |index| Cow::Owned(format!("{POINTER}/{index}")))
    }

    /// `c 1:3 rwm`
    fn line(&self) -> String {
        let kind = match self.devices.kind {
            Kind::Char => 'c',
            Kind::Block => 'b',
        };
        let number = |n: Option<u32>| n.map_or(Cow::Borrowed("*"), |n| Cow::Owned(n.to_string()));
        format!("{kind} {}:{} {}", number(self.devices.major), number(self.devices.minor), self.access.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Result<DeviceRules> {
        DeviceRules::with_defaults(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap())
    }

    #[test]
    fn rules_without_end_are_refused() {
        let many = |count| format!("[{}]", vec![r#"{"allow":true,"type":"c","access":"r"}"#; count].join(","));
        assert!(rules(&many(MOST_RULES)).is_ok());
        let fault = rules(&many(MOST_RULES + 1)).unwrap_err().to_string();
        assert_eq!(fault, "/linux/resources/devices: has 2049 rules; 2048 are possible");
    }

    fn lines(rules: &DeviceRules, before: Before) -> Vec<String> {
        rules.v1_writes(before).into_iter().map(|w| format!("{} {}", &w.file[8..], w.value)).collect()
    }

    const DEFAULT_LINES: [&str; 12] = [
        "deny a",
        "allow c *:* m",
        "allow b *:* m",
        "allow c 1:3 rwm",
        "allow c 1:5 rwm",
        "allow c 1:7 rwm",
        "allow c 1:8 rwm",
        "allow c 1:9 rwm",
        "allow c 5:0 rwm",
        "allow c 5:1 rwm",
        "allow c 5:2 rwm",
        "allow c 136:* rwm",
    ];

    #[test]
    fn nothing_but_the_default_devices_without_rules() {
        assert_eq!(lines(&rules("[]").unwrap(), Before::Fresh), DEFAULT_LINES);
        assert_eq!(lines(&rules(r#"[{"allow":false,"access":"rwm"}]"#).unwrap(), Before::Unknown), DEFAULT_LINES);
    }

    #[test]
    fn rules_that_repeat_the_defaults_add_none() {
        let containerd = rules(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
                {"allow":true,"type":"c","major":5,"minor":1,"access":"r"},{"allow":true,"type":"c","major":136,"access":"rwm"}]"#,
        );
        let mut ours = lines(&containerd.unwrap(), Before::Fresh);
        let mut expected = DEFAULT_LINES.map(str::to_owned).to_vec();
        ours.sort();
        expected.sort();
        assert_eq!(ours, expected);
    }

    #[test]
    fn a_device_of_the_config_is_allowed_as_it_is_given() {
        let fuse = rules(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"r"},
                {"allow":true,"type":"c","major":10,"minor":229,"access":"w"}]"#,
        )
        .unwrap();
        assert_eq!(lines(&fuse, Before::Fresh)[1], "allow c 10:229 rw");
    }

    #[test]
    fn an_open_for_both_finds_one_rule_with_both() {
        let narrow = rules(
            r#"[{"allow":true,"type":"b","major":8,"access":"r"},{"allow":true,"type":"b","major":8,"minor":1,"access":"w"}]"#,
        )
        .unwrap();
        assert_eq!(lines(&narrow, Before::Fresh)[1..3], ["allow b 8:* r", "allow b 8:1 rw"]);
    }

    #[test]
    fn all_devices_need_no_write_in_a_new_cgroup() {
        let all = rules(r#"[{"allow":false,"access":"rwm"},{"allow":true,"access":"rwm"}]"#).unwrap();
        assert!(all.allow_all());
        assert!(lines(&all, Before::Fresh).is_empty());
        assert_eq!(lines(&all, Before::Unknown), ["allow a"]);
        let but_one = rules(r#"[{"allow":true},{"allow":false,"type":"b","major":8,"access":"rw"}]"#).unwrap();
        assert_eq!(lines(&but_one, Before::Fresh), ["deny b 8:* rw"]);
    }

    #[test]
    fn wider_rules_swallow_narrower_ones() {
        let wide = rules(r#"[{"allow":true,"type":"c","access":"rwm"}]"#).unwrap();
        assert_eq!(lines(&wide, Before::Fresh), ["deny a", "allow c *:* rwm", "allow b *:* m"]);
        let every = rules(r#"[{"allow":true,"type":"a","major":7,"minor":-1,"access":"rw"}]"#).unwrap();
        assert!(lines(&every, Before::Fresh).contains(&"allow b 7:* rw".to_owned()));
        assert!(lines(&every, Before::Fresh).contains(&"allow c 7:* rw".to_owned()));
    }

    #[test]
    fn a_rule_taken_back_is_gone_and_a_hole_is_refused_on_v1() {
        let back = rules(
            r#"[{"allow":true,"type":"b","major":8,"minor":0,"access":"rw"},{"allow":false,"type":"b","major":8,"access":"rw"}]"#,
        )
        .unwrap();
        assert_eq!(lines(&back, Before::Fresh), DEFAULT_LINES);
        let hole = rules(
            r#"[{"allow":true,"type":"b","major":8,"access":"rw"},{"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]"#,
        )
        .unwrap();
        assert!(hole.is_ordered());
        assert_eq!(hole.check_v1().unwrap_err().pointer(), Some("/linux/resources/devices/1"));
        assert!(back.check_v1().is_ok());
    }

    #[test]
    fn wrong_values_are_named() {
        let error = rules(
            r#"[{"allow":true,"access":"rx"},{"allow":true,"type":"c","major":-2,"minor":4294967296,"access":"r"},
                {"allow":true,"type":"p","access":""}]"#,
        )
        .unwrap_err();
        let pointers: Vec<_> = error.each().iter().map(|e| e.pointer().unwrap().to_owned()).collect();
        assert_eq!(
            pointers,
            ["0/access", "1/major", "1/minor", "2/access", "2/type"].map(|p| format!("/linux/resources/devices/{p}"))
        );
    }

    #[test]
    fn an_update_writes_only_what_differs() {
        let old = rules(r#"[{"allow":true,"type":"c","major":10,"minor":1,"access":"rw"}]"#).unwrap();
        let new = rules(r#"[{"allow":true,"type":"c","major":10,"minor":2,"access":"rw"}]"#).unwrap();
        let lines: Vec<_> = new.v1_update(&old).into_iter().map(|w| format!("{} {}", w.file, w.value)).collect();
        assert_eq!(lines, ["devices.allow c 10:2 rw", "devices.deny c 10:1 rw"]);
        assert!(new.v1_update(&new).is_empty());
    }
}
