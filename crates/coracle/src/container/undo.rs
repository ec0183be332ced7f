//! What was made for a container that will not be.

use rustix::process::Signal;

use super::delete;
use crate::cgroup::Cgroup;
use crate::launch::Child;
use crate::launch::net_devices::Moved;
use crate::resctrl::Group;
use crate::store::Entry;

/// Takes back what was made, in reverse, unless it was all made.
pub(super) struct Undo<'a> {
    entry: &'a Entry,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) group: Option<Group<'a>>,
    pub(super) child: Option<Child>,
    pub(super) devices: Option<Moved>,
    pub(super) done: bool,
    pub(super) warn: &'a mut dyn FnMut(&str),
}

impl<'a> Undo<'a> {
    /// Nothing is made yet but the entry.
    pub(super) fn new(
        entry: &'a Entry,
        group: Option<Group<'a>>,
        warn: &'a mut dyn FnMut(&str),
    ) -> Self {
        Self { entry, cgroup: None, group, child: None, devices: None, done: false, warn }
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The first error is the one to tell; what cannot be undone shows in `list`.
        let begun = self.child.is_some();
        if let Some(devices) = &mut self.devices {
            devices.back();
        }
        if let Some(child) = &self.child {
            child.destroy();
        }
        if let Some(cgroup) = &mut self.cgroup {
            // What CRIU was restoring when it ended too early waits for it.
            if cgroup.procs().is_ok_and(|left| !left.is_empty()) {
                let _ = cgroup.kill_all(Signal::KILL);
            }
            let _ = cgroup.undo();
        }
        if let Some(group) = &mut self.group {
            group.undo();
        }
        // A container that existed is followed by its poststop hooks (runtime.md, "Lifecycle"):
        // they undo what other hooks did.
        let kept = begun.then(|| (self.entry.read_config(), self.entry.read()));
        let _ = self.entry.remove();
        if let Some((Ok(config), Ok(record))) = kept {
            delete::poststop(&config, &record, &mut self.warn);
        }
    }
}
