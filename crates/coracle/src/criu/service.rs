//! CRIU as a child that answers requests over a socket: `criu swrk FD`.

use std::ffi::{CStr, CString};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, Mode, OFlags, access, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown,
    SocketFlags, SocketType, recvmsg, send, shutdown, socketpair,
};
use rustix::process::{Pid, WaitId, WaitIdOptions, umask, waitid};

use super::images::Images;
use super::mapped::Mapped;
use super::rpc::{Notify, Options, Request, Response, Version, kind};
use crate::error::{Context, Error, Result, errno_text};
use crate::sys::process::{self, Cloned};
use crate::sys::signal;
use crate::wire::send_with;

/// Where programs are where the caller does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The longest answer: an error's words are the most of it.
const LONGEST: usize = 64 * 1024;

/// The oldest CRIU whose protocol has all that is said here.
const OLDEST: Version = Version([3, 0, 0]);

/// Finds the program `criu`.
///
/// # Errors
/// If it is not installed.
pub(crate) fn find() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An engine's PATH may lack the directories of the administrator's programs.
    let directories = std::env::split_paths(&path).chain(std::env::split_paths(PATH));
    let found = directories
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("criu"))
        .find(|program| program.is_file() && access(program, Access::EXEC_OK).is_ok());
    found.ok_or_else(|| {
        Error::new("criu is not installed")
            .because("there is no such program in PATH")
            .help("install the package criu: it saves and restores processes")
    })
}

/// CRIU, running.
pub(crate) struct Service {
    socket: OwnedFd,
    process: OwnedFd,
    pid: u32,
    /// The numbers, in CRIU, of the directory with the images and of its own.
    directories: [i32; 2],
}

impl Service {
    /// Starts it on these images. With a `root` that is in a mount namespace of its own, where this
    /// directory is a mount, which a container's root has to be, and these ID-mapped mounts are
    /// made; standard input is kept then. The descriptors `keep` are kept under their numbers.
    pub(crate) fn start(
        images: &Images,
        root: Option<(&CStr, &Mapped<'_>)>,
        keep: &[BorrowedFd<'_>],
    ) -> Result<Self> {
        let what = || "starting criu";
        let program = CString::new(find()?.into_os_string().into_vec()).unwrap_or_default();
        process::assert_single_threaded().what(what)?;
        let (ours, theirs) = pair().what(what)?;
        #[allow(clippy::cast_sign_loss)] // CLONE_NEWNS is positive
        let flags = if root.is_some() { libc::CLONE_NEWNS as u64 } else { 0 };
        match process::clone3(flags, None).what(what)? {
            Cloned::Child => {
                drop(ours);
                let (doing, errno) = become_criu(&program, images, root, &theirs, keep);
                let words = format!("{doing}: {}", errno_text(errno));
                let _ = send(&theirs, words.as_bytes(), SendFlags::NOSIGNAL);
                process::exit(1)
            }
            Cloned::Parent { pid, pidfd } => {
                drop(theirs);
                let mut service = Self { socket: ours, process: pidfd, pid, directories: [0; 2] };
                service.meet()?;
                Ok(service)
            }
        }
    }

    /// Takes the socket that the new process has made, and waits until it is CRIU.
    fn meet(&mut self) -> Result<()> {
        let (words, socket) = self.receive_bytes()?;
        let number = |at: usize| {
            let bytes = words.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(i32::from_ne_bytes)
        };
        let mut failed = words.clone();
        if let (Some(socket), Some(images), Some(work)) = (socket, number(0), number(4)) {
            // Closed by execve, or told why that failed.
            (failed, _) = self.receive_bytes()?;
            self.directories = [images, work];
            self.socket = socket;
        }
        if failed.is_empty() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&failed).into_owned();
        Err(Error::new("starting criu").because(words))
    }

    /// Tells CRIU of its directories.
    pub(crate) fn name_directories(&self, images: &Images, options: &mut Options) {
        let [directory, work] = self.directories;
        options.images_dir_fd = directory;
        options.work_dir_fd = Some(work);
        options.log_file = Some(images.log().to_owned());
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }

    /// Which one it is.
    ///
    /// # Errors
    /// If it is too old.
    pub(crate) fn version(&self) -> Result<Version> {
        self.send(&Request { kind: kind::VERSION, keep_open: true, ..Request::default() })?;
        let version = self.receive()?.0.version.unwrap_or_default();
        if version < OLDEST {
            return Err(Error::new("this version of criu is too old")
                .because(version.to_string())
                .help(format!("install criu {OLDEST} or newer")));
        }
        Ok(version)
    }

    /// Asks for something, and serves what it notifies on the way: `serve` is given the
    /// notification and the descriptor that came with it, and CRIU goes on when it returns.
    ///
    /// # Errors
    /// If the conversation fails, or `serve` does, which makes CRIU fail. That CRIU fails of itself
    /// is in the response.
    pub(crate) fn ask(
        &self,
        request: &Request,
        mut serve: impl FnMut(&Notify, Option<OwnedFd>) -> Result<()>,
    ) -> Result<Response> {
        self.send(request)?;
        let mut first_error = None;
        loop {
            let (response, descriptor) = match self.receive() {
                Ok(received) => received,
                Err(error) => return Err(first_error.unwrap_or(error)),
            };
            let Some(notify) = response.notify.as_ref().filter(|_| response.kind == kind::NOTIFY)
            else {
                return first_error.map_or(Ok(response), Err);
            };
            let served = serve(notify, descriptor);
            let notify_success = served.is_ok();
            if let Err(error) = served {
                first_error.get_or_insert(error);
            }
            self.send(&Request { kind: kind::NOTIFY, notify_success, ..Request::default() })?;
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        match send(&self.socket, &request.to_bytes(), SendFlags::NOSIGNAL) {
            // What it has said before it ended is to be heard first.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::new("talking to criu").os(errno)),
        }
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let (bytes, descriptor) = self.receive_bytes()?;
        if bytes.is_empty() {
            return Err(Error::new("criu ended without an answer"));
        }
        let response = Response::from_bytes(&bytes)
            .ok_or_else(|| Error::new("criu gave an answer that makes no sense"))?;
        Ok((response, descriptor))
    }

    /// Waits until there is a message, or the end. The socket alone would not tell of an end that was
    /// sudden: those that CRIU is restoring have it too, and wait for CRIU.
    fn has_words(&self) -> Result<bool, Errno> {
        let wanted = [&self.socket, &self.process];
        let mut files = wanted.map(|file| PollFd::new(file, PollFlags::IN));
        while let Err(errno) = poll(&mut files, None) {
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
        Ok(!files[0].revents().is_empty())
    }

    /// One message, empty at the end, with its descriptor.
    fn receive_bytes(&self) -> Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            if !self.has_words().what(|| "waiting for criu")? {
                break 0;
            }
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                // It ended with something of ours unread.
                Err(Errno::CONNRESET) => break 0,
                received => break received.what(|| "listening to criu")?.bytes,
            }
        };
        bytes.truncate(length);
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((bytes, descriptor))
    }
}

/// Ends the conversation, which ends CRIU, and takes its status.
impl Drop for Service {
    fn drop(&mut self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
        let ended = || waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
        while ended().is_err_and(|errno| errno == Errno::INTR) {}
    }
}

fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// In the new process: becomes CRIU. Returns only if something failed: what, and why.
fn become_criu(
    program: &CStr,
    images: &Images,
    root: Option<(&CStr, &Mapped<'_>)>,
    parent: &OwnedFd,
    keep: &[BorrowedFd<'_>],
) -> (&'static str, Errno) {
    match prepare(images, root, parent, keep) {
        Ok(socket) => {
            let number = CString::new(socket.as_raw_fd().to_string()).unwrap_or_default();
            let args = [CString::from(c"criu"), CString::from(c"swrk"), number];
            ("executing criu", process::execve(program, &args, &environment()))
        }
        Err(failed) => failed,
    }
}

/// Sets everything up, sends the parent its side of CRIU's socket, and gives back CRIU's.
///
/// CRIU takes numbers of descriptors to be those of the process that made the socket, and the
/// directories that it works in have to be of its own mount namespace: so both are made here.
fn prepare(
    images: &Images,
    root: Option<(&CStr, &Mapped<'_>)>,
    parent: &OwnedFd,
    keep: &[BorrowedFd<'_>],
) -> Result<OwnedFd, (&'static str, Errno)> {
    signal::reset();
    // What it prints is in its log as well, and is not the container's output.
    let null = open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| ("opening /dev/null", errno))?;
    let standard = |errno| ("replacing standard output", errno);
    rustix::stdio::dup2_stdout(&null).map_err(standard)?;
    rustix::stdio::dup2_stderr(&null).map_err(standard)?;
    if let Some((root, mapped)) = root {
        // The host's mounts still come in, and none of ours goes out.
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change(c"/", slave).map_err(|errno| ("making all mounts slaves", errno))?;
        mapped.make().map_err(|errno| ("making ID-mapped mounts", errno))?;
        mount_on_itself(root).map_err(|errno| ("mounting the root file system", errno))?;
    } else {
        rustix::stdio::dup2_stdin(&null).map_err(standard)?;
        if images.are_private() {
            // A strict one protects nothing there, and keeps the root of a user namespace from them.
            umask(Mode::WGRP | Mode::WOTH);
        }
    }
    // Its number may be somebody else's below.
    drop(null);
    let mut stay: Vec<_> = keep.to_vec();
    stay.push(parent.as_fd());
    process::close_all_from(3, &stay).map_err(|errno| ("closing descriptors", errno))?;
    let passed = |errno| ("passing descriptors on", errno);
    for file in keep {
        fcntl_setfd(file, FdFlags::empty()).map_err(passed)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let directory = |path: &Path| {
        open(path, flags, Mode::empty()).map_err(|errno| ("opening a directory", errno))
    };
    let mapped = root.and_then(|(_, mapped)| mapped.images());
    let directories = [
        directory(mapped.as_deref().unwrap_or(images.path()))?,
        directory(images.work().unwrap_or(images.path()))?,
    ];
    let numbers = directories.map(|directory| directory.into_raw_fd().to_ne_bytes()).concat();
    let (ours, theirs) = pair().map_err(passed)?;
    fcntl_setfd(&ours, FdFlags::empty()).map_err(passed)?;
    send_with(parent.as_fd(), &numbers, theirs.as_fd()).map_err(passed)?;
    Ok(ours)
}

/// Makes a directory a mount, with all mounts below it.
fn mount_on_itself(directory: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = open(directory, flags, Mode::empty())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&place, c"", flags)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, c"", &place, c"", flags)
}

/// This process's environment, with a PATH in which CRIU finds the programs it needs.
fn environment() -> Vec<CString> {
    let mut all: Vec<CString> = std::env::vars_os()
        .filter(|(name, value)| name != "PATH" || !value.is_empty())
        .filter_map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        })
        .collect();
    if !all.iter().any(|variable| variable.as_bytes().starts_with(b"PATH=")) {
        all.extend(CString::new(format!("PATH={PATH}")));
    }
    all
}
