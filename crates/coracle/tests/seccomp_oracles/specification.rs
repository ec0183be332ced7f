//! Programs against the rules they are made from.

use coracle::config::{Seccomp, SeccompArch};
use coracle::seccomp::{UnknownCalls, compile};

use super::generate::{self, Random};
use super::rules::Rules;
use super::{
    ARCHITECTURES, Call, PROFILES, audit, boundary_values, machine, numbers, profile, program,
};

/// Compares all numbers of an architecture; those whose arguments matter, with `tries` lists of
/// arguments.
fn compare(
    profile: &Seccomp,
    native: SeccompArch,
    arch: SeccompArch,
    tries: usize,
    random: &mut Random,
) -> usize {
    let Ok((program, _)) = compile(profile, native, UnknownCalls::Ignore) else { return 0 };
    machine::check(&program);
    let rules = Rules::new(profile, native);
    let values = boundary_values(profile);
    let mut compared = 0;
    for number in numbers(arch) {
        let tries = if rules.ask_for_arguments(arch, number) { tries } else { 1 };
        for _ in 0..tries {
            // Numbers of carried calls are small.
            let mut args = [0; 6].map(|_: u64| random.pick(&values));
            if random.one_in(2) {
                args[0] = random.below(26) as u64;
            }
            let call = Call { audit: audit(arch), number, args };
            let (expected, answer) = (rules.judge(&call), machine::run(&program, &call));
            assert_eq!(
                answer, expected,
                "{call:x?} of {arch:?}: {answer:#x} instead of {expected:#x}\n\
                 {profile:?} on {native:?}\n{program}"
            );
            compared += 1;
        }
    }
    compared
}

#[test]
fn the_engines_default_profiles_decide_as_their_rules_say() {
    let mut random = Random::new(1);
    for (name, _) in PROFILES {
        let profile = profile(name);
        for arch in ARCHITECTURES {
            compare(&profile, SeccompArch::X86_64, arch, 150, &mut random);
        }
        // The same names, wherever there are such calls.
        for native in ARCHITECTURES {
            for big_endian in [false, true] {
                let mut profile = profile.clone();
                profile.architectures = ARCHITECTURES.to_vec();
                profile
                    .architectures
                    .retain(|arch| (audit(*arch) & 0x4000_0000 == 0) == big_endian);
                compare(&profile, native, native, 30, &mut random);
            }
        }
    }
}

#[test]
fn every_value_of_a_condition_in_the_default_profiles_is_judged() {
    for (name, _) in PROFILES {
        let profile = profile(name);
        let program = program(&profile, SeccompArch::X86_64);
        let rules = Rules::new(&profile, SeccompArch::X86_64);
        let values = boundary_values(&profile);
        for arch in [SeccompArch::X86_64, SeccompArch::X86, SeccompArch::X32] {
            let conditional =
                numbers(arch).into_iter().filter(|number| rules.ask_for_arguments(arch, *number));
            for number in conditional {
                for zero in &values {
                    for two in &values {
                        let args = [*zero, 0, *two, 0, 0, 0];
                        let call = Call { audit: audit(arch), number, args };
                        assert_eq!(
                            machine::run(&program, &call),
                            rules.judge(&call),
                            "{name}: {call:x?} of {arch:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn generated_profiles_decide_as_their_rules_say() {
    let mut random = Random::new(2);
    let (mut compared, mut compiled) = (0, 0);
    for _ in 0..2000 {
        let (profile, native) = generate::profile(&mut random, &ARCHITECTURES);
        let other = random.pick(&ARCHITECTURES);
        let listed = profile.architectures.first().copied().unwrap_or(native);
        for arch in [native, listed, other] {
            let decisions = compare(&profile, native, arch, 30, &mut random);
            compared += decisions;
            compiled += usize::from(decisions > 0);
        }
    }
    // Few of them contradict themselves.
    assert!(compiled > 4500 && compared > 3_000_000, "{compiled} programs, {compared} decisions");
}

#[test]
fn default_profiles_are_short() {
    for (name, most) in [("docker", 240), ("podman", 260), ("containerd", 230)] {
        let program = program(&profile(name), SeccompArch::X86_64);
        let length = program.instructions.len();
        assert!(length < most, "{name}: {length} instructions");
    }
}
