//! The score by which the kernel chooses whom it kills for memory: a process and its plan go in.
//!
//! Runs in the runtime's process, before the other one goes on.

use crate::error::{Error, Result};
use crate::plan::Process;
use crate::sys::clone::Child;

/// By the runtime, which has the privilege to lower it that init in a user namespace lacks. Where config.json is silent
/// nothing is changed (config.md, Linux Process: "the runtime MUST NOT change the value").
pub(super) fn set_oom_score_adj(child: &Child, process: &Process) -> Result<()> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    let path = format!("/proc/{}/oom_score_adj", child.pid);
    match std::fs::write(&path, score.to_string()) {
        Ok(()) => Ok(()),
        // Lowering needs CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)); keeping what is there does not.
        Err(error) if is_already(&path, score) => {
            log::debug!("{path} stays as it is: {error}");
            Ok(())
        }
        Err(error) => Err(Error::sys(format!("write({path:?}, \"{score}\")"), error)
            .at(format!("{}/oomScoreAdj", process.pointer))
            .hint("a score below the caller's needs CAP_SYS_RESOURCE")),
    }
}

fn is_already(path: &str, score: i32) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == score.to_string())
}
