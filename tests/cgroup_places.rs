//! Where a cgroup of version 2 may be (cgroup-v2.rst, "Threads" and "No Internal Process
//! Constraint"), and what is said of places where it may not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use coracle_tests::{Bundle, Coracle, eventually, json};

/// Cgroups of the test's own, one in the other.
struct Nest {
    name: String,
    path: PathBuf,
}

impl Nest {
    fn new(coracle: &Coracle, below: &str) -> Self {
        let unified = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let top = unified.into_iter().find(|path| path.join("cgroup.controllers").exists());
        let name = format!("{}-nest", coracle.name());
        let path = top.expect("a version 2 tree").join(&name);
        fs::create_dir_all(path.join(below)).unwrap();
        Self { name, path }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path.join(file), text).unwrap();
    }

    /// A container whose cgroup is there.
    fn bundle(&self, coracle: &Coracle, place: &str) -> Bundle {
        let place = format!("/{}{place}", self.name);
        coracle.bundle().set("/linux/cgroupsPath", place).sh("cat /proc/self/cgroup")
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let find = ["find", self.path.to_str().unwrap(), "-depth", "-type", "d", "-delete"];
        eventually("they are removed", || {
            coracle_tests::Call::new(find).output();
            !self.path.exists()
        });
    }
}

fn below_a_threaded_cgroup_one_is_threaded_too(coracle: &Coracle) {
    let nest = Nest::new(coracle, "threaded");
    nest.write("threaded/cgroup.type", "threaded");
    let bundle = nest.bundle(coracle, "/threaded/own").sh("sleep 1000");
    coracle.start(&bundle);
    let read = |file: &str| fs::read_to_string(nest.path.join("threaded/own").join(file)).unwrap();
    assert_eq!(read("cgroup.type"), "threaded\n");
    let pid = coracle.pid(bundle.id());
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "sleep\n");
    assert!(read("cgroup.threads").lines().any(|thread| thread == pid.to_string()));
    coracle.delete(bundle.id());
    drop(nest);
    coracle.assert_nothing_left();
}

fn a_limit_that_threads_cannot_have_is_told(coracle: &Coracle) {
    let nest = Nest::new(coracle, "threaded");
    nest.write("threaded/cgroup.type", "threaded");
    let pages = json!([{"pageSize": "2MB", "limit": 2 << 20}]);
    let bundle = nest.bundle(coracle, "/threaded/own");
    let bundle = bundle.set("/linux/resources/hugepageLimits", pages);
    let told = coracle.run(&bundle).fails();
    told.says("enabling the hugetlb controller").says("/linux/resources").says("is threaded");
    assert!(!nest.path.join("threaded/own").exists());
    drop(nest);
    coracle.assert_nothing_left();
}

fn a_cgroup_that_hands_controllers_on_takes_nobody(coracle: &Coracle) {
    let nest = Nest::new(coracle, "below");
    nest.write("cgroup.subtree_control", "+hugetlb");
    let told = coracle.run(&nest.bundle(coracle, "")).fails();
    told.says("hands controllers on").says("/linux/cgroupsPath").says("choose one of those");
    assert!(nest.path.join("below").exists(), "it was there before");
    // One below it will do.
    let told = coracle.run(&nest.bundle(coracle, "/below/own")).succeeds().stdout;
    assert!(told.ends_with("/below/own\n"), "{told}");
    drop(nest);
    coracle.assert_nothing_left();
}

coracle_tests::tests! {
    on_cgroup2 =>
        below_a_threaded_cgroup_one_is_threaded_too,
        a_limit_that_threads_cannot_have_is_told,
        a_cgroup_that_hands_controllers_on_takes_nobody;
}
