//! The report of one run: JSON for programs, a page with tables and plots for people. Measures nothing itself.

mod page;
mod plot;

use std::path::Path;

use serde_json::{Value, json};

use crate::row::Row;
use crate::sample::Samples;

/// The experiments: letter, title and description.
pub const EXPERIMENTS: [(char, &str, &str); 9] = [
    (
        'a',
        "A change becomes a restart",
        "From the moment in which the message of a changed edge can be received to the \
        `start` event of the engine; compared with a raw restart call to the same engine, also to its `start` event.",
    ),
    (
        'b',
        "A node is replaced",
        "Downtime is from the `die` event of the old container to the `start` event of the new one; compared with a \
        raw stop and start of a prepared container, and with stop, remove, create, start.",
    ),
    (
        'c',
        "From nothing to READY",
        "A whole app with a local image and no container: from the start of the process \
        (sign-in, snapshot, network, pull of the local image) to READY=1; compared with concurrent raw creates and starts \
        of as many containers in an existing network. There are two budgets: for the whole time, and for the time without \
        sign-in and snapshot, which depend on the cloud and not on the engine.",
    ),
    (
        'd',
        "The next daemon adopts what runs",
        "The daemon is killed and started again: from the start of the process to \
        READY=1, without the time of sign-in and snapshot. No container may be started.",
    ),
    (
        'e',
        "A change that touches all nodes",
        "The configuration of the app changes: to the `start` event of the last container; compared with \
        concurrent raw restarts of as many containers.",
    ),
    (
        'f',
        "The end",
        "From SIGTERM to the end of the process, all nodes stopped; compared with concurrent raw stops of as many \
        containers.",
    ),
    ('g', "Costs of an idle daemon", "As counted by the kernel, for a process of the release program."),
    ('h', "The reconciler alone", "No engine, no cloud, no clock: see `benches/world`."),
    ('i', "The start", "From the start of the process to the first byte of its first call over the network."),
];

/// Writes `results.json`, `RESULTS.md` and the plots into `folder`.
pub fn write(folder: &Path, name: &str, facts: &[(String, String)], rows: &[Row]) {
    std::fs::create_dir_all(folder).expect("the target folder can be written");
    let named: serde_json::Map<String, Value> = facts.iter().map(|(key, fact)| (key.clone(), json!(fact))).collect();
    let whole = json!({ "name": name, "facts": named, "rows": rows.iter().map(row).collect::<Vec<_>>() });
    let put = |file: &str, text: &str| std::fs::write(folder.join(file), text).expect("the folder is ours");
    put("results.json", &serde_json::to_string_pretty(&whole).expect("it is JSON"));
    let mut plots = Vec::new();
    for (letter, title, _) in EXPERIMENTS {
        let of_it: Vec<&Row> = rows.iter().filter(|row| row.experiment == letter && row.unit == "ms").collect();
        if !of_it.is_empty() {
            put(&format!("{letter}.svg"), &plot::draw(title, &of_it));
            plots.push(letter);
        }
    }
    put("RESULTS.md", &page::page(name, facts, rows, &plots));
}

fn row(row: &Row) -> Value {
    let verdicts: Vec<Value> =
        row.verdicts.iter().map(|verdict| json!({ "text": verdict.text, "kept": verdict.kept })).collect();
    json!({
        "experiment": row.experiment.to_string(), "on": row.on, "case": row.case, "unit": row.unit,
        "ours": samples(&row.ours),
        "floors": row.floors.iter().map(samples).collect::<Vec<_>>(),
        "details": row.details.iter().map(samples).collect::<Vec<_>>(),
        "budgets": verdicts, "notes": row.notes,
    })
}

fn samples(samples: &Samples) -> Value {
    json!({
        "what": samples.what, "values": samples.values, "median": samples.median(), "p95": samples.p95(),
        "min": samples.min(), "max": samples.max(),
    })
}
