//! Starting, changing and stopping units: what is said to systemd over D-Bus
//! (org.freedesktop.systemd1(5)).

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;

use super::super::device::DeviceRule;
use super::super::limits::Limits;
use super::annotations;
use super::properties::{self, since};
use super::unit::{NewUnit, Unit};
use crate::dbus::{Bus, Call, Connection, Failure, Kind, Value};
use crate::{Errno, Error, Result};

/// How long systemd may take for one of our wishes.
const PATIENCE: Duration = Duration::from_secs(30);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How a job ended that was not done.
enum Undone {
    /// systemd, or the bus, refused.
    Failed(Failure),
    /// The job ended with this result, such as `failed`.
    Result(String),
}

impl From<Failure> for Undone {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Below which cgroup systemd has its units: the machine's at the top, the calling user's below its
/// own. An error where systemd does not run.
pub fn systemd_root(user: bool) -> Result<String> {
    // sd_booted(3).
    if !std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|found| found.is_dir()) {
        return Err(Error::new(
            "systemd not running on this host, cannot use systemd cgroups manager",
        )
        .help(
            "choose the engine's cgroupfs driver: --cgroup-manager=cgroupfs for podman, \
             native.cgroupdriver=cgroupfs for docker, SystemdCgroup = false for containerd",
        ));
    }
    if !user {
        return Ok(String::new());
    }
    let asked = Connection::open(Bus::User, PATIENCE).and_then(|mut bus| {
        let serial = bus.call(&Call {
            destination: SYSTEMD,
            path: PATH,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: vec![Value::text(MANAGER), Value::text("ControlGroup")],
        });
        let answer = bus.answer(serial)?;
        let path = answer.texts().first().map(|path| path.trim_end_matches('/').to_owned());
        path.ok_or(Failure::Garbage)
    });
    asked.map_err(|failure| {
        unreachable(failure, Bus::User, "asking the user's systemd for its cgroup".to_owned())
    })
}

impl Unit {
    /// Sets limits, until the unit ends.
    ///
    /// `weight` is the share of CPU time that the kernel has given it of itself.
    pub(in super::super) fn set(&self, limits: &Limits, weight: Option<u64>) -> Result<()> {
        let mut wanted: Vec<(&str, Value)> = properties::limits(limits);
        wanted.extend(weight.map(properties::weight));
        loop {
            if wanted.is_empty() {
                return Ok(());
            }
            let what = || format!("setting properties of {}", self.name);
            let arguments = vec![Value::text(&self.name), Value::Bool(true), list(wanted.iter())];
            let set = Connection::open(self.bus(), PATIENCE).and_then(|mut bus| {
                let serial = bus.call(&manager("SetUnitProperties", arguments));
                bus.answer(serial)
            });
            match set {
                Ok(_) => return Ok(()),
                Err(failure) if leave_out(&mut wanted, &failure) => {}
                Err(failure) => {
                    return Err(
                        unreachable(failure, self.bus(), what()).at("/linux/resources", None)
                    );
                }
            }
        }
    }

    /// Moves a process into the unit's cgroup, or one below it: `directory`.
    pub(in super::super) fn attach(&self, directory: &Path, pid: Pid) -> Result<()> {
        let mut below = directory.components();
        let own = OsStr::new(&self.name);
        // What is behind the unit's own name.
        let _ = below.by_ref().find(|component| component.as_os_str() == own);
        let below = below.as_path().to_string_lossy();
        let below = if below.is_empty() { String::new() } else { format!("/{below}") };
        let pids = Value::Array("u".into(), vec![number(pid)]);
        let arguments = vec![Value::text(&self.name), Value::Text(below), pids];
        let attached = Connection::open(self.bus(), PATIENCE).and_then(|mut bus| {
            let serial = bus.call(&manager("AttachProcessesToUnit", arguments));
            bus.answer(serial)
        });
        let what = || format!("having systemd move process {pid} into {}", self.name);
        attached.map(drop).map_err(|failure| unreachable(failure, self.bus(), what()))
    }

    /// Stops the unit and has it forgotten, a failed one too. No error if there is none.
    pub(in super::super) fn stop(&self) -> Result<()> {
        let arguments = vec![Value::text(&self.name), Value::text("replace")];
        let stopped =
            Connection::open(self.bus(), PATIENCE).map_err(Undone::Failed).and_then(|mut bus| {
                // Whether anything is left shows in the cgroup.
                match self.job(&mut bus, &manager("StopUnit", arguments)) {
                    Ok(()) | Err(Undone::Result(_)) => self.reset(&mut bus),
                    Err(undone) => return Err(undone),
                }
                Ok(())
            });
        match stopped {
            Err(Undone::Failed(failure)) if !failure.is("NoSuchUnit") => {
                Err(unreachable(failure, self.bus(), format!("stopping {}", self.name)))
            }
            _ => Ok(()),
        }
    }

    /// Has a failed unit forgotten. Most are not there any more, which is as wanted.
    fn reset(&self, bus: &mut Connection) {
        let serial = bus.call(&manager("ResetFailedUnit", vec![Value::text(&self.name)]));
        let _ = bus.answer(serial);
    }

    /// Makes a call that answers with a job, and waits for the job's end. All is sent at once, so
    /// that there is but one wait for both.
    fn job(&self, bus: &mut Connection, call: &Call<'_>) -> Result<(), Undone> {
        bus.listen(&[
            ("sender", SYSTEMD),
            ("path", PATH),
            ("interface", MANAGER),
            ("member", "JobRemoved"),
            ("arg2", &self.name),
        ]);
        let serial = bus.call(call);
        let mut job = None;
        let mut removed = Vec::new();
        loop {
            let message = bus.next().map_err(|failure| match failure {
                Failure::TimedOut(_) if job.is_some() => Failure::TimedOut("the end of the job"),
                failure => failure,
            })?;
            match message.kind {
                Kind::Error if message.reply_to == serial => {
                    return Err(crate::dbus::refused(message).into());
                }
                Kind::Return if message.reply_to == serial => {
                    let path = message.texts().first().map(|&path| path.to_owned());
                    job = Some((path.ok_or(Failure::Garbage)?, message.sender));
                }
                Kind::Signal if message.name == "JobRemoved" => removed.push(message),
                _ => {}
            }
            let Some((path, sender)) = &job else { continue };
            // Anybody may send us a signal of that name; the bus vouches for the sender.
            let ours = removed.iter().find_map(|signal| match signal.texts()[..] {
                [job, _, result] if job == path && signal.sender == *sender => Some(result),
                _ => None,
            });
            match ours {
                Some("done") => return Ok(()),
                Some(result) => return Err(Undone::Result(result.to_owned())),
                None => {}
            }
        }
    }
}

impl NewUnit {
    /// Starts the unit with a process in it, unless it is a slice. Limits and device rules become
    /// its properties.
    pub(in super::super) fn start(
        &self,
        pid: Pid,
        limits: &Limits,
        rules: &[DeviceRule],
        is_unified: bool,
    ) -> Result<()> {
        let mut wanted = self.basic(pid, is_unified);
        wanted.extend(properties::limits(limits));
        // A user's instance may not restrict devices.
        if !self.unit.user {
            let drivers = std::fs::read_to_string("/proc/devices").unwrap_or_default();
            wanted.extend(properties::devices(rules, &drivers));
        }
        let asked = self.properties.iter().map(|(name, value)| (&**name, value.clone()));
        let asked: Vec<(&str, Value)> = asked.collect();
        let what = || format!("having systemd start {}", self.unit.name);
        let bus = Connection::open(self.unit.bus(), PATIENCE);
        let mut bus = bus.map_err(|failure| unreachable(failure, self.unit.bus(), what()))?;
        let mut reset = false;
        loop {
            let arguments = vec![
                Value::text(&self.unit.name),
                Value::text("replace"),
                list(wanted.iter().chain(&asked)),
                Value::Array("(sa(sv))".into(), Vec::new()),
            ];
            match self.unit.job(&mut bus, &manager("StartTransientUnit", arguments)) {
                Ok(()) => return Ok(()),
                Err(Undone::Failed(failure)) if failure.is("UnitExists") => {
                    // A slice may have been made for several.
                    if self.is_slice() {
                        return Ok(());
                    }
                    // What is left of one that failed is in the way, and can go.
                    if std::mem::replace(&mut reset, true) {
                        return Err(self.exists(failure.error(what())));
                    }
                    self.unit.reset(&mut bus);
                }
                Err(Undone::Failed(failure)) if leave_out(&mut wanted, &failure) => {}
                Err(Undone::Failed(failure)) => return Err(self.refused(failure, what())),
                Err(Undone::Result(result)) => {
                    // What there is of it must not be in the way of the next try.
                    self.unit.reset(&mut bus);
                    return Err(Error::new(what())
                        .because(format!("the job ended as {result:?}"))
                        .help("the journal says more; see journalctl"));
                }
            }
        }
    }

    /// What every unit of ours has: runc's, and that one that failed does not stay.
    fn basic(&self, pid: Pid, is_unified: bool) -> Vec<(&str, Value)> {
        let mut wanted = vec![("Description", Value::text(&self.description))];
        if self.is_slice() {
            wanted.push(("Wants", Value::texts([self.slice.clone()])));
        } else {
            wanted.extend([
                ("Slice", Value::text(&self.slice)),
                ("PIDs", Value::Array("u".into(), vec![number(pid)])),
                ("Delegate", Value::Bool(true)),
            ]);
        }
        let io = if is_unified { "IOAccounting" } else { "BlockIOAccounting" };
        for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
            wanted.push((name, Value::Bool(true)));
        }
        wanted.push(("DefaultDependencies", Value::Bool(false)));
        wanted.push(("CollectMode", Value::text("inactive-or-failed")));
        wanted
    }

    fn exists(&self, error: Error) -> Error {
        error.help(format!(
            "another container has this name, or it is left over: systemctl {}stop {}",
            if self.unit.user { "--user " } else { "" },
            self.unit.name
        ))
    }

    fn refused(&self, failure: Failure, what: String) -> Error {
        let words = match &failure {
            Failure::Refused(_, words) => words.clone(),
            _ => String::new(),
        };
        let error = unreachable(failure, self.unit.bus(), what);
        // systemd names the property that it does not like.
        let named =
            |name: &str| words.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| w == name);
        match self.properties.iter().find(|(name, _)| named(name)) {
            Some((name, _)) => {
                let seconds = name.strip_suffix("USec").map(|stem| format!("{stem}Sec"));
                error.at(annotations::pointer(name), None).help(match seconds {
                    Some(seconds) => {
                        format!("or the annotation of {seconds}; see org.freedesktop.systemd1(5)")
                    }
                    None => "its name and type are in org.freedesktop.systemd1(5)".to_owned(),
                })
            }
            None if words.contains("message contents") && !self.properties.is_empty() => error
                .at("/annotations", None)
                .help("a property there is of the wrong type; see org.freedesktop.systemd1(5)"),
            None => error,
        }
    }
}

/// A process's id as systemd takes it.
fn number(pid: Pid) -> Value {
    Value::Uint32(pid.as_raw_nonzero().get().unsigned_abs())
}

/// A call of systemd's manager.
fn manager(member: &str, arguments: Vec<Value>) -> Call<'_> {
    Call { destination: SYSTEMD, path: PATH, interface: MANAGER, member, arguments }
}

/// Properties as systemd takes them: `a(sv)`.
fn list<'a>(properties: impl Iterator<Item = &'a (&'a str, Value)>) -> Value {
    let pair = |(name, value): &(&str, Value)| {
        Value::Struct(vec![Value::text(*name), value.clone().variant()])
    };
    Value::Array("(sv)".into(), properties.map(pair).collect())
}

/// Leaves out the property that this version of systemd refuses, if it may be older than that, and
/// all that came with it or later.
fn leave_out(wanted: &mut Vec<(&str, Value)>, failure: &Failure) -> bool {
    let Failure::Refused(_, words) = failure else { return false };
    let before = wanted.len();
    let mut named = wanted.iter().filter(|(name, _)| words.contains(name));
    if let Some(refused) = named.find_map(|(name, value)| since(name, value)) {
        wanted.retain(|(name, value)| since(name, value).is_none_or(|since| since < refused));
    }
    wanted.len() < before
}

/// A failure, with what to do where nobody can be reached.
fn unreachable(failure: Failure, bus: Bus, what: String) -> Error {
    let help = match (&failure, bus) {
        (Failure::Unreachable(_) | Failure::Denied(_), Bus::User) => {
            "a user's containers need a session with systemd (loginctl enable-linger USER) and \
             XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS; or use the cgroupfs manager"
        }
        (Failure::Unreachable(_) | Failure::Denied(_), Bus::System) => {
            "see systemctl status dbus; or use the cgroupfs manager"
        }
        (Failure::TimedOut(_), _) => "systemd is busy or stuck; see systemctl list-jobs",
        (Failure::Os(Errno::ACCESS | Errno::PERM), _) => "who may talk to systemd is its policy",
        _ => return failure.error(what),
    };
    failure.error(what).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_new_as_what_is_refused_is_left_out() {
        let names =
            ["CollectMode", "MemoryMin", "MemoryMax", "CPUQuotaPeriodUSec", "AllowedCPUs", "PIDs"];
        for (refused, left) in [
            ("AllowedCPUs", &["CollectMode", "MemoryMin", "MemoryMax", "CPUQuotaPeriodUSec"][..]),
            ("CPUQuotaPeriodUSec", &["CollectMode", "MemoryMin", "MemoryMax"]),
            ("MemoryMin", &["CollectMode", "MemoryMax"]),
            ("CollectMode", &["MemoryMax"]),
            ("MemoryMax", &names[..5]),
        ] {
            let mut wanted: Vec<_> = names.map(|name| (name, Value::Bool(true))).into();
            let words = format!("Cannot set property {refused}, or unknown property.");
            let name = "org.freedesktop.DBus.Error.PropertyReadOnly".to_owned();
            let changed = leave_out(&mut wanted, &Failure::Refused(name, words));
            assert_eq!(changed, refused != "MemoryMax");
            let wanted: Vec<_> = wanted.iter().map(|(name, _)| *name).collect();
            assert_eq!(wanted, [left, &["PIDs"]].concat(), "{refused}");
        }
    }
}
