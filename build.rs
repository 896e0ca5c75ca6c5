//! Names the entry of the binary (src/sys/entry.rs, `first`), where it has one of its own, and leaves the tables for
//! unwinding out of a release build.

use std::env::var;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/no-unwinding.ld");
    if var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return;
    }
    println!("cargo:rustc-link-arg-bin=rruntime=-Wl,--entry=rruntime_start");
    // A panic aborts, and a stripped binary has no names that a backtrace could print: nothing reads these 280 KB.
    if var("PROFILE").as_deref() == Ok("release")
        && let Ok(root) = var("CARGO_MANIFEST_DIR")
    {
        println!("cargo:rustc-link-arg-bin=rruntime=-Wl,--no-eh-frame-hdr");
        println!("cargo:rustc-link-arg-bin=rruntime=-Wl,-T,{root}/src/no-unwinding.ld");
    }
}
