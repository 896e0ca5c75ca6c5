//! A directory → [`Bundle`]: config.json as the spec has it, nothing decided.
//!
//! Enters: a bundle's path, or the bytes of a process or resources file. Leaves: the spec's own types (`oci_spec`),
//! with what had to be repaired as warnings and what could not be read as faults. Runs in the runtime's process with
//! the caller's privilege; reads files and changes nothing. Warnings are data: `cli` prints them.
//!
//! The types of oci-spec are narrower than the spec in some places (an unknown capability fails the whole document,
//! `pids.limit` cannot be absent, …). [`mod@read`] parses plainly, and only where that fails or is known to mislead
//! goes the long way through a JSON value, in which [`repair`] mends what the spec allows. So an ordinary config.json
//! pays for one plain parse, and every other room can believe what it finds in the spec.

mod container_id;
mod document;
mod example;
mod place;
mod read;
mod repair;

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Process, Spec};

pub use container_id::ContainerId;
pub use example::{CgroupNamespace, Owner, example_config};
pub use read::Read;
pub use repair::pointer_token;

use crate::error::{Error, Kind, Result, Wrap};

/// The configuration's file name (runtime-spec, bundle.md).
pub const CONFIG: &str = "config.json";

/// The newest version of the runtime-spec that is known here; all of its major version are taken.
pub const OCI_VERSION: &str = "1.3.0";

/// Larger files are refused: no engine writes one, and memory is all that it would cost.
const LARGEST: u64 = 16 << 20;

/// A container as it is asked for.
#[derive(Debug)]
pub struct Bundle {
    /// The bundle's directory, absolute and canonical.
    pub dir: PathBuf,
    /// config.json as it was read, byte for byte: the copy that is kept for later commands.
    pub text: Vec<u8>,
    /// What it says.
    pub config: Read<Spec>,
}

impl Bundle {
    /// Reads the bundle in `dir`, with `config_file` instead of its config.json if one is given.
    ///
    /// Fails where there is nothing to be read at all: no file, no JSON, another major version. Values that
    /// cannot be taken are kept in the result as faults, so that the plan can tell them together with its own.
    pub fn load(dir: &Path, config_file: Option<&Path>) -> Result<Self> {
        let dir = std::fs::canonicalize(dir)
            .map_err(|e| Error::sys(format!("open({dir:?})"), e).hint("a bundle is a directory with a config.json"))
            .wrap("read the bundle")?;
        let text = match config_file {
            Some(file) => file_text(file)?,
            None => file_text(&dir.join(CONFIG)).map_err(|e| {
                e.hint("a bundle is a directory with a config.json; `rruntime spec` writes an example of one")
            })?,
        };
        Self::from_text(dir, text)
    }

    /// The bundle of which `dir` and `text` are known already: from the state of a container.
    pub fn from_text(dir: PathBuf, text: Vec<u8>) -> Result<Self> {
        let config = read::spec(&text)?;
        Ok(Self { dir, text, config })
    }
}

/// The process object of `exec --process FILE`.
pub fn process_file(file: &Path) -> Result<Read<Process>> {
    read::process(&file_text(file)?, &file.display().to_string())
}

/// The resources object of `update --resources`, of which `name` says where it comes from.
pub fn resources(text: &[u8], name: &str) -> Result<Read<LinuxResources>> {
    read::resources(text, name)
}

/// A whole file, within reason.
fn file_text(path: &Path) -> Result<Vec<u8>> {
    // O_NONBLOCK: a fifo without a writer is an error to be told, nothing to wait for (open(2)).
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .wrap_with(|| format!("open({path:?})"))
        .map_err(|e| e.kind(Kind::Config))?;
    let about = file.metadata().wrap_with(|| format!("stat({path:?})"))?;
    let too_large = || {
        let fault = format!("{} is larger than {} MiB", path.display(), LARGEST >> 20);
        Err(Error::new(fault).kind(Kind::Config))
    };
    if about.len() > LARGEST {
        return too_large();
    }
    // One byte more than the file has: the read that meets its end then needs no larger buffer.
    let mut text = Vec::with_capacity(about.len() as usize + 1);
    file.take(LARGEST + 1).read_to_end(&mut text).wrap_with(|| format!("read({path:?})"))?;
    if text.len() as u64 > LARGEST { too_large() } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_bundle_is_read_from_its_directory_or_another_file() {
        let dir = Scratch::new();
        let text = br#"{"ociVersion": "1.0.0"}"#;
        std::fs::write(dir.join("config.json"), text).unwrap();
        std::fs::write(dir.join("other"), br#"{"ociVersion": "1.1.0"}"#).unwrap();
        let bundle = Bundle::load(&dir.join("."), None).unwrap();
        assert_eq!((bundle.dir, &bundle.text[..]), (dir.to_path_buf(), &text[..]));
        let bundle = Bundle::load(&dir, Some(&dir.join("other"))).unwrap();
        assert_eq!(bundle.config.value.version(), "1.1.0");
    }

    #[test]
    fn what_is_no_bundle_is_told() {
        let dir = Scratch::new();
        let error = Bundle::load(&dir, None).unwrap_err().to_string();
        assert!(error.ends_with(
            "config.json\"): no such file or directory (a bundle is a directory with a config.json; `rruntime spec` \
             writes an example of one)"
        ));
        let error = Bundle::load(&dir.join("none"), None).unwrap_err().to_string();
        assert!(error.contains("none\"): no such file or directory (a bundle is a directory with"), "{error}");
    }

    #[test]
    fn a_file_that_never_ends_or_never_begins_is_refused() {
        let dir = Scratch::new();
        let fifo = dir.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(Bundle::load(&dir, Some(&fifo)).unwrap_err().to_string(), "config.json is empty");
        let error = Bundle::load(&dir, Some(Path::new("/dev/zero"))).unwrap_err().to_string();
        assert_eq!(error, "/dev/zero is larger than 16 MiB");
        let error = Bundle::load(&dir, Some(&dir)).unwrap_err().to_string();
        assert!(error.ends_with("is a directory"), "{error}");
    }
}
