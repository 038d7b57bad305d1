//! Reports: turns a result directory into figures, a page and a table.
//!
//! Everything is drawn from files on disk, so that a result can be viewed again
//! anywhere, and the same directory gives the same bytes.

mod answer;
mod compare;
mod conclusion;
mod data;
mod figure;
mod figures;
mod flow_lines;
mod format;
mod glossary;
mod learning;
mod online;
mod overlay;
mod page;
mod rows;
mod run_again;
mod suite;
mod table;
pub mod verdict;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use answer::Answer;
use conclusion::Headline;
use data::Data;
use figures::{Captioned, figures, overview};
use l4sllm_testbed::result::{Arm, PolicyFacts, ResultError, Stored, Warning, write_atomically};
use page::{Section, page, slug};
use verdict::DEFINITION;

pub use learning::{
    BACKBONES_FILE, Backbones, COSTS_FILE, Costs, Latency, Skipped, is_learning, load_backbones,
    render_learning,
};

pub use online::{is_online, render_online};
pub use rows::{Rows, Tables, join, tables};
pub use suite::{Facts as SuiteFacts, SUITE_FILE, render_suite};

/// The published work cited on pages.
pub const PAPER: &str = "D. Satish, S. R. Pokhrel, J. Kua and A. Walid, \u{201c}Distilling Large Language \
     Models for Network Active Queue Management\u{201d}, arXiv:2501.16734 (2025)";

/// File name of the page.
const PAGE: &str = "report.html";

/// An error while making a report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The result cannot be read, or the report cannot be written.
    #[error("cannot make a report of {}", path.display())]
    Result {
        /// The result directory.
        path: PathBuf,
        /// The cause.
        source: ResultError,
    },
    /// A figure cannot be drawn as PNG.
    #[cfg(feature = "png")]
    #[error("cannot draw figure `{name}` as PNG")]
    Figure {
        /// Its name.
        name: String,
    },
    /// A training run without a single step.
    #[error("{} contains no training step", path.display())]
    NoSteps {
        /// The metrics.
        path: PathBuf,
    },
    /// Nothing to report on.
    #[error("no result directory was given")]
    Empty,
}

/// A report on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The page.
    pub page: PathBuf,
    /// The table for a terminal, with its meaning, each result under its name.
    pub text: String,
    /// The tables for CSV and JSON.
    pub tables: Tables,
}

/// Draws the figures and the page of the result in `dir`, into that directory.
///
/// # Errors
/// The result cannot be read, or a file cannot be written.
pub fn render(dir: &Path) -> Result<Report, ReportError> {
    let data = load(dir)?;
    let figures = draw(&data, dir)?;
    let title = data.facts.scenario.clone();
    finish(&title, &[(data, figures)], &[], dir)
}

/// Draws each of `results`, and one page and one `summary.json` for all of them
/// into `out`. `missing` names the scenarios of an interrupted run without a
/// result.
///
/// # Errors
/// [`ReportError::Empty`] without results.
pub fn render_collection(
    name: &str,
    results: &[PathBuf],
    missing: &[String],
    out: &Path,
) -> Result<Report, ReportError> {
    if results.is_empty() {
        return Err(ReportError::Empty);
    }
    let mut sections = Vec::new();
    for dir in results {
        let data = load(dir)?;
        let figures = draw(&data, dir)?;
        let own = [(data, figures)];
        finish(&own[0].0.facts.scenario.clone(), &own, &[], dir)?;
        sections.extend(own);
    }
    let report = finish(name, &sections, missing, out)?;
    let mut collection = collection(name, sections.iter().map(|(data, _)| data));
    collection.complete &= missing.is_empty();
    let mut bytes =
        serde_json::to_vec_pretty(&collection).expect("plain structs with string keys are JSON");
    bytes.push(b'\n');
    write(&out.join("summary.json"), &bytes, out)?;
    Ok(report)
}

/// Overlays `results` in `out`: one page, on which each arm of the first is
/// compared with the same arm of the others.
///
/// # Errors
/// [`ReportError::Empty`] without results.
pub fn render_overlay(results: &[PathBuf], out: &Path) -> Result<Report, ReportError> {
    let names = overlay::names(results);
    let loaded = names.iter().zip(results);
    let loaded = loaded.map(|(name, dir)| Ok((name.clone(), load(dir)?)));
    let data = overlay::overlay(loaded.collect::<Result<_, ReportError>>()?);
    let data = data.ok_or(ReportError::Empty)?;
    let figures = draw(&data, out)?;
    finish(&names.join(", "), &[(data, figures)], &[], out)
}

/// `summary.json` of several results, like that of one, with the scenario of
/// each arm.
#[derive(Debug, Serialize)]
struct Collection<'a> {
    version: &'a str,
    seed: u64,
    scenario: &'a str,
    policy: Option<&'a PolicyFacts>,
    complete: bool,
    repetitions: u32,
    warnings: Vec<&'a Warning>,
    arms: Vec<CollectedArm<'a>>,
}

#[derive(Debug, Serialize)]
struct CollectedArm<'a> {
    scenario: &'a str,
    #[serde(flatten)]
    arm: &'a Arm,
}

fn collection<'a>(
    name: &'a str,
    results: impl Iterator<Item = &'a Data> + Clone,
) -> Collection<'a> {
    let summaries = || results.clone().map(|data| &data.summary);
    Collection {
        version: summaries().next().map_or("", |first| &first.version),
        seed: summaries().next().map_or(0, |first| first.seed),
        scenario: name,
        policy: summaries().find_map(|summary| summary.policy.as_ref()),
        complete: summaries().all(|summary| summary.complete),
        repetitions: summaries()
            .map(|summary| summary.repetitions)
            .max()
            .unwrap_or(0),
        warnings: summaries().flat_map(|summary| &summary.warnings).collect(),
        arms: summaries()
            .flat_map(|summary| {
                let scenario = summary.scenario.as_str();
                summary
                    .arms
                    .iter()
                    .map(move |arm| CollectedArm { scenario, arm })
            })
            .collect(),
    }
}

fn load(dir: &Path) -> Result<Data, ReportError> {
    let read = || Data::load(&Stored::open(dir)?);
    read().map_err(|source| ReportError::Result {
        path: dir.to_owned(),
        source,
    })
}

/// A figure drawn for a page.
type Drawn = (String, Captioned);

/// The figures of a result, drawn for a page.
#[derive(Default)]
struct Figures {
    overview: Option<Drawn>,
    others: Vec<Drawn>,
}

/// Draws the figures of a result into `dir`.
fn draw(data: &Data, dir: &Path) -> Result<Figures, ReportError> {
    let comparison = data.comparison();
    let overview = overview(data, &Answer::of(data, &comparison));
    let slug = slug(&data.facts.scenario);
    Ok(Figures {
        overview: save_figures(overview, &slug, dir)?.pop(),
        others: save_figures(figures(data), &slug, dir)?,
    })
}

/// Writes `figures/*.svg`, and `*.png` with the feature `png`; returns each as
/// drawn for a page. `prefix` keeps the identifiers of results distinct.
fn save_figures(
    figures: impl IntoIterator<Item = Captioned>,
    prefix: &str,
    dir: &Path,
) -> Result<Vec<Drawn>, ReportError> {
    let folder = dir.join("figures");
    let created = fs::create_dir_all(&folder).map_err(ResultError::io("create", &folder));
    created.map_err(|source| ReportError::Result {
        path: dir.to_owned(),
        source,
    })?;
    let mut drawn = Vec::new();
    for captioned in figures {
        let name = &captioned.figure.name;
        let svg = captioned.figure.svg(prefix);
        write(&folder.join(format!("{name}.svg")), svg.as_bytes(), dir)?;
        #[cfg(feature = "png")]
        {
            let png =
                figure::png(&svg).ok_or_else(|| ReportError::Figure { name: name.clone() })?;
            write(&folder.join(format!("{name}.png")), &png, dir)?;
        }
        drawn.push((captioned.figure.html(prefix), captioned));
    }
    Ok(drawn)
}

fn finish(
    title: &str,
    results: &[(Data, Figures)],
    missing: &[String],
    out: &Path,
) -> Result<Report, ReportError> {
    let created = fs::create_dir_all(out).map_err(ResultError::io("create", out));
    created.map_err(|source| ReportError::Result {
        path: out.to_owned(),
        source,
    })?;
    let path = out.join(PAGE);
    write(&path, html(title, results, missing).as_bytes(), out)?;
    let mut texts: Vec<String> = results.iter().map(|(data, _)| text(data)).collect();
    texts.extend(page::not_started(missing));
    texts.push(wrapped(&format!("{}. {DEFINITION}", table::SIGNS), 100));
    let mut tables = Tables::new();
    for (data, _) in results {
        rows::join(
            &mut tables,
            rows::of_result(&data.summary, &data.comparison()),
        );
    }
    Ok(Report {
        page: path,
        text: texts.join("\n"),
        tables,
    })
}

fn html(title: &str, results: &[(Data, Figures)], missing: &[String]) -> String {
    let sections = results.iter().map(|(data, figures)| Section {
        data,
        overview: (figures.overview.as_ref()).map(|(drawn, of)| (drawn.clone(), of)),
        figures: (figures.others.iter())
            .map(|(drawn, of)| (drawn.clone(), of))
            .collect(),
    });
    page(title, &sections.collect::<Vec<_>>(), missing)
}

fn text(data: &Data) -> String {
    let mut out = format!("{}\n", data.facts.scenario);
    if !data.summary.complete {
        let (finished, all) = data.progress();
        out.push_str(&format!("partial: {finished} of {all} repetitions\n"));
        for missing in data.missing() {
            out.push_str(&format!("missing: {missing}\n"));
        }
    }
    for warning in data.warnings() {
        out.push_str(&format!("warning: {warning}\n"));
    }
    out.push_str(&table::results(data).text());
    let comparison = data.comparison();
    if let Some(differences) = table::differences(data, &comparison) {
        out.push_str(&format!("\n{}", differences.text()));
    }
    out.push_str(&format!("\n{}", Headline::of(&comparison).text()));
    out
}

/// Wraps text to lines of at most `width` characters, for a terminal.
fn wrapped(text: &str, width: usize) -> String {
    let (mut out, mut line) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        match line {
            0 => {}
            line if line + 1 + length > width => out.push('\n'),
            _ => out.push(' '),
        }
        line = if out.is_empty() || out.ends_with('\n') {
            length
        } else {
            line + 1 + length
        };
        out.push_str(word);
    }
    out + "\n"
}

fn write(path: &Path, bytes: &[u8], result: &Path) -> Result<(), ReportError> {
    write_atomically(path, bytes).map_err(|source| ReportError::Result {
        path: result.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
