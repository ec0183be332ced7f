//! config.json on disk.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use coracle::config::{Config, template, to_json};
use coracle::{Errno, Error, Kind};

/// A directory that goes when the test ends.
struct Bundle(PathBuf);

impl Bundle {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{name}"));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("config.json")
    }

    fn load(&self) -> Result<Config, Error> {
        Config::load(File::open(&self.0).unwrap(), "config.json")
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_file_is_kept_as_written() {
    let bundle = Bundle::new("good");
    let mut json = to_json(&template(None)).unwrap();
    json.extend_from_slice(b"\n\n");
    std::fs::write(bundle.path(), &json).unwrap();
    let config = bundle.load().unwrap();
    assert_eq!(config.raw, json);
    assert_eq!(config.spec, template(None));
}

#[test]
fn an_absolute_path_and_a_link_are_followed() {
    let bundle = Bundle::new("link");
    let other = bundle.0.join("other.json");
    std::fs::write(&other, to_json(&template(None)).unwrap()).unwrap();
    symlink("other.json", bundle.path()).unwrap();
    bundle.load().unwrap();
    Config::load(File::open("/").unwrap(), &other).unwrap();
}

#[test]
fn a_missing_file_is_told_in_known_words() {
    let error = Bundle::new("missing").load().unwrap_err();
    assert_eq!(error.summary(), "JSON specification file config.json not found");
    assert_eq!(error.get_kind(), Kind::Config);
    assert!(error.advice().unwrap().contains("spec"));
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let bundle = Bundle::new("kinds");
    let refused = |because: &str| {
        let error = bundle.load().unwrap_err();
        assert_eq!(error.summary(), format!("reading config.json: {because}"));
    };
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bundle.path(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    refused("not a regular file");

    std::fs::remove_file(bundle.path()).unwrap();
    symlink("/dev/zero", bundle.path()).unwrap();
    refused("not a regular file");

    std::fs::remove_file(bundle.path()).unwrap();
    std::fs::create_dir(bundle.path()).unwrap();
    refused("not a regular file");
}

#[test]
fn a_huge_file_is_not_read() {
    let bundle = Bundle::new("huge");
    File::create(bundle.path()).unwrap().set_len((64 << 20) + 1).unwrap();
    let error = bundle.load().unwrap_err();
    assert_eq!(error.summary(), "reading config.json: longer than 64 MiB");
}

#[test]
fn a_link_to_itself_tells_the_kernels_reason() {
    let bundle = Bundle::new("loop");
    symlink("config.json", bundle.path()).unwrap();
    assert_eq!(bundle.load().unwrap_err().errno(), Some(Errno::LOOP));
}

#[test]
fn errors_name_the_file() {
    let bundle = Bundle::new("name");
    std::fs::write(bundle.0.join("mine.json"), "{\"ociVersion\": 1}").unwrap();
    let error = Config::load(File::open(&bundle.0).unwrap(), "mine.json").unwrap_err();
    assert_eq!(error.place().unwrap(), "mine.json: /ociVersion = 1");
}
