//! Where in a document serde met the value that it cannot take: from the column it tells to the steps to the value.
//!
//! Pure. serde_path_to_error tells the same, at the price of a second and larger deserializer of every type of the
//! spec in the binary; it is the oracle of the tests instead.
//!
//! What a column means is serde_json's habit, which the tests pin down. Where a value is of the wrong type or out of
//! range, the parser stands behind it, or before it if it is an array or an object. Where a check fails that a type
//! does once its value is read, the parser stands there too, unless a bracket follows: it is closed first. Where the
//! parser wants a string (for an enum) and sees another value, it points to that value's first byte.

use std::ops::Range;

use serde_json::error::Category;

/// One step from an array or object to a value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Element(usize),
    Member(String),
}

/// Serde's error without its line and column, which the pointer tells better.
pub fn fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map(str::to_owned).unwrap_or(text)
}

/// The steps from the document to the value that `error` is about. `text` is JSON in one line without spaces between
/// its tokens, as serde_json writes it.
pub fn of(error: &serde_json::Error, text: &str) -> Vec<Step> {
    let column = error.column();
    let fault = fault(error);
    let sought = if error.classify() == Category::Syntax {
        Sought::Around(column.saturating_sub(1))
    } else if fault.starts_with("missing field") || fault.starts_with("invalid length") {
        Sought::At(column, Closed::Whole)
    } else {
        Sought::At(column, Closed::Last)
    };
    let mut scan = Scan { text: text.as_bytes(), at: 0, sought, path: Vec::new() };
    if !scan.value() {
        return Vec::new();
    }
    scan.path.into_iter().map(|child| child.step(text)).collect()
}

/// What is looked for.
#[derive(Clone, Copy)]
enum Sought {
    /// The innermost value with this byte in it.
    Around(usize),
    /// The value that begins or ends here.
    At(usize, Closed),
}

/// Which value is meant where an array or object ends.
#[derive(Clone, Copy)]
enum Closed {
    Whole,
    Last,
}

/// A step, as long as nobody wants to know it.
#[derive(Clone)]
enum Child {
    Element(usize),
    /// With the bytes of the key and its quotes.
    Member(Range<usize>),
}

impl Child {
    fn step(self, text: &str) -> Step {
        match self {
            Self::Element(index) => Step::Element(index),
            // A key that is not to be read is none that serde wrote; then it is told as it stands.
            Self::Member(key) => Step::Member(match serde_json::from_str(&text[key.clone()]) {
                Ok(key) => key,
                Err(_) => text[key].to_owned(),
            }),
        }
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    sought: Sought,
    path: Vec<Child>,
}

impl Scan<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(b' ')
    }

    /// Reads the value that is next; true where what is sought has been met: `path` then leads to it.
    /// The depth is bounded by that of the parser that made the document.
    fn value(&mut self) -> bool {
        let start = self.at;
        if matches!(self.sought, Sought::At(place, _) if place == start) {
            return true;
        }
        match self.peek() {
            b'{' | b'[' => self.container(),
            _ => {
                self.scalar();
                self.met(start)
            }
        }
    }

    /// Whether what was read from `start` to here, with no value in it, is what is sought.
    fn met(&self, start: usize) -> bool {
        match self.sought {
            Sought::Around(byte) => (start..self.at).contains(&byte),
            Sought::At(place, _) => (start + 1..=self.at).contains(&place),
        }
    }

    fn container(&mut self) -> bool {
        let start = self.at;
        let object = self.peek() == b'{';
        let mut last = None;
        let mut index = 0;
        self.at += 1;
        while !matches!(self.peek(), b'}' | b']' | b' ') {
            let key = self.at;
            if object {
                self.scalar();
                if self.met(key) {
                    return true;
                }
            }
            let child = if object { Child::Member(key..self.at) } else { Child::Element(index) };
            self.at += usize::from(object);
            self.path.push(child);
            if self.value() {
                return true;
            }
            last = self.path.pop();
            index += 1;
            self.at += usize::from(self.peek() == b',');
        }
        self.at += 1;
        if matches!(self.sought, Sought::At(place, Closed::Last) if place == self.at) {
            self.path.extend(last);
            return true;
        }
        self.met(start)
    }

    /// A string with its quotes, a number, or a word.
    fn scalar(&mut self) {
        if self.peek() != b'"' {
            while !matches!(self.peek(), b',' | b']' | b'}' | b' ') {
                self.at += 1;
            }
            return;
        }
        self.at += 1;
        while self.at < self.text.len() && self.text[self.at] != b'"' {
            self.at += if self.text[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use serde_path_to_error::Segment;

    use super::super::document::Document;
    use super::*;

    /// Where and why `text` is no [`Document`], as told here.
    fn ours(text: &str) -> Option<(Vec<Step>, String)> {
        let error = serde_json::from_str::<Document>(text).err()?;
        Some((of(&error, text), fault(&error)))
    }

    /// The same, as told by serde_path_to_error.
    fn oracle(text: &str) -> Option<Vec<Step>> {
        let error =
            serde_path_to_error::deserialize::<_, Document>(&mut serde_json::Deserializer::from_str(text)).err()?;
        let steps = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Element(*index)),
            Segment::Map { key } => Some(Step::Member(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        Some(steps.collect())
    }

    fn documents() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(json!(null)),
            Just(json!(true)),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            Just(json!("moon")),
            Just(json!("a\"\\,]}\u{1}ü")),
        ];
        let odd = prop_oneof![
            5 => scalar,
            1 => Just(json!([])),
            1 => Just(json!({})),
            1 => Just(json!([[], 1])),
            1 => Just(json!([{"a": 1}])),
            1 => Just(json!({"": {"b": [1, "c"]}})),
        ];
        (proptest::collection::vec((any::<prop::sample::Index>(), odd), 1..3)).prop_map(|changes| {
            let mut document = whole();
            for (place, odd) in changes {
                let places = places(&document, String::new());
                let at: &String = place.get(&places);
                *document.pointer_mut(at).unwrap() = odd;
            }
            document
        })
    }

    /// A document with something of everything.
    fn whole() -> Value {
        json!({
            "ociVersion": "1.0.0",
            "hostname": "h",
            "annotations": {"a/b~\"\\": "1", "": "2"},
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [{"destination": "/a", "type": "tmpfs", "source": "t", "options": ["ro", "x"],
                "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}]}, {"destination": "/b"}],
            "process": {
                "terminal": true, "consoleSize": {"height": 1, "width": 2}, "cwd": "/", "args": ["a", "b"],
                "env": ["A=b"], "user": {"uid": 1, "gid": 2, "additionalGids": [3], "umask": 4},
                "capabilities": {"bounding": ["CAP_KILL"], "ambient": []},
                "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
                "scheduler": {"policy": "SCHED_OTHER", "nice": 1}, "oomScoreAdj": 5,
                "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
                "execCPUAffinity": {"initial": "1", "final": "2"},
            },
            "hooks": {"prestart": [{"path": "/h", "args": ["h"], "timeout": 5}], "poststop": []},
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "mount", "path": "/p"}],
                "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 438}],
                "rootfsPropagation": "private", "sysctl": {"a.b": "1"},
                "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
                "resources": {
                    "memory": {"limit": 5, "swappiness": 6}, "cpu": {"shares": 7, "cpus": "0"}, "pids": {"limit": 8},
                    "devices": [{"allow": false, "type": "a", "access": "rwm"}],
                    "blockIO": {"weight": 9, "throttleReadBpsDevice": [{"major": 1, "minor": 2, "rate": 3}]},
                    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "unified": {"a": "b"},
                    "network": {"classID": 1, "priorities": [{"name": "n", "priority": 1}]},
                },
                "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
                    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]},
                "intelRdt": {"closID": "x"}, "personality": {"domain": "LINUX"},
            },
        })
    }

    /// The pointers of all values of a document but itself.
    fn places(value: &Value, at: String) -> Vec<String> {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(members) => {
                members.iter().map(|(key, value)| (super::super::pointer_token(key), value)).collect()
            }
            Value::Array(elements) => elements.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
            _ => Vec::new(),
        };
        let below = children.into_iter().flat_map(|(token, value)| {
            let at = format!("{at}/{token}");
            std::iter::once(at.clone()).chain(places(value, at))
        });
        below.collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_place_is_that_of_serde_path_to_error(document in documents()) {
            let text = document.to_string();
            let found = ours(&text);
            prop_assert_eq!(found.clone().map(|(steps, _)| steps), oracle(&text), "{:?} in {}", found, text);
        }

        #[test]
        fn any_text_and_place_are_survived(text in "[\\[\\]{}\",:\\\\a1 ]{0,20}", place in 0usize..24) {
            for sought in [Sought::Around(place), Sought::At(place, Closed::Last), Sought::At(place, Closed::Whole)] {
                Scan { text: text.as_bytes(), at: 0, sought, path: Vec::new() }.value();
            }
        }
    }

    #[test]
    fn the_document_to_change_is_good() {
        assert_eq!(ours(&whole().to_string()), None);
    }

    #[test]
    fn the_text_is_serdes_without_its_place() {
        let (steps, fault) = ours(r#"{"hostname":5}"#).unwrap();
        assert_eq!(
            (steps, &fault[..]),
            (vec![Step::Member("hostname".into())], "invalid type: integer `5`, expected a string")
        );
    }
}
