//! A connection: who is connected to, the calls, and what is waited for.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{self, Errno};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};
use rustix::process::{geteuid, getuid};

use super::address::sockets;
use super::message::{Call, Kind, Message};
use super::value::Value;
use crate::Error;

/// Which bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Bus {
    /// The machine's.
    #[default]
    System,
    /// The calling user's.
    User,
}

/// Why something did not work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The other side refused: the error's name, and its words.
    Refused(String, String),
    /// Nobody is there to talk to.
    Unreachable(Errno),
    /// The other side did not let us in.
    Denied(String),
    /// It hung up.
    Closed,
    /// It took too long; what did not come in time.
    TimedOut(&'static str),
    /// What it said is not D-Bus.
    Garbage,
    /// The socket.
    Os(Errno),
}

impl Failure {
    /// Whether the refusal has this name, the last part being enough.
    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Refused(full, _) if full.rsplit('.').next() == Some(name))
    }

    /// As an error in doing `what`.
    pub(crate) fn error(self, what: String) -> Error {
        let error = Error::new(what);
        match self {
            Self::Refused(name, words) if words.is_empty() => error.because(name),
            Self::Refused(_, words) => error.because(words.trim_end_matches('.').to_owned()),
            Self::Unreachable(errno) => error.because("the bus cannot be reached").os(errno),
            Self::Denied(line) => error.because(format!("the bus said {line:?}")),
            Self::Closed => error.because("the bus hung up"),
            Self::TimedOut(what) => {
                error.because(format!("{what} did not come in time")).os(Errno::TIMEDOUT)
            }
            Self::Garbage => error.because("the bus said what is not D-Bus"),
            Self::Os(errno) => error.os(errno),
        }
    }
}

/// A connection to a bus, or straight to systemd where no bus runs.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    /// What is to be sent with the next wait.
    outgoing: Vec<u8>,
    /// What came and was not read yet.
    incoming: Vec<u8>,
    /// Whether the lines of authentication are still to come.
    greeting: bool,
    /// Nobody is in between: no names, no matches.
    direct: bool,
    serial: u32,
    deadline: Instant,
}

/// "EXTERNAL" without a name: who we are is asked of the socket, which is right in a user
/// namespace, too.
const HELLO: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";

impl Connection {
    /// Connects, for `patience` in all. A bus's greeting is not waited for yet.
    pub(crate) fn open(bus: Bus, patience: Duration) -> Result<Self, Failure> {
        let (variable, usual, private) = match bus {
            Bus::System => (
                "DBUS_SYSTEM_BUS_ADDRESS",
                Some("/run/dbus/system_bus_socket".into()),
                geteuid().is_root().then(|| "/run/systemd/private".into()),
            ),
            Bus::User => {
                let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
                let runtime = runtime.map_or_else(
                    || PathBuf::from(format!("/run/user/{}", getuid().as_raw())),
                    PathBuf::from,
                );
                let private = runtime.join("systemd/private");
                ("DBUS_SESSION_BUS_ADDRESS", Some(runtime.join("bus")), Some(private))
            }
        };
        let deadline = Instant::now() + patience;
        let given = std::env::var(variable).ok().filter(|address| !address.is_empty());
        if let Some(address) = given {
            let mut last = Errno::AFNOSUPPORT;
            for socket in sockets(&address) {
                match socket.and_then(|socket| reach(&socket, deadline)) {
                    Ok(socket) => return Ok(Self::new(socket, false, deadline)),
                    Err(errno) => last = errno,
                }
            }
            return Err(Failure::Unreachable(last));
        }
        // systemd's own socket serves where no bus is installed; it is no public interface, so
        // the bus comes first.
        let mut first = None;
        for (path, direct) in [(usual, false), (private, true)] {
            let Some(path): Option<PathBuf> = path else { continue };
            match SocketAddrUnix::new(path).and_then(|address| reach(&address, deadline)) {
                Ok(socket) => {
                    let mut connection = Self::new(socket, direct, deadline);
                    if direct {
                        connection.greet()?;
                    }
                    return Ok(connection);
                }
                Err(errno) => _ = first.get_or_insert(errno),
            }
        }
        Err(Failure::Unreachable(first.unwrap_or(Errno::NOENT)))
    }

    fn new(socket: OwnedFd, direct: bool, deadline: Instant) -> Self {
        let mut connection = Self {
            socket,
            outgoing: HELLO.to_vec(),
            incoming: Vec::new(),
            greeting: true,
            direct,
            serial: 0,
            deadline,
        };
        if !direct {
            connection.bus("Hello", Vec::new());
        }
        connection
    }

    /// Waits for the greeting before anything else is sent: what comes in one piece with the end of
    /// the authentication, systemd does not look at until something more comes.
    fn greet(&mut self) -> Result<(), Failure> {
        while self.greeting {
            self.exchange()?;
            self.read_greeting()?;
        }
        Ok(())
    }

    /// A call of the bus itself, whose answer nobody waits for.
    fn bus(&mut self, member: &str, arguments: Vec<Value>) {
        const NAME: &str = "org.freedesktop.DBus";
        let path = "/org/freedesktop/DBus";
        self.call(&Call { destination: NAME, path, interface: NAME, member, arguments });
    }

    /// Asks for the signals that match a rule. On a direct connection they come anyway.
    pub(crate) fn listen(&mut self, rule: &[(&str, &str)]) {
        if self.direct {
            return;
        }
        let mut text = String::from("type='signal'");
        for (key, value) in rule {
            // Unit names have no apostrophe (systemd.unit(5)).
            _ = write!(text, ",{key}='{value}'");
        }
        self.bus("AddMatch", vec![Value::Text(text)]);
    }

    /// Queues a call; the number that its answer will have.
    pub(crate) fn call(&mut self, call: &Call<'_>) -> u32 {
        self.serial += 1;
        self.outgoing.append(&mut call.encode(self.serial, !self.direct));
        self.serial
    }

    /// Sends what is queued, and waits for the next answer or signal. A refusal of our own
    /// greeting is a failure, that of a call is a message.
    pub(crate) fn next(&mut self) -> Result<Message, Failure> {
        loop {
            if self.greeting {
                self.read_greeting()?;
            }
            if !self.greeting
                && let Some(length) = Message::length(&self.incoming)
            {
                let length = length.map_err(|()| Failure::Garbage)?;
                if let Some(bytes) = self.incoming.get(..length) {
                    let message = Message::decode(bytes).ok_or(Failure::Garbage)?;
                    self.incoming.drain(..length);
                    return Ok(message);
                }
            }
            self.exchange()?;
        }
    }

    /// Waits for the answer to a call.
    pub(crate) fn answer(&mut self, serial: u32) -> Result<Message, Failure> {
        loop {
            let message = self.next()?;
            match message.kind {
                Kind::Return if message.reply_to == serial => return Ok(message),
                Kind::Error if message.reply_to == serial => return Err(refused(message)),
                _ => {}
            }
        }
    }

    /// Sends as much as goes, and waits until something has come.
    fn exchange(&mut self) -> Result<(), Failure> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.too_late());
            }
            let mut interest = PollFlags::IN;
            if !self.outgoing.is_empty() {
                match send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL) {
                    Ok(sent) => _ = self.outgoing.drain(..sent),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // Its last words may say why.
                    Err(Errno::PIPE | Errno::CONNRESET) => self.outgoing.clear(),
                    Err(errno) => return Err(Failure::Os(errno)),
                }
                if !self.outgoing.is_empty() {
                    interest |= PollFlags::OUT;
                }
            }
            let left = Timespec::try_from(left).map_err(|_| self.too_late())?;
            let mut files = [PollFd::new(&self.socket, interest)];
            match poll(&mut files, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Failure::Os(errno)),
            }
            self.incoming.reserve(4096);
            match io::read(&self.socket, spare_capacity(&mut self.incoming)) {
                Ok(0) | Err(Errno::CONNRESET) => return Err(Failure::Closed),
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(Failure::Os(errno)),
            }
        }
    }

    fn too_late(&self) -> Failure {
        Failure::TimedOut(if self.greeting { "the bus's greeting" } else { "an answer" })
    }

    /// Takes the lines of authentication, as far as they have come: `DATA`, then `OK GUID`.
    fn read_greeting(&mut self) -> Result<(), Failure> {
        while let Some(end) = self.incoming.windows(2).position(|two| two == b"\r\n") {
            let line = String::from_utf8_lossy(&self.incoming[..end]).into_owned();
            self.incoming.drain(..end + 2);
            match line.split(' ').next() {
                Some("DATA") => {}
                Some("OK") => {
                    self.greeting = false;
                    return Ok(());
                }
                _ => return Err(Failure::Denied(line)),
            }
        }
        // No line is that long.
        if self.incoming.len() > 4096 { Err(Failure::Garbage) } else { Ok(()) }
    }
}

/// A refusal as a failure.
pub(crate) fn refused(message: Message) -> Failure {
    let words = message.texts().first().map(|&text| text.to_owned()).unwrap_or_default();
    Failure::Refused(message.name, words)
}

/// Connects a socket that then does not block.
fn reach(address: &SocketAddrUnix, deadline: Instant) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // One that listens but takes no more connections would be waited for for ever (unix(7)).
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    set_socket_timeout(&socket, Timeout::Send, Some(left))?;
    connect(&socket, address).map_err(|errno| match errno {
        Errno::AGAIN => Errno::TIMEDOUT,
        errno => errno,
    })?;
    io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use rustix::net::socketpair;

    use super::*;

    /// A connection, and the other side with everything that was sent in the first go.
    fn pair(patience: Duration) -> (Connection, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        io::ioctl_fionbio(&ours, true).unwrap();
        (Connection::new(ours, false, Instant::now() + patience), theirs)
    }

    fn call(connection: &mut Connection) -> u32 {
        let name = "org.example";
        let arguments = vec![Value::Uint32(1)];
        connection.call(&Call {
            destination: name,
            path: "/",
            interface: name,
            member: "M",
            arguments,
        })
    }

    /// An answer as a bus writes it; the kind is 2, or 3 for an error.
    fn answer(kind: u8, to: u32, words: &str) -> Vec<u8> {
        let field =
            |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), value.variant()]);
        let mut body = Vec::new();
        Value::text(words).write(&mut body);
        let mut message = vec![b'l', kind, 1, 1];
        Value::Uint32(super::super::value::length(body.len())).write(&mut message);
        Value::Uint32(77).write(&mut message);
        let mut fields = vec![field(5, Value::Uint32(to)), field(8, Value::Signature("s".into()))];
        if kind == 3 {
            fields.push(field(4, Value::text("org.example.Error.NoSuchThing")));
        }
        Value::Array("(yv)".into(), fields).write(&mut message);
        super::super::value::pad(&mut message, 8);
        message.append(&mut body);
        message
    }

    #[test]
    fn answers_come_in_any_portions() {
        let (mut connection, theirs) = pair(Duration::from_mins(1));
        let serial = call(&mut connection);
        let mut bytes = b"DATA\r\nOK 0123\r\n".to_vec();
        bytes.extend(answer(2, 1, "hello"));
        bytes.extend(answer(2, serial, "yes"));
        let teller = std::thread::spawn(move || {
            for byte in &bytes {
                io::write(&theirs, &[*byte]).unwrap();
            }
            theirs
        });
        assert_eq!(connection.answer(serial).unwrap().texts(), ["yes"]);
        teller.join().unwrap();
    }

    #[test]
    fn refusals_have_a_name_and_words() {
        let (mut connection, theirs) = pair(Duration::from_mins(1));
        let serial = call(&mut connection);
        io::write(&theirs, b"DATA\r\nOK 0123\r\n").unwrap();
        io::write(&theirs, &answer(3, serial, "no such thing.")).unwrap();
        let failure = connection.answer(serial).unwrap_err();
        assert!(failure.is("NoSuchThing") && !failure.is("Thing"));
        assert_eq!(failure.error("asking".into()).to_string(), "asking: no such thing");
    }

    #[test]
    fn whoever_is_silent_hangs_up_or_babbles_is_given_up() {
        type Expected = fn(&Failure) -> bool;

        let (mut connection, theirs) = pair(Duration::from_millis(20));
        let serial = call(&mut connection);
        assert!(matches!(connection.answer(serial), Err(Failure::TimedOut(_))));
        drop(theirs);

        let told: [(&[u8], Expected); 4] = [
            (b"", |failure| matches!(failure, Failure::Closed)),
            (b"REJECTED EXTERNAL\r\n", |failure| matches!(failure, Failure::Denied(_))),
            (b"DATA\r\nOK 1\r\nwhat is this?    ", |failure| matches!(failure, Failure::Garbage)),
            (b"DATA\r\nOK 1\r\nl\x02\0", |failure| matches!(failure, Failure::Closed)),
        ];
        for (bytes, expected) in told {
            let (mut connection, theirs) = pair(Duration::from_mins(1));
            let serial = call(&mut connection);
            io::write(&theirs, bytes).unwrap();
            drop(theirs);
            let failure = connection.answer(serial).unwrap_err();
            assert!(expected(&failure), "{failure:?}");
        }
    }

    #[test]
    fn all_goes_out_at_once() {
        let (mut connection, theirs) = pair(Duration::from_millis(20));
        connection.listen(&[("member", "JobRemoved")]);
        call(&mut connection);
        assert!(matches!(connection.next(), Err(Failure::TimedOut(_))));
        let mut sent = [0; 4096];
        let length = io::read(&theirs, &mut sent).unwrap();
        let sent = sent[..length].strip_prefix(HELLO).unwrap();
        let mut names = Vec::new();
        let mut rest = sent;
        while !rest.is_empty() {
            let (message, after) = rest.split_at(Message::length(rest).unwrap().unwrap());
            names.push(Message::decode(message).unwrap().name);
            rest = after;
        }
        assert_eq!(names, ["Hello", "AddMatch", "M"]);
    }
}
