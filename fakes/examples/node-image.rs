//! Writes the image archive of the test node to standard output, for work by hand with an engine:
//! `cargo run -p managed-app-fakes --example node-image -- localhost/node:1 1 | docker load`.
//!
//! Must not grow options: behaviour for one container is set by its environment, see `node/main.rs`.

use std::io::Write;

use managed_app_fakes::node_image;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [reference, version] = arguments.as_slice() else {
        return Err(std::io::Error::other("usage: node-image REFERENCE VERSION"));
    };
    std::io::stdout().write_all(&node_image::archive(reference, version))
}
