//! Finding and executing the program, as execvp(3) would in the container.

use std::ffi::{CStr, CString};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fstat, openat, statat};
use rustix::io::Errno;

use super::failure::Failed;
use crate::plan::Program;
use crate::sys::process::execve;
use crate::wire::Operation;

/// The most of an /etc/passwd that is read: it is the image's, and may be anything.
const PASSWD_LIMIT: usize = 1 << 20;

/// The path to execute for the program's first argument.
pub(super) fn find(program: &Program) -> Result<CString, Failed> {
    let Some(name) = program.args.first() else {
        return Err(Failed::new(Operation::NoProcess, Errno::NOENT));
    };
    if name.to_bytes().contains(&b'/') {
        check(name)?;
        return Ok(name.clone());
    }
    let path = program
        .env
        .iter()
        .find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or_default();
    let mut denied = None;
    for directory in path.split(|byte| *byte == b':') {
        // An empty entry is the working directory (environ(7)).
        let directory = if directory.is_empty() { &b"."[..] } else { directory };
        let candidate = [directory, b"/", name.to_bytes()].concat();
        let Ok(candidate) = CString::new(candidate) else { continue };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(failed) if failed.is_denied() => denied = Some(failed),
            Err(_) => {}
        }
    }
    Err(denied.unwrap_or_else(|| Failed::new(Operation::NotInPath, Errno::NOENT)))
}

/// Whether this path can be executed by this user.
///
/// A filter may be on already, and may not know the calls that tell: then the kernel's word at
/// execve has to do. faccessat2(2) is of Linux 5.8, and missing in profiles of before.
fn check(path: &CStr) -> Result<(), Failed> {
    // Neither call fails like this by itself.
    let filtered = |errno| matches!(errno, Errno::PERM | Errno::NOSYS);
    match statat(CWD, path, AtFlags::empty()) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            return Err(Failed::new(Operation::ProgramIsDirectory, Errno::ISDIR));
        }
        // For a privileged user the kernel's answer is what counts: it takes one execute bit.
        Ok(stat) if stat.st_mode & 0o111 == 0 => {
            return Err(Failed::new(Operation::ProgramNotExecutable, Errno::ACCESS));
        }
        Err(errno) if !filtered(errno) => return Err(Failed::new(Operation::StatProgram, errno)),
        Ok(_) | Err(_) => {}
    }
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Err(errno) if !filtered(errno) => Err(Failed::new(Operation::ProgramNotExecutable, errno)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The home directory of a user by the container's /etc/passwd (passwd(5)); `/` if it does not say.
pub(super) fn home(uid: u32) -> CString {
    let root = CString::from(c"/");
    let Some(table) = read_passwd() else { return root };
    let line = table.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let id = std::str::from_utf8(fields.nth(2)?).ok()?;
        let home = fields.nth(2)?;
        (id.parse() == Ok(uid) && !home.is_empty()).then_some(home)
    });
    line.and_then(|home| CString::new(home).ok()).unwrap_or(root)
}

/// The beginning of /etc/passwd, if it is a file: opening a fifo or a device must not hold us up.
fn read_passwd() -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, c"/etc/passwd", flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let size = usize::try_from(stat.st_size).unwrap_or(0).min(PASSWD_LIMIT);
    let mut table = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match rustix::io::read(&file, &mut table[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    table.truncate(filled);
    Some(table)
}

/// Becomes the program. Comes back only with the reason why not.
pub(super) fn execute(path: &CStr, program: &Program, home: Option<&CStr>) -> Failed {
    let mut env = program.env.clone();
    if let Some(home) = home {
        env.extend(CString::new([b"HOME=", home.to_bytes()].concat()));
    }
    if program.listens {
        env.extend(CString::new(format!("LISTEN_PID={}", std::process::id())));
    }
    Failed::new(Operation::Exec, execve(path, &program.args, &env))
}
