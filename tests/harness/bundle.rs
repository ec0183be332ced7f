//! A bundle: a root file system of busybox, and the config.json that `spec` writes, edited.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::call::Call;
use crate::scratch::copy_program;
use crate::skip::Needs;

/// Where busybox-static installs it.
const BUSYBOX: &str = "/bin/busybox";

/// A bundle on disk, and the ID of the container that a test makes from it. Each edit is written
/// at once.
pub struct Bundle {
    directory: PathBuf,
    id: String,
    config: Value,
}

impl Bundle {
    /// Fills a directory with a root file system. config.json is there already.
    pub(crate) fn new(directory: PathBuf, id: String) -> Self {
        let text = fs::read_to_string(directory.join("config.json")).expect("spec wrote it");
        let config = serde_json::from_str(&text).expect("spec writes JSON");
        Self { directory, id, config }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Its root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// The container's ID: unique on the machine.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Another ID for a container from the same bundle.
    pub fn other_id(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.id)
    }

    /// The configuration as it stands.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Runs a shell script instead of `sh`.
    pub fn sh(self, script: &str) -> Self {
        self.args(["sh", "-c", script])
    }

    /// Runs these arguments.
    pub fn args<S: AsRef<str>>(self, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<Value> = args.into_iter().map(|arg| arg.as_ref().into()).collect();
        self.set("/process/args", args)
    }

    /// Sets the value at a JSON pointer, making what leads there; `-` behind an array appends
    /// (RFC 6902).
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.config;
        for key in pointer.split('/').skip(1) {
            if key == "-" && at.is_null() {
                *at = json!([]);
            }
            at = match at {
                Value::Array(items) => {
                    let index = key.parse().unwrap_or(items.len());
                    if index == items.len() {
                        items.push(Value::Null);
                    }
                    &mut items[index]
                }
                other => {
                    if !other.is_object() {
                        *other = json!({});
                    }
                    other.as_object_mut().unwrap().entry(key).or_insert(Value::Null)
                }
            };
        }
        *at = value.into();
        self.write()
    }

    /// Sets the members of `linux.resources` that the object has.
    pub fn limited(self, resources: &Value) -> Self {
        let members = resources.as_object().expect("an object");
        members.iter().fold(self, |bundle, (key, value)| {
            bundle.set(&format!("/linux/resources/{key}"), value.clone())
        })
    }

    /// Removes what the JSON pointer leads to.
    pub fn remove(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        match self.config.pointer_mut(parent).expect("there is such a field") {
            Value::Array(items) => drop(items.remove(key.parse().unwrap())),
            // In place: the other keys keep their order.
            Value::Object(fields) => drop(fields.shift_remove(key)),
            other => panic!("{parent} has no fields: {other}"),
        }
        self.write()
    }

    /// Removes the namespace of this type.
    pub fn without_namespace(mut self, kind: &str) -> Self {
        let namespaces = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != kind);
        self.write()
    }

    /// Writes any text as config.json.
    pub fn text(self, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.directory.join("config.json"), text).unwrap();
        self
    }

    /// Writes a file into the root file system.
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        let path = self.rootfs().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn write(self) -> Self {
        let text = serde_json::to_string_pretty(&self.config).unwrap();
        self.text(text)
    }
}

/// Makes a root file system: busybox with all its names, users, and empty directories.
pub(crate) fn make_rootfs(rootfs: &Path) {
    for directory in ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    copy_program(Path::new(BUSYBOX), &rootfs.join("bin/busybox"));
    for name in names().as_ref().expect("checked before") {
        symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home:/bin/sh\n";
    fs::write(rootfs.join("etc/passwd"), passwd).unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\ntty:x:5:\nguest:x:1000:\n").unwrap();
}

/// The names that busybox goes by.
pub(crate) fn names() -> &'static Needs<Vec<String>> {
    static NAMES: OnceLock<Needs<Vec<String>>> = OnceLock::new();
    NAMES.get_or_init(|| {
        // A dynamic one would not run in a root file system without libraries.
        if !is_static(Path::new(BUSYBOX)) {
            return Err(format!("needs a static {BUSYBOX} (package busybox-static)"));
        }
        let listed = Call::new([BUSYBOX, "--list"]).output().succeeds().stdout;
        Ok(listed.lines().filter(|&name| name != "busybox").map(str::to_owned).collect())
    })
}

/// Whether an ELF file asks for no dynamic loader: 64-bit program headers, none of `PT_INTERP`.
fn is_static(path: &Path) -> bool {
    let Ok(file) = fs::read(path) else { return false };
    let field = |at: usize, size: usize| {
        file.get(at..at + size).map(|bytes| {
            bytes.iter().rev().fold(0_usize, |value, &byte| value << 8 | usize::from(byte))
        })
    };
    let headers = || {
        let (at, size, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
        (0..count).map(|index| field(at + index * size, 4)).collect::<Option<Vec<_>>>()
    };
    file.starts_with(b"\x7fELF\x02\x01") && headers().is_some_and(|kinds| !kinds.contains(&3))
}
