//! Names the entry of the binary (src/sys/entry.rs, `first`), where it has one of its own.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo:rustc-link-arg-bin=rruntime=-Wl,--entry=rruntime_start");
    }
}
