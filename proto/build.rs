//! Compiles `proto/` without a `protoc` binary.

use std::error::Error;

const FILES: [&str; 7] = [
    "proto/darner/v1/common.proto",
    "proto/darner/v1/scheduler.proto",
    "proto/darner/v1/seed.proto",
    "proto/darner/v1/link.proto",
    "proto/darner/v1/manager.proto",
    "proto/darner/v1/daemon.proto",
    "proto/darner/v1/identity.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
