//! Mounts that a running container gets, or loses: crun's `mounts add` and `mounts remove`.

use std::path::Path;

use super::around::Around;
use super::mount::{Opener, Source, SourceLink};
use super::namespaces;
use super::origin::Origin;
use super::process::become_root;
use super::step::{Action, Step};
use super::{Host, mounts, relative};
use crate::config::{self, NamespaceKind, Spec};
use crate::error::{Error, Result};

/// Plans mounts in the container that was made from `spec`, whose own mounts are not looked at.
pub fn add(added: &[config::Mount], spec: &Spec, bundle: &Path, host: &Host) -> Result<Vec<Step>> {
    let none = config::Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    for (index, mount) in added.iter().enumerate() {
        refuse(mount, index)?;
    }
    let namespaces = namespaces::plan(linux, added)?;
    // No mount of type cgroup gets here, so any will do.
    let cgroup = host.cgroups.locate(None, "any")?;
    let around = Around { bundle, host, cgroup: &cgroup, namespaces: &namespaces, linux };
    let mut planned = mounts::plan(added, &around)?;
    for step in &mut planned.made {
        let Action::Mount(mount) = &mut step.action else { continue };
        if let Source::Bind(bind) = &mut mount.source {
            if bind.link == SourceLink::Copy {
                return Err(Error::new("a link cannot be copied into a running container")
                    .at(step.origin.pointer().unwrap_or_default(), None)
                    .help("take copy-symlink out"));
            }
            bind.opener = Opener::Parent;
        }
    }
    let steps = planned.made.into_iter().chain(planned.last);
    Ok(inside(linux, steps))
}

/// Plans that these mounts go; only their destinations count.
pub fn remove(removed: &[config::Mount], spec: &Spec) -> Result<Vec<Step>> {
    let none = config::Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let mut paths = Vec::with_capacity(removed.len());
    for (index, mount) in removed.iter().enumerate() {
        let pointer = format!("/mounts/{index}/destination");
        let path = relative(&mount.destination, &pointer)?;
        if path.is_empty() {
            return Err(Error::new("the container's root cannot be taken away")
                .at(pointer, Some(format!("{:?}", mount.destination)))
                .help("name a mount below /"));
        }
        paths.push(path);
    }
    let step = Step { origin: Origin::field("/mounts"), action: Action::Unmount(paths) };
    Ok(inside(linux, std::iter::once(step)))
}

/// Steps of a process that joins the container for them, and has nothing to start.
fn inside(linux: &config::Linux, steps: impl Iterator<Item = Step>) -> Vec<Step> {
    let default = |action| Step { origin: Origin::DEFAULT, action };
    let user = linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User);
    let root = user.then(|| default(become_root(linux)));
    // Not a word to the parent before it listens.
    std::iter::once(default(Action::AwaitParent))
        .chain(root)
        .chain([default(Action::JoinedRoot)])
        .chain(steps)
        .chain([default(Action::AwaitStart)])
        .collect()
}

/// These show namespaces, of which the one who mounts is not in all, or change what is there.
fn refuse(mount: &config::Mount, index: usize) -> Result<()> {
    let bind = mount.options.iter().any(|option| option == "bind" || option == "rbind");
    let kind = mount.kind.as_deref().unwrap_or_default();
    let kernels = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2", "devpts"];
    if !bind && kernels.contains(&kind) {
        return Err(Error::new("this type is mounted only when the container is made")
            .at(format!("/mounts/{index}/type"), Some(format!("{kind:?}")))
            .help("have it in the container's config.json"));
    }
    match mount.options.iter().position(|option| option == "remount") {
        None => Ok(()),
        Some(option) => Err(Error::new("a mount of a running container cannot be changed")
            .at(format!("/mounts/{index}/options/{option}"), Some("\"remount\"".into()))
            .help("remove it and add it again")),
    }
}
