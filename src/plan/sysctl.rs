//! `linux.sysctl`: kernel parameters of the container's own namespaces, and of nothing else.

use std::collections::HashMap;
use std::path::PathBuf;

use super::namespaces::is_own;
use super::report::Report;
use super::{NamespaceKind, Namespaces, Sysctl};
use crate::bundle::pointer_token;

/// Parameters of the IPC namespace (ipc_namespaces(7); ipc/ipc_sysctl.c).
const IPC: [&str; 11] = [
    "kernel/msg_next_id",
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/sem_next_id",
    "kernel/shm_next_id",
    "kernel/shm_rmid_forced",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
];

/// The parameters by path, sorted by key since JSON objects have no order.
pub fn build(asked: &HashMap<String, String>, namespaces: &Namespaces, report: &mut Report) -> Vec<Sysctl> {
    let mut sysctls: Vec<_> = asked
        .iter()
        .filter_map(|(key, value)| {
            let pointer = || format!("/linux/sysctl/{}", pointer_token(key));
            report.no_nul(value.as_bytes(), pointer);
            match path(key).and_then(|path| fault(&path, namespaces).map_or(Ok(path), Err)) {
                Ok(path) => Some(Sysctl { key: key.clone(), path: PathBuf::from(path), value: value.clone() }),
                Err(fault) => {
                    report.fault(pointer(), fault);
                    None
                }
            }
        })
        .collect();
    sysctls.sort_by(|a, b| a.key.cmp(&b.key));
    sysctls
}

/// Below /proc/sys. The first separator says which one it is; the other then is part of a name: `net.ipv4.conf.eth0/1`
/// and `net/ipv4/conf/eth0.1` are the same (sysctl.d(5)).
fn path(key: &str) -> Result<String, String> {
    let path: String = match key.find(['.', '/']).map(|first| key.as_bytes()[first]) {
        Some(b'.') => {
            let swapped = key.chars().map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            });
            swapped.collect()
        }
        _ => key.to_owned(),
    };
    let odd = |name: &str| name.is_empty() || name == "." || name == ".." || name.contains('\0');
    match path.split('/').any(odd) {
        true => Err(format!("{key:?} is no name of a kernel parameter; such as net.ipv4.ip_forward is needed")),
        false => Ok(path),
    }
}

/// Why this parameter is not the container's to set.
fn fault(path: &str, namespaces: &Namespaces) -> Option<String> {
    let kind = match path {
        "kernel/hostname" => return Some("is set by /hostname; use that".to_owned()),
        "kernel/domainname" => NamespaceKind::Uts,
        _ if path.starts_with("net/") => NamespaceKind::Network,
        _ if path.starts_with("fs/mqueue/") || IPC.contains(&path) => NamespaceKind::Ipc,
        _ if path.starts_with("user/") => NamespaceKind::User,
        _ => return Some("belongs to no namespace and would change the host; it cannot be set".to_owned()),
    };
    is_own(namespaces, kind).then(|| {
        format!(
            "would change the host; it needs a {} namespace of the container's own in /linux/namespaces",
            kind.name()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Namespace;
    use super::*;

    fn built(key: &str, kind: Option<NamespaceKind>) -> Result<PathBuf, String> {
        let mut namespaces = Namespaces::default();
        if let Some(kind) = kind {
            *namespaces.get_mut(kind) = Namespace::New;
        }
        let mut report = Report::default();
        let built = build(&HashMap::from([(key.to_owned(), "1".to_owned())]), &namespaces, &mut report);
        report.texts().pop().map_or_else(|| Ok(built[0].path.clone()), Err)
    }

    #[test]
    fn names_become_paths() {
        for (key, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
            ("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ] {
            assert_eq!(built(key, Some(NamespaceKind::Network)).unwrap(), PathBuf::from(path), "{key}");
        }
    }

    #[test]
    fn each_needs_its_own_namespace() {
        for (key, kind) in [
            ("net.core.somaxconn", NamespaceKind::Network),
            ("kernel.shmmax", NamespaceKind::Ipc),
            ("fs.mqueue.msg_max", NamespaceKind::Ipc),
            ("kernel.domainname", NamespaceKind::Uts),
            ("user.max_net_namespaces", NamespaceKind::User),
        ] {
            assert!(built(key, Some(kind)).is_ok(), "{key}");
            let fault = built(key, None).unwrap_err();
            assert_eq!(
                fault,
                format!(
                    "/linux/sysctl/{key}: would change the host; it needs a {} namespace of the container's own in \
                     /linux/namespaces",
                    kind.name()
                )
            );
        }
    }

    #[test]
    fn what_is_the_hosts_is_refused() {
        for key in ["kernel.panic", "vm.swappiness", "fs.file-max", "kernel.shmmax2", "hostname"] {
            assert!(built(key, Some(NamespaceKind::Ipc)).unwrap_err().ends_with("it cannot be set"), "{key}");
        }
        assert_eq!(
            built("kernel/hostname", Some(NamespaceKind::Uts)).unwrap_err(),
            "/linux/sysctl/kernel~1hostname: is set by /hostname; use that"
        );
    }

    #[test]
    fn no_name_leads_elsewhere() {
        for key in ["", "net/../kernel/panic", "net..kernel", "net.ipv4.", "/net/x", "net/./x", "net.\0"] {
            assert!(built(key, Some(NamespaceKind::Network)).unwrap_err().contains("is no name of a"), "{key}");
        }
        // Dots between slashes are names: this one is `conf..all`, which no kernel has.
        assert_eq!(built("net/conf..all", Some(NamespaceKind::Network)).unwrap(), PathBuf::from("net/conf..all"));
    }
}
