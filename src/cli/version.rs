//! What `--version` prints, in the lines that engines take apart.

/// The runtime-spec that is implemented.
pub const SPEC: &str = "1.3.0";

/// The commit that the binary was built of, where the build knew it (`RRUNTIME_COMMIT`).
pub const COMMIT: Option<&str> = option_env!("RRUNTIME_COMMIT");

/// As runc has it: docker reads the words around `version` and after `commit:`, others read `spec:`. The word
/// `version` stands in no other line, for docker believes the last one.
pub fn text() -> String {
    let commit = COMMIT.map(|commit| format!("commit: {commit}\n")).unwrap_or_default();
    format!("rruntime version {}\n{commit}spec: {SPEC}\n", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_and_go_runc_find_their_lines() {
        let text = text();
        let mut lines = text.lines();
        assert_eq!(lines.next().unwrap().split_once(" version ").unwrap().0, "rruntime");
        assert!(lines.clone().any(|line| line == "spec: 1.3.0"));
        assert!(lines.all(|line| !line.contains("version")));
    }
}
