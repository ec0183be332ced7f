//! A program as text, an instruction a line.

use std::fmt;

use super::Program;
use super::assemble::{
    AND, JUMP, JUMP_IF_ANY_BIT, JUMP_IF_EQUAL, JUMP_IF_GREATER_OR_EQUAL, LOAD, RETURN,
};
use super::rule::{ACTION, ALLOW, ERRNO, KILL_PROCESS, KILL_THREAD, LOG, NOTIFY, TRACE, TRAP};
use super::word;

/// Jumps are shown with the numbers of the lines they lead to, if the condition holds and if not.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, instruction) in self.instructions.iter().enumerate() {
            let k = instruction.k;
            let yes = i + 1 + usize::from(instruction.jt);
            let no = i + 1 + usize::from(instruction.jf);
            write!(f, "{i:4}  ")?;
            match instruction.code {
                LOAD => writeln!(f, "load {}", Word(k))?,
                AND => writeln!(f, "and {k:#x}")?,
                JUMP => writeln!(f, "jump {}", i + 1 + k as usize)?,
                JUMP_IF_EQUAL => writeln!(f, "if = {k:#x} {yes} else {no}")?,
                JUMP_IF_GREATER_OR_EQUAL => writeln!(f, "if >= {k:#x} {yes} else {no}")?,
                JUMP_IF_ANY_BIT => writeln!(f, "if & {k:#x} {yes} else {no}")?,
                RETURN => writeln!(f, "return {}", Answer(k))?,
                code => writeln!(f, "{code:#x} {k:#x} {yes} {no}")?,
            }
        }
        Ok(())
    }
}

/// Where in `struct seccomp_data` a word is.
struct Word(u32);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            word::NUMBER => f.write_str("number"),
            word::ARCHITECTURE => f.write_str("architecture"),
            at => {
                let at = at.saturating_sub(word::ARGUMENTS);
                let high = (at % 8 == 0) == cfg!(target_endian = "big");
                write!(f, "argument {} {}", at / 8, if high { "high" } else { "low" })
            }
        }
    }
}

/// What a filter returns.
struct Answer(u32);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.0 & !ACTION;
        match self.0 & ACTION {
            KILL_PROCESS => f.write_str("kill process"),
            KILL_THREAD => f.write_str("kill thread"),
            TRAP => f.write_str("trap"),
            ERRNO => write!(f, "errno {data}"),
            NOTIFY => f.write_str("notify"),
            TRACE => write!(f, "trace {data}"),
            LOG => f.write_str("log"),
            ALLOW => f.write_str("allow"),
            _ => write!(f, "{:#x}", self.0),
        }
    }
}
