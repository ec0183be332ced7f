//! A plan for people: one line a step, with its origin.

use std::fmt;

use super::mount::{FsOption, Source, attributes};
use super::step::Action;
use super::{Plan, capability, namespaces};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespaces: Vec<_> = namespaces::KINDS
            .iter()
            .filter(|(_, flag, _)| self.namespaces.new & flag != 0)
            .map(|(_, _, name)| *name)
            .collect();
        line(f, 0, "/linux/cgroupsPath", &format!("making cgroup {}", self.cgroup.location))?;
        for (index, rule) in self.cgroup.devices.iter().enumerate() {
            let origin = format!("/linux/resources/devices/{index}");
            line(f, 0, &origin, &format!("device rule: {rule}"))?;
        }
        for write in &self.cgroup.limits.first {
            line(f, 0, &write.pointer(), &write.to_string())?;
        }
        if let Some(wanted) = &self.resctrl {
            let class = wanted.class.as_deref().unwrap_or("of its own");
            line(f, 0, "/linux/intelRdt", &format!("taking the class of service {class}"))?;
            for (pointer, schema) in &wanted.lines {
                line(f, 0, pointer, &format!("giving it {schema}"))?;
            }
        }
        for join in &self.namespaces.join {
            let origin = format!("/linux/namespaces/{}", join.index);
            line(f, 0, &origin, &format!("joining {}", join.path.to_string_lossy()))?;
        }
        let clone = format!("making a process in new namespaces: {}", namespaces.join(", "));
        line(f, 0, "/linux/namespaces", &clone)?;
        if let Some(offsets) = &self.namespaces.clock_offsets {
            let text = offsets.to_string_lossy().trim_end().replace('\n', ", ");
            line(f, 0, "/linux/timeOffsets", &format!("setting clocks ahead: {text}"))?;
        }
        for map in self.namespaces.id_maps.iter().flat_map(|maps| &maps.uids) {
            let text = format!("mapping uid {} to {}, {} ids", map.container, map.host, map.size);
            line(f, 0, "/linux/uidMappings", &text)?;
        }
        for map in self.namespaces.id_maps.iter().flat_map(|maps| &maps.gids) {
            let text = format!("mapping gid {} to {}, {} ids", map.container, map.host, map.size);
            line(f, 0, "/linux/gidMappings", &text)?;
        }
        let offsets = self.namespaces.clock_offsets.iter();
        for offset in offsets.flat_map(|lines| lines.to_str().unwrap_or_default().lines()) {
            line(f, 0, "/linux/timeOffsets", &format!("setting the clock {offset}"))?;
        }
        if self.loopback {
            line(f, 0, "default", &Action::Loopback.to_string())?;
        }
        for device in &self.net_devices {
            let text = format!("moving network device {} in as {}", device.name, device.wanted());
            line(f, 0, &device.origin.to_string(), &text)?;
        }
        for write in &self.cgroup.limits.tasks {
            line(f, 0, &write.pointer(), &write.to_string())?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            let mut text = step.action.to_string();
            if let Some(details) = details(&step.action) {
                text.push_str(" (");
                text.push_str(&details);
                text.push(')');
            }
            if matches!(step.action, Action::Execute) {
                text.push_str(": ");
                text.push_str(&words(&self.program.args));
            }
            line(f, index + 1, &step.origin.to_string(), &text)?;
        }
        for step in &self.steps {
            if let Action::Seccomp(program) = &step.action {
                write!(f, "\nThe seccomp filter:\n{program}")?;
            }
        }
        Ok(())
    }
}

/// One line: the step's number, if it is init's, where it comes from, what it does.
fn line(f: &mut fmt::Formatter<'_>, number: usize, origin: &str, text: &str) -> fmt::Result {
    if number == 0 {
        writeln!(f, "  -  {origin:<32} {text}")
    } else {
        writeln!(f, "{number:>3}  {origin:<32} {text}")
    }
}

/// What the name of a step leaves out.
fn details(action: &Action) -> Option<String> {
    let text = match action {
        Action::Mount(mount) => {
            let own = match &mount.source {
                Source::Filesystem(new) => new.options.as_slice(),
                Source::Bind(_) => &[],
            };
            with_own(attributes(mount.set, mount.clear), own)
        }
        Action::Remount(remount) => {
            with_own(attributes(remount.set, remount.clear), &remount.options)
        }
        Action::Device(device) => {
            format!("{}:{} mode {:04o}", device.major, device.minor, device.mode)
        }
        Action::User(identity) => {
            let sets = &identity.capabilities;
            let names = |mask| capability::names(mask).collect::<Vec<_>>().join(" ");
            let all = [sets.effective, sets.inheritable, sets.permitted, sets.ambient];
            if all.iter().all(|set| *set == sets.bounding) {
                format!("all five capability sets: {}", names(sets.bounding))
            } else {
                format!(
                    "bounding: {}; effective: {}; inheritable: {}; permitted: {}; ambient: {}",
                    names(sets.bounding),
                    names(sets.effective),
                    names(sets.inheritable),
                    names(sets.permitted),
                    names(sets.ambient)
                )
            }
        }
        _ => String::new(),
    };
    (!text.is_empty()).then_some(text)
}

/// Mount options with the file system's own at their end.
fn with_own(mut options: String, own: &[FsOption]) -> String {
    for option in own {
        if !options.is_empty() {
            options.push(',');
        }
        options.push_str(&option.key.to_string_lossy());
        if let Some(value) = &option.value {
            options.push('=');
            options.push_str(&value.to_string_lossy());
        }
    }
    options
}

/// A command line as a person would read it.
fn words(args: &[std::ffi::CString]) -> String {
    args.iter().map(|arg| format!("{:?}", arg.to_string_lossy())).collect::<Vec<_>>().join(" ")
}
