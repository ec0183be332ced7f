//! The least a container can run: ends with status 0; with 42 if it has an argument; and not
//! before it is killed if that argument is `pause`.
#![no_std]
#![no_main]

use bare::Arguments;

bare::program!(main);

fn main(arguments: Arguments) -> u8 {
    match arguments.get(1) {
        None => 0,
        Some(word) if word == c"pause" => loop {
            bare::pause();
        },
        Some(_) => 42,
    }
}
