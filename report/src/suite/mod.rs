//! The results of a suite: one table, one page, and everything as JSON.

mod answer;
mod figure;
mod frontier;
mod judge;
mod legend;
mod oracle;
mod page;
mod paired;
mod table;

#[cfg(test)]
mod tests;

pub use judge::{Judged, judge};

use std::path::Path;

use l4sllm_testbed::result::{PolicyFacts, write_atomically};
use l4sllm_testbed::suite::{Outcome, Protocol};
use serde::Serialize;

use super::{PAGE, Report, ReportError, save_figures, wrapped};
use crate::format::{counted, plain};
use crate::rows::of_suite;
use paired::LEAST_VALUES;

/// File name of the results.
pub const SUITE_FILE: &str = "suite.json";

/// Facts about the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facts {
    /// Version of l4sllm that ran it.
    pub version: String,
    /// One sentence on the suite.
    pub description: String,
    /// `test` or `training`.
    pub part: String,
    /// Seed of all draws.
    pub seed: u64,
    /// The amount of each family that was run.
    pub protocol: Protocol,
    /// Whether it is the reduced suite, which allows no conclusions.
    pub quick: bool,
    /// The policy evaluated.
    pub policy: Option<PolicyFacts>,
    /// Number of records between two of its decisions.
    pub interval: Option<u32>,
    /// The command that runs it again.
    pub command: String,
}

/// `suite.json`.
#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    facts: &'a Facts,
    complete: bool,
    definition: String,
    #[serde(flatten)]
    judged: &'a Judged,
}

/// Evaluates `outcome`, and writes `suite.json`, the figure and the page into
/// `out`.
///
/// # Errors
/// [`ReportError`] if a file cannot be written.
pub fn render_suite(outcome: &Outcome, facts: &Facts, out: &Path) -> Result<Report, ReportError> {
    let judged = judge(outcome);
    let legend = legend::legend(&judged, legend::SIGNS);
    let failed = |source| ReportError::Result {
        path: out.to_owned(),
        source,
    };
    let file = File {
        facts,
        complete: outcome.complete,
        definition: legend::sentence(&legend),
        judged: &judged,
    };
    let mut json =
        serde_json::to_vec_pretty(&file).expect("plain structs with string keys are JSON");
    json.push(b'\n');
    write_atomically(&out.join(SUITE_FILE), &json).map_err(failed)?;
    let figures = figure::figures(&judged).into_iter();
    let figures = figures.chain(frontier::figure(&judged));
    let figures = save_figures(figures, "suite", out)?;
    let path = out.join(PAGE);
    let page = page::page(&judged, facts, outcome.complete, &figures);
    write_atomically(&path, page.as_bytes()).map_err(failed)?;
    let cautions: String = cautions(facts, outcome.complete)
        .iter()
        .map(|caution| wrapped(&format!("{}: {}", caution.what, caution.why), 80) + "\n")
        .collect();
    let published = table::published(&judged).map_or(String::new(), |table| {
        let titles = table::titles(&judged);
        format!(
            "\n{}{}",
            wrapped(&format!("Published by {titles}, and ours next to it"), 80),
            table.text()
        )
    });
    let frontier = frontier::table(&judged).map_or(String::new(), |table| {
        let meaning = wrapped(frontier::MEANING, 80);
        format!("\n{meaning}{}", table::compact(&table))
    });
    Ok(Report {
        page: path,
        text: format!(
            "{cautions}{}\n{}\n{}{frontier}{published}",
            table::compact(&table::families(&judged)),
            wrapped(&table::noise(&judged), 80),
            legend::text(&legend),
        ),
        tables: of_suite(&serde_json::json!(judged)),
    })
}

/// Reasons why the numbers are less reliable than those of a complete suite.
struct Caution {
    what: &'static str,
    why: String,
}

fn cautions(facts: &Facts, complete: bool) -> Vec<Caution> {
    let mut cautions = Vec::new();
    if facts.quick {
        cautions.push(Caution {
            what: "No verdict",
            why: format!(
                "--quick runs a small part of each family, for {} s, to check that everything \
                 works.",
                plain(facts.protocol.measured_ns as f64 / 1e9)
            ),
        });
    }
    if !complete {
        cautions.push(Caution {
            what: "Partial result",
            why: "some cells are not finished; run the same command to continue.".to_owned(),
        });
    }
    let repetitions = facts.protocol.repetitions as usize;
    if repetitions < LEAST_VALUES {
        cautions.push(Caution {
            what: "Few repetitions",
            why: format!(
                "{} of each arm; single conditions have no interval with fewer than {LEAST_VALUES}.",
                counted(repetitions, "repetition", "repetitions")
            ),
        });
    }
    cautions
}
