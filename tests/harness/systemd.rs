//! The command on a machine that systemd runs, and what systemd says of its units.

use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::call::{Call, Outcome, eventually};
use crate::cgroups::of_process;
use crate::coracle::Coracle;
use crate::host;
use crate::skip::Needs;

/// coracle on a machine that systemd runs. The guest is one.
pub struct Host {
    /// The command.
    pub coracle: Coracle,
    /// `--user`, for the user's systemd.
    pub whose: &'static [&'static str],
}

impl Host {
    /// For root.
    pub fn as_root() -> Needs<Self> {
        host::systemd()?;
        Ok(Self { coracle: Coracle::as_root()?, whose: &[] })
    }

    /// The ordinary user, who is logged in.
    pub fn as_user() -> Needs<Self> {
        host::systemd()?;
        let coracle = Coracle::as_user()?;
        host::session(coracle.user().expect("an ordinary one"))?;
        Ok(Self { coracle, whose: &["--user"] })
    }

    /// Gives a call what leads to the user's systemd.
    pub fn environment(&self, call: Call) -> Call {
        let Some(user) = self.coracle.user() else { return call };
        let directory = format!("/run/user/{}", user.uid);
        call.env("XDG_RUNTIME_DIR", directory).env("DBUS_SESSION_BUS_ADDRESS", "")
    }

    /// The command with `--systemd-cgroup` and these words.
    pub fn call(&self, words: &[&str]) -> Call {
        self.environment(self.coracle.call(["--systemd-cgroup"]).args(words))
    }

    /// `COMMAND --bundle DIR ID`.
    pub fn with_bundle(&self, command: &str, bundle: &Bundle) -> Call {
        self.call(&[command, "--bundle", bundle.path().to_str().unwrap(), bundle.id()])
    }

    /// A bundle in a slice of its own, and the names of unit and slice.
    pub fn bundle(&self) -> (Bundle, String, String) {
        let bundle = self.coracle.bundle().sh("sleep 1000");
        let id = bundle.id().to_owned();
        // A dash is a level of slices.
        let slice = format!("{}.slice", id.replace('-', "_"));
        let unit = format!("unit-{id}.scope");
        (bundle.set("/linux/cgroupsPath", format!("{slice}:unit:{id}")), unit, slice)
    }

    /// `create` and `start`: the outcome of the first.
    #[track_caller]
    pub fn started(&self, bundle: &Bundle) -> Outcome {
        let created = self.with_bundle("create", bundle).output().succeeds();
        self.call(&["start", bundle.id()]).output().succeeds();
        created
    }

    /// The same: the container's first process.
    #[track_caller]
    pub fn start(&self, bundle: &Bundle) -> u32 {
        self.started(bundle);
        self.coracle.pid(bundle.id())
    }

    /// `delete --force`, which succeeds.
    #[track_caller]
    pub fn delete(&self, id: &str) {
        self.call(&["delete", "--force", id]).output().succeeds();
    }

    /// A property of a unit.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let words = ["show", "--value", "--property", name, "--", unit];
        self.systemctl(&words).stdout.trim_end().to_owned()
    }

    /// `systemctl`, which succeeds.
    #[track_caller]
    pub fn systemctl(&self, words: &[&str]) -> Outcome {
        let call = Call::new(["systemctl"]).args(self.whose).args(words);
        self.environment(call.user(self.coracle.user().cloned())).output().succeeds()
    }

    /// Asserts that a unit has these properties.
    #[track_caller]
    pub fn has(&self, unit: &str, properties: &[(&str, &str)]) {
        for (name, value) in properties {
            assert_eq!(self.property(unit, name), *value, "{name}");
        }
    }

    /// Asserts that a unit is no more, and nothing else is.
    #[track_caller]
    pub fn is_gone(&self, unit: &str) {
        // Every slice can be loaded, without a file.
        let gone = |name, wanted| self.property(unit, name) == wanted;
        eventually("the unit goes", || {
            gone("LoadState", "not-found")
                || gone("ActiveState", "inactive") && !unit.contains("scope")
        });
        self.coracle.assert_nothing_left();
    }
}

/// The path of a process's cgroup in the hierarchy that systemd keeps track in.
pub fn tracked(pid: u32) -> String {
    let names = if is_unified() { "" } else { "name=systemd" };
    of_process(pid).into_iter().find(|(of, _)| of == names).expect("a cgroup").1
}

/// Its directory, where v2 is all there is.
pub fn tracked_directory(pid: u32) -> PathBuf {
    format!("/sys/fs/cgroup{}", tracked(pid)).into()
}

/// Sees whether v2 is all there is.
pub fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}
