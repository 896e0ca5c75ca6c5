//! The example config.json of `rruntime spec`: a shell in the bundle's `rootfs`.

/// Whose container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// One that root makes.
    Root,
    /// One that an ordinary user makes, who is root in it.
    Rootless { uid: u32, gid: u32 },
}

/// Whether the container is given a cgroup namespace: on a pure cgroup2 host, as runc does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupNamespace {
    New,
    Host,
}

const ROOT: &str = include_str!("example/root.json");
const ROOTLESS: &str = include_str!("example/rootless.json");

/// The text of a config.json that is good to start from.
pub fn example_config(owner: Owner, cgroup: CgroupNamespace) -> String {
    let text = match owner {
        Owner::Root => ROOT.to_owned(),
        Owner::Rootless { uid, gid } => {
            ROOTLESS.replace("\"@UID@\"", &uid.to_string()).replace("\"@GID@\"", &gid.to_string())
        }
    };
    let mount = "\t\t\t{\n\t\t\t\t\"type\": \"mount\"\n\t\t\t}";
    match cgroup {
        CgroupNamespace::Host => text,
        CgroupNamespace::New => text.replace(mount, &format!("{mount},\n{}", mount.replace("mount", "cgroup"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Bundle, OCI_VERSION};

    fn read(owner: Owner, cgroup: CgroupNamespace) -> serde_json::Value {
        let text = example_config(owner, cgroup);
        let bundle = Bundle::from_text("/b".into(), text.clone().into_bytes()).unwrap();
        assert_eq!(bundle.config.whole().unwrap().1, Vec::<String>::new());
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_example_of_root_is_whole() {
        let config = read(Owner::Root, CgroupNamespace::Host);
        assert_eq!(config["ociVersion"], OCI_VERSION);
        assert_eq!(config["linux"]["namespaces"].as_array().unwrap().len(), 5);
        let config = read(Owner::Root, CgroupNamespace::New);
        assert_eq!(config["linux"]["namespaces"][5]["type"], "cgroup");
    }

    #[test]
    fn the_rootless_example_maps_its_owner() {
        let config = read(Owner::Rootless { uid: 1000, gid: 100 }, CgroupNamespace::New);
        assert_eq!(config["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(config["linux"]["gidMappings"][0]["hostID"], 100);
        let kinds: Vec<_> = config["linux"]["namespaces"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
        assert_eq!(kinds, ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
        assert!(!config["mounts"].to_string().contains("gid="));
    }
}
