//! The engines that people have run on coracle unchanged, by their own commands. Each scenario runs
//! on two nodes that differ in the runtime only, once with runc and once with coracle, and must come
//! to the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]
// Scenarios are written alike, with quotes in them or not.
#![allow(clippy::needless_raw_string_hashes)]

mod buildah;
mod compare;
mod containerd;
mod cri;
mod docker;
mod in_place;
mod node;
mod podman;
mod programs;
mod rootless;
mod swarm;

use coracle_tests::{Needs, User};

use node::{Node, Runtime};
use programs::program;

/// A node for each runtime, where the engine's programs are there.
fn nodes(programs: &[(&str, &str)]) -> Needs<[Node; 2]> {
    with_user(programs, None)
}

/// The same for engines of an ordinary user.
fn user_s_nodes(programs: &[(&str, &str)]) -> Needs<[Node; 2]> {
    let user = User::ordinary()?;
    with_user(programs, Some(&user))
}

fn with_user(programs: &[(&str, &str)], user: Option<&User>) -> Needs<[Node; 2]> {
    let runtimes = [Runtime::runc()?, Runtime::coracle()?];
    for (name, package) in programs {
        program(name, package)?;
    }
    Ok(runtimes.map(|runtime| Node::new(runtime, user.cloned())))
}
