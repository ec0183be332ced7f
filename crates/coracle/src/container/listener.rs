//! The seccomp listener: who decides the calls that a profile has notified (config-linux.md,
//! "Seccomp" and "The Container Process State").

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::Serialize;

use super::handover;
use super::state::{HookState, hook_state};
use crate::config::{Spec, VERSION};
use crate::error::{Error, Result};
use crate::store::Record;

/// The container process state, as the specification has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'static str,
    fds: [&'static str; 1],
    pid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: HookState<'a>,
}

/// Sends the notification descriptor of process `pid` with the state of its container to the
/// profile's listener, over a connection of its own.
pub(super) fn deliver(
    spec: &Spec,
    record: &Record,
    status: &str,
    pid: u32,
    descriptor: &OwnedFd,
) -> Result<()> {
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    let named = profile.and_then(|profile| profile.listener_path.as_deref());
    // crun's way to name one.
    let receiver = spec.annotations.get("run.oci.seccomp.receiver").map(String::as_str);
    let Some(path) = named.or(receiver) else {
        return Err(Error::new("the seccomp profile notifies calls and nobody listens")
            .at("/linux/seccomp/listenerPath", None)
            .help("name the socket of a seccomp agent"));
    };
    let state = ProcessState {
        oci_version: VERSION,
        fds: ["seccompFd"],
        pid,
        metadata: profile
            .and_then(|profile| profile.listener_metadata.as_deref())
            .unwrap_or_default(),
        state: hook_state(record, status, record.init_process_pid),
    };
    // Strings and numbers always encode.
    let text = serde_json::to_vec(&state).unwrap_or_default();
    let at = |error: Error| error.at("/linux/seccomp/listenerPath", Some(format!("{path:?}")));
    let socket = handover::connect(Path::new(path), "seccomp listener").map_err(at)?;
    handover::send_all(&socket, "seccomp descriptor", &text, descriptor.as_fd()).map_err(at)
}
