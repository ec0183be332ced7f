//! What a program is beside its decisions.

use coracle::config::{Seccomp, SeccompArch};

use super::program;

fn parse(rest: &str) -> Seccomp {
    let text = format!(r#"{{ "defaultAction": "SCMP_ACT_ALLOW"{rest} }}"#);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn flags_are_those_asked_for() {
    const TSYNC: u32 = 1;
    const LOG: u32 = 2;
    const SPEC_ALLOW: u32 = 4;
    const NEW_LISTENER: u32 = 8;
    const TSYNC_ESRCH: u32 = 16;
    const WAIT_KILLABLE_RECV: u32 = 32;
    let notify = r#", "syscalls": [{ "names": ["kill"], "action": "SCMP_ACT_NOTIFY" }]"#;
    for (asked, plain, with_listener) in [
        (None, SPEC_ALLOW, SPEC_ALLOW),
        (Some("LOG"), LOG, LOG),
        (Some("SPEC_ALLOW"), SPEC_ALLOW, SPEC_ALLOW),
        (Some("TSYNC"), TSYNC | TSYNC_ESRCH, TSYNC | TSYNC_ESRCH),
        (Some("WAIT_KILLABLE_RECV"), 0, WAIT_KILLABLE_RECV),
    ] {
        let asked = asked
            .map_or(String::new(), |flag| format!(r#", "flags": ["SECCOMP_FILTER_FLAG_{flag}"]"#));
        let without = program(&parse(&asked), SeccompArch::X86_64);
        assert_eq!((without.flags, without.uses_notify), (plain, false), "{asked}");
        let with = program(&parse(&(asked + notify)), SeccompArch::X86_64);
        assert_eq!((with.flags, with.uses_notify), (with_listener | NEW_LISTENER, true));
    }
}

#[test]
fn a_program_can_be_read() {
    let profile = parse(
        r#", "syscalls": [
            { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [
                { "index": 1, "value": 9, "op": "SCMP_CMP_EQ" } ] },
            { "names": ["clone"], "action": "SCMP_ACT_TRAP", "args": [
                { "index": 0, "value": 768, "valueTwo": 256, "op": "SCMP_CMP_MASKED_EQ" } ] }
        ]"#,
    );
    let text = "   0  load architecture
   1  if = 0xc000003e 2 else 7
   2  load number
   3  if >= 0x40000000 6 else 4
   4  if = 0x38 13 else 5
   5  if = 0x3e 8 else 16
   6  if >= 0xffffffff 16 else 7
   7  return kill thread
   8  load argument 1 high
   9  if >= 0x1 16 else 10
  10  load argument 1 low
  11  if = 0x9 12 else 16
  12  return errno 13
  13  load argument 0 low
  14  and 0x300
  15  if = 0x100 17 else 16
  16  return allow
  17  return trap
";
    let shown = program(&profile, SeccompArch::X86_64).to_string();
    assert_eq!(shown, text);
}
