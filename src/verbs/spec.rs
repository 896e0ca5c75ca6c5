//! `spec`: writes a first config.json.

use std::io::Write;

use crate::bundle::{CONFIG, CgroupNamespace, Owner, example_config};
use crate::cli::SpecOptions;
use crate::error::{Error, Result, Wrap};
use crate::host::cgroup::layout::{Layout, Mode};

pub(super) fn spec(options: &SpecOptions) -> Result<()> {
    let owner = if options.rootless {
        Owner::Rootless { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    } else {
        Owner::Root
    };
    let unified = Layout::detect()?.mode() == Some(Mode::V2);
    let text = example_config(owner, if unified { CgroupNamespace::New } else { CgroupNamespace::Host });
    let file = options.file.clone().unwrap_or_else(|| CONFIG.into());
    let path = options.bundle.clone().unwrap_or_default().join(file);
    let mut created = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            let taken = format!("file {} exists", path.display());
            return Error::new(taken).hint("remove existing file first");
        }
        Error::sys(format!("open({path:?}, O_CREAT | O_EXCL)"), error)
    })?;
    created.write_all(text.as_bytes()).wrap_with(|| format!("write({path:?})"))
}
