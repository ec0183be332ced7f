//! What is said to CRIU and what it answers: the messages of its `rpc.proto`, as far as they are
//! used. The numbers are the protocol.

use super::protobuf::{Fields, Message, message};

/// `criu_req_type`: what is asked.
pub(crate) mod kind {
    pub(crate) const DUMP: i32 = 1;
    pub(crate) const RESTORE: i32 = 2;
    pub(crate) const PRE_DUMP: i32 = 4;
    pub(crate) const NOTIFY: i32 = 6;
    pub(crate) const VERSION: i32 = 10;
}

message! {
    /// `criu_req`.
    Request {
        /// One of [`kind`].
        kind: i32 = 1,
        options: Option<Options> = 2,
        /// The answer to a notification.
        notify_success: bool = 3,
        /// More requests follow.
        keep_open: bool = 4,
    }
}

message! {
    /// `criu_opts`. Paths and descriptors are the caller's, but for those of [`InheritFd`].
    Options {
        images_dir_fd: i32 = 1,
        pid: Option<i32> = 2,
        leave_running: bool = 3,
        ext_unix_sk: bool = 4,
        tcp_established: bool = 5,
        evasive_devices: bool = 6,
        shell_job: bool = 7,
        file_locks: bool = 8,
        log_level: Option<i32> = 9,
        log_file: Option<String> = 10,
        page_server: Option<PageServer> = 11,
        notify_scripts: bool = 12,
        root: Option<String> = 13,
        parent_img: Option<String> = 14,
        track_mem: bool = 15,
        auto_dedup: bool = 16,
        work_dir_fd: Option<i32> = 17,
        link_remap: bool = 18,
        ext_mnt: Vec<ExternalMount> = 23,
        manage_cgroups: bool = 24,
        cg_root: Vec<CgroupRoot> = 25,
        /// The restored process becomes our child and not CRIU's.
        rst_sibling: bool = 26,
        inherit_fd: Vec<InheritFd> = 27,
        /// `criu_cg_mode`.
        manage_cgroups_mode: Option<i32> = 34,
        /// `TYPE[ID]:NAME`.
        external: Vec<String> = 37,
        /// `CLONE_NEW*` of namespaces that are not saved but made anew.
        empty_ns: Option<i32> = 38,
        join_ns: Vec<JoinNamespace> = 39,
        freeze_cgroup: Option<String> = 44,
        tcp_skip_in_flight: bool = 46,
        lazy_pages: bool = 48,
        orphan_pts_master: bool = 50,
        config_file: Option<String> = 51,
        tcp_close: bool = 52,
        lsm_profile: Option<String> = 53,
        lsm_mount_context: Option<String> = 63,
        /// `criu_network_lock_method`.
        network_lock: Option<i32> = 64,
    }
}

message! {
    /// `criu_page_server_info`.
    PageServer {
        address: String = 1,
        port: i32 = 2,
    }
}

message! {
    /// `ext_mount_map`: at a dump from a mount point to a name, at a restore from the name to a path
    /// of the host.
    ExternalMount {
        key: String = 1,
        val: String = 2,
    }
}

message! {
    /// `cgroup_root`: where a controller's cgroups are restored.
    CgroupRoot {
        ctrl: String = 1,
        path: String = 2,
    }
}

message! {
    /// `inherit_fd`: a descriptor of CRIU's own that stands for something by name.
    InheritFd {
        key: String = 1,
        fd: i32 = 2,
    }
}

message! {
    /// `join_namespace`.
    JoinNamespace {
        ns: String = 1,
        ns_file: String = 2,
    }
}

impl Request {
    /// As it is sent.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// `criu_resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// One of [`kind`].
    pub(crate) kind: i32,
    pub(crate) success: bool,
    pub(crate) notify: Option<Notify>,
    /// The error number of what failed.
    pub(crate) errno: Option<i32>,
    pub(crate) words: Option<String>,
    pub(crate) version: Option<Version>,
}

/// `criu_notify`: something has been reached, and CRIU waits for the word to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notify {
    /// What.
    pub(crate) script: String,
    /// The first process that is being restored.
    pub(crate) pid: Option<i32>,
}

/// `criu_version`: major, minor, sublevel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) [i32; 3]);

impl Response {
    /// Reads it; `None` if it is damaged. What is not known is passed over.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut response = Self::default();
        for field in Fields(bytes) {
            let (number, value) = field?;
            match number {
                1 => response.kind = value.number()?,
                2 => response.success = value.number()? != 0,
                5 => response.notify = Some(Notify::from_fields(value.fields()?)?),
                7 => response.errno = value.number(),
                9 => response.words = value.text(),
                10 => response.version = Some(Version::from_fields(value.fields()?)?),
                _ => {}
            }
        }
        Some(response)
    }
}

impl Notify {
    fn from_fields(fields: Fields<'_>) -> Option<Self> {
        let mut notify = Self::default();
        for field in fields {
            match field? {
                (1, script) => notify.script = script.text()?,
                (2, pid) => notify.pid = pid.number(),
                _ => {}
            }
        }
        Some(notify)
    }
}

impl Version {
    fn from_fields(fields: Fields<'_>) -> Option<Self> {
        let mut version = Self::default();
        for field in fields {
            let (number, value) = field?;
            match number {
                1 => version.0[0] = value.number()?,
                2 => version.0[1] = value.number()?,
                4 => version.0[2] = value.number()?,
                _ => {}
            }
        }
        Some(version)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, sublevel] = self.0;
        write!(f, "{major}.{minor}")?;
        if sublevel == 0 { Ok(()) } else { write!(f, ".{sublevel}") }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_encoded_by_number() {
        let options = Options {
            images_dir_fd: 3,
            log_file: Some("dump.log".into()),
            ext_mnt: vec![ExternalMount { key: "/a".into(), val: "b".into() }],
            network_lock: Some(2),
            ..Options::default()
        };
        let request = Request { kind: kind::DUMP, options: Some(options), ..Request::default() };
        let expected =
            b"\x08\x01\x12\x19\x08\x03\x52\x08dump.log\xba\x01\x07\x0a\x02/a\x12\x01b\x80\x04\x02";
        assert_eq!(request.to_bytes(), expected);
    }

    #[test]
    fn an_answer_may_have_more_than_is_known() {
        // A notification, its script and pid, and an unknown field 11.
        let bytes = b"\x08\x06\x10\x01\x58\x07\x2a\x08\x0a\x03abc\x10\x96\x01";
        let response = Response::from_bytes(bytes).unwrap();
        assert_eq!((response.kind, response.success), (kind::NOTIFY, true));
        assert_eq!(response.notify, Some(Notify { script: "abc".into(), pid: Some(150) }));
        assert_eq!(Response::from_bytes(&bytes[..12]), None);
    }

    #[test]
    fn versions_are_ordered() {
        let bytes = b"\x08\x0a\x10\x01\x52\x08\x08\x03\x10\x11\x1a\x00\x20\x01";
        let version = Response::from_bytes(bytes).unwrap().version.unwrap();
        assert_eq!(version, Version([3, 17, 1]));
        assert_eq!(version.to_string(), "3.17.1");
        assert!(version > Version([3, 15, 4]) && version < Version([4, 0, 0]));
    }
}
