//! One node that writes 100,000 lines per second beside nodes with a usual rate: the lag of each.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Shipping;
use crate::sink::Sink;
use crate::synthetic_engine::SyntheticEngine;

/// Lines per second of each node; the first one floods.
const RATES: [u64; 10] = [100_000, 100, 100, 100, 100, 100, 100, 100, 100, 100];
/// Duration of the output.
const DURATION: Duration = Duration::from_secs(20);
/// Limit for the shipping of the rest.
const LINGER: Duration = Duration::from_secs(60);
/// Interval of the lag samples.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Samples of one node.
#[derive(Debug, Default, Clone)]
struct NodeSamples {
    lags_s: Vec<f64>,
    shipped: u64,
    gaps: u64,
}

/// Ships the output of all nodes and prints a table.
///
/// # Panics
/// If a line does not arrive.
pub async fn flood(sink: &Sink) {
    let shipping = Shipping::start(&SyntheticEngine::live(&RATES, DURATION), sink);
    let (began, mut samples) = (Instant::now(), vec![NodeSamples::default(); RATES.len()]);
    let total: u64 = RATES.iter().map(|rate| rate * DURATION.as_secs()).sum();
    while shipping.shipped() < total {
        assert!(began.elapsed() < DURATION + LINGER, "only {} of {total} lines are shipped", shipping.shipped());
        sleep(POLL_INTERVAL).await;
        sample(&shipping, began.elapsed(), &mut samples);
    }
    let whole = began.elapsed();
    println!(
        "| nodes | lines a second of each | lines shipped | gaps | median lag, s | greatest lag, s |\n\
         | --- | --- | --- | --- | --- | --- |"
    );
    print(&samples[..1], RATES[0]);
    print(&samples[1..], RATES[1]);
    println!(
        "\nWritten for {} s; all of it was shipped {:.1} s after the first line.\n",
        DURATION.as_secs(),
        whole.as_secs_f64()
    );
}

/// The lag is the time in which the unshipped output was written.
fn sample(shipping: &Shipping, elapsed: Duration, samples: &mut [NodeSamples]) {
    for (node, numbers) in shipping.numbers.snapshot() {
        let index: usize = node.as_str().trim_start_matches("node-").parse().expect("it ends with its number");
        let (rate, samples) = (RATES[index] as f64, &mut samples[index]);
        let written = elapsed.min(DURATION).as_secs_f64() * rate;
        samples.lags_s.push((written - numbers.shipped.lines as f64).max(0.0) / rate);
        (samples.shipped, samples.gaps) = (numbers.shipped.lines, numbers.gaps);
    }
}

fn print(nodes: &[NodeSamples], rate: u64) {
    let mut lags: Vec<f64> = nodes.iter().flat_map(|samples| samples.lags_s.iter().copied()).collect();
    lags.sort_by(f64::total_cmp);
    let (median, greatest) = (lags[lags.len() / 2], lags[lags.len() - 1]);
    let (shipped, gaps): (u64, u64) = (nodes.iter().map(|n| n.shipped).sum(), nodes.iter().map(|n| n.gaps).sum());
    println!("| {} | {rate} | {shipped} | {gaps} | {median:.2} | {greatest:.2} |", nodes.len());
}
