//! Tests that cannot run here say so, instead of passing in silence.

use std::io::Write;

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

/// Notes that the test on this thread is skipped, and why: on standard error, and as a line in
/// the file that `$CORACLE_SKIPPED` names, because Cargo hides what a passing test prints.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("a test"));
    let mut said = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("CORACLE_SKIPPED") {
        // One write each: tests run side by side.
        said = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
    }
    said.expect("a skipped test must be told");
}
