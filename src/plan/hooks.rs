//! `hooks`: six lists of programs, each checked and left in its order.

use std::path::Path;

use oci_spec::runtime as oci;

use super::report::Report;
use super::{Hook, Hooks};

/// Takes over all lists.
pub fn build(hooks: Option<&oci::Hooks>, report: &mut Report) -> Hooks {
    let Some(hooks) = hooks else { return Hooks::default() };
    let mut list = |hooks: &Option<Vec<oci::Hook>>, name: &str| -> Vec<Hook> {
        let hooks = hooks.as_deref().unwrap_or_default();
        hooks.iter().enumerate().map(|(index, asked)| hook(asked, format!("/hooks/{name}/{index}"), report)).collect()
    };
    Hooks {
        // Deprecated, and used all the same; the spec still says that they are called.
        #[allow(deprecated)]
        prestart: list(hooks.prestart(), "prestart"),
        create_runtime: list(hooks.create_runtime(), "createRuntime"),
        create_container: list(hooks.create_container(), "createContainer"),
        start_container: list(hooks.start_container(), "startContainer"),
        poststart: list(hooks.poststart(), "poststart"),
        poststop: list(hooks.poststop(), "poststop"),
    }
}

fn hook(asked: &oci::Hook, pointer: String, report: &mut Report) -> Hook {
    let path = asked.path();
    path_fault(path, &pointer, report);
    let timeout = asked.timeout().map(|seconds| {
        u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).unwrap_or_else(|| {
            report.fault(format!("{pointer}/timeout"), format!("{seconds} is not above 0 seconds"));
            1
        })
    });
    let args = match asked.args().as_deref() {
        Some(args) if !args.is_empty() => args.to_vec(),
        _ => vec![path.to_string_lossy().into_owned()],
    };
    let env = asked.env().clone().unwrap_or_default();
    for (strings, field) in [(&args, "args"), (&env, "env")] {
        for (index, string) in strings.iter().enumerate() {
            report.no_nul(string.as_bytes(), || format!("{pointer}/{field}/{index}"));
        }
    }
    Hook { path: path.clone(), args, env, timeout, pointer }
}

fn path_fault(path: &Path, pointer: &str, report: &mut Report) {
    if !path.is_absolute() {
        report.fault(format!("{pointer}/path"), format!("{path:?} is not absolute; an absolute path is needed"));
    }
    report.no_nul(path.as_os_str().as_encoded_bytes(), || format!("{pointer}/path"));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(hooks: Value) -> (Hooks, Vec<String>) {
        let mut report = Report::default();
        let hooks: oci::Hooks = serde_json::from_value(hooks).unwrap();
        (build(Some(&hooks), &mut report), report.texts())
    }

    #[test]
    fn every_list_is_taken_in_its_order() {
        let one =
            |path: &str| json!([{"path": path}, {"path": "/last", "args": ["x", "y"], "env": ["A=1"], "timeout": 3}]);
        let (hooks, faults) = built(json!({
            "prestart": one("/1"), "createRuntime": one("/2"), "createContainer": one("/3"),
            "startContainer": one("/4"), "poststart": one("/5"), "poststop": one("/6"),
        }));
        assert_eq!(faults, Vec::<String>::new());
        let lists = [
            hooks.prestart,
            hooks.create_runtime,
            hooks.create_container,
            hooks.start_container,
            hooks.poststart,
            hooks.poststop,
        ];
        for (index, list) in lists.iter().enumerate() {
            let path = format!("/{}", index + 1);
            assert_eq!((list[0].path.to_str().unwrap(), &list[0].args[..]), (&path[..], &[path.clone()][..]));
            assert_eq!((list[1].args.len(), list[1].env.len(), list[1].timeout), (2, 1, Some(3)));
        }
        assert_eq!(lists[3][1].pointer, "/hooks/startContainer/1");
    }

    #[test]
    fn paths_are_absolute_and_timeouts_above_zero() {
        let (_, faults) = built(json!({"poststop": [{"path": "bin/x", "timeout": 0}, {"path": "/x", "timeout": -1}]}));
        assert_eq!(
            faults,
            [
                "/hooks/poststop/0/path: \"bin/x\" is not absolute; an absolute path is needed",
                "/hooks/poststop/0/timeout: 0 is not above 0 seconds",
                "/hooks/poststop/1/timeout: -1 is not above 0 seconds",
            ]
        );
        let (_, faults) = built(json!({"poststop": [{"path": "/x\0", "args": ["\0"], "env": ["A=\0"]}]}));
        assert_eq!(faults.len(), 3);
    }
}
