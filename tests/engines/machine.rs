//! The machine itself, with the engines' own defaults: systemd makes the cgroups.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_tests::{Call, Coracle, Needs, Scratch, User, copy_program, host};

use crate::compare::Place;
use crate::programs::{PATH, PATIENCE, program};

/// Storage and settings of podman's for one runtime.
pub(crate) struct Machine {
    scratch: Scratch,
    name: &'static str,
    path: PathBuf,
    session: Option<(User, String)>,
}

impl Machine {
    /// One for each runtime, where systemd runs, for root.
    pub(crate) fn of_root() -> Needs<[Self; 2]> {
        host::systemd()?;
        Self::each(None)
    }

    /// The same for an ordinary user in their session.
    pub(crate) fn of_user() -> Needs<[Self; 2]> {
        let user = User::ordinary()?;
        let session = host::session(&user)?;
        Self::each(Some(&(user, session)))
    }

    fn each(session: Option<&(User, String)>) -> Needs<[Self; 2]> {
        program("podman", "podman")?;
        let coracle = Coracle::as_root()?.binary().to_owned();
        let runtimes = [("runc", program("runc", "runc")?), ("coracle", coracle)];
        Ok(runtimes.map(|(name, path)| Self::new(name, &path, session.cloned())))
    }

    fn new(name: &'static str, binary: &Path, session: Option<(User, String)>) -> Self {
        let scratch = Scratch::new();
        let directory = scratch.path();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        // A user may not reach where it was built, and both are to be called alike.
        let path = directory.join(name);
        copy_program(binary, &path);
        for name in ["bin", "home", "work"] {
            let path = directory.join(name);
            fs::create_dir(&path).unwrap();
            if let Some((user, _)) = &session {
                chown(&path, Some(user.uid), Some(user.gid)).unwrap();
            }
        }
        let image = include_str!("image.sh");
        Call::new(["sh", "-c", image]).within(directory).output().succeeds();
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        write("step.sh", include_str!("step.sh"));
        write("bin/podman", PODMAN);
        fs::set_permissions(directory.join("bin/podman"), fs::Permissions::from_mode(0o755))
            .unwrap();
        write("containers.conf", &containers_conf(name, &path));
        Self { scratch, name, path, session }
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }
}

impl Place for Machine {
    fn name(&self) -> &str {
        self.scratch.name()
    }

    fn runtime(&self) -> (&str, &Path) {
        (self.name, &self.path)
    }

    fn sh(&self, line: &str) -> Call {
        let home = self.path().join("home");
        let call = Call::new(["timeout", "-k", "5", PATIENCE, "sh", "-c"])
            .args([format!(". $D/step.sh; {line}")])
            .within(self.path().join("work"))
            .env("CONTAINERS_CONF", self.path().join("containers.conf"))
            .env("RUNTIME", &self.path)
            .env("D", self.path())
            .env("PATH", format!("{}/bin:{PATH}", self.path().display()))
            .env("DOCKER_HOST", format!("unix://{}/docker.sock", self.path().display()))
            .env("HOME", home)
            .patience(Duration::from_mins(2));
        match &self.session {
            None => call,
            Some((user, directory)) => call
                .env("USER", &user.name)
                .env("XDG_RUNTIME_DIR", directory)
                .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={directory}/bus"))
                .user(Some(user.clone())),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Containers and daemons of a test that failed; none otherwise.
        let _ = self.sh("podman rm -f -a -t 0; ! [ -e $D/own.pid ] || end dockerd TERM").output();
    }
}

/// Where podman keeps things is no setting of an ordinary user's but an option.
const PODMAN: &str = r#"#!/bin/sh
exec /usr/bin/podman --root "$HOME/root" --runroot "$HOME/run" "$@"
"#;

/// All but the runtime is podman's default, and that only those have a network who ask for one: making one
/// takes longer than all else.
fn containers_conf(name: &str, path: &Path) -> String {
    format!(
        "[containers]\n\
         netns = \"none\"\n\
         [engine]\n\
         runtime = \"{name}\"\n\
         runtime_supports_json = [\"{name}\"]\n\
         [engine.runtimes]\n\
         {name} = [\"{}\"]\n",
        path.display()
    )
}
