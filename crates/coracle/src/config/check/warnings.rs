//! What a container can be made of, but hardly as was meant.

use super::semver;
use crate::config::{Capabilities, Memory, NEWEST_MINOR, Spec, capability_number};

/// Sentences to log about a config.json that passes [`check`](super::check).
pub fn warnings(spec: &Spec) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |pointer: &str, text: String| {
        warnings.push(format!("{text} [config.json: {pointer}]"));
    };
    if semver(&spec.oci_version).is_some_and(|(_, minor)| minor > NEWEST_MINOR) {
        let version = &spec.oci_version;
        let text =
            format!("version {version} is newer than 1.{NEWEST_MINOR}: what it adds is ignored");
        warn("/ociVersion", text);
    }
    let capabilities = spec.process.as_ref().and_then(|process| process.capabilities.as_ref());
    for (set, names) in capabilities.into_iter().flat_map(Capabilities::sets) {
        for (i, name) in names.iter().enumerate() {
            if capability_number(name).is_none() {
                let text = format!("{name} is no known capability: ignored");
                warn(&format!("/process/capabilities/{set}/{i}"), text);
            }
        }
    }
    for (i, mount) in spec.mounts.iter().enumerate() {
        if !mount.destination.starts_with('/') {
            let path = &mount.destination;
            let text = format!("the relative destination {path} is deprecated: taken as /{path}");
            warn(&format!("/mounts/{i}/destination"), text);
        }
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
    }
    let Some(linux) = &spec.linux else { return warnings };
    if linux.personality.as_ref().is_some_and(|personality| !personality.flags.is_empty()) {
        warn("/linux/personality/flags", "no flags of a personality are known: ignored".into());
    }
    let memory = linux.resources.as_ref().and_then(|resources| resources.memory.as_ref());
    if let Some(Memory { kernel: Some(_), .. } | Memory { kernel_tcp: Some(_), .. }) = memory {
        let text = "limits of kernel memory are deprecated".into();
        warn("/linux/resources/memory", text);
    }
    warnings
}
