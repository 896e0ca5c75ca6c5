//! config.json → plan: any bytes get a plan or a refusal, and nothing else happens.
//!
//! `make fuzz` runs it from fuzz/corpus/config; `cargo +nightly fuzz run config` does for longer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rruntime::bundle::{Bundle, ContainerId};
use rruntime::plan::{self, CgroupTree, Host, RootChange};

fuzz_target!(|text: &[u8]| {
    let Ok(bundle) = Bundle::from_text("/".into(), text.to_vec()) else { return };
    let id = ContainerId::new("fuzz").expect("the id is good");
    let cgroups = CgroupTree::V1(Vec::new());
    let request = plan::Request { id: &id, root_change: RootChange::Pivot, cgroups: &cgroups };
    match plan::build(&request, &bundle, &Host::here()) {
        Ok(plan) => assert!(plan.rootfs.is_absolute()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
