//! `/mounts` → mount steps.

use std::ffi::CString;
use std::path::Path;

use super::mount_options::{Meaning, meaning};
use super::origin::Origin;
use super::step::{Action, FsOption, Mount, Source, Step};
use super::{Host, cstring, relative};
use crate::cgroup;
use crate::config;
use crate::error::{Error, Result};
use crate::sys::mount::attr;

/// A mount's options, sorted by what they are.
#[derive(Default)]
struct Sorted {
    set: u64,
    clear: u64,
    recursive_set: u64,
    recursive_clear: u64,
    propagation: Vec<u64>,
    bind: Option<bool>,
    remount: bool,
    read_only: bool,
    own: Vec<FsOption>,
}

/// Sorts the options of mount `index`.
fn sort(mount: &config::Mount, index: usize) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    for (number, option) in mount.options.iter().enumerate() {
        let apply = |set: &mut u64, clear: &mut u64, on: u64, off: u64| {
            *set = *set & !off | on;
            *clear = *clear & !on | off;
        };
        match meaning(option) {
            Meaning::Nothing => {}
            Meaning::Attributes { set, clear } => {
                sorted.read_only &= clear & attr::RDONLY == 0;
                apply(&mut sorted.set, &mut sorted.clear, set, clear);
            }
            Meaning::Recursive { set, clear } => {
                apply(&mut sorted.recursive_set, &mut sorted.recursive_clear, set, clear);
            }
            Meaning::ReadOnly => {
                sorted.read_only = true;
                apply(&mut sorted.set, &mut sorted.clear, attr::RDONLY, 0);
            }
            Meaning::Filesystem(flag) => {
                sorted.own.push(FsOption {
                    index: Some(number),
                    key: cstring(flag, "/mounts")?,
                    value: None,
                });
            }
            Meaning::Propagation(flags) => sorted.propagation.push(flags),
            Meaning::Bind { recursive } => sorted.bind = Some(recursive),
            Meaning::Remount => sorted.remount = true,
            Meaning::Unsupported => {
                return Err(Error::new("mount option not supported by this version")
                    .at(format!("/mounts/{index}/options/{number}"), Some(format!("{option:?}")))
                    .help("take the option out"));
            }
            Meaning::Own => {
                let pointer = || format!("/mounts/{index}/options/{number}");
                let (key, value) = match option.split_once('=') {
                    Some((key, value)) => (key, Some(cstring(value, &pointer())?)),
                    None => (option.as_str(), None),
                };
                sorted.own.push(FsOption {
                    index: Some(number),
                    key: cstring(key, &pointer())?,
                    value,
                });
            }
        }
    }
    Ok(sorted)
}

/// Appends the steps of mount `index`.
pub(super) fn plan(
    mount: &config::Mount,
    index: usize,
    bundle: &Path,
    host: &Host,
    cgroup: &cgroup::Location,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let origin = Origin::item("/mounts", index);
    let target = relative(&mount.destination, &format!("/mounts/{index}/destination"))?;
    if target.is_empty() {
        return Err(Error::new("a mount may not cover the container's root")
            .at(format!("/mounts/{index}/destination"), Some(format!("{:?}", mount.destination)))
            .help("name a directory below /"));
    }
    let sorted = sort(mount, index)?;
    if sorted.remount {
        steps.push(Step {
            origin,
            action: Action::Attributes {
                target,
                set: sorted.set,
                clear: sorted.clear,
                recursive: false,
            },
        });
        return Ok(());
    }
    let kind = mount.kind.as_deref().unwrap_or_default();
    let source = match sorted.bind {
        Some(recursive) => {
            let Some(path) = mount.source.as_deref().filter(|s| !s.is_empty()) else {
                return Err(Error::new("a bind mount needs a source")
                    .at(format!("/mounts/{index}/source"), None)
                    .help("name the file or directory of the host to show in the container"));
            };
            let path = bundle.join(path);
            let path = path.to_string_lossy();
            let path = cstring(&path, &format!("/mounts/{index}/source"))?;
            Source::Bind { path, otherwise: None, recursive }
        }
        None if kind == "cgroup" => return cgroups(&target, &origin, &sorted, host, cgroup, steps),
        None if kind.is_empty() || kind == "none" || kind == "bind" => {
            return Err(Error::new("a mount needs a type, or the option bind or rbind")
                .at(format!("/mounts/{index}/type"), mount.kind.as_ref().map(|k| format!("{k:?}")))
                .help("add \"bind\" or \"rbind\" to its options, or name a file system type"));
        }
        None => {
            let pointer = format!("/mounts/{index}/type");
            Source::Filesystem {
                kind: cstring(kind, &pointer)?,
                source: mount
                    .source
                    .as_deref()
                    .map(|s| cstring(s, &format!("/mounts/{index}/source")))
                    .transpose()?,
                options: sorted.own,
                strict: matches!(kind, "proc" | "sysfs"),
            }
        }
    };
    steps.push(Step {
        origin,
        action: Action::Mount(Box::new(Mount {
            target,
            source,
            set: sorted.set,
            clear: sorted.clear,
            recursive_set: sorted.recursive_set,
            recursive_clear: sorted.recursive_clear,
            propagation: sorted.propagation,
        })),
    });
    Ok(())
}

/// Gives the file systems that are made an SELinux context. Those that the kernel fills have their
/// own.
pub(super) fn label(label: &str, steps: &mut [Step]) -> Result<()> {
    for step in steps {
        let Action::Mount(mount) = &mut step.action else { continue };
        let Source::Filesystem { kind, options, .. } = &mut mount.source else { continue };
        let kernels = ["proc", "sysfs", "cgroup2", "mqueue"];
        if !kernels.iter().any(|kernels| kind.to_bytes() == kernels.as_bytes()) {
            let value = Some(cstring(label, "/linux/mountLabel")?);
            options.push(FsOption { index: None, key: CString::from(c"context"), value });
        }
    }
    Ok(())
}

/// A `cgroup` mount: on v2 the file system itself; on v1 a tmpfs with the container's directory of
/// every hierarchy bound into it, and the usual links for those mounted together.
fn cgroups(
    target: &CString,
    origin: &Origin,
    sorted: &Sorted,
    host: &Host,
    cgroup: &cgroup::Location,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let mut push = |action| steps.push(Step { origin: origin.clone(), action });
    let mount = |target: CString, source, set| {
        Action::Mount(Box::new(Mount {
            target,
            source,
            set,
            clear: sorted.clear,
            recursive_set: 0,
            recursive_clear: 0,
            propagation: Vec::new(),
        }))
    };
    if cgroup.unified() {
        let source = if host.cgroup_namespace {
            Source::Filesystem {
                kind: CString::from(c"cgroup2"),
                source: Some(CString::from(c"cgroup")),
                options: Vec::new(),
                strict: false,
            }
        } else {
            // Without a namespace a new mount would show the same, and set the flags of the host's
            // own hierarchy anew (nsdelegate, memory_recursiveprot), which waits for an RCU grace
            // period besides.
            Source::Bind {
                path: CString::from(c"/sys/fs/cgroup"),
                otherwise: None,
                recursive: false,
            }
        };
        push(mount(target.clone(), source, sorted.set));
        return Ok(());
    }
    let tmpfs = Source::Filesystem {
        kind: CString::from(c"tmpfs"),
        source: Some(CString::from(c"tmpfs")),
        options: vec![FsOption {
            index: None,
            key: CString::from(c"mode"),
            value: Some(CString::from(c"755")),
        }],
        strict: false,
    };
    push(mount(target.clone(), tmpfs, sorted.set & !attr::RDONLY));
    let base = target.to_string_lossy();
    for hierarchy in cgroup.mounts(host.own_cgroups.as_deref()) {
        let below = cstring(&format!("{base}/{}", hierarchy.name), "/mounts")?;
        let directory = hierarchy.directory.to_string_lossy();
        let otherwise = hierarchy.own.map(|own| cstring(&own.to_string_lossy(), "/mounts"));
        let source = Source::Bind {
            path: cstring(&directory, "/mounts")?,
            otherwise: otherwise.transpose()?,
            recursive: false,
        };
        push(mount(below, source, sorted.set));
        for link in hierarchy.links {
            push(Action::Link {
                path: cstring(&format!("{base}/{link}"), "/mounts")?,
                target: cstring(&hierarchy.name, "/mounts")?,
                only_if: None,
            });
        }
    }
    if sorted.set & attr::RDONLY != 0 {
        push(Action::Attributes {
            target: target.clone(),
            set: attr::RDONLY,
            clear: 0,
            recursive: false,
        });
    }
    Ok(())
}
