//! What a mount namespace holds: `proc_pid_mountinfo(5)`.

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its ID, unique in the kernel while it lives.
    pub id: u32,
    /// The ID of the mount it lies on.
    pub parent: u32,
    /// `major:minor` of the file system.
    pub device: String,
    /// The directory of the file system that is mounted.
    pub root: String,
    /// Where it is mounted.
    pub point: String,
    /// Options of this mount, such as `ro,nosuid`.
    pub options: String,
    /// Propagation: `shared:7`, `master:1`, or nothing for a private mount.
    pub propagation: String,
    /// The type of file system.
    pub kind: String,
    /// What was given as the source.
    pub source: String,
    /// Options of the file system, such as `rw,size=65536k,mode=755`.
    pub super_options: String,
}

impl Mount {
    /// Reads all lines of a mountinfo text.
    pub fn parse(text: &str) -> Vec<Self> {
        text.lines().map(Self::line).collect()
    }

    fn line(line: &str) -> Self {
        let fields: Vec<&str> = line.split(' ').collect();
        let dash = fields.iter().position(|&field| field == "-").expect("a dash in mountinfo");
        Self {
            id: fields[0].parse().unwrap(),
            parent: fields[1].parse().unwrap(),
            device: fields[2].into(),
            root: fields[3].into(),
            point: fields[4].into(),
            options: fields[5].into(),
            propagation: fields[6..dash].join(" "),
            kind: fields[dash + 1].into(),
            source: fields[dash + 2].into(),
            super_options: fields[dash + 3].into(),
        }
    }

    /// Whether it has the option, by itself or for its whole file system.
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').chain(self.super_options.split(',')).any(|one| one == option)
    }

    /// Whether its source, root or mount point has `name` in it.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        [&self.root, &self.point, &self.source].iter().any(|path| path.contains(name))
    }
}

/// The mounts that this process sees.
pub(crate) fn of_host() -> Vec<Mount> {
    Mount::parse(&std::fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted"))
}
