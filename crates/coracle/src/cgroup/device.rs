//! Which devices a container may use: the rules of `linux.resources.devices`, and what they come
//! to.

use std::fmt;

use crate::{Error, Result, config};

/// What kind of device a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Every device and access, whatever else the rule says: it replaces all that stand before it.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// A set of kinds of access.
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

    const LETTERS: [(char, Self); 3] = [('r', Self::READ), ('w', Self::WRITE), ('m', Self::MKNOD)];

    /// Reads letters out of `rwm`; `None` if there is none or another one.
    pub fn parse(letters: &str) -> Option<Self> {
        let mut access = Self::default();
        for letter in letters.chars() {
            access.0 |= Self::LETTERS.iter().find(|(known, _)| *known == letter)?.1.0;
        }
        (access != Self::default()).then_some(access)
    }

    /// The bits of linux/bpf.h, `BPF_DEVCG_ACC_*`.
    pub(super) fn bits(self) -> u8 {
        self.0
    }

    fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The access of both.
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn letters(self) -> String {
        let has = |&(letter, access): &(char, Self)| self.contains(access).then_some(letter);
        Self::LETTERS.iter().filter_map(has).collect()
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

impl DeviceRule {
    /// Reads a rule of config.json. The error says what is wrong; its place is the caller's to add.
    ///
    /// As with runc, access has to be given, and a rule without a type is about every device, even
    /// if it has numbers.
    pub fn from_config(rule: &config::DeviceCgroup) -> Result<Self> {
        let number = |number: Option<i64>, name: &str| match number {
            None | Some(-1) => Ok(None),
            Some(number) => u32::try_from(number).map(Some).map_err(|_| {
                Error::new(format!("{number} is no {name} number of a device"))
                    .help("a number from 0 to 4294967295, or -1 for any")
            }),
        };
        let access = rule.access.as_deref().and_then(Access::parse).ok_or_else(|| {
            Error::new("the access of a device rule has to be some of the letters r, w and m")
        })?;
        Ok(Self {
            allow: rule.allow,
            kind: match rule.kind {
                None | Some(config::DeviceCgroupKind::All) => DeviceKind::All,
                Some(config::DeviceCgroupKind::Char) => DeviceKind::Char,
                Some(config::DeviceCgroupKind::Block) => DeviceKind::Block,
            },
            major: number(rule.major, "major")?,
            minor: number(rule.minor, "minor")?,
            access,
        })
    }

    /// Whether each device of the other is one of this rule's.
    fn covers(&self, other: &Self) -> bool {
        self.kind == other.kind
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Whether there is a device that both are about.
    fn meets(&self, other: &Self) -> bool {
        fn agree(one: Option<u32>, other: Option<u32>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        self.kind == other.kind && agree(self.major, other.major) && agree(self.minor, other.minor)
    }

    /// What it is about, as version 1 writes it: `c 1:3 rwm`.
    pub(super) fn line(&self) -> String {
        let kind = match self.kind {
            DeviceKind::All => return "a".to_owned(),
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        let number = |number: Option<u32>| {
            number.map_or_else(|| "*".to_owned(), |number| number.to_string())
        };
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.access.letters())
    }
}

/// `allow c 1:3 rwm`
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.allow { "allow" } else { "deny" }, self.line())
    }
}

/// The rules of config.json, followed by those that let every container use the default devices
/// (runtime-spec, "Default Devices") and, as runc does, make any node and use `/dev/net/tun`:
/// images count on both.
pub fn effective_rules(config_rules: &[DeviceRule]) -> Vec<DeviceRule> {
    const DEFAULT: [(DeviceKind, Option<u32>, Option<u32>, Access); 11] = [
        (DeviceKind::Char, None, None, Access::MKNOD),
        (DeviceKind::Block, None, None, Access::MKNOD),
        // null, zero, full, random, urandom
        (DeviceKind::Char, Some(1), Some(3), Access::ALL),
        (DeviceKind::Char, Some(1), Some(5), Access::ALL),
        (DeviceKind::Char, Some(1), Some(7), Access::ALL),
        (DeviceKind::Char, Some(1), Some(8), Access::ALL),
        (DeviceKind::Char, Some(1), Some(9), Access::ALL),
        // tty, ptmx, pts/*, net/tun
        (DeviceKind::Char, Some(5), Some(0), Access::ALL),
        (DeviceKind::Char, Some(5), Some(2), Access::ALL),
        (DeviceKind::Char, Some(136), None, Access::ALL),
        (DeviceKind::Char, Some(10), Some(200), Access::ALL),
    ];
    let default = DEFAULT.map(|(kind, major, minor, access)| DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        access,
    });
    // A rule about every device begins anew, so they go behind the last of those; before the
    // others, which may take a default device away.
    let anew = config_rules.iter().rposition(|rule| rule.kind == DeviceKind::All);
    let (before, after) = config_rules.split_at(anew.map_or(0, |index| index + 1));
    [before, &default, after].concat()
}

/// Rules brought to their shortest form. The last one that matches decides about each kind of
/// access; where none does, the default.
///
/// runc loses a rule that denies more devices than an earlier one allowed (as the kernel's version
/// 1 does), and refuses one that denies fewer. The specification has rules "applied in the listed
/// order", so here the later one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) default_allow: bool,
    /// None is about [`DeviceKind::All`]; of neighbours that say the same, none makes another
    /// superfluous.
    pub(super) rules: Vec<DeviceRule>,
}

impl Policy {
    pub(super) fn new(rules: &[DeviceRule]) -> Self {
        let reset = rules.iter().rposition(|rule| rule.kind == DeviceKind::All);
        let default_allow = reset.is_some_and(|index| rules[index].allow);
        let decides = |one: &DeviceRule, other: &DeviceRule| {
            one.covers(other) && one.access.contains(other.access)
        };
        let mut kept: Vec<DeviceRule> = Vec::new();
        // From the last: it is dead if a later one decides all it would.
        for rule in rules[reset.map_or(0, |index| index + 1)..].iter().rev() {
            if !kept.iter().any(|later| decides(later, rule)) {
                kept.push(*rule);
            }
        }
        // The first ones have no effect if they say what the default says.
        while kept.pop_if(|first| first.allow == default_allow).is_some() {}
        kept.reverse();
        // Among neighbours that say the same, an earlier one will do, too.
        let rules = kept.chunk_by(|one, next| one.allow == next.allow).flat_map(|alike| {
            alike.iter().enumerate().filter_map(|(index, rule)| {
                let dead = alike[..index].iter().any(|earlier| decides(earlier, rule));
                (!dead).then_some(*rule)
            })
        });
        Self { default_allow, rules: rules.collect() }
    }

    /// Whether every access to every device is allowed.
    pub(super) fn allows_all(&self) -> bool {
        self.default_allow && self.rules.is_empty()
    }

    /// The rules as version 1 keeps them: exceptions from the default, in no order.
    ///
    /// It can't express an exception from an exception, such as all of 1:* but 1:3: an error. The
    /// making of any node is another matter: docker allows it and then denies all access to one
    /// device. There the node may be made all the same; without the other access it is of no use.
    pub(super) fn exceptions(&self) -> Result<Vec<DeviceRule>> {
        let mut exceptions: Vec<DeviceRule> = Vec::new();
        for rule in &self.rules {
            if rule.allow != self.default_allow {
                exceptions.push(*rule);
                continue;
            }
            for exception in &mut exceptions {
                let any_node = exception.major.is_none()
                    && exception.minor.is_none()
                    && exception.access == Access::MKNOD
                    && rule.access != Access::MKNOD;
                if rule.covers(exception) {
                    exception.access = exception.access.without(rule.access);
                } else if !any_node
                    && rule.meets(exception)
                    && exception.access.without(rule.access) != exception.access
                {
                    return Err(Error::new("setting the device rules")
                        .because(format!("`{rule}` after `{exception}` needs cgroup version 2"))
                        .at("/linux/resources/devices", None)
                        .help("allow the devices one by one, and deny none of them"));
                }
            }
            exceptions.retain(|exception| exception.access != Access::default());
        }
        Ok(exceptions)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// `+c 1:* rw`: one rule.
    fn rule(text: &str) -> DeviceRule {
        let (sign, text) = text.split_at(1);
        let mut words = text.split([' ', ':']);
        let kind = match words.next() {
            Some("a") => DeviceKind::All,
            Some("c") => DeviceKind::Char,
            _ => DeviceKind::Block,
        };
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let (major, minor) = (number(), number());
        let access = words.next().and_then(Access::parse).unwrap_or(Access::ALL);
        DeviceRule { allow: sign == "+", kind, major, minor, access }
    }

    fn policy(rules: &[&str]) -> Policy {
        Policy::new(&rules.iter().map(|text| rule(text)).collect::<Vec<_>>())
    }

    fn lines(rules: &[DeviceRule]) -> Vec<String> {
        rules.iter().map(DeviceRule::line).collect()
    }

    /// The meaning of a list of rules, straight from the definition.
    pub(in super::super) fn decide(
        rules: &[DeviceRule],
        kind: DeviceKind,
        major: u32,
        minor: u32,
        access: Access,
    ) -> bool {
        [Access::READ, Access::WRITE, Access::MKNOD].into_iter().all(|one| {
            let decided = rules.iter().rfind(|rule| {
                rule.kind == DeviceKind::All
                    || rule.kind == kind
                        && rule.major.is_none_or(|number| number == major)
                        && rule.minor.is_none_or(|number| number == minor)
                        && rule.access.contains(one)
            });
            !access.contains(one) || decided.is_some_and(|rule| rule.allow)
        })
    }

    /// Every short list of rules is as likely as another; numbers are few so that they meet.
    pub(in super::super) fn random_rules(random: &mut impl FnMut(u32) -> u32) -> Vec<DeviceRule> {
        let number = |n: u32| [None, Some(0), Some(1), Some(u32::MAX)][n as usize];
        (0..random(9))
            .map(|_| DeviceRule {
                allow: random(2) == 0,
                kind: match random(8) {
                    0 => DeviceKind::All,
                    1..4 => DeviceKind::Block,
                    _ => DeviceKind::Char,
                },
                major: number(random(4)),
                minor: number(random(4)),
                access: Access(u8::try_from(random(7) + 1).unwrap()),
            })
            .collect()
    }

    /// Repeatable numbers below a bound (xorshift).
    pub(in super::super) fn randomness() -> impl FnMut(u32) -> u32 {
        let mut state = 0x2545_f491_u32;
        move |below| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) % below
        }
    }

    /// Every request that a random rule could tell from another.
    pub(in super::super) fn requests() -> impl Iterator<Item = (DeviceKind, u32, u32, Access)> {
        let numbers = [0, 1, 2, u32::MAX];
        [DeviceKind::Char, DeviceKind::Block].into_iter().flat_map(move |kind| {
            numbers.into_iter().flat_map(move |major| {
                numbers.into_iter().flat_map(move |minor| {
                    (1..8).map(move |access| (kind, major, minor, Access(access)))
                })
            })
        })
    }

    #[test]
    fn access_letters() {
        assert_eq!(Access::parse("rwm"), Some(Access::ALL));
        assert_eq!(Access::parse("mr").map(Access::letters).as_deref(), Some("rm"));
        assert_eq!(Access::parse(""), None);
        assert_eq!(Access::parse("rx"), None);
    }

    #[test]
    fn rules_of_config_json() {
        let read = |text| {
            let rule: config::DeviceCgroup = serde_json::from_str(text).unwrap();
            DeviceRule::from_config(&rule).map(|rule| rule.to_string())
        };
        for (text, shown) in [
            (r#"{"allow": false, "access": "rwm"}"#, "deny a"),
            (r#"{"allow": true, "type": "a", "major": 1, "access": "r"}"#, "allow a"),
            (r#"{"allow": true, "type": "c", "major": -1, "access": "m"}"#, "allow c *:* m"),
            (
                r#"{"allow": true, "type": "b", "major": 8, "minor": 0, "access": "wr"}"#,
                "allow b 8:0 rw",
            ),
        ] {
            assert_eq!(read(text).unwrap(), shown);
        }
        for text in [
            r#"{"allow": true, "type": "c", "major": 1, "minor": 3}"#,
            r#"{"allow": true, "type": "c", "access": ""}"#,
            r#"{"allow": true, "type": "c", "access": "x"}"#,
            r#"{"allow": true, "type": "c", "major": -2, "access": "r"}"#,
            r#"{"allow": true, "type": "c", "minor": 4294967296, "access": "r"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn default_devices_come_behind_the_last_rule_about_all() {
        let rules = effective_rules(&[rule("-a *:* rwm"), rule("+c 10:229 rwm")]);
        assert_eq!(
            lines(&rules),
            [
                "a",
                "c *:* m",
                "b *:* m",
                "c 1:3 rwm",
                "c 1:5 rwm",
                "c 1:7 rwm",
                "c 1:8 rwm",
                "c 1:9 rwm",
                "c 5:0 rwm",
                "c 5:2 rwm",
                "c 136:* rwm",
                "c 10:200 rwm",
                "c 10:229 rwm",
            ]
        );
        assert!(rules[1..].iter().all(|rule| rule.allow));
    }

    #[test]
    fn one_device_denied_is_no_matter_for_version_1() {
        let docker = [rule("-a *:* rwm"), rule("+c 1:3 rwm"), rule("-c 10:229 rwm")];
        let denied = Policy::new(&effective_rules(&docker));
        let exceptions = denied.exceptions().unwrap();
        assert!(!denied.default_allow && exceptions.contains(&rule("+c 1:3 rwm")));
        assert!(!decide(&exceptions, DeviceKind::Char, 10, 229, Access::READ));
        assert!(decide(&exceptions, DeviceKind::Char, 10, 229, Access::MKNOD));
        // The making alone is not allowed by halves.
        assert!(policy(&["-a", "+c *:* m", "-c 10:229 m"]).exceptions().is_err());
    }

    #[test]
    fn a_privileged_container_has_no_rules() {
        let policy = Policy::new(&effective_rules(&[rule("+a *:* rwm")]));
        assert!(policy.allows_all());
    }

    #[test]
    fn repeated_rules_go() {
        let rules = policy(&["-a", "+c 1:3 r", "+c 1:3 rw", "+b *:* m", "-c 1:3 rwm", "+c 1:3 r"]);
        assert_eq!(lines(&rules.rules), ["b *:* m", "c 1:3 rwm", "c 1:3 r"]);
    }

    #[test]
    fn the_shortest_form_means_the_same() {
        let mut random = randomness();
        for _ in 0..2000 {
            let rules = random_rules(&mut random);
            let policy = Policy::new(&rules);
            let mut short = vec![DeviceRule { allow: policy.default_allow, ..rule("+a *:* rwm") }];
            short.extend(&policy.rules);
            for (kind, major, minor, access) in requests() {
                assert_eq!(
                    decide(&short, kind, major, minor, access),
                    decide(&rules, kind, major, minor, access),
                    "{rules:?} {kind:?} {major}:{minor} {access:?}"
                );
            }
        }
    }

    #[test]
    fn exceptions_mean_the_same_or_are_refused() {
        let mut random = randomness();
        let mut expressed = 0;
        for _ in 0..2000 {
            let rules = random_rules(&mut random);
            let policy = Policy::new(&rules);
            let Ok(exceptions) = policy.exceptions() else { continue };
            expressed += 1;
            assert!(exceptions.iter().all(|rule| rule.allow != policy.default_allow));
            let mut flat = vec![DeviceRule { allow: policy.default_allow, ..rule("+a *:* rwm") }];
            flat.extend(exceptions);
            // Who may make any node may make one he is denied with all else.
            let any_node = |rule: &DeviceRule| {
                rule.major.or(rule.minor).is_none() && rule.access == Access::MKNOD
            };
            let loose = flat[1..].iter().any(any_node);
            for (kind, major, minor, access) in requests() {
                if loose && access.contains(Access::MKNOD) {
                    continue;
                }
                assert_eq!(
                    decide(&flat, kind, major, minor, access),
                    decide(&rules, kind, major, minor, access),
                    "{rules:?} {kind:?} {major}:{minor} {access:?}"
                );
            }
        }
        assert!(expressed > 500, "{expressed}");
    }

    #[test]
    fn a_hole_in_an_exception_names_both_rules() {
        let error = policy(&["-a", "+c 1:* rw", "-c 1:3 w"]).exceptions().unwrap_err();
        assert!(error.to_string().contains("`deny c 1:3 w` after `allow c 1:* rw`"), "{error}");
        assert_eq!(error.pointer(), Some("/linux/resources/devices"));
        // Of other access, it is no hole.
        assert!(policy(&["-a", "+c 1:* r", "-c 1:3 w"]).exceptions().is_ok());
    }
}
