//! The seccomp listener: who decides the calls that a profile has notified (config-linux.md,
//! "Seccomp" and "The Container Process State").

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::Serialize;

use super::handover;
use super::state::{HookState, hook_state};
use crate::config::{Seccomp, SeccompAction, Spec, VERSION};
use crate::error::{Error, Result};
use crate::store::Record;

/// crun's way to name a listener.
const RECEIVER: &str = "run.oci.seccomp.receiver";

/// The same, for all containers.
fn environment() -> Option<String> {
    std::env::var("RUN_OCI_SECCOMP_RECEIVER").ok().filter(|path| !path.is_empty())
}

/// Takes over a listener that the environment names, where a profile has none and needs one.
pub(super) fn from_environment(spec: &mut Spec) {
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    let needs = |profile: &Seccomp| {
        profile.listener_path.is_none()
            && profile.syscalls.iter().any(|rule| rule.action == SeccompAction::Notify)
    };
    if profile.is_some_and(needs)
        && !spec.annotations.contains_key(RECEIVER)
        && let Some(path) = environment()
    {
        spec.annotations.insert(RECEIVER.to_owned(), path);
    }
}

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
    let receiver = spec.annotations.get(RECEIVER).cloned().or_else(environment);
    let Some(path) = named.or(receiver.as_deref()) else {
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
