//! Runs sequences of changes and faults through the simulation; these are the modules of `tests/simulation`.
#![no_main]

#[path = "../../tests/simulation/calls.rs"]
mod calls;
#[path = "../../tests/simulation/cloud.rs"]
mod cloud;
#[path = "../../tests/simulation/daemon.rs"]
mod daemon;
#[path = "../../tests/simulation/disk.rs"]
mod disk;
#[path = "../../tests/simulation/engine.rs"]
mod engine;
#[path = "../../tests/simulation/fault_phase.rs"]
mod fault_phase;
#[path = "../../tests/simulation/fault_plan.rs"]
mod fault_plan;
#[path = "../../tests/simulation/goal.rs"]
mod goal;
#[path = "../../tests/simulation/invariants.rs"]
mod invariants;
#[path = "../../tests/simulation/others.rs"]
mod others;
#[path = "../../tests/simulation/prng.rs"]
mod prng;
#[path = "../../tests/simulation/run.rs"]
mod run;
#[path = "../../tests/simulation/script.rs"]
mod script;
#[path = "../../tests/simulation/trace.rs"]
mod trace;
#[path = "../../tests/simulation/user.rs"]
mod user;
#[path = "../../tests/simulation/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(report) = run::run(script::Source::Input(data), false) {
        panic!("{}\nfaults: {}", report.what, report.classes);
    }
});
