//! Which devices a container may use: the rules of `linux.resources.devices`.

/// What kind of device a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Every device, whatever its number: the rule replaces all that stand before it.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// A set of kinds of access: bits of [`Access::READ`], [`Access::WRITE`], [`Access::MKNOD`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// `m`: making a node.
    pub const MKNOD: Self = Self(1);
    /// `r`: opening for reading.
    pub const READ: Self = Self(2);
    /// `w`: opening for writing.
    pub const WRITE: Self = Self(4);
    /// `rwm`.
    pub const ALL: Self = Self(7);

    /// Reads letters out of `rwm`; `None` if there are none or others.
    pub fn parse(letters: &str) -> Option<Self> {
        let _ = letters;
        todo!()
    }
}

/// One rule of `linux.resources.devices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// The kind of device.
    pub kind: DeviceKind,
    /// The major number; `None` is any.
    pub major: Option<u32>,
    /// The minor number; `None` is any.
    pub minor: Option<u32>,
    /// Which access it is about.
    pub access: Access,
}

/// The rules of config.json followed by those for the default devices, which a container always
/// may use, as with runc.
pub fn effective_rules(config_rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let _ = config_rules;
    todo!()
}
