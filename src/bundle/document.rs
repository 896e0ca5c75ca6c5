//! config.json and its process object as they are parsed, before they are oci-spec's [`Spec`] and [`Process`].
//!
//! Pure. oci-spec's own parser checks `execCPUAffinity` with a regular expression, and knows every field of other
//! platforms: code that would be in the binary, and in memory at each `create`, for what the plan checks anyway and
//! for what is refused whatever it says.

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime as oci;
use oci_spec::runtime::{ExecCPUAffinity, Hooks, Linux, Mount, Root, Spec};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// config.json.
#[derive(Deserialize)]
#[serde(rename = "Spec")]
pub struct Document {
    #[serde(default, rename = "ociVersion")]
    version: String,
    root: Option<Root>,
    mounts: Option<Vec<Mount>>,
    process: Option<Process>,
    hostname: Option<String>,
    domainname: Option<String>,
    hooks: Option<Hooks>,
    annotations: Option<HashMap<String, String>>,
    linux: Option<Linux>,
    vm: Option<IgnoredAny>,
    windows: Option<IgnoredAny>,
    solaris: Option<IgnoredAny>,
    zos: Option<IgnoredAny>,
}

/// `process`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    terminal: Option<bool>,
    console_size: Option<oci::Box>,
    #[serde(default)]
    user: oci::User,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    cwd: PathBuf,
    capabilities: Option<oci::LinuxCapabilities>,
    rlimits: Option<Vec<oci::PosixRlimit>>,
    no_new_privileges: Option<bool>,
    apparmor_profile: Option<String>,
    oom_score_adj: Option<i32>,
    selinux_label: Option<String>,
    io_priority: Option<oci::LinuxIOPriority>,
    scheduler: Option<oci::Scheduler>,
    #[serde(rename = "execCPUAffinity")]
    exec_cpu_affinity: Option<CpuAffinity>,
}

/// `execCPUAffinity`; what a list may hold, the plan says.
#[derive(Deserialize)]
#[serde(rename = "ExecCPUAffinity")]
struct CpuAffinity {
    initial: Option<String>,
    r#final: Option<String>,
}

impl Document {
    /// True where a section is there that asks for another system than Linux.
    pub fn is_of_another_platform(&self) -> bool {
        [self.vm, self.windows, self.solaris, self.zos].iter().any(Option::is_some)
    }
}

impl From<Document> for Spec {
    fn from(document: Document) -> Self {
        let mut spec = Self::default();
        spec.set_version(document.version)
            .set_root(document.root)
            .set_mounts(document.mounts)
            .set_process(document.process.map(oci::Process::from))
            .set_hostname(document.hostname)
            .set_domainname(document.domainname)
            .set_hooks(document.hooks)
            .set_annotations(document.annotations)
            .set_linux(document.linux);
        spec
    }
}

impl From<Process> for oci::Process {
    fn from(document: Process) -> Self {
        let mut process = Self::default();
        process
            .set_terminal(document.terminal)
            .set_console_size(document.console_size)
            .set_user(document.user)
            .set_args(document.args)
            .set_env(document.env)
            .set_cwd(document.cwd)
            .set_capabilities(document.capabilities)
            .set_rlimits(document.rlimits)
            .set_no_new_privileges(document.no_new_privileges)
            .set_apparmor_profile(document.apparmor_profile)
            .set_oom_score_adj(document.oom_score_adj)
            .set_selinux_label(document.selinux_label)
            .set_io_priority(document.io_priority)
            .set_scheduler(document.scheduler)
            .set_exec_cpu_affinity(document.exec_cpu_affinity.map(ExecCPUAffinity::from));
        process
    }
}

impl From<CpuAffinity> for ExecCPUAffinity {
    fn from(document: CpuAffinity) -> Self {
        let mut affinity = Self::default();
        affinity.set_initial(document.initial).set_cpu_affinity_final(document.r#final);
        affinity
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// oci-spec's own parser is the oracle: no field of it may be forgotten here.
    #[test]
    fn all_fields_are_those_of_oci_spec() {
        let text = include_str!("../../tests/data/config/good/all-fields.json");
        // What oci-spec cannot hold, or has under another name, is mended elsewhere.
        let text = text.replace("18446744073709551615", "1").replace("SCHED_FLAG_RESET_ON", "SCHED_RESET_ON");
        let mut whole: Value = serde_json::from_str(&text).unwrap();
        whole["annotations"] = json!({"a": "b"});
        whole["process"]["selinuxLabel"] = json!("l");
        let text = whole.to_string();
        let read = Spec::from(serde_json::from_str::<Document>(&text).unwrap());
        assert_eq!(read, serde_json::from_str::<Spec>(&text).unwrap());
        let told = serde_json::to_value(&read).unwrap();
        for section in ["", "/process"] {
            let fields = |document: &Value| -> Vec<String> {
                document.pointer(section).unwrap().as_object().unwrap().keys().cloned().collect()
            };
            assert_eq!(fields(&told), fields(&whole), "{section}");
        }
        let text = r#"{"ociVersion": "1.0.0", "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}}}"#;
        assert_eq!(
            Spec::from(serde_json::from_str::<Document>(text).unwrap()),
            serde_json::from_str::<Spec>(text).unwrap(),
            "what is absent stays so"
        );
    }

    #[test]
    fn other_platforms_are_seen_whatever_they_hold() {
        let is_other = |section: &str| {
            let text = format!(r#"{{"ociVersion": "1.0.0", {section}}}"#);
            serde_json::from_str::<Document>(&text).unwrap().is_of_another_platform()
        };
        for section in [r#""vm": {}"#, r#""windows": 7"#, r#""solaris": []"#, r#""zos": "x""#] {
            assert!(is_other(section), "{section}");
        }
        assert!(!is_other(r#""vm": null"#) && !is_other(r#""hostname": "h""#));
    }
}
