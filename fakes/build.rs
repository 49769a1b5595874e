//! Compiles the test node (`node/main.rs`) into one static program for `node_image.rs` to embed.
//!
//! Must not download or search anything: cargo passes the compiler and its target, and nothing else is needed.

use std::{
    env,
    path::PathBuf,
    process::{Command, exit},
};

const SOURCE: &str = "node/main.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let status = compiler().status();
    if !status.as_ref().is_ok_and(|status| status.success()) {
        println!("cargo::error=failed to compile the test node {SOURCE} as a static program: {status:?}");
        exit(1);
    }
}

/// The rustc command. The flags make the program static (it runs in an image without a libc) and small.
fn compiler() -> Command {
    let program = PathBuf::from(variable("OUT_DIR")).join("node");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-name", "node", "--crate-type", "bin", SOURCE]);
    rustc.args(["--target", &variable("TARGET"), "-o"]).arg(program);
    for flag in ["target-feature=+crt-static", "opt-level=s", "panic=abort", "strip=symbols", "codegen-units=1"] {
        rustc.args(["-C", flag]);
    }
    // Set by cargo only if the user configured a linker for the target, for example for a cross build.
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={}", linker.display()));
    }
    rustc
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for every build script"))
}
