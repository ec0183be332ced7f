//! A bus of the test's own with a systemd on it, as good or as bad as a test wants it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use coracle_tests::{Bundle, Call, Coracle};

/// Runs what follows where systemd seems to run.
pub(crate) const BOOTED: [&str; 5] = [
    "unshare",
    "-m",
    "sh",
    "-c",
    "mount -t tmpfs run /run && mkdir -p /run/systemd/system && exec \"$@\"",
];

/// What the bus says to a call.
pub(crate) enum Answer {
    /// Nothing of interest.
    Done,
    /// A job, and how it ended.
    Job(&'static str),
    /// A job, a signal of somebody else that it is done, and how it ended.
    Forged(&'static str),
    /// A refusal: name and words.
    Refuse(&'static str, String),
    /// It hangs up.
    HangUp,
    /// It says nothing at all.
    Silence,
    /// A job that never ends.
    Endless,
    /// A job that never ends, and jobs of others that do.
    Chatter,
    /// These bytes, and what is said before them.
    Bytes(Vec<u8>),
    /// These bytes alone, and it hangs up.
    LastWords(Vec<u8>),
}

/// A call: its method and its bytes.
pub(crate) struct Said {
    pub(crate) member: String,
    pub(crate) bytes: Vec<u8>,
}

impl Said {
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.position(text).is_some()
    }

    /// Where a text is in its bytes.
    pub(crate) fn position(&self, text: &str) -> Option<usize> {
        self.bytes.windows(text.len()).position(|window| window == text.as_bytes())
    }

    /// The process in the property `PIDs`.
    pub(crate) fn pid(&self) -> String {
        let at = self.position("PIDs\0").expect("PIDs") + 5;
        // The signature `au`, then a length and one number, each at a multiple of 4.
        let number = (at + 4).next_multiple_of(4) + 4;
        u32::from_le_bytes(self.bytes[number..number + 4].try_into().unwrap()).to_string()
    }
}

/// A bus with systemd on it.
pub(crate) struct Bus {
    pub(crate) path: PathBuf,
    pub(crate) said: Arc<Mutex<Vec<String>>>,
}

impl Bus {
    /// Serves until the test ends. On each connection nothing is answered before somebody is asked
    /// who is not the bus: whoever waits for anything earlier waits for ever.
    pub(crate) fn new(
        coracle: &Coracle,
        answer: impl Fn(&Said) -> Answer + Send + 'static,
    ) -> Self {
        Self::serving(coracle, false, answer)
    }

    /// systemd itself. It greets at once, and does not look at what comes in one piece with the end
    /// of the authentication.
    pub(crate) fn direct(
        coracle: &Coracle,
        answer: impl Fn(&Said) -> Answer + Send + 'static,
    ) -> Self {
        Self::serving(coracle, true, answer)
    }

    fn serving(
        coracle: &Coracle,
        direct: bool,
        answer: impl Fn(&Said) -> Answer + Send + 'static,
    ) -> Self {
        let path = coracle.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&said);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A caller that is killed breaks it off.
                _ = serve(stream.unwrap(), direct, &log, &answer);
            }
        });
        Self { path, said }
    }

    /// The methods called until now, `|` between connections.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join(" ")
    }

    /// A command that has this bus as the machine's.
    pub(crate) fn call(&self, coracle: &Coracle, words: &[&str]) -> Call {
        let address = format!("unix:path={}", self.path.display());
        let call = coracle.call(["--systemd-cgroup"]).args(words);
        call.through(["sh"]).through(BOOTED).env("DBUS_SYSTEM_BUS_ADDRESS", address)
    }

    /// A command on a machine without a bus, that has this as systemd's own socket.
    pub(crate) fn call_directly(&self, coracle: &Coracle, words: &[&str]) -> Call {
        let script = format!("ln -s {} /run/systemd/private && exec \"$@\"", self.path.display());
        let call = coracle.call(["--systemd-cgroup"]).args(words);
        let call = call.through(["sh", "-c", &script, "sh"]);
        call.through(["sh"]).through(BOOTED).env("DBUS_SYSTEM_BUS_ADDRESS", "")
    }

    pub(crate) fn create(&self, coracle: &Coracle, bundle: &Bundle) -> Call {
        self.call(coracle, &["create", "--bundle", bundle.path().to_str().unwrap(), bundle.id()])
    }
}

fn serve(
    mut stream: UnixStream,
    direct: bool,
    log: &Mutex<Vec<String>>,
    answer: &impl Fn(&Said) -> Answer,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut held = b"DATA\r\nOK 0123456789abcdef\r\n".to_vec();
    let mut greeting = true;
    let mut buffer = [0; 4096];
    log.lock().unwrap().push("|".to_owned());
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&buffer[..length]);
        if greeting {
            let lines = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
            if bytes.len() < lines.len() {
                continue;
            }
            assert!(bytes.starts_with(lines));
            bytes.drain(..lines.len());
            greeting = false;
            if direct {
                stream.write_all(&std::mem::take(&mut held))?;
                continue;
            }
        }
        while let Some(length) = whole(&bytes) {
            let rest = bytes.split_off(length);
            let said = Said { member: member(&bytes), bytes: std::mem::replace(&mut bytes, rest) };
            log.lock().unwrap().push(said.member.clone());
            let serial = number(&said.bytes, 8);
            if ["Hello", "AddMatch"].contains(&said.member.as_str()) {
                held.extend(message(2, serial, "bus", "", &[]));
                continue;
            }
            let job = format!("/job/{serial}");
            let unit = "unit";
            match answer(&said) {
                Answer::Done => held.extend(message(2, serial, ":1.0", "", &[("s", "/cgroup")])),
                Answer::Job(result) => {
                    held.extend(message(2, serial, ":1.0", "", &[("o", &job)]));
                    held.extend(removed(":1.0", "/job/other", unit, "failed"));
                    held.extend(removed(":1.0", &job, unit, result));
                }
                Answer::Forged(result) => {
                    held.extend(removed(":1.66", &job, unit, "done"));
                    held.extend(message(2, serial, ":1.0", "", &[("o", &job)]));
                    held.extend(removed(":1.66", &job, unit, "done"));
                    held.extend(removed(":1.0", &job, unit, result));
                }
                Answer::Refuse(name, words) => {
                    held.extend(message(3, serial, ":1.0", name, &[("s", &words)]));
                }
                Answer::HangUp => return Ok(()),
                Answer::Silence => continue,
                Answer::Endless => held.extend(message(2, serial, ":1.0", "", &[("o", &job)])),
                Answer::Chatter => {
                    held.extend(message(2, serial, ":1.0", "", &[("o", &job)]));
                    stream.write_all(&std::mem::take(&mut held))?;
                    loop {
                        stream.write_all(&removed(":1.0", "/job/other", unit, "done"))?;
                        std::thread::sleep(std::time::Duration::from_millis(100));
                    }
                }
                Answer::Bytes(bytes) => held.extend(bytes),
                Answer::LastWords(bytes) => return stream.write_all(&bytes),
            }
            stream.write_all(&std::mem::take(&mut held))?;
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The length of the first message, if all of it has come.
fn whole(bytes: &[u8]) -> Option<usize> {
    let [body, fields] = [4, 12].map(|at| Some(number(bytes.get(..16)?, at) as usize));
    let length = (16 + fields?).next_multiple_of(8) + body?;
    (bytes.len() >= length).then_some(length)
}

/// The method that a message calls.
fn member(bytes: &[u8]) -> String {
    let end = 16 + number(bytes, 12) as usize;
    let mut at = 16_usize;
    while at < end {
        at = at.next_multiple_of(8);
        let (code, kind) = (bytes[at], bytes[at + 2]);
        let text = (at + 4).next_multiple_of(if kind == b'g' { 1 } else { 4 });
        let (start, length) = match kind {
            b'g' => (text + 1, bytes[text] as usize),
            _ => (text + 4, number(bytes, text) as usize),
        };
        if code == 3 {
            return String::from_utf8(bytes[start..start + length].to_vec()).unwrap();
        }
        at = start + length + 1;
    }
    String::new()
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// An answer (2), a refusal (3) or a signal (4) with these values, each with its type.
fn message(kind: u8, to: u32, sender: &str, name: &str, values: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut signature = String::new();
    for (kind, value) in values {
        signature.push_str(kind);
        match *kind {
            "u" => body.extend(7_u32.to_le_bytes()),
            _ => text(&mut body, value),
        }
    }
    let mut fields = Vec::new();
    let mut field = |code: u8, kind: u8, value: &str| {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        match kind {
            b'u' => fields.extend(to.to_le_bytes()),
            b'g' => {
                fields.push(u8::try_from(value.len()).unwrap());
                fields.extend(value.as_bytes());
                fields.push(0);
            }
            _ => text(&mut fields, value),
        }
    };
    field(5, b'u', "");
    field(7, b's', sender);
    field(8, b'g', &signature);
    match kind {
        3 => field(4, b's', name),
        4 => field(3, b's', name),
        _ => {}
    }
    let mut message = vec![b'l', kind, 1, 1];
    message.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    message.extend([9, 0, 0, 0]);
    message.extend(u32::try_from(fields.len()).unwrap().to_le_bytes());
    message.append(&mut fields);
    pad(&mut message, 8);
    message.append(&mut body);
    message
}

fn removed(sender: &str, job: &str, unit: &str, result: &str) -> Vec<u8> {
    let values = [("u", ""), ("o", job), ("s", unit), ("s", result)];
    message(4, 0, sender, "JobRemoved", &values)
}

/// A bundle whose unit is at the top of the tree, under a name that the cleaning knows.
pub(crate) fn bundle(coracle: &Coracle) -> (Bundle, String) {
    let bundle = coracle.bundle().sh("sleep 1000");
    let id = bundle.id().to_owned();
    let bundle = bundle.set("/linux/cgroupsPath", format!("-.slice:{id}:unit"));
    (bundle, format!("{id}-unit.scope"))
}

/// Puts the process where systemd would: in the hierarchies that it keeps track in, or in version 2
/// alone.
pub(crate) fn place(unit: &str, pid: &str, unified: bool) {
    for tree in ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
        let tree = Path::new(tree);
        if tree.join("cgroup.procs").exists() && !(unified && tree.ends_with("systemd")) {
            let directory = tree.join(unit);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.procs"), pid).unwrap();
        }
    }
}

/// A systemd that does what it is told.
pub(crate) fn obedient(unit: &str, unified: bool) -> impl Fn(&Said) -> Answer + Send + 'static {
    let unit = unit.to_owned();
    move |said| {
        if said.member == "StartTransientUnit" {
            place(&unit, &said.pid(), unified);
        }
        match said.member.as_str() {
            "StartTransientUnit" | "StopUnit" => Answer::Job("done"),
            _ => Answer::Done,
        }
    }
}
