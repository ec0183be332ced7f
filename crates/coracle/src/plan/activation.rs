//! What a service manager gives a container: the socket on which it says that it is ready
//! (sd_notify(3)), and sockets to serve (sd_listen_fds(3)).

use std::ffi::CString;
use std::path::PathBuf;

use super::cstring;
use super::mount::{Bind, Mount, Opener, Source};
use super::origin::Origin;
use super::process::Program;
use super::step::{Action, Step};
use crate::error::Result;
use crate::sys::mount::attr;

/// Where the container finds the socket, below its root.
const DIRECTORY: &str = "run/notify";

/// The name of the socket in its directory.
pub(crate) const SOCKET: &str = "notify.sock";

/// What a service manager has for the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activation {
    /// The host's directory that will have the socket to be told on, absolute.
    pub notify: Option<PathBuf>,
    /// How many descriptors from 3 on are sockets to serve.
    pub listen_fds: u32,
}

impl Activation {
    /// The mount of the socket's directory.
    pub(super) fn mount(&self, opener: Opener) -> Result<Option<Step>> {
        let Some(directory) = &self.notify else { return Ok(None) };
        let action = Action::Mount(Box::new(Mount {
            target: cstring(DIRECTORY, "")?,
            on_link: false,
            source: Source::Bind(Bind {
                path: cstring(&directory.to_string_lossy(), "")?,
                opener,
                ..Bind::default()
            }),
            set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
            clear: 0,
            recursive_set: 0,
            recursive_clear: 0,
            propagation: Vec::new(),
        }));
        Ok(Some(Step { origin: Origin::DEFAULT, action }))
    }

    /// Tells the program. What the configuration says about it is for somebody else.
    pub(super) fn tell(&self, program: &mut Program) -> Result<()> {
        let mut set = |name: &str, value: Option<String>| {
            let start = format!("{name}=");
            program.env.retain(|variable| !variable.to_bytes().starts_with(start.as_bytes()));
            let value: Option<CString> =
                value.map(|value| cstring(&(start + &value), "/process/env")).transpose()?;
            program.env.extend(value);
            Ok(())
        };
        if self.notify.is_some() {
            set("NOTIFY_SOCKET", Some(format!("/{DIRECTORY}/{SOCKET}")))?;
        }
        if self.listen_fds > 0 {
            set("LISTEN_FDS", Some(self.listen_fds.to_string()))?;
            set("LISTEN_FDNAMES", None)?;
            // Only the process itself knows its id in its pid namespace.
            set("LISTEN_PID", None)?;
            program.listens = true;
        }
        Ok(())
    }
}
