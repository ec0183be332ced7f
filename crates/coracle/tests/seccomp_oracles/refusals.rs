//! What is refused, with the place; and what is warned of.

use coracle::config::{Seccomp, SeccompArch};
use coracle::seccomp::{UnknownCalls, compile};

fn parse(default: &str, rule: &str) -> Seccomp {
    let text = format!(r#"{{ "defaultAction": "SCMP_ACT_{default}", "syscalls": [{rule}] }}"#);
    serde_json::from_str(&text).unwrap()
}

fn refusal(profile: &Seccomp) -> String {
    compile(profile, SeccompArch::X86_64, UnknownCalls::Ignore).unwrap_err().to_string()
}

#[test]
fn errors_name_the_place_and_the_value() {
    for (default, rule, text) in [
        (
            "ALLOW",
            r#"{ "names": ["kill"], "action": "SCMP_ACT_TRAP", "errnoRet": 5 }"#,
            "this action has no error number [config.json: /linux/seccomp/syscalls/0/errnoRet = 5] \
             [help: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have one]",
        ),
        (
            "ALLOW",
            r#"{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 }"#,
            "the error number is out of range \
             [config.json: /linux/seccomp/syscalls/0/errnoRet = 4096] \
             [help: it goes from 0 to 4095]",
        ),
        (
            "ALLOW",
            r#"{ "names": ["kill"], "action": "SCMP_ACT_ERRNO",
                 "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] }"#,
            "no system call has that many arguments \
             [config.json: /linux/seccomp/syscalls/0/args/0/index = 6] \
             [help: they are counted from 0 to 5]",
        ),
        (
            "ALLOW",
            r#"{ "names": ["read", "write"], "action": "SCMP_ACT_NOTIFY" }"#,
            "SCMP_ACT_NOTIFY cannot be used for the write syscall \
             [config.json: /linux/seccomp/syscalls/0/names/1 = \"write\"] \
             [help: its listener could wait for a write that waits for the listener]",
        ),
        (
            "NOTIFY",
            r#"{ "names": ["read"], "action": "SCMP_ACT_ALLOW" }"#,
            "SCMP_ACT_NOTIFY cannot be used as default action \
             [config.json: /linux/seccomp/defaultAction = \"SCMP_ACT_NOTIFY\"] \
             [help: name system calls in a rule]",
        ),
        (
            "ALLOW",
            r#"{ "names": ["kill"], "action": "SCMP_ACT_ERRNO",
                 "args": [{ "index": 1, "value": 9, "op": "SCMP_CMP_EQ" }] },
               { "names": ["tkill", "kill"], "action": "SCMP_ACT_TRAP",
                 "args": [{ "index": 1, "value": 9, "op": "SCMP_CMP_EQ" }] }"#,
            "two rules say different things about the same call with the same arguments \
             [config.json: /linux/seccomp/syscalls/1] \
             [help: the other one is /linux/seccomp/syscalls/0]",
        ),
    ] {
        assert_eq!(refusal(&parse(default, rule)), text);
    }
    let mut profile = parse("KILL", "");
    profile.default_errno_ret = Some(3);
    assert_eq!(
        refusal(&profile),
        "this action has no error number [config.json: /linux/seccomp/defaultErrnoRet = 3] \
         [help: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have one]"
    );
}

#[test]
fn unknown_calls_are_left_out_or_refused() {
    let rule = r#"{ "names": ["kill", "smile", "cacheflush"], "action": "SCMP_ACT_ERRNO" }"#;
    let profile = parse("ALLOW", rule);
    let (program, warnings) = compile(&profile, SeccompArch::X86_64, UnknownCalls::Ignore).unwrap();
    // cacheflush is known, though not here.
    assert_eq!(
        warnings,
        ["smile is no known system call: ignored [config.json: /linux/seccomp/syscalls/0/names/1]"]
    );
    let without = parse("ALLOW", r#"{ "names": ["kill"], "action": "SCMP_ACT_ERRNO" }"#);
    let (same, _) = compile(&without, SeccompArch::X86_64, UnknownCalls::Refuse).unwrap();
    assert_eq!(program, same);
    let refused = compile(&profile, SeccompArch::X86_64, UnknownCalls::Refuse).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "there is no such system call \
         [config.json: /linux/seccomp/syscalls/0/names/1 = \"smile\"] \
         [help: without run.oci.seccomp_fail_unknown_syscall it is left out]"
    );
}

#[test]
fn a_program_too_long_for_the_kernel_is_refused() {
    let rule = |value: u64| {
        format!(
            r#"{{ "names": ["kill", "read", "tkill", "openat2", "mmap"],
                  "action": "SCMP_ACT_ERRNO", "errnoRet": {},
                  "args": [{{ "index": 1, "value": {}, "op": "SCMP_CMP_MASKED_EQ" }}] }}"#,
            1 + value % 4000,
            3_u64 << (value % 60)
        )
    };
    let rules = |count| (1..=count).map(rule).collect::<Vec<_>>().join(",");
    let short = parse("ALLOW", &rules(60));
    let (program, _) = compile(&short, SeccompArch::X86_64, UnknownCalls::Ignore).unwrap();
    super::machine::check(&program);
    assert!(program.instructions.len() > 600);
    let values = |count: u64| {
        let values: Vec<_> = (0..count)
            .map(|i| {
                format!(
                    r#"{{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": {},
                          "args": [{{ "index": 1, "value": {}, "op": "SCMP_CMP_EQ" }}] }}"#,
                    i % 4000,
                    i * 3
                )
            })
            .collect();
        parse("ALLOW", &values.join(","))
    };
    let (program, _) = compile(&values(1500), SeccompArch::X86_64, UnknownCalls::Ignore).unwrap();
    super::machine::check(&program);
    let text = refusal(&values(2000));
    assert!(text.starts_with("the profile is too long for the kernel: its program has "), "{text}");
    assert!(text.contains("instructions, more than 4096 [config.json: /linux/seccomp/syscalls]"));
}
