//! What the parent and init say to each other, over one socket pair of `SOCK_SEQPACKET`.
//!
//! Messages are a tag and a few numbers: init formats no text. A failed step travels whole, as its
//! index in the plan, the operation within it, the error number and the kernel's own words where
//! the mount API has any; whoever has the plan can tell the rest.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};

use crate::sys::shared::SharedPage;

/// The longest message: a failure with the kernel's words.
const LONGEST: usize = 1024;

/// A message, in either direction.
#[derive(Debug)]
pub(crate) enum Message {
    /// Parent to init: ids are mapped and the cgroup is entered; or the step is done.
    Continue,
    /// Init to parent: run the hooks of the runtime namespace now.
    RuntimeHooks,
    /// Parent to init: they all succeeded.
    HooksDone,
    /// Init to parent: the master side of the container's terminal.
    Console(OwnedFd),
    /// Init to parent, or to `start`: the descriptor on which calls are notified (seccomp(2)).
    Listener(OwnedFd),
    /// Init to parent: do this step for me, which I may not.
    Delegate(u32),
    /// Init to parent: everything is made, waiting for the word to start.
    Ready,
    /// Parent or `start` to init: the container is on record; go on.
    Start,
    /// From a process between us and init, which ends now: init's process id.
    Staged(u32),
    /// Init to parent: open the source of the bind mount that is this step.
    NeedSource(u32),
    /// Parent to init: the source, a detached mount.
    Source(OwnedFd),
    /// Parent to init: why there is no source.
    Refused(Operation, Errno),
    /// From a process that has made it where init cannot: a file system, mounted nowhere.
    Filesystem(OwnedFd),
    /// Init to whoever listens: a step failed, and init ends.
    Failed(Failure),
}

/// Why init ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The index of the step in the plan, or [`Failure::STAGE`].
    pub(crate) step: u32,
    /// Which part of the step.
    pub(crate) operation: Operation,
    /// A number that the operation is about, such as an option's index.
    pub(crate) detail: u32,
    /// The kernel's answer.
    pub(crate) errno: Errno,
    /// The kernel's own words (fsopen(2)), if it had any.
    pub(crate) words: Vec<u8>,
}

impl Failure {
    /// In place of a step's index: the process between the parent and init failed.
    pub(crate) const STAGE: u32 = u32::MAX;

    /// A failure of that process.
    pub(crate) fn of_stage(operation: Operation, detail: u32, errno: Errno) -> Self {
        Self { step: Self::STAGE, operation, detail, errno, words: Vec::new() }
    }
}

/// Declares the operations within steps with their words, so that both stay together.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident => $words:literal,)*) => {
        /// The parts of steps that can fail; their words complete "mounting proc on /proc: …".
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($(#[$doc])* $name,)* }

        impl Operation {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// What failed, in a few words; empty where the step's name says it all.
            pub(crate) fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

operations! {
    /// The step is one system call.
    Itself => "",
    /// Opening the source of a bind mount.
    OpenSource => "opening the source",
    /// Opening or making what is mounted on.
    OpenTarget => "opening the mount point",
    /// proc and sysfs go on real directories only.
    StrictTarget => "the mount point is not an ordinary directory",
    /// The mount point is a directory and the source is not, or the other way round.
    KindOfTarget => "source and mount point are not both directories or both files",
    /// Something that is no procfs on or in /proc.
    OverProc => "the mount would hide the kernel's own /proc",
    /// The mount that is to go is not there, or a part of the way to it is a link.
    StrictMount => "looking for the mount, on a path without links",
    /// What is to be changed is not where a mount begins.
    NoMount => "nothing is mounted there",
    /// mount_setattr(2) with AT_RECURSIVE, on a kernel that lacks it.
    Recursive => "changing all mounts below it",
    /// mount_setattr(2), `MOUNT_ATTR_IDMAP`, or making a user namespace for it.
    MapIds => "mapping its ids",
    /// Copying what a tmpfs covers.
    CopyUp => "copying what was there",
    /// fsconfig(2), `FSCONFIG_CMD_RECONFIGURE`.
    Reconfigure => "reconfiguring the file system",
    /// mount(2) takes no more than a page.
    LongOptions => "all options together are longer than 4095 bytes",
    /// fsopen(2).
    OpenFilesystem => "opening the file system type",
    /// fsconfig(2) with the source.
    SetSource => "setting the source",
    /// fsconfig(2) with an option.
    SetOption => "setting an option",
    /// fsconfig(2), `FSCONFIG_CMD_CREATE`.
    CreateFilesystem => "creating the file system",
    /// fsmount(2).
    MakeMount => "making the mount",
    /// mount_setattr(2).
    SetAttributes => "setting mount attributes",
    /// move_mount(2).
    Attach => "attaching the mount",
    /// The device on /dev/null is another.
    NullDevice => "/dev/null is not the null device",
    /// mknod(2).
    MakeNode => "making the node",
    /// There is a file in the way, and it is not the device asked for.
    OtherNode => "another file is there",
    /// fchownat(2).
    SetOwner => "setting the owner",
    /// fchmodat(2).
    SetMode => "setting the mode",
    /// symlinkat(2).
    MakeLink => "making the link",
    /// Opening the pseudoterminal multiplexer.
    OpenPtmx => "opening /dev/pts/ptmx",
    /// What is there is no multiplexer of a devpts.
    NotPtmx => "/dev/pts/ptmx is not a pseudoterminal multiplexer",
    /// TIOCSPTLCK or TIOCGPTPEER.
    OpenPeer => "opening the other side",
    /// TIOCSWINSZ.
    SetSize => "setting its size",
    /// TIOCSCTTY.
    ControlTerminal => "making it the controlling terminal",
    /// dup3(2).
    Standard => "putting it on standard input, output and error",
    /// Sending a descriptor to the parent.
    SendConsole => "sending it to the runtime",
    /// Sending the notification descriptor to the parent.
    SendListener => "sending the notification descriptor to the runtime",
    /// pivot_root(2).
    Pivot => "pivot_root",
    /// umount2(2) of the old root.
    DetachOld => "detaching the old root",
    /// mount(2) with MS_MOVE.
    MoveRoot => "moving the root",
    /// chroot(2).
    ChangeRoot => "chroot",
    /// chdir(2).
    ChangeDirectory => "changing directory",
    /// The working directory is outside the root.
    OutsideRoot => "the working directory is outside the container's root",
    /// Opening a file to write.
    OpenFile => "opening the file",
    /// write(2).
    WriteFile => "writing",
    /// setgroups(2).
    SetGroups => "setting the groups",
    /// prctl(2), PR_CAPBSET_DROP.
    DropBounding => "dropping a capability from the bounding set",
    /// setresgid(2).
    SetGid => "setting the group id",
    /// setresuid(2).
    SetUid => "setting the user id",
    /// capset(2).
    SetCapabilities => "setting the capability sets",
    /// prctl(2), PR_CAP_AMBIENT_RAISE.
    SetAmbient => "raising an ambient capability",
    /// The kernel shows other ids or capabilities than were asked for.
    VerifyIdentity => "the process did not become what was asked for",
    /// prctl(2), PR_SET_DUMPABLE.
    Undumpable => "forbidding to be traced",
    /// No directory of PATH has the program.
    NotInPath => "executable file not found in $PATH",
    /// stat(2) of the program.
    StatProgram => "stat",
    /// The program is a directory.
    ProgramIsDirectory => "",
    /// The program may not be executed.
    ProgramNotExecutable => "",
    /// execve(2).
    Exec => "exec",
    /// A hook failed; detail is its index.
    Hook => "a hook failed",
    /// Talking to the parent.
    Talk => "talking to the runtime",
    /// close_range(2).
    CloseFiles => "closing inherited files",
    /// setns(2); detail is the namespace's index.
    JoinNamespace => "joining a namespace",
    /// clone3(2) after joining.
    Clone => "making the process",
    /// unshare(2).
    MakeNamespace => "making a namespace",
    /// Writing timens_offsets.
    SetClocks => "setting the clocks of its time namespace",
    /// Writing cgroup.procs.
    EnterCgroup => "entering the cgroup",
    /// It came to no system call of ours any more: a filter or a signal ended the process.
    Ended => "its system call filter stopped it, or it was killed",
    /// No process was given, so there is nothing to start.
    NoProcess => "config.json has no process to start",
}

impl Operation {
    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    #[allow(clippy::cast_possible_truncation)] // fewer than 256 of them
    fn number(self) -> u8 {
        self as u8
    }
}

/// One end of the conversation.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: OwnedFd,
    /// What init leaves here is received once its end is closed: under a system call filter it may
    /// not be able to say, or do, anything else.
    last_words: Option<SharedPage>,
}

impl Wire {
    /// Both ends: the parent's and init's.
    pub(crate) fn pair() -> Result<(Self, Self), Errno> {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let wire = |socket| Self { socket, last_words: None };
        Ok((wire(a), wire(b)))
    }

    /// A connection made by other means.
    pub(crate) fn from_socket(socket: OwnedFd, last_words: Option<SharedPage>) -> Self {
        Self { socket, last_words }
    }

    /// Goes on over another connection.
    pub(crate) fn move_to(&mut self, socket: OwnedFd) {
        self.socket = socket;
    }

    /// Has the other end take a close without a word for a failure, until
    /// [`executing`](Self::executing).
    pub(crate) fn leave(&mut self, last_words: SharedPage) {
        let ended = Failure::of_stage(Operation::Ended, 0, Errno::CANCELED);
        last_words.write(&encode(&Message::Failed(ended)).0);
        self.last_words = Some(last_words);
    }

    /// From here on, a close means that the program runs.
    pub(crate) fn executing(&self) {
        if let Some(last_words) = self.last_words {
            last_words.write(&[]);
        }
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &Message) -> Result<(), Errno> {
        let (bytes, file) = encode(message);
        if let (Message::Failed(_), Some(last_words)) = (message, self.last_words) {
            last_words.write(&bytes);
        }
        match file {
            None => send(&self.socket, &bytes, SendFlags::NOSIGNAL)?,
            Some(fd) => send_with(self.socket.as_fd(), &bytes, fd)?,
        };
        Ok(())
    }

    /// Receives a message; `None` when the other side is gone, which is how execve says that it
    /// succeeded; or what it has left.
    pub(crate) fn receive(&self) -> Result<Option<Message>, Errno> {
        let mut buffer = [0; LONGEST];
        let (length, file) = loop {
            match receive_with(self.socket.as_fd(), &mut buffer) {
                // The other side is gone and had not heard us out; what it said before comes next.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                other => break other?,
            }
        };
        if let (0, Some(last_words)) = (length, self.last_words) {
            return decode(&last_words.read(), None);
        }
        decode(&buffer[..length], file)
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A message's bytes, and the descriptor that goes with them.
fn encode(message: &Message) -> (Vec<u8>, Option<BorrowedFd<'_>>) {
    let mut bytes = Vec::with_capacity(64);
    let mut file = None;
    match message {
        Message::Continue => bytes.push(1),
        Message::RuntimeHooks => bytes.push(2),
        Message::HooksDone => bytes.push(3),
        Message::Console(fd) => {
            bytes.push(4);
            file = Some(fd.as_fd());
        }
        Message::Listener(fd) => {
            bytes.push(9);
            file = Some(fd.as_fd());
        }
        Message::Filesystem(fd) => {
            bytes.push(10);
            file = Some(fd.as_fd());
        }
        Message::Delegate(step) => {
            bytes.push(14);
            bytes.extend_from_slice(&step.to_ne_bytes());
        }
        Message::Ready => bytes.push(5),
        Message::Start => bytes.push(6),
        Message::Staged(pid) => {
            bytes.push(7);
            bytes.extend_from_slice(&pid.to_ne_bytes());
        }
        Message::NeedSource(step) => {
            bytes.push(11);
            bytes.extend_from_slice(&step.to_ne_bytes());
        }
        Message::Source(fd) => {
            bytes.push(12);
            file = Some(fd.as_fd());
        }
        Message::Refused(operation, errno) => {
            bytes.push(13);
            bytes.push(operation.number());
            bytes.extend_from_slice(&errno.raw_os_error().to_ne_bytes());
        }
        Message::Failed(failure) => {
            bytes.push(8);
            bytes.extend_from_slice(&failure.step.to_ne_bytes());
            bytes.push(failure.operation.number());
            bytes.extend_from_slice(&failure.detail.to_ne_bytes());
            bytes.extend_from_slice(&failure.errno.raw_os_error().to_ne_bytes());
            bytes.extend(failure.words.iter().take(LONGEST - bytes.len()));
        }
    }
    (bytes, file)
}

/// What bytes and a descriptor mean; nothing, if there are none.
fn decode(bytes: &[u8], file: Option<OwnedFd>) -> Result<Option<Message>, Errno> {
    let Some((tag, rest)) = bytes.split_first() else { return Ok(None) };
    let message = match (tag, file) {
        (1, _) => Message::Continue,
        (2, _) => Message::RuntimeHooks,
        (3, _) => Message::HooksDone,
        (4, Some(fd)) => Message::Console(fd),
        (9, Some(fd)) => Message::Listener(fd),
        (11, _) => Message::NeedSource(u32::from_ne_bytes(array(rest, 0)?)),
        (12, Some(fd)) => Message::Source(fd),
        (13, _) => Message::Refused(
            operation(rest, 0)?,
            Errno::from_raw_os_error(i32::from_ne_bytes(array(rest, 1)?)),
        ),
        (10, Some(fd)) => Message::Filesystem(fd),
        (14, _) => Message::Delegate(u32::from_ne_bytes(array(rest, 0)?)),
        (5, _) => Message::Ready,
        (6, _) => Message::Start,
        (7, _) => Message::Staged(u32::from_ne_bytes(array(rest, 0)?)),
        (8, _) => Message::Failed(Failure {
            step: u32::from_ne_bytes(array(rest, 0)?),
            operation: operation(rest, 4)?,
            detail: u32::from_ne_bytes(array(rest, 5)?),
            errno: Errno::from_raw_os_error(i32::from_ne_bytes(array(rest, 9)?)),
            words: rest.get(13..).unwrap_or_default().to_vec(),
        }),
        _ => return Err(Errno::PROTO),
    };
    Ok(Some(message))
}

/// An operation in a message.
fn operation(bytes: &[u8], at: usize) -> Result<Operation, Errno> {
    bytes.get(at).and_then(|number| Operation::from_number(*number)).ok_or(Errno::PROTO)
}

/// Four bytes of a message.
fn array(bytes: &[u8], at: usize) -> Result<[u8; 4], Errno> {
    bytes.get(at..at + 4).and_then(|slice| slice.try_into().ok()).ok_or(Errno::PROTO)
}

/// Sends bytes with one descriptor (unix(7), `SCM_RIGHTS`).
pub(crate) fn send_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    file: BorrowedFd<'_>,
) -> Result<usize, Errno> {
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

/// Receives bytes, and a descriptor if one came along; it is closed on execve.
fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok((received.bytes, file))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_arrives_whole() {
        let (parent, init) = Wire::pair().unwrap();
        let sent = Failure {
            step: 7,
            operation: Operation::SetOption,
            detail: 3,
            errno: Errno::INVAL,
            words: b"tmpfs: Bad value for 'mode'".to_vec(),
        };
        init.send(&Message::Failed(sent.clone())).unwrap();
        drop(init);
        match parent.receive().unwrap() {
            Some(Message::Failed(received)) => assert_eq!(received, sent),
            other => unreachable!("{other:?}"),
        }
        assert!(parent.receive().unwrap().is_none());
    }

    #[test]
    fn a_descriptor_travels_and_is_closed_on_exec() {
        let (parent, init) = Wire::pair().unwrap();
        let file = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, 0.into()).unwrap();
        init.send(&Message::Console(file)).unwrap();
        let Some(Message::Console(file)) = parent.receive().unwrap() else {
            unreachable!("a console was sent")
        };
        let flags = rustix::io::fcntl_getfd(&file).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
