//! Programs against libseccomp's, from a small program in C that the test builds: a static test
//! binary cannot load the library itself.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use coracle::config::{Seccomp, SeccompAction, SeccompArch, SeccompOp, Syscall, SyscallArg};
use coracle::seccomp::{Instruction, Program, UnknownCalls, compile, number};

use super::generate::{self, Random};
use super::rules::{Rules, value};
use super::{Call, PROFILES, audit, boundary_values, machine, numbers, profile};

const SOURCE: &str = include_str!("export.c");

/// Architectures that libseccomp of 2.5 knows beside the machine's, of the same byte order.
const ARCHITECTURES: [SeccompArch; 10] = [
    SeccompArch::X86_64,
    SeccompArch::X86,
    SeccompArch::X32,
    SeccompArch::Arm,
    SeccompArch::Aarch64,
    SeccompArch::Mipsel,
    SeccompArch::Mipsel64,
    SeccompArch::Mipsel64N32,
    SeccompArch::Ppc64le,
    SeccompArch::Riscv64,
];

/// The program that compiles with libseccomp, built once.
fn exporter() -> Result<&'static PathBuf, &'static String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref()
}

fn build() -> Result<PathBuf, String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err("compares with libseccomp on x86_64 only".into());
    }
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let source = directory.join(format!("export-{}.c", std::process::id()));
    let binary = directory.join(format!("export-{}", std::process::id()));
    std::fs::write(&source, SOURCE).unwrap();
    let built = Command::new("gcc")
        .args(["-O1", "-o"])
        .args([&binary, &source])
        .arg("-lseccomp")
        .stdin(Stdio::null())
        .output();
    let _ = std::fs::remove_file(source);
    match built {
        Ok(output) if output.status.success() => Ok(binary),
        _ => Err("needs gcc and libseccomp (packages gcc, libseccomp-dev)".into()),
    }
}

/// What libseccomp makes of a profile.
pub(super) struct Exported {
    pub(super) program: Program,
    pub(super) compiling: Duration,
    unknown: HashSet<String>,
    /// Calls that it does not know on an architecture: `SCMP_ARCH_*` and the name.
    lacks: HashSet<(u32, String)>,
    /// Whether it refused a rule: one that contradicts another, or one of no use.
    refused: bool,
}

/// `SCMP_ARCH_*`: x32 has no `AUDIT_ARCH_*` of its own.
fn token(arch: SeccompArch) -> u32 {
    if arch == SeccompArch::X32 { 0x4000_003e } else { audit(arch) }
}

/// Gives libseccomp the profile's rules as runc does.
pub(super) fn export(profile: &Seccomp, optimize: u32) -> Result<Exported, &'static String> {
    let exporter = exporter()?;
    let default = value(profile.default_action, profile.default_errno_ret);
    let mut text = format!("optimize {optimize}\ndefault {default}\n");
    for arch in &profile.architectures {
        text += &format!("arch {}\n", token(*arch));
    }
    for rule in &profile.syscalls {
        let action = value(rule.action, rule.errno_ret);
        if action == default {
            continue;
        }
        let twice = (0..6).any(|i| rule.args.iter().filter(|arg| arg.index == i).count() > 1);
        let lists: Vec<_> =
            if twice { rule.args.chunks(1).collect() } else { vec![&rule.args[..]] };
        for name in &rule.names {
            for list in &lists {
                text += &format!("rule {action} {name} {}", list.len());
                for arg in *list {
                    let SyscallArg { index, value, value_two, op } = arg;
                    text += &format!(" {index} {} {value} {value_two}", operator(*op));
                }
                text += "\n";
            }
        }
    }
    let mut child = Command::new(exporter)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // 3: a default action that it does not take, such as error 4095.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{code:?} {said}\n{text}");
    let words = |key: &'static str| {
        said.lines().filter_map(move |line| line.strip_prefix(key)).map(str::to_owned)
    };
    let instructions = output.stdout.chunks(8).map(|bytes| Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes(bytes[4..].try_into().unwrap()),
    });
    Ok(Exported {
        program: Program { instructions: instructions.collect(), flags: 0, uses_notify: false },
        compiling: Duration::from_nanos(
            words("took ").next().map_or(0, |took| took.parse().unwrap()),
        ),
        unknown: words("unknown ").collect(),
        lacks: words("lacks ")
            .map(|of| {
                let (token, name) = of.split_once(' ').unwrap();
                (token.parse().unwrap(), name.to_owned())
            })
            .collect(),
        refused: code == Some(3)
            || words("refused ").next().is_some()
            || words("arch ").next().is_some(),
    })
}

/// seccomp.h, `enum scmp_compare`.
fn operator(op: SeccompOp) -> u32 {
    match op {
        SeccompOp::Ne => 1,
        SeccompOp::Lt => 2,
        SeccompOp::Le => 3,
        SeccompOp::Eq => 4,
        SeccompOp::Ge => 5,
        SeccompOp::Gt => 6,
        SeccompOp::MaskedEq => 7,
    }
}

/// Compares the decisions about every call. What libseccomp does not do, runc and we do beside it:
/// ENOSYS for calls newer than the profile, of which its program may say anything.
fn compare(profile: &Seccomp, exported: &Exported, random: &mut Random) -> usize {
    let native = SeccompArch::X86_64;
    let mut known = profile.clone();
    for rule in &mut known.syscalls {
        rule.names.retain(|name| !exported.unknown.contains(name));
    }
    let (program, _) = compile(&known, native, UnknownCalls::Ignore).unwrap();
    let rules = Rules::new(&known, native);
    let values = boundary_values(&known);
    let default = value(known.default_action, known.default_errno_ret);
    let mut compared = 0;
    for arch in ARCHITECTURES {
        let lacks: HashSet<_> = exported
            .lacks
            .iter()
            .filter(|(of, _)| *of == token(arch))
            .filter_map(|(_, name)| number(arch, name))
            .collect();
        for number in numbers(arch) {
            if lacks.contains(&number) {
                continue;
            }
            let tries = if rules.ask_for_arguments(arch, number) { 100 } else { 1 };
            for _ in 0..tries {
                let mut args = [0; 6].map(|_: u64| random.pick(&values));
                if random.one_in(2) {
                    args[0] = random.below(26) as u64;
                }
                if bits(arch) == 32 {
                    // The kernel gives no more, where registers have no more.
                    args = args.map(|arg| arg & 0xffff_ffff);
                }
                let call = Call { audit: audit(arch), number, args };
                let ours = machine::run(&program, &call);
                let theirs = machine::run(&exported.program, &call);
                let newer = ours == 0x0005_0026 && theirs == default;
                assert!(
                    ours == theirs || newer || differs_on_purpose(&call, theirs, default),
                    "{call:x?} of {arch:?}: {ours:#x}, by libseccomp {theirs:#x}\n{known:?}\n{program}\n{}",
                    exported.program
                );
                compared += 1;
            }
        }
    }
    compared
}

fn bits(arch: SeccompArch) -> u32 {
    match arch {
        SeccompArch::X86 | SeccompArch::Arm | SeccompArch::Mipsel => 32,
        _ => 64,
    }
}

/// -1 beside x32 is one of the calls newer than the profile, where the default denies.
fn differs_on_purpose(call: &Call, theirs: u32, default: u32) -> bool {
    call.number == u32::MAX && theirs == default
}

#[test]
fn the_engines_default_profiles_decide_as_with_libseccomp() {
    let mut random = Random::new(3);
    for (name, _) in PROFILES {
        let profile = profile(name);
        for architectures in [&profile.architectures[..], &[], &ARCHITECTURES] {
            let mut profile = profile.clone();
            profile.architectures = architectures.to_vec();
            let exported = match export(&profile, 1) {
                Ok(exported) => exported,
                Err(why) => return coracle_tests::skipped(why),
            };
            assert!(!exported.refused);
            compare(&profile, &exported, &mut random);
        }
    }
}

#[test]
fn generated_profiles_decide_as_with_libseccomp() {
    let mut random = Random::new(4);
    let (mut programs, mut compared) = (0, 0);
    for _ in 0..400 {
        let (mut profile, _) = generate::profile(&mut random, &ARCHITECTURES);
        comparable(&mut profile);
        if random.one_in(2) {
            profile.architectures = vec![SeccompArch::X86, SeccompArch::X32];
        }
        let exported = match export(&profile, 1) {
            Ok(exported) => exported,
            Err(why) => return coracle_tests::skipped(why),
        };
        if exported.refused || forgets_the_number(&exported.program) {
            continue;
        }
        programs += 1;
        compared += compare(&profile, &exported, &mut random);
    }
    assert!(programs > 200 && compared > 1_000_000, "{programs} programs, {compared} decisions");
}

/// Whether, for an architecture after the first, the program compares numbers of calls with the
/// architecture that is still loaded: 2.5.4 writes such programs when architectures share parts.
fn forgets_the_number(program: &Program) -> bool {
    const JUMP_IF_EQUAL: u16 = 0x15;
    let mut at = 1;
    loop {
        let instruction = program.instructions[at];
        if instruction.code != JUMP_IF_EQUAL {
            return false;
        }
        let section = program.instructions[at + 1 + usize::from(instruction.jt)];
        if section.code == JUMP_IF_EQUAL {
            return true;
        }
        at += 1 + usize::from(instruction.jf);
    }
}

/// Keeps to what libseccomp can be asked about. Of a call, there is one list of conditions, or any
/// number of single values: from others it makes programs that do not do what the rules say (2.5.4;
/// `ioctl` with `arg0 < 1` or `arg0 != 0` does not match 8, `read` with `arg2 < 1 << 33 && arg0 <=
/// 1` or with `arg1 < 0 && arg0 <= 512` matches 6 as the first argument). And all rules of a call
/// have one action, since which comes first is its own affair.
fn comparable(profile: &mut Seccomp) {
    let mut known = HashMap::<_, (SeccompAction, Option<u32>, bool)>::new();
    let mut rules: Vec<Syscall> = Vec::new();
    for rule in &profile.syscalls {
        for name in &rule.names {
            let mut rule = rule.clone();
            rule.names = vec![name.clone()];
            if rule.args.iter().any(|arg| arg.op != SeccompOp::Eq) {
                rule.args.sort_by_key(|arg| arg.index);
                rule.args.dedup_by_key(|arg| arg.index);
            }
            let twice = (0..6).any(|i| rule.args.iter().filter(|arg| arg.index == i).count() > 1);
            let single = rule.args.is_empty()
                || (rule.args.len() == 1 || twice)
                    && rule.args.iter().all(|arg| arg.op == SeccompOp::Eq);
            let said = known.get(carrier(name)).copied();
            if said.is_some_and(|(.., all_single)| !single || !all_single) {
                continue;
            }
            let (action, errno_ret, _) = said.unwrap_or((rule.action, rule.errno_ret, true));
            known.insert(carrier(name), (action, errno_ret, single));
            rules.push(Syscall { action, errno_ret, ..rule });
        }
    }
    profile.syscalls = rules;
}

/// Calls whose rules meet in one place.
fn carrier(name: &str) -> &str {
    match name {
        "socket" | "socketpair" | "connect" | "accept4" | "sendmmsg" => "socketcall",
        "shmget" | "shmat" | "semtimedop" | "msgctl" => "ipc",
        _ => name,
    }
}
