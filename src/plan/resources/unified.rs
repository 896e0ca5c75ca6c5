//! `linux.resources.unified`: any file of a v2 cgroup, by its name.

use oci_spec::runtime::LinuxResources;

use super::{Planner, Which};

const ROOT: &str = "/linux/resources/unified";

/// Files that move, stop or kill processes or change what a cgroup is: no settings, and the runtime's own to write.
const NOT_SETTINGS: [&str; 6] =
    ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type", "cgroup.subtree_control"];

impl Planner<'_> {
    /// Written last, so that they win over the settings that have a field of their own.
    pub(super) fn unified(&mut self, old: &LinuxResources, new: &LinuxResources) {
        let Some(files) = new.unified().as_ref().filter(|files| !files.is_empty()) else { return };
        if self.layout.v2().is_none() {
            self.faults.push(
                crate::error::Error::config(ROOT, "names files of cgroup v2, which is not mounted here")
                    .hint("use the fields of linux.resources, or mount cgroup2"),
            );
            return;
        }
        let mut files: Vec<_> = files.iter().collect();
        files.sort_unstable();
        for (file, value) in files {
            let pointer = format!("{ROOT}/{}", escaped(file));
            if let Some(fault) = self.wrong(file) {
                self.fault(pointer, fault);
                continue;
            }
            let lines = value.trim_end_matches('\n');
            // The kernel takes each write as one setting; a write of nothing would not reach it at all.
            for line in lines.split('\n') {
                let line = if line.is_empty() { "\n" } else { line };
                self.write(&Which::V2, file.clone(), line, pointer.clone());
            }
        }
        self.lower_high_first(old, new);
    }

    fn wrong(&mut self, file: &str) -> Option<String> {
        let Some((controller, _)) = file.split_once('.').filter(|_| !file.contains('/') && !file.contains('\0')) else {
            return Some(format!("{file:?} is no name of a file of a cgroup, like \"memory.high\""));
        };
        if controller.is_empty() || file.split('.').any(str::is_empty) {
            return Some(format!("{file:?} is no name of a file of a cgroup, like \"memory.high\""));
        }
        if NOT_SETTINGS.contains(&file) {
            return Some("is no setting: the runtime writes it itself".to_owned());
        }
        let controllers = match self.layout.v2_controllers() {
            Ok(controllers) => controllers,
            Err(error) => return Some(error.to_string()),
        };
        let is_there = controller == "cgroup" || controllers.iter().any(|c| c == controller);
        (!is_there).then(|| format!("cgroup2 has no {controller} controller here; it has: {}", controllers.join(" ")))
    }

    /// `memory.high` makes the kernel reclaim, `memory.max` makes it kill: a lower `memory.high` goes before a lower
    /// `memory.max`, so that what can be reclaimed is, before anything dies of the limit.
    fn lower_high_first(&mut self, old: &LinuxResources, new: &LinuxResources) {
        let limit = |r: &LinuxResources| r.memory().and_then(|m| m.limit()).filter(|v| *v > 0).unwrap_or(i64::MAX);
        let is_update = old != &LinuxResources::default();
        if !is_update || limit(new) >= limit(old) {
            return;
        }
        let at = |writes: &[super::Write], file: &str| writes.iter().position(|w| w.file == file);
        if let (Some(max), Some(high)) = (at(&self.writes, "memory.max"), at(&self.writes, "memory.high"))
            && max < high
        {
            self.writes[max..=high].rotate_right(1);
        }
    }
}

/// A key as part of a JSON pointer (RFC 6901).
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
