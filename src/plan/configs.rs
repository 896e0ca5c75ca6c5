//! Tests: whole documents of tests/data/config, and what each of them is answered.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::host::Confinement;
use super::{CgroupTree, Host, Plan, Request, RootChange, build};
use crate::bundle::{Bundle, ContainerId, pointer_token};
use crate::error::Result;

fn planned(text: &[u8]) -> Result<Plan> {
    let text = String::from_utf8_lossy(text).replace("\"rootfs\"", "\"usr\"");
    let bundle = Bundle::from_text("/".into(), text.into_bytes())?;
    let request = Request {
        id: &ContainerId::new("c1").unwrap(),
        root_change: RootChange::Pivot,
        cgroups: &CgroupTree::V1(Vec::new()),
    };
    build(&request, &bundle, &Host::assumed(0, u64::MAX, Confinement::Absent))
}

/// The files of a directory below tests/data/config that end in `.json`.
fn configs(kind: &str) -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/config").join(kind);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn good_configs_make_plans() {
    for file in configs("good") {
        let plan = planned(&std::fs::read(&file).unwrap()).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let warned = ["to-be-mended.json", "no-namespaces.json"].iter().any(|name| file.ends_with(name));
        assert_eq!(!plan.warnings.is_empty(), warned, "{file:?}: {:?}", plan.warnings);
    }
}

/// Each bad config has a text file of the same name: the faults, a line each, in any order.
#[test]
fn bad_configs_get_all_their_faults_told() {
    for file in configs("bad") {
        let error = planned(&std::fs::read(&file).unwrap()).map(drop).unwrap_err();
        let mut told: Vec<String> = error.each().iter().map(ToString::to_string).collect();
        told.sort();
        let expected = std::fs::read_to_string(file.with_extension("txt")).unwrap();
        assert_eq!(told, expected.lines().collect::<Vec<_>>(), "{file:?}");
    }
}

/// No prefix of a good config is one, and none makes the reader or the plan panic.
#[test]
fn what_is_cut_off_anywhere_is_refused() {
    for file in configs("good") {
        let text = std::fs::read(&file).unwrap();
        let text = text.trim_ascii_end();
        for end in (0..text.len()).step_by(7) {
            assert!(planned(&text[..end]).is_err(), "{file:?} up to {end}");
        }
    }
}

/// The pointers of all values of a document.
fn places(value: &Value, at: String, all: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| places(value, format!("{at}/{}", pointer_token(key)), all));
        }
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(index, value)| places(value, format!("{at}/{index}"), all));
        }
        _ => {}
    }
    all.push(at);
}

fn any_value() -> impl Strategy<Value = Value> {
    const TEXTS: &[&str] =
        &["", "/", "..", "a\0b", "/proc/self/ns/net", "CAP_KILL", "MPOL_BIND", "ro", "1-4294967295", "@"];
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::sample::select(TEXTS).prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{}, [], null, 1, "a"])),
        Just(json!({"type": "a", "path": 1, "": null})),
    ]
}

proptest! {
    /// Whatever stands wherever: there is an answer, and a refusal says where.
    #[test]
    fn any_value_anywhere_is_answered(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any_value()), 1..4),
    ) {
        let text = std::fs::read(configs("good").remove(0)).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&config, String::new(), &mut all);
            *config.pointer_mut(place.get::<String>(&all)).unwrap() = value;
        }
        if let Err(error) = planned(config.to_string().as_bytes()) {
            let root = !config.is_object();
            prop_assert!(root || error.each().iter().all(|fault| fault.pointer().is_some()), "{}", error);
        }
    }
}
