//! Reports on learning: training runs side by side, and costs of models.
//!
//! The directory of a training run has `metrics.jsonl`, with a line for each
//! step, and `costs.json` ([`Costs`]) once it has ended; a measurement of
//! backbones has `backbones.json` ([`Backbones`]).

mod figures;
mod model_costs;
mod page;
mod published;
mod training;

use std::path::{Path, PathBuf};

pub use model_costs::{BACKBONES_FILE, Backbones, COSTS_FILE, Costs, Latency, Skipped};

use super::page::slug;
use super::rows::{Tables, of_learning};
use super::{PAGE, Report, ReportError, save_figures, write};
use l4sllm_model::files::read_regular;
use l4sllm_testbed::result::ResultError;
use page::Shown;
use training::METRICS_FILE;
pub(super) use training::Training;

/// Whether [`render_learning`] can report on a directory.
pub fn is_learning(dir: &Path) -> bool {
    dir.join(METRICS_FILE).is_file() || dir.join(BACKBONES_FILE).is_file()
}

/// Draws training runs and measurements of backbones side by side: figures and
/// one page in `out`.
///
/// # Errors
/// [`ReportError::Empty`] without any directory.
pub fn render_learning(title: &str, dirs: &[PathBuf], out: &Path) -> Result<Report, ReportError> {
    if dirs.is_empty() {
        return Err(ReportError::Empty);
    }
    let (trainings, backbones) = load(dirs)?;
    let costs = all_costs(&trainings, &backbones);
    let captioned = figures::of_trainings(&trainings)
        .into_iter()
        .chain(figures::of_costs(&costs));
    let drawn = save_figures(captioned, &slug(title), out)?;
    let shown = Shown {
        title,
        sources: dirs,
        trainings: &trainings,
        backbones: &backbones,
        figures: &drawn,
    };
    let page = out.join(PAGE);
    write(&page, shown.html().as_bytes(), out)?;
    Ok(Report {
        page,
        text: shown.text(),
        tables: of_learning(&trainings, &backbones),
    })
}

/// The tables of the training or the measurement in `dir`.
pub(super) fn tables_of(dir: &Path) -> Result<Tables, ReportError> {
    let (trainings, backbones) = load(std::slice::from_ref(&dir.to_owned()))?;
    Ok(of_learning(&trainings, &backbones))
}

fn load(dirs: &[PathBuf]) -> Result<(Vec<Training>, Vec<Backbones>), ReportError> {
    let (mut trainings, mut backbones) = (Vec::new(), Vec::new());
    for dir in dirs {
        if dir.join(METRICS_FILE).is_file() || !dir.join(BACKBONES_FILE).is_file() {
            trainings.push(Training::load(dir)?);
        }
        if dir.join(BACKBONES_FILE).is_file() {
            backbones.push(load_backbones(dir)?);
        }
    }
    tell_apart(&mut trainings, dirs);
    Ok((trainings, backbones))
}

/// Maximum size of a JSON file, bytes.
pub(crate) const JSON_MAX: u64 = 16 << 20;

/// Reads the measurements of backbones in a directory.
///
/// # Errors
/// The file cannot be read or is malformed.
pub fn load_backbones(dir: &Path) -> Result<Backbones, ReportError> {
    let path = dir.join(BACKBONES_FILE);
    let bytes = read_regular(&path, JSON_MAX).map_err(ResultError::io("read", &path));
    let read = || serde_json::from_slice(&bytes?).map_err(ResultError::json(&path));
    read().map_err(|source| ReportError::Result {
        path: dir.to_owned(),
        source,
    })
}

/// Costs of training runs and measurements, by displayed name.
fn all_costs(trainings: &[Training], backbones: &[Backbones]) -> Vec<Costs> {
    let trained = trainings.iter().filter_map(|training| {
        let mut costs = training.costs.clone()?;
        costs.name.clone_from(&training.name);
        Some(costs)
    });
    let mut all: Vec<Costs> = trained.collect();
    for costs in backbones.iter().flat_map(|of| &of.measured) {
        let mut costs = costs.clone();
        if all.iter().any(|of| of.name == costs.name) {
            costs.name = format!("{}, {}", costs.name, costs.precision);
        }
        all.push(costs);
    }
    all
}

/// Directories with the same name are shown with their parents' names.
fn tell_apart(trainings: &mut [Training], dirs: &[PathBuf]) {
    let names: Vec<String> = trainings.iter().map(|t| t.name.clone()).collect();
    let with_metrics = dirs.iter().filter(|dir| dir.join(METRICS_FILE).is_file());
    for (training, dir) in trainings.iter_mut().zip(with_metrics) {
        if names.iter().filter(|name| **name == training.name).count() > 1 {
            training.name = dir.display().to_string();
        }
    }
}

#[cfg(test)]
mod tests;
