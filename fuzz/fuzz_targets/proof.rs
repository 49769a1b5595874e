//! See `managed_app::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| managed_app::fuzzing::run("proof", data));
