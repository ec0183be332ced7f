//! `peak-rss COMMAND [ARGUMENT…]`: runs a command and prints the largest resident set, in KiB,
//! that any of its processes had (those it waited for count as well, each for itself).
//!
//! Not done in the benchmark itself, because a new program inherits, as the least it will ever
//! report, the peak of the memory it was spawned from (`setmax_mm_hiwater_rss` at `execve`): a
//! spawner of 3 MiB makes every command look at least as large. This one has some 100 KiB.
#![no_std]
#![no_main]

use bare::Arguments;

bare::program!(main);

fn main(arguments: Arguments) -> u8 {
    let Some(command) = arguments.get(1) else { return 2 };
    let process = bare::clone3(0, None);
    if process == 0 {
        // Standard output is ours.
        bare::dup3(2, 1, 0);
        bare::execve(command, arguments.from(1), arguments.environment());
        return 127;
    }
    let (status, usage) = bare::wait4(i32::try_from(process).unwrap_or(-1));
    print(usage.ru_maxrss.unsigned_abs());
    let signal = status & 0x7f;
    let code = if signal == 0 { status >> 8 & 0xff } else { 128 + signal };
    u8::try_from(code).unwrap_or(1)
}

/// Writes a decimal number and a line's end to standard output.
fn print(mut number: u64) {
    let mut text = [b'\n'; 21];
    let mut start = text.len() - 1;
    loop {
        start -= 1;
        text[start] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    bare::write(1, &text[start..]);
}
