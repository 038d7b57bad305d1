//! Metrics of a server in the OpenMetrics text format.

use l4sllm_remote::server::{BATCH_BOUNDS, Counters};
use l4sllmd::metrics::page::{Page, alone, text_by};

/// The text of the counters.
pub fn text(counters: Counters) -> String {
    text_by(move |page| write(page, &counters))
}

fn write(page: &mut Page<'_>, c: &Counters) -> Result<(), std::fmt::Error> {
    for (name, help, value) in [
        ("requests", "Requests for decisions.", c.requests),
        ("windows", "Windows accepted.", c.windows),
        ("batches", "Batches computed.", c.batches),
    ] {
        page.counters(
            &format!("l4sllm_serve_{name}"),
            help,
            None,
            &alone(value as f64),
        )?;
    }
    let refused = [
        ("unauthenticated", c.unauthenticated),
        ("invalid", c.invalid),
        ("overloaded", c.overloaded),
    ];
    page.counters(
        "l4sllm_serve_refused",
        "Requests refused, by reason.",
        None,
        &refused.map(|(reason, count)| (vec![("reason", reason)], count as f64)),
    )?;
    let outcomes = [
        ("decided", c.decided),
        ("failed", c.failed),
        ("cancelled", c.cancelled),
    ];
    page.counters(
        "l4sllm_serve_outcomes",
        "Windows that no longer wait, by outcome.",
        None,
        &outcomes.map(|(outcome, count)| (vec![("outcome", outcome)], count as f64)),
    )?;
    let bounds = BATCH_BOUNDS.map(|most| most.to_string());
    let bounds = bounds.iter().map(String::as_str).chain(["more"]);
    let sizes: Vec<_> = bounds
        .zip(c.sizes)
        .map(|(most, count)| (vec![("windows", most)], count as f64))
        .collect();
    page.counters(
        "l4sllm_serve_batch_sizes",
        "Batches, by the least of 1, 2, 4 to 128 windows, or more, that holds them.",
        None,
        &sizes,
    )?;
    page.counters(
        "l4sllm_serve_busy_milliseconds",
        "Time spent computing.",
        None,
        &alone(c.busy.as_millis() as f64),
    )?;
    for (name, help, value) in [
        ("waiting", "Windows that wait or are computed.", c.waiting),
        (
            "waiting_bytes",
            "Bytes of requests that are received, wait or are computed.",
            c.waiting_bytes,
        ),
        ("connections", "Open connections.", c.connections),
    ] {
        let name = format!("l4sllm_serve_{name}");
        page.gauges(&name, help, None, &alone(value as f64))?;
    }
    Ok(())
}
