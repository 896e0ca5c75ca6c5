//! JSON text → the spec's types, with every value that cannot be taken named by its JSON pointer.
//!
//! The good path is one plain parse. The long way, through a [`Value`], is for documents that the plain parse
//! refuses or may have misread: there they are mended ([`super::repair`]) and parsed again and again, each time
//! without the value that was at fault, until all faults are known.

use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::document::{self, Document};
use super::place::{self, Step};
use super::repair::{self, Notes};
use super::{CONFIG, OCI_VERSION};
use crate::error::{Error, Faults, Kind, Result};
use crate::json;

/// So many faults of one document are told; more would not be read.
const MOST_FAULTS: usize = 32;

/// What a document says, and what is wrong with it.
#[derive(Debug)]
pub struct Read<T> {
    /// All of it that could be taken.
    pub value: T,
    /// Things that the spec says to warn of.
    pub warnings: Vec<String>,
    /// Values that could not be taken. The plan tells them together with its own.
    pub faults: Vec<Error>,
}

impl<T> Read<T> {
    /// A value of which there is nothing to say.
    fn plainly(value: T) -> Self {
        Self { value, warnings: Vec::new(), faults: Vec::new() }
    }

    /// As the type of the spec that `T` becomes.
    fn into<U: From<T>>(self) -> Read<U> {
        Read { value: self.value.into(), warnings: self.warnings, faults: self.faults }
    }

    /// The value and the warnings, if nothing was at fault: for those who make no plan of it.
    pub fn whole(self) -> Result<(T, Vec<String>)> {
        let mut faults = Faults::default();
        self.faults.into_iter().for_each(|fault| faults.push(fault));
        faults.into_result((self.value, self.warnings))
    }
}

/// A config.json.
pub fn spec(text: &[u8]) -> Result<Read<Spec>> {
    let plain = plain::<Document>(text).filter(|document| !document.is_of_another_platform()).map(Spec::from);
    match plain {
        Some(spec) if !misread(&spec) => {
            version(spec.version())?;
            Ok(Read::plainly(spec))
        }
        _ => {
            let value = object(text, CONFIG)?;
            if let Some(Value::String(given)) = value.get("ociVersion") {
                // Before all else: what another major version means by its fields is not known.
                version(given)?;
            }
            let read: Read<Spec> = long_way::<Document>(value, repair::spec)?.into();
            if read.value.version().is_empty() && read.faults.is_empty() {
                version("")?;
            }
            Ok(read)
        }
    }
}

/// A process object from the file `name`.
pub fn process(text: &[u8], name: &str) -> Result<Read<Process>> {
    match plain::<document::Process>(text) {
        Some(process) => Ok(Read::plainly(process.into())),
        None => {
            long_way::<document::Process>(object(text, name)?, repair::process).map(|read| in_file(read.into(), name))
        }
    }
}

/// A resources object from the file `name`.
pub fn resources(text: &[u8], name: &str) -> Result<Read<LinuxResources>> {
    match plain::<LinuxResources>(text) {
        Some(value) if !pids_unclear(&value) => Ok(Read::plainly(value)),
        _ => long_way(object(text, name)?, repair::resources).map(|read| in_file(read, name)),
    }
}

/// The good path. Serde takes an array of values for an object too, which no document of ours is.
fn plain<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    text.trim_ascii_start().starts_with(b"{").then(|| json::parse(text).ok()).flatten()
}

/// Faults whose pointers are into the file `name` and not into config.json.
fn in_file<T>(mut read: Read<T>, name: &str) -> Read<T> {
    read.faults = read.faults.into_iter().map(|fault| fault.wrap(name)).collect();
    read
}

/// True where oci-spec's types cannot hold what the document says.
fn misread(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    resources.is_some_and(pids_unclear)
}

/// An absent `pids.limit` (no limit) reads as 0 (a limit).
fn pids_unclear(resources: &LinuxResources) -> bool {
    resources.pids().is_some_and(|pids| pids.limit() == 0)
}

/// Refuses another major version than ours (runtime-spec, config.md, Specification version).
fn version(given: &str) -> Result<()> {
    let refused = |fault: String| Err(Error::config("/ociVersion", fault));
    let numbers = given.split(['-', '+']).next().unwrap_or_default();
    let mut parts = numbers.split('.');
    let all_numbers = parts.clone().count() <= 3 && parts.all(|part| part.parse::<u32>().is_ok());
    if given.is_empty() {
        refused(format!("is missing; the version of the runtime-spec is needed, such as {OCI_VERSION:?}"))
    } else if !all_numbers {
        refused(format!("{given:?} is no version; {OCI_VERSION:?} would be one"))
    } else if numbers.split('.').next() != Some("1") {
        refused(format!("version {given} of the runtime-spec is not supported, only 1.x is"))
    } else {
        Ok(())
    }
}

/// Any JSON object.
fn object(text: &[u8], name: &str) -> Result<Value> {
    let refuse = |fault: String| Error::new(format!("{name} {fault}")).kind(Kind::Config);
    if let Err(error) = std::str::from_utf8(text) {
        let line = 1 + text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        return Err(refuse(format!("is not UTF-8: byte {} in line {line}", error.valid_up_to())));
    }
    let value: Value = json::parse(text).map_err(|error| match error.classify() {
        Category::Eof if text.trim_ascii().is_empty() => refuse("is empty".to_owned()),
        Category::Eof => refuse(format!("is cut off: {}", lower(&error.to_string()))),
        _ => refuse(format!("is not JSON: {error}")),
    })?;
    match value {
        Value::Object(_) => Ok(value),
        _ => Err(refuse("is not a JSON object".to_owned())),
    }
}

/// `text` with a lower-case first letter, but for acronyms.
fn lower(text: &str) -> String {
    text.replacen("EOF", "end of file", 1)
}

/// The document after its repair; of the values that still cannot be taken, each is named and left out.
///
/// It is parsed as text each time, with the parser of the good path: one that reads a [`Value`] would be a second copy
/// of it for every type of the spec.
fn long_way<T: DeserializeOwned>(mut value: Value, repair: fn(&mut Value, &mut Notes)) -> Result<Read<T>> {
    let mut notes = Notes::default();
    repair(&mut value, &mut notes);
    let mut faults = notes.faults;
    let mut removed = Removed::default();
    loop {
        let document = value.to_string();
        let error = match serde_json::from_str::<T>(&document) {
            Ok(value) => return Ok(Read { value, warnings: notes.warnings, faults }),
            Err(error) => error,
        };
        let path = place::of(&error, &document);
        let original = removed.original(&path);
        let text = fault(&error, at(&value, &path));
        // A field that is missing because it was wrong has been told already.
        let field = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        if !field.is_some_and(|field| removed.has(&original, field)) {
            faults.push(Error::config(pointer(&original), text));
        }
        if faults.len() >= MOST_FAULTS || !remove(&mut value, &path) {
            let mut all = Faults::default();
            faults.into_iter().for_each(|fault| all.push(fault));
            return all.into_result(()).and(Err(Error::new("the document cannot be read").kind(Kind::Config)));
        }
        removed.0.push(original);
    }
}

/// What is wrong with `value`, in words of JSON.
fn fault(error: &serde_json::Error, value: Option<&Value>) -> String {
    let kind = match value {
        // The document is good JSON: the parser wanted a string here, for the name of an enum's variant.
        _ if error.classify() != Category::Syntax => return in_words_of_json(&place::fault(error)),
        Some(Value::Null) => "null".to_owned(),
        Some(Value::Bool(value)) => format!("boolean `{value}`"),
        Some(Value::Number(value)) if value.is_f64() => format!("floating point `{value}`"),
        Some(Value::Number(value)) => format!("integer `{value}`"),
        Some(Value::String(value)) => format!("string {value:?}"),
        Some(Value::Array(_)) => "array".to_owned(),
        Some(Value::Object(_)) | None => "object".to_owned(),
    };
    format!("invalid type: {kind}, expected a string")
}

/// Serde names Rust's types; who writes a config.json knows JSON's.
fn in_words_of_json(text: &str) -> String {
    let Some((found, expected)) = text.split_once(", expected ") else { return text.to_owned() };
    let expected = match expected {
        "path string" | "variant identifier" => "a string",
        "a sequence" => "an array",
        "a map" => "an object",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "usize" => "an integer from 0 on",
        "i32" | "i64" => "an integer",
        structure if structure.starts_with("struct ") => "an object",
        other => other,
    };
    let found = match found {
        "invalid type: map" => "invalid type: object",
        "invalid type: sequence" => "invalid type: array",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// What has been left out of a document so far, by its original place.
#[derive(Default)]
struct Removed(Vec<Vec<Step>>);

impl Removed {
    /// The original place of what is now at `path`: each element left out of an array has moved the later ones.
    fn original(&self, path: &[Step]) -> Vec<Step> {
        let mut original: Vec<Step> = Vec::with_capacity(path.len());
        for segment in path {
            let Step::Element(index) = segment else {
                original.push(segment.clone());
                continue;
            };
            let mut gone: Vec<usize> = self.0.iter().filter_map(|place| element(place, &original)).collect();
            gone.sort_unstable();
            let index = gone.into_iter().fold(*index, |index, gone| if gone <= index { index + 1 } else { index });
            original.push(Step::Element(index));
        }
        original
    }

    /// Whether the member `field` of the object at `place` was left out.
    fn has(&self, place: &[Step], field: &str) -> bool {
        self.0.iter().any(|gone| match gone.split_last() {
            Some((Step::Member(key), parent)) => key == field && parent == place,
            _ => false,
        })
    }
}

/// The index of `place` in the array at `array`, if it is an element of it.
fn element(place: &[Step], array: &[Step]) -> Option<usize> {
    match place.split_last() {
        Some((Step::Element(index), parent)) if parent == array => Some(*index),
        _ => None,
    }
}

/// The value at `path` of the document.
fn at<'a>(document: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(document, |value, step| match step {
        Step::Element(index) => value.get(*index),
        Step::Member(key) => value.get(key),
    })
}

/// Takes the value at `path` out of the document; false where that is the document itself.
fn remove(document: &mut Value, path: &[Step]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let parent = parents.iter().try_fold(document, |value, step| match step {
        Step::Element(index) => value.get_mut(*index),
        Step::Member(key) => value.get_mut(key),
    });
    match (last, parent) {
        (Step::Element(index), Some(Value::Array(elements))) if *index < elements.len() => {
            elements.remove(*index);
            true
        }
        (Step::Member(key), Some(Value::Object(members))) => members.remove(key).is_some(),
        _ => false,
    }
}

/// The path as a JSON pointer (RFC 6901).
fn pointer(path: &[Step]) -> String {
    path.iter().fold(String::new(), |pointer, step| match step {
        Step::Element(index) => format!("{pointer}/{index}"),
        Step::Member(key) => pointer + "/" + &repair::pointer_token(key),
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Capability;
    use serde_json::json;

    use super::*;

    fn read(config: &Value) -> Read<Spec> {
        spec(config.to_string().as_bytes()).unwrap()
    }

    fn faults(config: &Value) -> Vec<String> {
        read(config).faults.iter().map(Error::to_string).collect()
    }

    fn refusal(text: &[u8]) -> String {
        let error = spec(text).unwrap_err();
        assert_eq!(error.what(), Kind::Config);
        error.to_string()
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        assert_eq!(refusal(b""), "config.json is empty");
        assert_eq!(refusal(b" \n"), "config.json is empty");
        assert_eq!(
            refusal(b"{\"ociVersion\": \"1.0.0\",\n \"root"),
            "config.json is cut off: end of file while parsing a string at line 2 column 6"
        );
        assert_eq!(refusal(b"{]"), "config.json is not JSON: key must be a string at line 1 column 2");
        assert_eq!(refusal(b"[]"), "config.json is not a JSON object");
        assert_eq!(refusal(b"{\n\"a\": \"\xff\"}"), "config.json is not UTF-8: byte 8 in line 2");
        assert_eq!(refusal(b"\xef\xbb\xbf{}"), "config.json is not JSON: expected value at line 1 column 1");
        let deep = format!("{{\"process\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(refusal(deep.as_bytes()).starts_with("config.json is not JSON: recursion limit exceeded"));
    }

    #[test]
    fn only_major_version_1_is_taken() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0+build.7", "1.99.0-rc.1+x", "1.0"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("2.0.0", "/ociVersion: version 2.0.0 of the runtime-spec is not supported, only 1.x is"),
            ("0.5.0-dev", "/ociVersion: version 0.5.0-dev of the runtime-spec is not supported, only 1.x is"),
            ("latest", "/ociVersion: \"latest\" is no version; \"1.3.0\" would be one"),
            ("", "/ociVersion: is missing; the version of the runtime-spec is needed, such as \"1.3.0\""),
        ] {
            assert_eq!(version(bad).unwrap_err().to_string(), fault);
        }
        // The version comes before what another version may mean by its fields.
        assert!(refusal(br#"{"ociVersion": "2.0.0", "process": 7}"#).starts_with("/ociVersion: version 2.0.0"));
        assert!(refusal(br#"{"root": {"path": "r"}}"#).starts_with("/ociVersion: is missing"));
        assert_eq!(faults(&json!({"ociVersion": 1})), ["/ociVersion: invalid type: integer `1`, expected a string"]);
    }

    #[test]
    fn all_wrong_types_are_told_by_their_own_place() {
        let config = json!({
            "ociVersion": "1.0.0",
            "hostname": 5,
            "process": {"cwd": 7, "args": ["a", 1, "b", 2], "user": {"uid": -1, "gid": 4294967296u64}},
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "moon"}, {"type": "uts"}, {}],
                "sysctl": {"a/b~c": 1},
            },
        });
        let mut all = faults(&config);
        all.sort();
        assert_eq!(
            all,
            [
                "/hostname: invalid type: integer `5`, expected a string",
                "/linux/namespaces/1/type: unknown variant `moon`, expected one of `mount`, `cgroup`, `uts`, `ipc`, \
                 `user`, `pid`, `network`, `time`",
                "/linux/namespaces/3: missing field `type`",
                "/linux/sysctl/a~1b~0c: invalid type: integer `1`, expected a string",
                "/process/args/1: invalid type: integer `1`, expected a string",
                "/process/args/3: invalid type: integer `2`, expected a string",
                "/process/cwd: invalid type: integer `7`, expected a string",
                "/process/user/gid: invalid value: integer `4294967296`, expected an integer from 0 to 4294967295",
                "/process/user/uid: invalid value: integer `-1`, expected an integer from 0 to 4294967295",
            ]
        );
    }

    #[test]
    fn the_good_part_of_a_faulty_document_is_still_read() {
        let read = read(&json!({"ociVersion": "1.0.0", "hostname": "h", "domainname": [], "root": {"path": "r"}}));
        assert_eq!(read.value.hostname().as_deref(), Some("h"));
        assert_eq!(read.faults.len(), 1);
        assert!(read.whole().is_err());
    }

    #[test]
    fn faults_without_end_are_cut() {
        let args = vec![json!(1); 500];
        let error = spec(json!({"ociVersion": "1.0.0", "process": {"cwd": "/", "args": args}}).to_string().as_bytes());
        assert_eq!(error.unwrap_err().each().len(), MOST_FAULTS);
    }

    #[test]
    fn what_the_spec_allows_is_mended() {
        let config = json!({
            "ociVersion": "1.3.0",
            "unknown": {"any": ["thing"]},
            "hooks": {"poststop": null},
            "process": {
                "cwd": "/",
                "args": null,
                "capabilities": {"bounding": ["CAP_CHOWN", "CAP_MOON", "CAP_KILL"], "ambient": null},
                "scheduler": {
                    "policy": "SCHED_DEADLINE",
                    "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"],
                },
                "execCPUAffinity": {"initial": "0-3, 7", "final": ""},
            },
            "linux": {"resources": {
                "pids": {},
                "hugepageLimits": [{"pageSize": "2MB", "limit": u64::MAX}],
            }},
        });
        let read = read(&config);
        assert_eq!(read.faults, []);
        assert_eq!(
            read.warnings,
            ["/process/capabilities/bounding/1: capability \"CAP_MOON\" is unknown and left out"]
        );
        let process = read.value.process().as_ref().unwrap();
        let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert_eq!(bounding.len(), 2);
        assert!(bounding.contains(&Capability::Kill));
        assert_eq!(process.scheduler().as_ref().unwrap().flags().as_ref().unwrap().len(), 3);
        let affinity = process.exec_cpu_affinity().as_ref().unwrap();
        assert_eq!(affinity.initial().as_deref(), Some("0-3, 7"));
        assert_eq!(affinity.cpu_affinity_final().as_deref(), Some(""));
        let resources = read.value.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert!(resources.pids().is_none());
        assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].limit(), i64::MAX);
    }

    #[test]
    fn a_limit_of_no_processes_differs_from_no_limit() {
        let (none, _) = resources(br#"{"pids": {}}"#, "-").unwrap().whole().unwrap();
        assert!(none.pids().is_none());
        let (zero, _) = resources(br#"{"pids": {"limit": 0}}"#, "-").unwrap().whole().unwrap();
        assert_eq!(zero.pids().unwrap().limit(), 0);
    }

    #[test]
    fn other_platforms_are_refused_by_name() {
        let config = json!({
            "ociVersion": "1.0.0", "vm": {"kernel": 1}, "windows": {}, "solaris": {"milestone": "x"}, "zos": {},
        });
        assert_eq!(
            faults(&config),
            [
                "/vm: virtual machines are not supported; only linux is",
                "/windows: Windows containers are not supported; only linux is",
                "/solaris: Solaris containers are not supported; only linux is",
                "/zos: z/OS containers are not supported; only linux is",
            ]
        );
    }

    #[test]
    fn faults_of_a_process_file_name_the_file() {
        let read = process(br#"{"cwd": "/", "user": {"uid": "x"}}"#, "/tmp/p.json").unwrap();
        assert_eq!(
            read.whole().unwrap_err().to_string(),
            "/user/uid: /tmp/p.json: invalid type: string \"x\", expected an integer from 0 to 4294967295"
        );
        assert!(process(br#"{"cwd": "/"}"#, "p").unwrap().whole().is_ok());
        assert_eq!(process(b"7", "p").unwrap_err().to_string(), "p is not a JSON object");
    }

    #[test]
    fn a_document_of_many_megabytes_is_read() {
        let text = json!({"ociVersion": "1.0.0", "annotations": {"a": "x".repeat(10 << 20)}}).to_string();
        assert!(spec(text.as_bytes()).unwrap().whole().is_ok());
    }
}
