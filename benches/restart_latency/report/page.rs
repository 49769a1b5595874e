//! The page: the environment, a summary of the budgets, then a table and a plot per experiment.

use std::fmt::Write as _;

use super::EXPERIMENTS;
use crate::row::{Row, figure};
use crate::sample::Samples;

/// The page as Markdown. Plots are named by their letters.
pub fn page(name: &str, facts: &[(String, String)], rows: &[Row], plots: &[char]) -> String {
    let mut out = format!("# Measured: {name}\n\n");
    out.push_str(
        "Ratios are significant; absolute times depend on the machine. Raw calls and daemon alternate in one run, on the\n",
    );
    out.push_str("same engines, with the release program as a process (in memory: in the process of the bench).\n\n");
    out.push_str(
        "In brackets after a ratio: the range of 95 % of the ratios when both sides are resampled from the measured\n",
    );
    out.push_str("values. A wide range means that the ratio is chance to that extent.\n\n");
    out.push_str("| | |\n| --- | --- |\n");
    for (key, fact) in facts {
        let _ = writeln!(out, "| {key} | {fact} |");
    }
    out.push_str(&glance(rows));
    for (letter, title, about) in EXPERIMENTS {
        let of_it: Vec<&Row> = rows.iter().filter(|row| row.experiment == letter).collect();
        if of_it.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n## {letter}. {title}\n\n{about}\n");
        if plots.contains(&letter) {
            let _ = writeln!(out, "![{title}]({letter}.svg)\n");
        }
        out.push_str(&table(&of_it));
    }
    out
}

/// All budgets, the missed ones first.
fn glance(rows: &[Row]) -> String {
    let mut lines: Vec<(bool, String)> = Vec::new();
    for row in rows {
        for verdict in &row.verdicts {
            let kept = if verdict.kept { "kept" } else { "**missed**" };
            let line = format!("| {} | {} | {} | {} | {kept} |\n", row.experiment, row.on, row.case, verdict.text);
            lines.push((verdict.kept, line));
        }
    }
    lines.sort_by_key(|(kept, _)| *kept);
    let missed = lines.iter().filter(|(kept, _)| !kept).count();
    let mut out = format!("\n## Budgets: {} kept, {missed} missed\n\n", lines.len() - missed);
    out.push_str("| | on | what | figure | |\n| --- | --- | --- | --- | --- |\n");
    out.extend(lines.into_iter().map(|(_, line)| line));
    out
}

fn table(rows: &[&Row]) -> String {
    let mut out = String::from(
        "| on | case | what | n | median | p95 | min | max | ratio | difference |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        line(&mut out, row, &row.ours, "");
        for floor in &row.floors {
            let range = row.ours.ratios(floor);
            let ratio = row.ours.median() / floor.median();
            let chance = range.map_or(String::new(), |r| format!(" ({:.2} to {:.2})", r.start(), r.end()));
            let ratio = format!("{ratio:.3} x{chance}");
            let compared = format!("{ratio} | {}", figure(row.ours.median() - floor.median()));
            line(&mut out, row, floor, &compared);
        }
        for detail in &row.details {
            line(&mut out, row, detail, "");
        }
    }
    for note in rows.iter().flat_map(|row| &row.notes).collect::<std::collections::BTreeSet<_>>() {
        let _ = writeln!(out, "\n- {note}");
    }
    out
}

/// One line; `compared` is the comparison of the daemon with it.
fn line(out: &mut String, row: &Row, samples: &Samples, compared: &str) {
    let compared = if compared.is_empty() { " | " } else { compared };
    let of = |value: f64| figure(value);
    let is_ours = std::ptr::eq(samples, &row.ours);
    let what = if is_ours { format!("**{}**", samples.what) } else { samples.what.clone() };
    let (on, case) = if is_ours { (row.on.as_str(), row.case.as_str()) } else { ("", "") };
    let median = format!("{} {}", of(samples.median()), row.unit);
    let _ = writeln!(
        out,
        "| {on} | {case} | {what} | {} | {} | {} | {} | {} | {compared} |",
        samples.values.len(),
        median.trim_end(),
        of(samples.p95()),
        of(samples.min()),
        of(samples.max()),
    );
}
