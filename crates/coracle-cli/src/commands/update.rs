//! `update`.

use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use clap::ArgMatches;
use coracle::config::{self, BlockIo, Cpu, Memory, Pids, Resources};
use coracle::error::Context;
use coracle::{Error, Result, container};

use super::{id, path};
use crate::globals::Globals;
use crate::log::Log;

pub(super) fn main(options: &ArgMatches, globals: &Globals, log: &mut Log) -> Result<u8> {
    let changes = if let Some(file) = path(options, "resources") {
        read(&file)?
    } else {
        for name in ["kernel-memory", "kernel-memory-tcp"] {
            if given(options, name).is_some() {
                log.warn(&format!("setting --{name} is ignored"));
            }
        }
        from_options(options)?
    };
    container::update(&globals.store, id(options), &changes)?;
    let [cache, bandwidth] = ["l3-cache-schema", "mem-bw-schema"].map(|name| given(options, name));
    if cache.is_some() || bandwidth.is_some() {
        container::update_shares(&globals.store, id(options), cache, bandwidth)?;
    }
    Ok(0)
}

/// A resources object, from a file or from standard input.
fn read(file: &Path) -> Result<Resources> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).what(|| "reading standard input")?;
        return config::parse(&bytes, "standard input");
    }
    bytes = std::fs::read(file).what(|| format!("reading {}", file.display()))?;
    config::parse(&bytes, file.display().to_string())
}

fn from_options(options: &ArgMatches) -> Result<Resources> {
    let pids = number(options, "pids-limit")?;
    let text = |name| given(options, name).map(str::to_owned);
    Ok(Resources {
        memory: Some(Memory {
            limit: bytes(options, "memory")?,
            reservation: bytes(options, "memory-reservation")?,
            swap: bytes(options, "memory-swap")?,
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: number(options, "cpu-share")?,
            quota: number(options, "cpu-quota")?,
            burst: number(options, "cpu-burst")?,
            period: number(options, "cpu-period")?,
            realtime_runtime: number(options, "cpu-rt-runtime")?,
            realtime_period: number(options, "cpu-rt-period")?,
            cpus: text("cpuset-cpus"),
            mems: text("cpuset-mems"),
            idle: number(options, "cpu-idle")?,
        }),
        block_io: Some(BlockIo { weight: number(options, "blkio-weight")?, ..BlockIo::default() }),
        pids: Some(Pids { limit: pids }),
        ..Resources::default()
    })
}

/// An option's value; Go does not tell an empty one from none.
fn given<'a>(options: &'a ArgMatches, name: &str) -> Option<&'a str> {
    options.get_one::<String>(name).map(String::as_str).filter(|text| !text.is_empty())
}

/// A number, in the range of its field.
fn number<T: FromStr>(options: &ArgMatches, name: &str) -> Result<Option<T>> {
    let Some(text) = given(options, name) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Error::new(format!("invalid value for {name}: {text:?}"))
            .help("it takes a whole number in the range of the limit")),
    }
}

/// A size in bytes, or -1.
fn bytes(options: &ArgMatches, name: &str) -> Result<Option<i64>> {
    let Some(text) = given(options, name) else { return Ok(None) };
    match size(text) {
        Some(size) => Ok(Some(size)),
        None => Err(Error::new(format!("invalid value for {name}: {text:?}"))
            .help("it takes bytes, such as 67108864 or 64m; -1 for no limit")),
    }
}

/// Reads `512`, `64k`, `1.5g`, `2MiB`: powers of 1024, in any case, as Docker's tools write them.
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let factor = 1_i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor);
    }
    let (whole, fraction) = number.split_once('.')?;
    // Six digits are exact enough for bytes in a gigabyte, and need no floating point.
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let fraction = i128::from(digits.parse::<i64>().ok()?) * i128::from(factor) / 1_000_000;
    let whole = i128::from(whole.parse::<i64>().ok()?) * i128::from(factor);
    i64::try_from(whole + fraction).ok()
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("64k", 65_536),
            ("64K", 65_536),
            ("2MB", 2 << 20),
            ("2MiB", 2 << 20),
            ("1g", 1 << 30),
            ("1.5g", 3 << 29),
            ("0.5k", 512),
            ("1 m", 1 << 20),
            ("1t", 1 << 40),
            ("-1", -1),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "-2", "k", "1x", "1.2.3", "1kk", "9223372036854775807k", "1e3", "ib"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
