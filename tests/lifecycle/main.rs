//! The whole daemon in this process, with the fake cloud on the wire and the engine in memory: each row of the table of
//! changes of the contract, starts, ends and faults.

#[path = "../support/mod.rs"]
mod support;

mod audits;
mod bounds;
mod clouds;
mod crashes;
mod ends;
mod engines;
mod harness;
mod latency;
mod logs;
mod losses;
mod messages;
mod names;
mod replaces;
mod rows;
mod scripts;
mod starts;
mod status;
