//! One run of QEMU: its command line, its monitor, its ports.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;

/// Between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// For QEMU to come up or to answer its monitor.
const PATIENCE: Duration = Duration::from_mins(1);

/// The emulated machine. It must be the same for the boot that is saved and for what goes on from
/// there. Emulation needs no /dev/kvm, and is the same on every machine.
pub(super) const MACHINE: &str = "-no-user-config -nodefaults -display none -no-reboot -nic none \
    -accel tcg,thread=multi -cpu max -smp 2 -m 3G -rtc base=utc \
    -device virtio-serial-pci -device virtio-rng-pci";

/// The ports between host and guest, in the order of their connections.
const PORTS: [&str; 3] = ["control", "out", "err"];

/// What a machine is made of.
pub(super) struct Parts<'a> {
    /// Directory with vmlinuz and initrd.
    pub(super) kernel: &'a Path,
    /// What follows on the kernel's command line, from a blank on.
    pub(super) parameters: &'a str,
    /// The root file system, qcow2.
    pub(super) disk: &'a Path,
    /// Whether to forget what is written to it.
    pub(super) forget: bool,
    /// The second disk, raw.
    pub(super) input: &'a Path,
    /// Where the console goes.
    pub(super) console: &'a Path,
    /// A saved machine to go on with, instead of a boot.
    pub(super) saved: Option<&'a Path>,
}

/// A running QEMU. It is killed when this is dropped, and when this program dies.
pub(super) struct Machine {
    process: Child,
    monitor: BufReader<UnixStream>,
    control: BufReader<UnixStream>,
    /// Standard output and standard error of the guest's command.
    streams: Option<[UnixStream; 2]>,
    console: PathBuf,
}

impl Machine {
    /// Starts QEMU; the guest boots, or is at rest where it was saved.
    pub(super) fn start(parts: &Parts<'_>) -> Outcome<Self> {
        // Else it would outlive this program, should that be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(MACHINE.split_whitespace());
        command.arg("-kernel").arg(parts.kernel.join("vmlinuz"));
        command.arg("-initrd").arg(parts.kernel.join("initrd"));
        let words = "console=ttyS0 rw panic=-1 hugepages=16 loglevel=4";
        command.arg("-append").arg(format!("{words}{}", parts.parameters));
        command.arg("-serial").arg(format!("file:{}", parts.console.display()));
        let snapshot = if parts.forget { "on" } else { "off" };
        let disk = parts.disk.display();
        command
            .arg("-drive")
            .arg(format!("file={disk},if=virtio,format=qcow2,snapshot={snapshot}"));
        let input = parts.input.display();
        command.arg("-drive").arg(format!("file={input},if=virtio,format=raw"));
        let sockets = Sockets::new()?;
        let directory = sockets.directory.display();
        let mut listeners = vec![sockets.listen("monitor")?];
        command.arg("-qmp").arg(format!("unix:{directory}/monitor"));
        for port in PORTS {
            listeners.push(sockets.listen(port)?);
            command.arg("-chardev").arg(format!("socket,id={port},path={directory}/{port}"));
            command.arg("-device").arg(format!("virtserialport,chardev={port},name={port}"));
        }
        if let Some(saved) = parts.saved {
            command.arg("-incoming").arg(format!("exec:cat {}", quoted(saved)));
        }
        let log = parts.console.with_extension("qemu");
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .map_err(|error| format!("setpriv: {error}"))?;
        let mut connect = || listeners.iter().map(|one| accept(one, &mut process)).collect();
        let streams: Vec<UnixStream> = match connect() {
            Ok(streams) => streams,
            Err(error) => {
                let error: Box<dyn Error> = error;
                let _ = process.kill();
                let _ = process.wait();
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("QEMU did not start: {error}\n{}", said.trim_end()).into());
            }
        };
        let [monitor, control, out, err] = <[_; 4]>::try_from(streams).map_err(|_| "ports")?;
        monitor.set_read_timeout(Some(PATIENCE))?;
        let mut machine = Self {
            process,
            monitor: BufReader::new(monitor),
            control: BufReader::new(control),
            streams: Some([out, err]),
            console: parts.console.to_owned(),
        };
        // Its greeting.
        machine.receive()?;
        machine.ask(&json!({"execute": "qmp_capabilities"}))?;
        if parts.saved.is_some() {
            machine.becomes("inmigrate", false)?;
            machine.ask(&json!({"execute": "cont"}))?;
        }
        Ok(machine)
    }

    /// Says a line to the guest.
    pub(super) fn say(&mut self, line: &str) -> Outcome<()> {
        Ok(self.control.get_mut().write_all(format!("{line}\n").as_bytes())?)
    }

    /// Waits until `end` for a line from the guest.
    pub(super) fn hear(&mut self, end: Instant) -> Outcome<String> {
        let left = end.saturating_duration_since(Instant::now()).max(PAUSE);
        self.control.get_ref().set_read_timeout(Some(left))?;
        let mut line = String::new();
        let why = match self.control.read_line(&mut line) {
            Ok(0) => "it ended".to_owned(),
            Ok(_) => return Ok(line.trim_end().to_owned()),
            Err(_) if Instant::now() >= end => "the time was up".to_owned(),
            Err(error) => error.to_string(),
        };
        let console = self.console.display();
        Err(format!("nothing came from the guest: {why}; its console is in {console}").into())
    }

    /// Passes on what the command writes to standard output (0) and standard error (1).
    pub(super) fn pass_on(
        &mut self,
        sinks: [Box<dyn Write + Send>; 2],
    ) -> Option<[JoinHandle<()>; 2]> {
        let [out, err] = self.streams.take()?;
        let [to_out, to_err] = sinks;
        let pump = |mut from: UnixStream, mut to: Box<dyn Write + Send>| {
            std::thread::spawn(move || {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    if to.write_all(&bytes[..count]).and_then(|()| to.flush()).is_err() {
                        break;
                    }
                }
            })
        };
        Some([pump(out, to_out), pump(err, to_err)])
    }

    /// Saves the machine as it is, at rest.
    pub(super) fn save(&mut self, state: &Path) -> Outcome<()> {
        self.ask(&json!({"execute": "stop"}))?;
        let uri = format!("exec:cat > {}", quoted(state));
        self.ask(&json!({"execute": "migrate-set-parameters",
            "arguments": {"max-bandwidth": 1_u64 << 40}}))?;
        self.ask(&json!({"execute": "migrate", "arguments": {"uri": uri}}))?;
        self.becomes("postmigrate", true)
    }

    /// Ends it, and waits for that.
    pub(super) fn quit(mut self) {
        let _ = self.ask(&json!({"execute": "quit"}));
        let _ = self.process.wait();
    }

    /// Waits until the machine's state is, or is no longer, this one.
    fn becomes(&mut self, state: &str, wanted: bool) -> Outcome<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.ask(&json!({"execute": "query-status"}))?;
            if (status["status"] == state) == wanted {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("QEMU stays {}, for {state}", status["status"]).into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A command for the monitor and what it returns (QEMU Machine Protocol).
    fn ask(&mut self, command: &Value) -> Outcome<Value> {
        writeln!(self.monitor.get_mut(), "{command}")?;
        loop {
            let mut answer = self.receive()?;
            if let Some(error) = answer.get("error") {
                return Err(format!("QEMU refuses {command}: {error}").into());
            }
            // Else an event that nobody asked for.
            if let Some(returned) = answer.get_mut("return") {
                return Ok(returned.take());
            }
        }
    }

    fn receive(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        self.monitor.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|_| "QEMU has ended".into())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sockets that QEMU connects to, in a directory of their own: their paths must be short.
struct Sockets {
    directory: PathBuf,
}

impl Sockets {
    fn new() -> Outcome<Self> {
        let directory = std::env::temp_dir().join(format!("coracle-vm-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory)?;
        Ok(Self { directory })
    }

    /// Makes a socket to connect to.
    fn listen(&self, name: &str) -> Outcome<UnixListener> {
        let listener = UnixListener::bind(self.directory.join(name))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The connection that QEMU makes.
fn accept(listener: &UnixListener, process: &mut Child) -> Outcome<UnixStream> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
        if let Some(status) = process.try_wait()? {
            return Err(status.to_string().into());
        }
        if Instant::now() > end {
            return Err("it does not connect".into());
        }
        std::thread::sleep(PAUSE);
    }
}

/// A path as the shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
