//! Calls that a filter answers without a look at their arguments.

use super::assemble::{
    AND, JUMP, JUMP_IF_ANY_BIT, JUMP_IF_EQUAL, JUMP_IF_GREATER_OR_EQUAL, LOAD, RETURN,
};
use super::{Abi, Program, number, rule, word};
use crate::config::{Seccomp, SeccompAction, SeccompArch, Syscall};
use crate::error::Result;

/// The call that a container's program is executed with.
const EXECUTE: &str = "execve";

impl Program {
    /// What it returns for a call whatever the arguments are; `None` if it looks at one. The kernel
    /// asks the same way (kernel/seccomp.c, `seccomp_is_const_allow`).
    fn answer(&self, arch: SeccompArch, number: u32) -> Option<u32> {
        let mut at = 0;
        let mut loaded = 0;
        loop {
            let instruction = self.instructions.get(at)?;
            let k = instruction.k;
            at += 1;
            let holds = match instruction.code {
                LOAD => {
                    loaded = match k {
                        word::NUMBER => number,
                        word::ARCHITECTURE => Abi::of(arch).audit,
                        _ => return None,
                    };
                    continue;
                }
                AND => {
                    loaded &= k;
                    continue;
                }
                JUMP => {
                    at += k as usize;
                    continue;
                }
                RETURN => return Some(k),
                JUMP_IF_EQUAL => loaded == k,
                JUMP_IF_GREATER_OR_EQUAL => loaded >= k,
                JUMP_IF_ANY_BIT => loaded & k != 0,
                _ => return None,
            };
            at += usize::from(if holds { instruction.jt } else { instruction.jf });
        }
    }
}

/// Refuses a profile under which nothing can be executed: init could not even say so, where it
/// refuses that as well. A tracer, which may be there by the start, can let the call happen.
pub(crate) fn check_executes(
    profile: &Seccomp,
    program: &Program,
    native: SeccompArch,
) -> Result<()> {
    let answer = number(native, EXECUTE).and_then(|number| program.answer(native, number));
    let Some(answer) = answer else { return Ok(()) };
    if rule::is_permissive(answer) || answer == rule::NOTIFY {
        return Ok(());
    }
    let value = |action: SeccompAction, errno| rule::action(action, errno, String::new).ok();
    let decides = |rule: &Syscall| {
        rule.names.iter().any(|name| name == EXECUTE)
            && value(rule.action, rule.errno_ret) == Some(answer)
    };
    let default = value(profile.default_action, profile.default_errno_ret);
    let deciding = profile.syscalls.iter().enumerate().find(|(_, rule)| decides(rule));
    let (action, pointer, help) = match deciding.filter(|_| default != Some(answer)) {
        Some((index, rule)) => {
            let pointer = format!("/linux/seccomp/syscalls/{index}/action");
            (rule.action, pointer, "take execve out of the names of this rule")
        }
        None => (
            profile.default_action,
            "/linux/seccomp/defaultAction".to_owned(),
            "name execve, and whatever else the program calls, in a rule with SCMP_ACT_ALLOW",
        ),
    };
    Err(rule::refuse("no program can be started: the filter refuses execve", pointer, &action)
        .help(help))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::seccomp::{UnknownCalls, compile};

    const RULE: &str = "/linux/seccomp/syscalls/1/action";
    const DEFAULT: &str = "/linux/seccomp/defaultAction";

    /// The place of the error about a profile, if it is refused: a default, and two rules.
    fn refused(default: &str, first: &str, second: &str) -> Option<String> {
        let json = format!(r#"{{"defaultAction": {default}, "syscalls": [{first}, {second}]}}"#);
        let profile: Seccomp = serde_json::from_str(&json).unwrap();
        for native in [SeccompArch::X86_64, SeccompArch::Aarch64, SeccompArch::S390x] {
            let (program, _) = compile(&profile, native, UnknownCalls::Ignore).unwrap();
            let checked = check_executes(&profile, &program, native);
            let Err(error) = checked else { continue };
            return Some(error.pointer().unwrap().to_owned());
        }
        None
    }

    fn rule(names: &str, action: &str, more: &str) -> String {
        format!(r#"{{"names": [{names}], "action": "SCMP_ACT_{action}"{more}}}"#)
    }

    #[test]
    fn what_refuses_execve_is_named() {
        let other = rule(r#""read""#, "ALLOW", "");
        let newer = rule(r#""mseal""#, "ALLOW", "");
        for action in ["ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"] {
            let default = format!(r#""SCMP_ACT_{action}""#);
            for second in [&other, &newer, &rule(r#""execve""#, action, "")] {
                assert_eq!(refused(&default, &other, second).as_deref(), Some(DEFAULT));
            }
            let this = rule(r#""mkdir", "execve""#, action, "");
            assert_eq!(refused(r#""SCMP_ACT_ALLOW""#, &other, &this).as_deref(), Some(RULE));
        }
    }

    #[test]
    fn what_may_allow_execve_is_not_refused() {
        let other = rule(r#""read""#, "ALLOW", "");
        let args = r#", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NE"}]"#;
        for action in ["ALLOW", "LOG", "TRACE", "NOTIFY"] {
            let this = rule(r#""execve""#, action, "");
            assert_eq!(refused(r#""SCMP_ACT_ERRNO""#, &other, &this), None, "{action}");
        }
        let default = r#""SCMP_ACT_ERRNO""#;
        assert_eq!(refused(default, &other, &rule(r#""execve""#, "ALLOW", args)), None);
        assert_eq!(refused(r#""SCMP_ACT_TRACE""#, &other, &other), None);
        let kills = rule(r#""execve""#, "KILL", "");
        assert_eq!(refused(default, &rule(r#""execve""#, "ALLOW", ""), &kills), None);
    }
}
