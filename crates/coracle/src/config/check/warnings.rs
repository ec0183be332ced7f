//! What a container can be made of, but hardly as was meant.

use super::semver;
use crate::config::{
    Capabilities, NEWEST_MINOR, Process, SchedulerPolicy, Spec, capability_number,
};
use crate::error::plain;

/// Annotations that mean something to crun, and nothing here.
const NO_EFFECT: [(&str, &str); 4] = [
    ("run.oci.handler", "the program is executed as it is, by no other handler"),
    ("run.oci.seccomp.plugins", "no plugins are loaded"),
    ("run.oci.systemd.force_cgroup_v1", "the container sees the host's version of cgroups"),
    ("run.oci.seccomp_bpf_data", "the filter is made from the profile"),
];

/// Sentences to log about a config.json that passes [`check`](super::check).
pub fn warnings(spec: &Spec) -> Vec<String> {
    let mut warnings = spec.process.as_ref().map(capability_warnings).unwrap_or_default();
    let mut warn = |pointer: &str, text: String| {
        warnings.push(format!("{text} [config.json: {pointer}]"));
    };
    if semver(&spec.oci_version).is_some_and(|(_, minor)| minor > NEWEST_MINOR) {
        let version = plain(&spec.oci_version);
        let text =
            format!("version {version} is newer than 1.{NEWEST_MINOR}: what it adds is ignored");
        warn("/ociVersion", text);
    }
    for (i, mount) in spec.mounts.iter().enumerate() {
        if !mount.destination.starts_with('/') {
            let path = plain(&mount.destination);
            let text = format!("the relative destination {path} is deprecated: taken as /{path}");
            warn(&format!("/mounts/{i}/destination"), text);
        }
    }
    for (key, means) in NO_EFFECT.iter().filter(|(key, _)| spec.annotations.contains_key(*key)) {
        let pointer = format!("/annotations/{}", key.replace('~', "~0").replace('/', "~1"));
        warn(&pointer, format!("the annotation {key} has no effect here: {means}"));
    }
    if spec.hooks.as_ref().is_some_and(|hooks| !hooks.prestart.is_empty()) {
        warn("/hooks/prestart", "prestart hooks are deprecated: use createRuntime".into());
    }
    let platforms = [
        ("solaris", &spec.solaris),
        ("windows", &spec.windows),
        ("zos", &spec.zos),
        ("freebsd", &spec.freebsd),
    ];
    for (platform, _) in platforms.iter().filter(|(_, part)| part.is_some()) {
        warn(&format!("/{platform}"), format!("{platform} is another platform: ignored"));
    }
    if let Some(process) = &spec.process {
        let fields = [
            ("/process/commandLine", &process.command_line),
            ("/process/user/username", &process.user.username),
        ];
        for (pointer, _) in fields.iter().filter(|(_, text)| text.is_some()) {
            warn(pointer, "only Windows has this: ignored".into());
        }
        if let Some(scheduler) = process.scheduler.as_ref().filter(|scheduler| scheduler.nice != 0)
            && matches!(
                scheduler.policy,
                SchedulerPolicy::Fifo | SchedulerPolicy::Rr | SchedulerPolicy::Deadline
            )
        {
            let text = "the kernel has no nice value for this scheduling policy: ignored";
            warn("/process/scheduler/nice", text.into());
        }
    }
    let Some(linux) = &spec.linux else { return warnings };
    if linux.personality.as_ref().is_some_and(|personality| !personality.flags.is_empty()) {
        warn("/linux/personality/flags", "no flags of a personality are known: ignored".into());
    }
    let memory = linux.resources.as_ref().and_then(|resources| resources.memory.as_ref());
    for (key, limit) in
        memory.into_iter().flat_map(|it| [("kernel", it.kernel), ("kernelTCP", it.kernel_tcp)])
    {
        if limit.is_some() {
            let text = "limits of kernel memory are deprecated: ignored".into();
            warn(&format!("/linux/resources/memory/{key}"), text);
        }
    }
    warnings
}

/// Sentences to log about capabilities of a process that nobody knows.
pub fn capability_warnings(process: &Process) -> Vec<String> {
    let mut warnings = Vec::new();
    for (set, names) in process.capabilities.iter().flat_map(Capabilities::sets) {
        for (i, name) in
            names.iter().enumerate().filter(|(_, name)| capability_number(name).is_none())
        {
            warnings.push(format!(
                "{} is no known capability: ignored \
                 [config.json: /process/capabilities/{set}/{i}]",
                plain(name)
            ));
        }
    }
    warnings
}
