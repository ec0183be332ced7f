//! SELinux's labels of processes and mounts, as the kernel tells them. `cargo xtask test` runs this
//! file in a guest that has a policy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use coracle_tests::{Bundle, Coracle, host, need};

const PROCESS: &str = "system_u:system_r:container_t:s0:c1,c2";
const OTHER: &str = "system_u:system_r:container_t:s0:c3";
const FILES: &str = "system_u:object_r:container_file_t:s0:c1,c2";
const LOOK: &str = "cat /proc/self/attr/current";

fn labelled(coracle: &Coracle) -> Bundle {
    coracle
        .bundle()
        .set("/process/selinuxLabel", PROCESS)
        .set("/linux/mountLabel", FILES)
        .set("/linux/maskedPaths", vec!["/sys/firmware", "/sys/kernel"])
}

fn a_process_has_its_label_in_run_and_exec(coracle: &Coracle) {
    need!(host::selinux());
    for forbidden in [true, false] {
        let bundle = labelled(coracle).set("/process/noNewPrivileges", forbidden);
        let told = coracle.run(&bundle.sh(LOOK)).succeeds().stdout;
        assert_eq!(told.trim_end_matches(['\0', '\n']), PROCESS);
    }
    let bundle = labelled(coracle).sh("sleep 1000");
    coracle.start(&bundle);
    for (options, wanted) in [(&[][..], PROCESS), (&["--process-label", OTHER], OTHER)] {
        let words = [&["exec"], options, &[bundle.id(), "sh", "-c", LOOK]].concat();
        let told = coracle.call(words).output().succeeds().stdout;
        assert_eq!(told.trim_end_matches(['\0', '\n']), wanted);
    }
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

fn new_mounts_and_masks_have_the_mounts_label(coracle: &Coracle) {
    need!(host::selinux());
    let told = coracle.run(&labelled(coracle).sh("cat /proc/mounts")).succeeds().stdout;
    let context = format!("context=\"{FILES}\"");
    for point in ["/dev", "/dev/pts", "/dev/shm", "/sys/firmware"] {
        let line = told.lines().find(|line| line.split(' ').nth(1) == Some(point));
        let line = line.unwrap_or_else(|| panic!("{point}: {told}"));
        assert!(line.contains(&context), "{line}");
    }
    // The kernel fills these, and labels what is in them by itself.
    for point in ["/proc", "/sys", "/dev/mqueue"] {
        let line = told.lines().find(|line| line.split(' ').nth(1) == Some(point)).unwrap();
        assert!(!line.contains("context="), "{line}");
    }
    coracle.assert_nothing_left();
}

fn a_label_that_the_policy_does_not_know_is_refused_with_its_place(coracle: &Coracle) {
    need!(host::selinux());
    for pointer in ["/process/selinuxLabel", "/linux/mountLabel"] {
        let bundle = labelled(coracle).set(pointer, "nobody:nothing:nowhere:s0").args(["true"]);
        coracle.run(&bundle).fails().says(pointer);
        coracle.assert_nothing_left();
    }
    let bundle = labelled(coracle).sh("sleep 1000");
    coracle.start(&bundle);
    let words = ["exec", "--process-label", "nobody:nothing:nowhere:s0", bundle.id(), "true"];
    coracle.call(words).output().fails().says("nobody:nothing:nowhere:s0");
    coracle.delete(bundle.id());
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    as_root, as_ranged_user, as_single_user =>
        a_process_has_its_label_in_run_and_exec,
        new_mounts_and_masks_have_the_mounts_label,
        a_label_that_the_policy_does_not_know_is_refused_with_its_place;
}
