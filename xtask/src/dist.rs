//! `cargo xtask dist`: what is handed out, in `target/dist`: the static binary, a Debian package
//! with man pages and completions, the list of what it is made of, and their checksums.
//!
//! Whoever builds the same sources with the same compiler gets the same bytes, wherever they are:
//! paths are taken out of the binary, and every time is that of the last commit
//! (`SOURCE_DATE_EPOCH`). `--check` builds a second time, elsewhere, and compares.

mod debian;
mod sbom;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::Outcome;

/// Builds all of it.
pub(crate) fn main(args: &[String]) -> ExitCode {
    let check = match args {
        [] => false,
        [only] if only == "--check" => true,
        _ => {
            eprintln!("usage: cargo xtask dist [--check]");
            eprintln!("  --check  build once more in another directory, and compare");
            return ExitCode::from(2);
        }
    };
    match build(check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is built, and from what.
struct Dist {
    /// The sources.
    workspace: PathBuf,
    /// Where the results go.
    output: PathBuf,
    /// The compiler's name for the machine, such as `x86_64-unknown-linux-gnu`.
    triple: String,
    /// Of coracle.
    version: String,
    /// Seconds since 1970: the time that every file has.
    epoch: String,
    /// The commit, if it is known.
    commit: Option<String>,
}

fn build(check: bool) -> Outcome<()> {
    let dist = Dist::find()?;
    let _ = fs::remove_dir_all(&dist.output);
    fs::create_dir_all(&dist.output)?;
    let binary = dist.binary(&dist.workspace, &dist.workspace.join("target/dist-build"))?;
    if check {
        dist.compare(&binary)?;
    }
    let name = format!("coracle-{}-{}", dist.version, dist.triple);
    fs::copy(&binary, dist.output.join(&name))?;
    let bom = dist.output.join(format!("{name}.cdx.json"));
    fs::write(&bom, sbom::text(&dist)?)?;
    let documents = dist.documents()?;
    let mut files = vec![name, file_name(&bom)];
    match debian::package(&dist, &binary, &documents, &bom)? {
        Some(package) => files.push(file_name(&package)),
        None => println!("no package: dpkg-deb is not installed"),
    }
    let sums = output(Command::new("sha256sum").args(&files).current_dir(&dist.output))?;
    fs::write(dist.output.join("SHA256SUMS"), &sums)?;
    print!("{sums}");
    Ok(())
}

impl Dist {
    fn find() -> Outcome<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
        let git =
            |args: &[&str]| output(Command::new("git").args(args).current_dir(workspace)).ok();
        let epoch = env::var("SOURCE_DATE_EPOCH").ok();
        let epoch = epoch.or_else(|| git(&["log", "-1", "--format=%ct"]));
        let about = output(Command::new("rustc").arg("-vV"))?;
        let triple = about.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("no host")?;
        Ok(Self {
            output: workspace.join("target/dist"),
            workspace: workspace.to_owned(),
            triple: triple.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: epoch.map_or_else(|| "0".to_owned(), |epoch| epoch.trim().to_owned()),
            commit: git(&["rev-parse", "HEAD"]).map(|commit| commit.trim().to_owned()),
        })
    }

    /// Builds the binary from the sources in `workspace`.
    fn binary(&self, workspace: &Path, target: &Path) -> Outcome<PathBuf> {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        // As in .cargo/config.toml, which these replace; the later of two prefixes wins.
        let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
        let mut remap = |from: &Path, to: &str| {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        };
        remap(Path::new(sysroot.trim()), "/rust");
        home.as_deref().inspect(|home| remap(home, "/cargo"));
        remap(target, "/target");
        remap(workspace, "/coracle");
        let mut cargo = cargo();
        cargo
            .args(["build", "--locked", "--release", "--package", "coracle-cli", "--target"])
            .args([&self.triple, "--target-dir"])
            .arg(target)
            .current_dir(workspace)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        match &self.commit {
            Some(commit) => cargo.env("CORACLE_COMMIT", commit),
            None => cargo.env_remove("CORACLE_COMMIT"),
        };
        run(&mut cargo)?;
        Ok(target.join(&self.triple).join("release/coracle"))
    }

    /// Builds the same sources in another place, and compares.
    fn compare(&self, binary: &Path) -> Outcome<()> {
        let other = self.workspace.join("target/dist-check/a place with another, longer name");
        let _ = fs::remove_dir_all(&other);
        let tracked = output(Command::new("git").arg("ls-files").current_dir(&self.workspace))?;
        for file in tracked.lines() {
            let to = other.join(file);
            fs::create_dir_all(to.parent().unwrap_or(&other))?;
            // One that was removed and not committed yet is in no build.
            if self.workspace.join(file).exists() {
                fs::copy(self.workspace.join(file), to)?;
            }
        }
        let second = self.binary(&other, &other.join("target"))?;
        if fs::read(binary)? != fs::read(&second)? {
            let (one, two) = (binary.display(), second.display());
            return Err(format!("two builds differ: {one} and {two}").into());
        }
        println!("both builds are the same");
        fs::remove_dir_all(&other)?;
        Ok(())
    }

    /// Has man pages and completions written.
    fn documents(&self) -> Outcome<PathBuf> {
        let directory = self.workspace.join("target/dist-documents");
        let _ = fs::remove_dir_all(&directory);
        let build =
            ["run", "--locked", "--quiet", "--package", "coracle-cli", "--features", "documents"];
        run(cargo()
            .args(build)
            .args(["--", "documents"])
            .arg(&directory)
            .current_dir(&self.workspace))?;
        Ok(directory)
    }
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs a command, which succeeds.
fn run(command: &mut Command) -> Outcome<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// What a command prints; it succeeds.
fn output(command: &mut Command) -> Outcome<String> {
    let told = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if told.status.success() {
        Ok(String::from_utf8(told.stdout)?)
    } else {
        Err(format!("{command:?}: {}", told.status).into())
    }
}
