//! The report of one run: JSON for programs, a page with tables and plots for people. Measures nothing.

mod page;
mod plot;

use std::path::Path;

use serde_json::{Value, json};

use crate::row::Row;
use crate::sample::Samples;

/// The experiments: letter, title, and what is compared.
pub const EXPERIMENTS: [(char, &str, &str); 9] = [
    (
        'a',
        "A change becomes a restart",
        "From the moment in which the message of a changed edge can be received to the \
        engine's `start` event; beside a raw restart call on the same engine's socket, also to its `start` event.",
    ),
    (
        'b',
        "A node is replaced",
        "Downtime is from the old container's `die` to the new one's `start`; beside a raw stop \
        and start of a container that was made before, and beside stop, remove, create, start.",
    ),
    (
        'c',
        "From nothing to READY",
        "A whole app, its image there and no container: from the start of the process \
        (sign-in, snapshot, network, pull of the image that is there) to READY=1; beside raw creates and starts of as many \
        containers at once in a network that is there. The budget is judged twice: as it is, and less the time in which the \
        cloud was asked to sign in and for the app, which is the cloud's and not the engine's.",
    ),
    (
        'd',
        "The next daemon adopts what runs",
        "The daemon is killed and started again: from the start of the process to \
        READY=1, less the time in which the cloud was asked to sign in and for the app. No container may be started.",
    ),
    (
        'e',
        "A change that touches all nodes",
        "The app's configuration changes: to the last container's `start`; beside raw \
        restarts of as many containers at once.",
    ),
    (
        'f',
        "The end",
        "From SIGTERM to the end of the process, all nodes stopped; beside raw stops of as many containers at \
        once.",
    ),
    ('g', "What an idle daemon costs", "As the kernel counts it, for the release program as a process of its own."),
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
