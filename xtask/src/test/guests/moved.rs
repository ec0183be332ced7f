//! A container that is saved in one guest and goes on in another.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::vm::{Errand, Kernel};

/// The program that has both halves.
pub(super) const TEST: &str = "checkpoint_in_guest";

/// For a half.
const LIMIT: Duration = Duration::from_mins(3);

/// Leaves the container's images on standard output.
const LEAVE: &str = "/opt/coracle/tests/checkpoint_in_guest --ignored --exact \
    moved::it_leaves_this_machine >&2 && tar -C /root -c moved";

/// Takes them, as another machine.
const ARRIVE: &str = "hostname other && echo 0123456789abcdef0123456789abcdef > /etc/machine-id && \
    tar -x -f moved.tar && /opt/coracle/tests/checkpoint_in_guest --ignored --exact \
    moved::it_goes_on_on_another_machine --show-output";

/// Has the container saved in a guest, and prepares the other's errand, which is to be counted.
pub(super) fn errand(coracle: &Path, place: &Path) -> Outcome<Errand> {
    let errand = |script: &str| -> Outcome<Errand> {
        let command = vec!["sh".into(), "-c".into(), script.into()];
        let mut errand = Errand::new(Kernel::Stable, LIMIT, command)?;
        errand.bring_coracle(coracle.to_owned());
        errand.bring_tests(|name| name == TEST)?;
        Ok(errand)
    };
    fs::create_dir_all(place)?;
    let archive = place.join("moved.tar");
    let leave = errand(LEAVE)?;
    match leave.run([Box::new(File::create(&archive)?), Box::new(io::stderr())])? {
        0 => {}
        code => return Err(format!("nothing was saved: exit code {code}").into()),
    }
    let mut arrive = errand(ARRIVE)?;
    arrive.bring(archive, PathBuf::from("root/moved.tar"));
    Ok(arrive)
}
