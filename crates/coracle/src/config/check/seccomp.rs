//! The system call filter (config-linux.md, Seccomp).

use super::place::{Place, no_nul};
use crate::config::{Seccomp, SeccompAction};
use crate::error::Result;

/// `listener` tells whether something else than `listenerPath` names the listener.
pub(super) fn check(place: &Place<'_>, filter: &Seccomp, listener: bool) -> Result<()> {
    if filter.default_action == SeccompAction::Notify {
        return Err(place
            .key("defaultAction")
            .refuse(&filter.default_action, "SCMP_ACT_NOTIFY cannot be used as default action")
            .help("nobody could hand the listener its descriptor: name system calls in a rule"));
    }
    errno(&place.key("defaultErrnoRet"), filter.default_action, filter.default_errno_ret)?;
    no_nul(&place.key("listenerPath"), filter.listener_path.as_deref().unwrap_or_default())?;
    if let (None, Some(metadata)) = (&filter.listener_path, &filter.listener_metadata)
        && !listener
    {
        return Err(place
            .key("listenerMetadata")
            .refuse(metadata, "there is metadata for a listener, but no listener")
            .help("give listenerPath as well"));
    }
    let listener = listener || filter.listener_path.is_some();
    let place = place.key("syscalls");
    for (i, rule) in filter.syscalls.iter().enumerate() {
        let place = place.index(i);
        let names = place.key("names");
        if rule.names.is_empty() {
            return Err(names
                .refuse(&rule.names, "the rule names no system call")
                .help("name at least one, such as mkdir"));
        }
        if let Some(i) = rule.names.iter().position(String::is_empty) {
            return Err(names
                .index(i)
                .refuse("", "the system call has no name")
                .help("name it, such as mkdir"));
        }
        if rule.action == SeccompAction::Notify {
            if let Some(i) = rule.names.iter().position(|name| name == "write") {
                return Err(names
                    .index(i)
                    .refuse("write", "SCMP_ACT_NOTIFY cannot be used for the write syscall")
                    .help("the listener's descriptor reaches it by a write"));
            }
            if !listener {
                return Err(place
                    .key("action")
                    .refuse(&rule.action, "the rule needs a listener")
                    .help("give /linux/seccomp/listenerPath, a socket to send its descriptor to"));
            }
        }
        errno(&place.key("errnoRet"), rule.action, rule.errno_ret)?;
        let args = place.key("args");
        for (i, arg) in rule.args.iter().enumerate() {
            if arg.index > 5 {
                return Err(args
                    .index(i)
                    .key("index")
                    .refuse(&arg.index, "no system call has that many arguments")
                    .help("they are counted from 0 to 5"));
            }
        }
    }
    Ok(())
}

/// Only an error and a tracer have a number to tell: 12 bits the one, 16 the other.
fn errno(place: &Place<'_>, action: SeccompAction, errno: Option<u32>) -> Result<()> {
    let Some(errno) = errno else { return Ok(()) };
    let greatest = match action {
        SeccompAction::Errno => 4095,
        SeccompAction::Trace => 65535,
        _ => {
            return Err(place
                .refuse(&errno, "this action has no error number")
                .help("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have one"));
        }
    };
    if errno > greatest {
        return Err(place
            .refuse(&errno, "the error number is out of range")
            .help(format!("it goes from 0 to {greatest}")));
    }
    Ok(())
}
