//! A plan for people: one line a step, with its origin.

use std::fmt;

use super::details::details;
use super::step::Action;
use super::{Plan, namespaces};
use crate::config::{Hook, Hooks};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespaces: Vec<_> = namespaces::KINDS
            .iter()
            .filter(|(_, flag, _)| self.namespaces.new & flag != 0)
            .map(|(_, _, name)| *name)
            .collect();
        line(f, 0, "/linux/cgroupsPath", &format!("making cgroup {}", self.cgroup.location))?;
        if let Some(unit) = &self.cgroup.unit {
            line(f, 0, "/linux/cgroupsPath", &unit.to_string())?;
        }
        for (index, rule) in self.cgroup.devices.iter().enumerate() {
            let origin = format!("/linux/resources/devices/{index}");
            line(f, 0, &origin, &format!("device rule: {rule}"))?;
        }
        for write in &self.cgroup.limits.first {
            line(f, 0, &write.pointer(), &write.to_string())?;
        }
        if let Some(limit) = self.cgroup.limits.check_usage {
            let text = format!("refusing where more than {limit} bytes are in use");
            line(f, 0, "/linux/resources/memory/checkBeforeUpdate", &text)?;
        }
        if let Some(wanted) = &self.resctrl {
            let class = wanted.class.as_deref().unwrap_or("of its own");
            line(f, 0, "/linux/intelRdt", &format!("taking the class of service {class}"))?;
            for (pointer, schema) in &wanted.lines {
                line(f, 0, pointer, &format!("giving it {schema}"))?;
            }
            if wanted.monitoring {
                let text = "making a monitoring group in it";
                line(f, 0, "/linux/intelRdt/enableMonitoring", text)?;
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
        if let Some(adjustment) = self.oom_score_adj {
            let text = format!("setting oom_score_adj to {adjustment}");
            line(f, 0, "/process/oomScoreAdj", &text)?;
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
        for (index, variable) in self.program.env.iter().enumerate() {
            let origin = format!("/process/env/{index}");
            line(f, 0, &origin, &format!("with {}", variable.to_string_lossy()))?;
        }
        for (name, hooks) in self.hooks.as_ref().map(Hooks::lists).into_iter().flatten() {
            for (index, hook) in hooks.iter().enumerate() {
                line(f, 0, &format!("/hooks/{name}/{index}"), &hook_words(hook))?;
            }
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

/// What a hook runs.
fn hook_words(hook: &Hook) -> String {
    let words = |what, list: &[String]| match list {
        [] => String::new(),
        list => format!(", {what} {list:?}"),
    };
    let limit = hook.timeout.map_or_else(String::new, |limit| format!(", at most {limit} s"));
    format!("hook {}{}{}{limit}", hook.path, words("args", &hook.args), words("env", &hook.env))
}

/// A command line as a person would read it.
fn words(args: &[std::ffi::CString]) -> String {
    args.iter().map(|arg| format!("{:?}", arg.to_string_lossy())).collect::<Vec<_>>().join(" ")
}
