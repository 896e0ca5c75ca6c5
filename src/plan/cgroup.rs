//! Where the container's cgroup is and what is written into it.
//!
//! The host's [`Layout`], `linux.cgroupsPath` and `linux.resources` enter, a [`CgroupPlan`] leaves. Pure: all faults
//! are found here, together, before anything is made. `host::cgroup` carries the plan out.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::device_rules::DeviceRules;
use super::resources::{self, merge};
use crate::error::{Error, Faults, Result};
use crate::host::cgroup::layout::{Hierarchy, Layout};

const PATH: &str = "/linux/cgroupsPath";

/// The root of the state directory that needs no mention in a cgroup's name.
const DEFAULT_STATE_ROOT: &str = "/run/rruntime";

/// Who makes the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// The runtime makes directories itself.
    Cgroupfs,
    /// systemd makes a transient scope.
    Systemd,
}

/// Whether the kernel lets us do what root may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Root in the initial user namespace.
    Root,
    /// Anybody else, root of another user namespace included.
    Rootless,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub id: &'a str,
    /// Ids are unique only within one state directory: another than the default one goes into a default path.
    pub state_root: &'a Path,
    /// `linux.cgroupsPath`; once `plan::scope` has resolved it, the scope's control group.
    pub cgroups_path: Option<&'a Path>,
    pub driver: Driver,
    pub authority: Authority,
    /// `linux.resources`.
    pub resources: Option<&'a LinuxResources>,
    /// [`super::cgroup_owner::owner`]
    pub owner: Option<u32>,
}

/// The container's place in every hierarchy. The state record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub driver: Driver,
    /// In the order of [`Layout::hierarchies`]: the unified hierarchy last.
    pub places: Vec<Place>,
}

/// The container's cgroup in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As in [`Hierarchy::controllers`]: empty for the unified hierarchy.
    pub controllers: String,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The cgroup's directory.
    pub dir: PathBuf,
    /// How many of the path's last components are ours to remove: 0 where all of it was there before us, 1 for the
    /// directory alone, 2 with its parent, and so on.
    pub made: usize,
}

impl Place {
    /// True in the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// True where the v1 hierarchy has this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|c| c == controller)
    }
}

impl Membership {
    /// The cgroup in the unified hierarchy.
    pub fn v2(&self) -> Option<&Place> {
        self.places.last().filter(|place| place.is_v2())
    }

    /// The cgroup in the v1 hierarchy of a controller.
    pub fn v1(&self, controller: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.has(controller))
    }
}

/// One value for one file of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub hierarchy: Which,
    pub file: Cow<'static, str>,
    pub value: Cow<'static, str>,
    /// The value of config.json that asked for it.
    pub pointer: Cow<'static, str>,
    /// What is done where there is no such file.
    pub missing: Missing,
    /// What a user can do where it fails; may be empty.
    pub hint: &'static str,
}

/// What a missing file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The host cannot do what is asked.
    Refuse,
    /// What is asked is so without it.
    Skip,
    /// The next write stands in for it. (Where the file is there, the next one is left out.)
    Next,
}

impl Write {
    pub(crate) fn new(
        hierarchy: Which,
        file: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
        pointer: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (file, value, pointer) = (file.into(), value.into(), pointer.into());
        Self { hierarchy, file, value, pointer, missing: Missing::Refuse, hint: "" }
    }
}

/// Which of the container's directories holds a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one in the v1 hierarchy of this controller.
    V1(&'static str),
    /// The one in the unified hierarchy.
    V2,
}

impl Which {
    /// True for one of v1.
    pub fn is_v1(&self) -> bool {
        matches!(self, Self::V1(_))
    }
}

/// All that is to be done to make a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPlan {
    pub membership: Membership,
    pub authority: Authority,
    /// Controllers of the unified hierarchy that the container's cgroup is to have: for its limits, and for the
    /// figures that everybody asks for.
    pub controllers: Vec<String>,
    /// In the order in which they are made.
    pub writes: Vec<Write>,
    /// Access to devices; none where nothing enforces it (rootless).
    pub devices: Option<DeviceRules>,
    /// Who of the host's users gets the cgroup; none where its maker keeps it.
    pub owner: Option<u32>,
}

/// Plans a container's cgroup.
pub fn plan(layout: &Layout, request: &Request<'_>) -> Result<CgroupPlan> {
    let mut faults = Faults::default();
    let places = faults.take(places(layout, request)).unwrap_or_default();
    let rules = request.resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
    let devices = faults.take(DeviceRules::with_defaults(rules));
    let membership = Membership { driver: request.driver, places };
    if devices.is_some() && membership.v1("devices").is_some() {
        faults.take(devices.as_ref().map_or(Ok(()), DeviceRules::check_v1));
    }
    let none = LinuxResources::default();
    let writes = faults.take(resources::plan(layout, &none, request.resources.unwrap_or(&none))).unwrap_or_default();
    // Without privilege a cgroup cannot be given away, and is the user's already.
    let owner = request.owner.filter(|_| request.authority == Authority::Root);
    // Neither the v1 controller nor eBPF takes rules from a process without privilege over the host; such a
    // container cannot make device nodes either.
    let devices = devices.filter(|_| request.authority == Authority::Root);
    let controllers = controllers(layout, &writes);
    faults.into_result(CgroupPlan { membership, controllers, authority: request.authority, writes, devices, owner })
}

/// All that is to be done to change the limits of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdatePlan {
    /// The limits that will be in force, for the state record: the next update builds on them.
    pub resources: LinuxResources,
    pub controllers: Vec<String>,
    pub writes: Vec<Write>,
    /// The device rules in force and the new ones, where they are to change.
    pub devices: Option<(DeviceRules, DeviceRules)>,
}

/// Plans the change from the limits in force to those with what `change` names; what it does not name stays.
pub fn update(
    layout: &Layout,
    authority: Authority,
    old: &LinuxResources,
    change: &LinuxResources,
) -> Result<UpdatePlan> {
    let (merged, touched) = merge::merge(old, change)?;
    let mut faults = Faults::default();
    let writes = faults.take(resources::plan(layout, old, &touched)).unwrap_or_default();
    let rules = |r: &LinuxResources| DeviceRules::with_defaults(r.devices().as_deref().unwrap_or_default());
    let devices = match (change.devices(), authority) {
        (Some(_), Authority::Root) => faults.take(rules(old)).zip(faults.take(rules(&merged))),
        _ => None,
    };
    if let Some((_, new)) = &devices
        && layout.hierarchies.iter().any(|h| h.controllers.split(',').any(|c| c == "devices"))
    {
        faults.take(new.check_v1());
    }
    let mut controllers: Vec<String> = needed(&writes).map(str::to_owned).collect();
    controllers.dedup();
    faults.into_result(UpdatePlan { resources: merged, controllers, writes, devices })
}

/// What the figures of a container are made of, and what a later update most often limits.
const USUAL: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// The controllers that files of the unified hierarchy need, and the usual ones unless v1 has them.
pub(crate) fn controllers(layout: &Layout, writes: &[Write]) -> Vec<String> {
    if layout.v2().is_none() {
        return Vec::new();
    }
    let v1_name = |name: &str| if name == "io" { "blkio".to_owned() } else { name.to_owned() };
    let usual = USUAL.into_iter().filter(|name| !layout.bound_to_v1.contains(&v1_name(name)));
    let mut all: Vec<String> = usual.chain(needed(writes)).map(str::to_owned).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The controllers that writes to the unified hierarchy need.
pub(crate) fn needed(writes: &[Write]) -> impl Iterator<Item = &str> {
    let files = writes.iter().filter(|w| w.hierarchy == Which::V2).filter_map(|w| w.file.split('.').next());
    files.filter(|controller| *controller != "cgroup")
}

/// The container's directory in every hierarchy.
fn places(layout: &Layout, request: &Request<'_>) -> Result<Vec<Place>> {
    let inner = Inner::of(request)?;
    let mut faults = Faults::default();
    let mut places = Vec::with_capacity(layout.hierarchies.len());
    for hierarchy in &layout.hierarchies {
        let Some(dir) = faults.take(inner.below(hierarchy)) else { continue };
        let controllers = hierarchy.controllers.clone();
        places.push(Place { controllers, mount: hierarchy.mount.clone(), dir, made: 0 });
    }
    faults.into_result(places)
}

/// Where the cgroup is meant to be, the same for every hierarchy.
#[derive(Debug, PartialEq, Eq)]
enum Inner {
    /// Below the root of what is mounted.
    Absolute(PathBuf),
    /// Below the caller's own cgroup.
    Own(PathBuf),
    /// Below the caller's own cgroup, or beside it on v2: there a cgroup that holds processes cannot give
    /// controllers to its children ("no internal processes", cgroups(7)).
    Near(PathBuf),
}

impl Inner {
    fn of(request: &Request<'_>) -> Result<Self> {
        let Some(path) = request.cgroups_path.filter(|path| !path.as_os_str().is_empty()) else {
            let name = PathBuf::from(default_name(request));
            return Ok(match request.authority {
                Authority::Root => Self::Absolute(name),
                Authority::Rootless if limits(request.resources) => Self::Near(name),
                Authority::Rootless => Self::Own(name),
            });
        };
        let plain = plain(path)?;
        Ok(if path.is_absolute() { Self::Absolute(plain) } else { Self::Near(plain) })
    }

    fn below(&self, hierarchy: &Hierarchy) -> Result<PathBuf> {
        let own = || {
            hierarchy.own.as_deref().ok_or_else(|| {
                let mount = hierarchy.mount.display();
                Error::config(PATH, format!("is relative, but the caller's own cgroup cannot be seen in {mount}"))
                    .hint("give an absolute path")
            })
        };
        Ok(match self {
            Self::Absolute(path) => hierarchy.mount.join(path),
            Self::Own(path) => hierarchy.mount.join(own()?).join(path),
            Self::Near(path) if hierarchy.is_v2() => {
                hierarchy.mount.join(own()?.parent().unwrap_or(Path::new(""))).join(path)
            }
            Self::Near(path) => hierarchy.mount.join(own()?).join(path),
        })
    }
}

/// True where a limit is asked for that a rootless container needs a cgroup of its own for.
fn limits(resources: Option<&LinuxResources>) -> bool {
    resources.is_some_and(|r| {
        r.memory().is_some()
            || r.cpu().is_some()
            || r.pids().is_some()
            || r.block_io().is_some()
            || r.hugepage_limits().is_some()
            || r.network().is_some()
            || r.rdma().is_some()
            || r.unified().is_some()
    })
}

/// The id, and a mark of the state directory where it is not the default one.
fn default_name(request: &Request<'_>) -> String {
    if request.state_root == Path::new(DEFAULT_STATE_ROOT) {
        return request.id.to_owned();
    }
    let root = request.state_root.as_os_str().as_encoded_bytes();
    format!("{}-{:08x}", request.id, fnv1a(root))
}

/// The Fowler-Noll-Vo hash (RFC 9923), which is the same in every version of this program: a name must be found again.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// `cgroupsPath` without its leading slash and needless dots; refused where it leads out or no cgroup can have it.
fn plain(path: &Path) -> Result<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                return Err(Error::config(PATH, format!("{path:?} has a \"..\": give the path that is meant")));
            }
            Component::Normal(name) => {
                let bytes = name.as_encoded_bytes();
                if bytes.len() > 255 {
                    return Err(Error::config(PATH, "has a name of more than 255 bytes"));
                }
                // The kernel refuses a newline, since /proc/PID/cgroup could not show it.
                if bytes.iter().any(|b| matches!(b, b'\n' | 0)) {
                    return Err(Error::config(PATH, format!("{path:?} has a newline or a NUL, which no cgroup can")));
                }
                plain.push(name);
            }
        }
    }
    if plain.as_os_str().is_empty() {
        return Err(Error::config(PATH, format!("{path:?} is the root of the hierarchy: name a cgroup below it")));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let one = |mount: &str, controllers: &str, own: Option<&str>| Hierarchy {
            mount: mount.into(),
            controllers: controllers.into(),
            own: own.map(PathBuf::from),
        };
        Layout {
            hierarchies: vec![
                one("/cg/memory", "memory", Some("me/here")),
                one("/cg/cpu", "cpu,cpuacct", Some("")),
                one("/cg/unified", "", Some("me/here")),
            ],
            bound_to_v1: vec!["memory".into(), "cpu".into(), "cpuacct".into()],
            ..Layout::default()
        }
    }

    fn request<'a>(path: Option<&'a str>, authority: Authority) -> Request<'a> {
        Request {
            id: "c1",
            state_root: Path::new(DEFAULT_STATE_ROOT),
            cgroups_path: path.map(Path::new),
            driver: Driver::Cgroupfs,
            authority,
            resources: None,
            owner: None,
        }
    }

    fn dirs(request: &Request<'_>) -> Vec<String> {
        let plan = plan(&layout(), request).unwrap();
        plan.membership.places.iter().map(|p| p.dir.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn an_absolute_path_is_below_the_mounts_root() {
        assert_eq!(
            dirs(&request(Some("/a/./b//c"), Authority::Root)),
            ["/cg/memory/a/b/c", "/cg/cpu/a/b/c", "/cg/unified/a/b/c"]
        );
    }

    #[test]
    fn a_relative_path_is_below_our_own_and_on_v2_beside_it() {
        assert_eq!(
            dirs(&request(Some("x/y"), Authority::Root)),
            ["/cg/memory/me/here/x/y", "/cg/cpu/x/y", "/cg/unified/me/x/y"]
        );
    }

    #[test]
    fn no_path_gives_a_default_that_is_unique() {
        for path in [None, Some("")] {
            assert_eq!(dirs(&request(path, Authority::Root)), ["/cg/memory/c1", "/cg/cpu/c1", "/cg/unified/c1"]);
        }
        let elsewhere = |root| Request { state_root: Path::new(root), ..request(None, Authority::Root) };
        let (one, other) = (dirs(&elsewhere("/tmp/a")), dirs(&elsewhere("/tmp/b")));
        assert!(one[0].starts_with("/cg/memory/c1-") && one[0] != other[0], "{one:?} {other:?}");
    }

    #[test]
    fn rootless_defaults_stay_in_our_own_cgroup() {
        let mut layout = layout();
        layout.set_v2_controllers("pids");
        let mut asked = request(None, Authority::Rootless);
        assert_eq!(dirs(&asked), ["/cg/memory/me/here/c1", "/cg/cpu/c1", "/cg/unified/me/here/c1"]);
        let resources: LinuxResources = serde_json::from_str(r#"{"pids":{"limit":5}}"#).unwrap();
        asked.resources = Some(&resources);
        let limited = plan(&layout, &asked).unwrap();
        assert_eq!(limited.membership.v2().unwrap().dir, Path::new("/cg/unified/me/c1"));
        assert_eq!(limited.writes.len(), 1);
    }

    #[test]
    fn what_leads_out_is_refused() {
        let long = format!("/{}", "x".repeat(256));
        for (path, text) in [
            ("/a/../../b", "has a \"..\""),
            ("../b", "has a \"..\""),
            ("/", "is the root"),
            (".", "is the root"),
            ("/a\nb", "newline"),
            (long.as_str(), "255"),
        ] {
            let error = plan(&layout(), &request(Some(path), Authority::Root)).unwrap_err();
            assert_eq!(error.pointer(), Some(PATH));
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_relative_path_needs_to_know_our_own() {
        let mut layout = layout();
        layout.hierarchies[2].own = None;
        let error = plan(&layout, &request(Some("x"), Authority::Root)).unwrap_err().to_string();
        assert!(error.contains("/cg/unified (give an absolute path)"), "{error}");
        assert!(plan(&layout, &request(Some("/x"), Authority::Root)).is_ok());
    }

    #[test]
    fn all_faults_come_together() {
        let resources: LinuxResources =
            serde_json::from_str(r#"{"devices":[{"allow":true,"access":"x"},{"allow":false,"access":"q"}]}"#).unwrap();
        let asked = Request { resources: Some(&resources), ..request(Some("/../x"), Authority::Root) };
        assert_eq!(plan(&layout(), &asked).unwrap_err().each().len(), 3);
    }

    #[test]
    fn a_membership_survives_the_record() {
        let membership = plan(&layout(), &request(Some("/a"), Authority::Root)).unwrap().membership;
        let text = serde_json::to_string(&membership).unwrap();
        assert_eq!(serde_json::from_str::<Membership>(&text).unwrap(), membership);
    }
}
