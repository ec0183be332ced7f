//! Tests that cannot run here say so, instead of passing in silence.

// Cargo keeps what a test prints, and the runner counts these lines.
#![allow(clippy::print_stdout)]

/// What a test needs, or why this machine cannot give it.
pub type Needs<T> = Result<T, String>;

/// Takes what a test needs, or ends the test as skipped.
#[macro_export]
macro_rules! need {
    ($needed:expr) => {
        match $needed {
            Ok(had) => had,
            Err(why) => {
                $crate::skipped(&why);
                return;
            }
        }
    };
}

/// Notes that the test on this thread is skipped, and why.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    println!("skipped: {}: {why}", thread.name().unwrap_or("a test"));
}
