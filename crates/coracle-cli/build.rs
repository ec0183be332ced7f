//! Has the command begin at coracle-entry's first instruction in place of the C library's.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--undefined=coracle_entry,--entry=coracle_entry");
}
