//! runc's spelling of options, made into the one that the parser knows: `-no-subreaper` for
//! `--no-subreaper` (Go takes one dash for two).

use std::ffi::{OsStr, OsString};

/// Doubles the dash of words that spell a long option with one. `is_long` knows the long options.
/// For `exec` and `ps`, all behind the first operand belongs to somebody else.
pub(crate) fn normalize(words: Vec<OsString>, is_long: impl Fn(&str) -> bool) -> Vec<OsString> {
    let mut out = Vec::with_capacity(words.len());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" || is_command_with_rest(&word) {
            let rest_follows = word != "--";
            out.push(word);
            if rest_follows {
                continue_until_operand(&mut words, &mut out, &is_long);
            }
            out.extend(words);
            return out;
        }
        out.push(double(word, &is_long));
    }
    out
}

/// The commands whose operands end our options.
fn is_command_with_rest(word: &OsStr) -> bool {
    word == "exec" || word == "ps"
}

/// Takes over options up to the first word that is none; what follows is left as it is. An
/// option's value that is taken for the operand does no harm: it ends the doubling only.
fn continue_until_operand(
    words: &mut impl Iterator<Item = OsString>,
    out: &mut Vec<OsString>,
    is_long: &impl Fn(&str) -> bool,
) {
    for word in words.by_ref() {
        let operand = !word.as_encoded_bytes().starts_with(b"-");
        out.push(double(word, is_long));
        if operand {
            return;
        }
    }
}

fn double(word: OsString, is_long: &impl Fn(&str) -> bool) -> OsString {
    let Some(text) = word.to_str() else { return word };
    let Some(rest) = text.strip_prefix('-') else { return word };
    let name = rest.split_once('=').map_or(rest, |(name, _)| name);
    if rest.starts_with('-') || name.len() < 2 || !is_long(name) {
        return word;
    }
    OsString::from(format!("-{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(words: &[&str]) -> Vec<String> {
        let words = words.iter().map(OsString::from).collect();
        normalize(words, |name| ["no-subreaper", "bundle", "tty"].contains(&name))
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        assert_eq!(spelled(&["run", "-no-subreaper", "c"]), ["run", "--no-subreaper", "c"]);
        assert_eq!(spelled(&["run", "-bundle=/b", "c"]), ["run", "--bundle=/b", "c"]);
        assert_eq!(spelled(&["run", "-d", "-b", "/b"]), ["run", "-d", "-b", "/b"]);
    }

    #[test]
    fn what_belongs_to_the_command_is_left_alone() {
        assert_eq!(
            spelled(&["exec", "-tty", "c", "find", "-bundle"]),
            ["exec", "--tty", "c", "find", "-bundle"]
        );
    }
}
