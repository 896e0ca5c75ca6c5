//! `update`: changes the limits of a container. What is not named stays; nothing is written unless all of it is right,
//! and what was written goes back to what it was where a later write is refused.

use std::io::Read as _;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::Context;
use super::container::{cgroup, not_running, status};
use crate::bundle::{self, Bundle};
use crate::cli::{Input, UpdateOptions};
use crate::error::{Error, Faults, Kind, Result, Wrap};
use crate::host::cgroup::layout::Layout;
use crate::host::resctrl;
use crate::plan;
use crate::plan::intel_rdt;
use crate::state::{Entry, Lock, Status};

pub(super) fn update(context: &Context, options: &UpdateOptions) -> Result<()> {
    let schemata = schemata(options)?;
    // Read before the lock is taken: it may be a pipe that somebody writes to slowly.
    let change = match &options.resources {
        Some(input) => from_input(input)?,
        None => from_flags(options)?,
    };
    let mut entry = context.store.find(&options.id, Lock::Exclusive)?;
    if matches!(status(&entry), Status::Stopped | Status::Creating) {
        return Err(not_running());
    }
    if !schemata.is_empty() && entry.record.resctrl.is_none() {
        let fault = "flags --l3-cache-schema and --mem-bw-schema: the container is in no resctrl group";
        return Err(Error::new(fault).kind(Kind::Usage).hint("linux.intelRdt of its config.json makes one"));
    }
    let cgroup = cgroup(&entry.record)
        .ok_or_else(|| Error::new("the container has no cgroup of its own, so that nothing limits it"))?;
    let old = in_force(&entry)?;
    let layout = Layout::detect()?;
    let plan = plan::cgroup::update(&layout, context.authority, &old, &change)?;
    let applied = match &entry.record.scope {
        Some(scope) => scope.update(&cgroup, &layout, &plan)?,
        None => cgroup.update(&plan)?,
    };
    // The kernel looks at schemata as a whole, and takes nothing of those that are wrong.
    let schemata = entry.record.resctrl.as_ref().map_or(Ok(()), |groups| resctrl::write_schemata(groups, &schemata));
    entry.record.resources = Some(plan.resources);
    schemata.and_then(|()| entry.dir.write_record(&entry.record)).map_err(|error| applied.take_back(&cgroup, error))
}

/// The flags of Intel RDT, as lines.
fn schemata(options: &UpdateOptions) -> Result<String> {
    let lines = intel_rdt::combine(options.l3_cache_schema.as_deref(), options.mem_bw_schema.as_deref());
    lines.map_err(|(field, fault)| {
        let flag = if field == "memBwSchema" { "--mem-bw-schema" } else { "--l3-cache-schema" };
        Error::new(format!("flag {flag}: {fault}")).kind(Kind::Usage)
    })
}

/// The limits of the last update, or of config.json.
fn in_force(entry: &Entry) -> Result<LinuxResources> {
    if let Some(resources) = &entry.record.resources {
        return Ok(resources.clone());
    }
    let config = Bundle::from_text(entry.record.bundle.clone(), entry.dir.config()?)?.config.value;
    Ok(config.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default())
}

fn from_input(input: &Input) -> Result<LinuxResources> {
    let (text, name) = match input {
        Input::Stdin => {
            let mut text = Vec::new();
            std::io::stdin().lock().read_to_end(&mut text).wrap("read(stdin)")?;
            (text, "stdin".to_owned())
        }
        Input::File(path) => (std::fs::read(path).wrap_with(|| format!("read({path:?})"))?, path.display().to_string()),
    };
    let read = bundle::resources(&text, &name)?;
    for warning in &read.warnings {
        log::warn!("{warning}");
    }
    let mut faults = Faults::default();
    read.faults.into_iter().for_each(|fault| faults.push(fault));
    faults.into_result(read.value)
}

fn from_flags(options: &UpdateOptions) -> Result<LinuxResources> {
    let group = |fields: &[(&str, Option<Value>)]| -> Option<Value> {
        let given = fields.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)));
        let given: Map<String, Value> = given.collect();
        (!given.is_empty()).then_some(Value::Object(given))
    };
    let signed = |value: Option<i64>| value.map(Value::from);
    let unsigned = |value: Option<u64>| value.map(Value::from);
    let text = |value: &Option<String>| value.clone().map(Value::from);
    let memory = group(&[
        ("limit", signed(options.memory)),
        ("reservation", signed(options.memory_reservation)),
        ("swap", signed(options.memory_swap)),
        ("kernel", signed(options.kernel_memory)),
        ("kernelTCP", signed(options.kernel_memory_tcp)),
    ]);
    let cpu = group(&[
        ("shares", unsigned(options.cpu_share)),
        ("quota", signed(options.cpu_quota)),
        ("period", unsigned(options.cpu_period)),
        ("burst", unsigned(options.cpu_burst)),
        ("realtimePeriod", unsigned(options.cpu_rt_period)),
        ("realtimeRuntime", signed(options.cpu_rt_runtime)),
        ("idle", signed(options.cpu_idle)),
        ("cpus", text(&options.cpuset_cpus)),
        ("mems", text(&options.cpuset_mems)),
    ]);
    let pids = group(&[("limit", signed(options.pids_limit))]);
    let block_io = group(&[("weight", options.blkio_weight.map(|weight| json!(weight)))]);
    let all = group(&[("memory", memory), ("cpu", cpu), ("pids", pids), ("blockIO", block_io)]);
    crate::json::parse(all.unwrap_or_else(|| json!({})).to_string().as_bytes())
        .map_err(|e| Error::config("/linux/resources", e.to_string()))
}
