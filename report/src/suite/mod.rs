//! What a suite found: one table, one page, and everything as JSON.

mod figure;
mod judge;
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

/// File name of the results.
pub const SUITE_FILE: &str = "suite.json";

/// What was run.
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
    /// How much of each family was run.
    pub protocol: Protocol,
    /// The policy that was judged.
    pub policy: Option<PolicyFacts>,
    /// Records between two of its decisions.
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

/// Judges `outcome`, and writes `suite.json`, the figure and the page into
/// `out`.
///
/// # Errors
/// [`ReportError`] where a file cannot be written.
pub fn render_suite(outcome: &Outcome, facts: &Facts, out: &Path) -> Result<Report, ReportError> {
    let judged = judge(outcome);
    let failed = |source| ReportError::Result {
        path: out.to_owned(),
        source,
    };
    let file = File {
        facts,
        complete: outcome.complete,
        definition: table::definition(),
        judged: &judged,
    };
    let mut json =
        serde_json::to_vec_pretty(&file).expect("plain structs with string keys are JSON");
    json.push(b'\n');
    write_atomically(&out.join(SUITE_FILE), &json).map_err(failed)?;
    let figures = save_figures(figure::figures(&judged), "suite", out)?;
    let path = out.join(PAGE);
    let page = page::page(&judged, facts, outcome.complete, &figures);
    write_atomically(&path, page.as_bytes()).map_err(failed)?;
    let partial = match outcome.complete {
        true => String::new(),
        false => "partial: some cells are not finished; the same command continues\n".to_owned(),
    };
    let published = table::published(&judged).map_or(String::new(), |table| {
        format!("\nPublished, and ours next to it\n{}", table.text())
    });
    Ok(Report {
        page: path,
        text: format!(
            "{partial}{}{published}\n{}",
            table::compact(&table::families(&judged)),
            wrapped(
                &format!("{} {}", table::definition(), table::noise(&judged)),
                80
            ),
        ),
    })
}
