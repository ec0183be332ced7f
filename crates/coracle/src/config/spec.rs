//! The whole file, and the parts of it that are no platform's own (config.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{absent, is_absent, map, objects, text};
use super::{IdMapping, Linux, Namespace, NamespaceKind, Process};

/// config.json as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Spec {
    /// The version of the specification that the bundle complies with, as `SemVer`.
    pub oci_version: String,
    /// The program to run; needed by `start`, not by `create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The container's root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// The host name to set in the container's UTS namespace.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The NIS domain name to set in the container's UTS namespace.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// What to mount besides the root, in this order.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub mounts: Vec<Mount>,
    /// Programs to run at points of the container's life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Words for those who manage the container.
    #[serde(default, deserialize_with = "map", skip_serializing_if = "is_absent")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// What only Solaris has; kept, not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solaris: Option<Value>,
    /// What only Windows has; kept, not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Value>,
    /// What only virtual machines have; kept, not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<Value>,
    /// What only z/OS has; kept, not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zos: Option<Value>,
    /// What only FreeBSD has; kept, not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freebsd: Option<Value>,
}

impl Spec {
    /// The namespace of a kind to make or join; without, it is the runtime's own.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.linux.as_ref()?.namespace(kind)
    }
}

/// The container's root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Root {
    /// A directory on the host, absolute or relative to the bundle.
    pub path: String,
    /// Whether the container sees it read-only.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub readonly: bool,
}

/// A mount in the container (mount(2)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Mount {
    /// Where, in the container; a relative path, deprecated, starts at its root.
    pub destination: String,
    /// The file system's type; of no meaning in a bind mount.
    #[serde(
        rename = "type",
        default,
        deserialize_with = "text",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<String>,
    /// A device, a name, or for a bind mount a path on the host, absolute or relative to the
    /// bundle.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// As in fstab(5), with those that the specification adds; unknown ones are the file system's.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub options: Vec<String>,
    /// The user IDs of an ID-mapped mount (`mount_setattr(2)`).
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub uid_mappings: Vec<IdMapping>,
    /// The group IDs of an ID-mapped mount.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub gid_mappings: Vec<IdMapping>,
}

impl Mount {
    /// Whether it has either option.
    pub(crate) fn has(&self, one: &str, other: &str) -> bool {
        self.options.iter().any(|option| option == one || option == other)
    }
}

/// A program to run at a point of the container's life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Hook {
    /// The program, an absolute path.
    pub path: String,
    /// Its arguments, the first being its name (execv(3)).
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub args: Vec<String>,
    /// Its environment, `NAME=value` each.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub env: Vec<String>,
    /// After how many seconds it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// The hooks, by the point at which they run (runtime.md, Lifecycle).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Hooks {
    /// As `create_runtime`, and before those. Deprecated.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, once the container's exist, before its root is entered.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub create_runtime: Vec<Hook>,
    /// At the same point, in the container's namespaces.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub create_container: Vec<Hook>,
    /// In the container, on `start`, before its program runs.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, on `start`, after its program runs.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, once the container is deleted.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_absent")]
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// All lists by their names in config.json, in the order in which they run.
    pub fn lists(&self) -> [(&'static str, &[Hook]); 6] {
        [
            ("prestart", &self.prestart),
            ("createRuntime", &self.create_runtime),
            ("createContainer", &self.create_container),
            ("startContainer", &self.start_container),
            ("poststart", &self.poststart),
            ("poststop", &self.poststop),
        ]
    }
}

objects!(Spec, Root, Mount, Hook, Hooks);
