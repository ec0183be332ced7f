//! What has to hold of the answer to a changed configuration.

use coracle::config::{Spec, to_json};
use coracle::plan::Host;
use coracle_tests::Value;

use crate::change::{Change, pattern};
use crate::files::plan;

/// An error may name another place than the one that was changed where two have to fit together,
/// and either could be the wrong one: `*` is any index, and `**` at the end anything.
const TOGETHER: &[(&str, &str)] = &[
    ("/linux", "/hostname"),
    ("/linux/namespaces", "/hostname"),
    ("/linux/namespaces", "/linux/uidMappings"),
    ("/linux/namespaces/*", "/hostname"),
    ("/linux/namespaces/*", "/linux/sysctl/**"),
    ("/linux/namespaces/*", "/linux/timeOffsets"),
    ("/linux/namespaces/*", "/linux/uidMappings"),
    ("/linux/namespaces/*", "/mounts/*"),
    ("/linux/resources/memory/limit", "/linux/resources/memory/swap"),
    ("/linux/seccomp/syscalls", "/linux/seccomp/defaultAction"),
    ("/linux/seccomp/syscalls/*", "/linux/seccomp/defaultAction"),
    ("/linux/seccomp/syscalls/*/names", "/linux/seccomp/defaultAction"),
    ("/linux/timeOffsets/boottime/secs", "/linux/timeOffsets"),
    ("/linux/timeOffsets/monotonic/secs", "/linux/timeOffsets"),
    ("/linux/uidMappings/*/hostID", "/linux/devices/*"),
    ("/linux/seccomp/listenerPath", "/linux/seccomp/listenerMetadata"),
    ("/mounts/*/destination", "/mounts/*/destination"),
    ("/mounts/*/options", "/mounts/*/type"),
    ("/mounts/*/options", "/mounts/*/uidMappings"),
    ("/mounts/*/options/*", "/mounts/*/options/*"),
    ("/mounts/*/options/*", "/mounts/*/type"),
    ("/mounts/*/type", "/mounts/*/destination"),
    ("/mounts/*/type", "/mounts/*/options/*"),
    ("/process/capabilities/bounding/*", "/process/capabilities"),
    ("/process/capabilities/permitted", "/process/capabilities/effective/*"),
    ("/process/capabilities/permitted/*", "/process/capabilities/effective/*"),
    ("/process/rlimits/*/hard", "/process/rlimits/*/soft"),
    ("/root/path", "/mounts/**"),
    ("/root/path", "/process/**"),
];

/// No error needs more, whatever the file has in it.
const LONGEST: usize = 2500;

/// Whether an error at `at` is about a change: it names the same place, one in it, what it is a
/// part of, or for an element that appears twice, the second one.
pub(crate) fn is_about(change: &Change, at: &str) -> bool {
    let changed = change.pointer.as_str();
    let parent = changed.rsplit_once('/').map_or("", |(parent, _)| parent);
    let within = |place: &str| at.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
    let together = || {
        let (from, to) = (change.pattern(), pattern(at));
        TOGETHER.iter().any(|(one, other)| {
            *one == from
                && match other.strip_suffix("**") {
                    Some(start) => to.starts_with(start),
                    None => to == *other,
                }
        })
    };
    at == changed
        || at == parent
        || within(changed)
        || change.name == "doubled" && within(parent)
        || together()
}

/// Whether a value may not stand where another one does: it is of another type.
fn wrong_type(change: &Change, original: &Value) -> bool {
    let is = |names: &[&str]| names.contains(&change.name);
    let numbers = is(&["zero", "minus-one", "least-i64", "greatest-u32", "over-u32", "over-i64"]);
    let never = is(&["fraction", "over-u64", "huge", "array-of-null", "array-of-arrays"]);
    let strings = is(&["nonsense", "quoted-number", "dot", "up", "from-root", "root", "empty"]);
    let arrays = is(&["array", "array-of-nonsense"]);
    let objects = is(&["object", "object-of-null"]);
    never
        || numbers && !original.is_number()
        || strings && !original.is_string()
        || arrays && !original.is_array()
        || objects && !original.is_object()
        || is(&["true"]) && !original.is_boolean()
}

/// What other platforms have is kept unread.
fn is_kept(pointer: &str) -> bool {
    ["/solaris", "/windows", "/zos", "/freebsd"].iter().any(|kept| pointer.starts_with(kept))
}

/// Judges the answer to a change; whether it could be planned.
pub(crate) fn judge(
    change: &Change,
    original: &Value,
    text: &str,
    host: &Host,
) -> Result<bool, String> {
    let error = match plan(text, host) {
        Ok((spec, plan)) => {
            if wrong_type(change, original) && !is_kept(&change.pointer) {
                return Err("a value of the wrong type was taken".into());
            }
            let written = to_json(&spec).map_err(|error| error.to_string())?;
            if Spec::parse(&written).ok().as_ref() != Some(&spec) {
                return Err("it is not the same when it is written and read".into());
            }
            plan.warnings.iter().try_for_each(|warning| is_readable(warning))?;
            return Ok(!plan.to_string().is_empty());
        }
        Err(error) => error,
    };
    is_readable(&error.to_string())?;
    let Some(at) = error.pointer() else { return Err(format!("no place is named: {error}")) };
    if !is_about(change, at) {
        return Err(format!("another place is named: {error}"));
    }
    if error.advice().is_none() && !error.summary().contains(" is expected") {
        return Err(format!("no help is given: {error}"));
    }
    Ok(false)
}

/// Whether a message is one line of bearable length, without what a terminal would act on.
pub(crate) fn is_readable(message: &str) -> Result<(), String> {
    if let Some(letter) = message.chars().find(|letter| letter.is_control()) {
        return Err(format!("{letter:?} in the message: {message:?}"));
    }
    if message.len() > LONGEST {
        return Err(format!("{} bytes of message: {message:.200}", message.len()));
    }
    Ok(())
}
