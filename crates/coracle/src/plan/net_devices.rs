//! `/linux/netDevices` → devices to move.

use super::origin::Origin;
use crate::config;

/// A network device to move into the container's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Who asked for it.
    pub origin: Origin,
    /// Its name in the runtime's network namespace.
    pub name: String,
    /// Its name in the container's, if that is another; `%d` stands for a number that is free.
    pub inside: Option<String>,
}

impl NetDevice {
    /// The name that it is to have in the container.
    pub fn wanted(&self) -> &str {
        self.inside.as_deref().unwrap_or(&self.name)
    }

    /// The JSON pointer to where that stands.
    pub(crate) fn pointer(&self) -> String {
        let pointer = self.origin.to_string();
        if self.inside.is_some() { pointer + "/name" } else { pointer }
    }
}

/// Plans the devices, in the order of their names.
pub(super) fn plan(linux: &config::Linux) -> Vec<NetDevice> {
    let device = |(name, device): (&String, &config::NetDevice)| NetDevice {
        origin: Origin::key("/linux/netDevices", name),
        name: name.clone(),
        inside: device.name.clone().filter(|name| !name.is_empty()),
    };
    linux.net_devices.iter().map(device).collect()
}
