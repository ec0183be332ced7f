//! Mounts (config.md, Mounts).

use super::namespaces::mappings;
use super::place::{Place, no_nul, no_nuls};
use crate::config::{Mount, NamespaceKind, Spec};
use crate::error::Result;

pub(super) fn check(place: &Place<'_>, spec: &Spec) -> Result<()> {
    let user_namespace = spec.namespace(NamespaceKind::User).is_some();
    for (i, mount) in spec.mounts.iter().enumerate() {
        let place = place.index(i);
        if mount.destination.is_empty() {
            return Err(place
                .key("destination")
                .refuse(&mount.destination, "the mount has no destination")
                .help("name a path in the container, such as /tmp"));
        }
        no_nul(&place.key("destination"), &mount.destination)?;
        no_nul(&place.key("source"), mount.source.as_deref().unwrap_or_default())?;
        no_nul(&place.key("type"), mount.kind.as_deref().unwrap_or_default())?;
        no_nuls(&place.key("options"), &mount.options)?;
        source(&place, mount)?;
        ids(&place, mount, user_namespace)?;
    }
    Ok(())
}

/// Without a source, a bind mount would show the bundle itself.
fn source(place: &Place<'_>, mount: &Mount) -> Result<()> {
    if mount.source.is_none() && mount.has("bind", "rbind") && !mount.has("remount", "remount") {
        return Err(place
            .key("source")
            .missing("the bind mount has no source")
            .help("name the directory or file on the host to bind"));
    }
    Ok(())
}

fn ids(place: &Place<'_>, mount: &Mount, user_namespace: bool) -> Result<()> {
    match (mount.uid_mappings.is_empty(), mount.gid_mappings.is_empty()) {
        (false, true) => Err(place
            .key("gidMappings")
            .missing("the mount has uidMappings, but no gidMappings")
            .help("give both or none")),
        (true, false) => Err(place
            .key("uidMappings")
            .missing("the mount has gidMappings, but no uidMappings")
            .help("give both or none")),
        (true, true) if mount.has("idmap", "ridmap") && !user_namespace => Err(place
            .key("uidMappings")
            .missing("the ID-mapped mount has no mappings")
            .help("give uidMappings and gidMappings, or use a user namespace")),
        _ => {
            mappings(&place.key("uidMappings"), &mount.uid_mappings)?;
            mappings(&place.key("gidMappings"), &mount.gid_mappings)
        }
    }
}
