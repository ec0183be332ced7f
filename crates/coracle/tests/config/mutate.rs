//! No input, however broken, makes reading or checking panic.

use coracle::config::{Spec, check, to_json, warnings};

use crate::FULL;

/// Numbers that look random and are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "-1",
    "0",
    "1e99",
    "18446744073709551616",
    "\"\"",
    "\"\\u0000\"",
    "\"..\"",
    "{}",
    "[]",
    "\\",
    "\u{feff}",
    "你",
    "4294967295",
];

fn mutate(numbers: &mut Numbers) -> Vec<u8> {
    let mut json = FULL.as_bytes().to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(json.len());
        let piece = PIECES[numbers.below(PIECES.len())].as_bytes();
        match numbers.below(5) {
            0 => json[at] = u8::try_from(numbers.below(256)).unwrap(),
            1 => json.truncate(at.max(1)),
            2 => drop(json.splice(at..at, piece.iter().copied())),
            3 => {
                let end = (at + numbers.below(40)).min(json.len());
                drop(json.splice(at..end, piece.iter().copied()));
            }
            // A whole value becomes another.
            _ => {
                let Some(colon) = json[at..].iter().position(|b| *b == b':') else { continue };
                let start = at + colon + 1;
                let length = json[start..].iter().position(|b| b",}]\n".contains(b)).unwrap_or(0);
                drop(json.splice(start..start + length, piece.iter().copied()));
            }
        }
    }
    json
}

#[test]
fn nothing_panics() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut good) = (0, 0);
    for _ in 0..6000 {
        match Spec::parse(&mutate(&mut numbers)) {
            Ok(spec) => {
                read += 1;
                good += usize::from(check(&spec).is_ok());
                drop(warnings(&spec));
                assert_eq!(Spec::parse(&to_json(&spec).unwrap()).unwrap(), spec);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    // The mutations reach all the way.
    assert!(read > 100 && good > 10 && good < read, "{read} read, {good} good");
}

#[test]
fn nothing_nested_deeply_overflows_the_stack() {
    for (open, inside) in [("[", "[1]"), ("{\"a\":", "{\"a\":1}")] {
        for key in ["unknown", "windows", "mounts", "process"] {
            let json =
                format!("{{\"ociVersion\":\"1.0.0\",\"{key}\":{}{inside}", open.repeat(1_000_000));
            drop(Spec::parse(json.as_bytes()).unwrap_err());
        }
    }
}
