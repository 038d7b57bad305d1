//! Tables of named values, as CSV, as JSON, and as plain columns for a terminal.

use std::path::{Path, PathBuf};

use l4sllm_model::files::read_regular;
use l4sllm_testbed::result::{Arm, ResultError, Statistics, Stored, Summary};
use serde::Serialize;
use serde_json::{Value, json};

use super::compare::{Comparison, Pair};
use super::learning::{self, Backbones, Training};
use super::{ReportError, SUITE_FILE, online};

/// Rows, which may differ in their columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    rows: Vec<Row>,
}

/// Named values, in order.
type Row = Vec<(String, Value)>;

/// Named tables, the main one first.
pub type Tables = Vec<(&'static str, Rows)>;

impl Rows {
    /// Adds a row: `head`, then the values of `value` by their names. Values of
    /// nested objects are named `outer.inner`, and those of arrays by their index.
    /// A null `value` adds none.
    ///
    /// # Panics
    /// `value` has keys that are not strings.
    pub fn push<'a>(
        &mut self,
        head: impl IntoIterator<Item = (&'a str, Value)>,
        value: &impl Serialize,
    ) {
        let head = head.into_iter();
        let mut row: Row = head.map(|(name, value)| (name.to_owned(), value)).collect();
        let value = serde_json::to_value(value).expect("plain structs with string keys are JSON");
        if !value.is_null() {
            flatten("", value, &mut row);
        }
        self.rows.push(row);
    }

    /// Rows of name and value, one for each value in `value`.
    ///
    /// # Panics
    /// As [`Rows::push`].
    pub fn of_values(value: &impl Serialize) -> Rows {
        let mut whole = Rows::default();
        whole.push([], value);
        let mut rows = Rows::default();
        for (name, value) in whole.rows.into_iter().flatten() {
            rows.push([("name", name.into()), ("value", value)], &());
        }
        rows
    }

    /// Names of all columns, in order of first appearance. An object that is null in
    /// some rows is not a column, because its values are.
    fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for (name, _) in self.rows.iter().flatten() {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        let is_object = |name: &str| {
            let mut inner = columns.iter().filter_map(|other| other.strip_prefix(name));
            inner.any(|rest| rest.starts_with('.'))
        };
        let all = columns.iter().copied();
        all.filter(|&name| !is_object(name)).collect()
    }

    /// CSV (RFC 4180, with LF) with a line of column names; missing values are empty.
    pub fn csv(&self) -> String {
        let columns = self.columns();
        let mut out = line(columns.iter().map(|name| field(name)));
        for row in &self.rows {
            let cells = columns.iter().map(|name| find(row, name));
            out += &line(cells.map(|value| field(&cell(value, ""))));
        }
        out
    }

    /// An array of objects.
    pub fn json(&self) -> Value {
        let objects = self.rows.iter().map(|row| row.iter().cloned().collect());
        objects.map(Value::Object).collect()
    }

    /// Columns with headings for a terminal, numbers aligned to the right.
    pub fn text(&self) -> String {
        let columns = self.columns();
        let numeric = |name: &&&str| {
            let mut values = self.rows.iter().filter_map(|row| find(row, name));
            values.all(|value| value.is_number() || value.is_null())
        };
        let right: Vec<bool> = columns.iter().map(|name| numeric(&name)).collect();
        let mut lines = vec![columns.iter().map(|name| (*name).to_owned()).collect()];
        lines.extend(self.rows.iter().map(|row| {
            let cells = columns.iter().map(|name| cell(find(row, name), "-"));
            cells.collect::<Vec<String>>()
        }));
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        let mut out = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths).zip(&right);
            let cells = cells.map(|((cell, &width), right)| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:width$}"),
            });
            out += cells.collect::<Vec<_>>().join("  ").trim_end();
            out.push('\n');
        }
        out
    }

    fn append(&mut self, other: Rows) {
        self.rows.extend(other.rows);
    }
}

fn find<'a>(row: &'a Row, name: &str) -> Option<&'a Value> {
    let found = row.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| value)
}

/// Adds a value; values of nested objects are named `outer.inner`.
fn flatten(name: &str, value: Value, row: &mut Row) {
    let inner = |key: &str| match name {
        "" => key.to_owned(),
        name => format!("{name}.{key}"),
    };
    match value {
        Value::Object(values) => {
            for (key, value) in values {
                flatten(&inner(&key), value, row);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.into_iter().enumerate() {
                flatten(&inner(&index.to_string()), value, row);
            }
        }
        value => row.push((name.to_owned(), value)),
    }
}

fn cell(value: Option<&Value>, absent: &str) -> String {
    match value {
        None | Some(Value::Null) => absent.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn line(fields: impl Iterator<Item = String>) -> String {
    fields.collect::<Vec<_>>().join(",") + "\n"
}

fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// The tables of the contents of `dirs`: `runs`, `comparison` and `flows` of
/// results, `families` and `conditions` of suites, `seeds` of `l4sllm reproduce`,
/// `trainings` and `steps` of trainings, `backbones` of measured backbones.
///
/// # Errors
/// A directory that has none of them, or cannot be read.
pub fn tables(dirs: &[PathBuf]) -> Result<Tables, ReportError> {
    let mut all = Tables::new();
    for dir in dirs {
        let own = if online::is_online(dir) {
            online::tables_of(dir)
        } else if learning::is_learning(dir) {
            learning::tables_of(dir)
        } else {
            of_dir(dir).map_err(|source| ReportError::Result {
                path: dir.clone(),
                source,
            })
        };
        join(&mut all, own?);
    }
    Ok(all)
}

fn of_dir(dir: &Path) -> Result<Tables, ResultError> {
    if dir.join(SUITE_FILE).is_file() {
        return Ok(of_suite(&read(&dir.join(SUITE_FILE))?));
    }
    let whole = dir.join(SUMMARY_FILE);
    if dir.join(FACTS_FILE).is_file() || !whole.is_file() {
        let Stored { facts, summary, .. } = Stored::open(dir)?;
        return Ok(of_result(&summary, &Comparison::of(&facts, &summary)));
    }
    let whole = read(&whole)?;
    if whole["seeds"].is_array() {
        let mut seeds = Rows::default();
        for seed in list(&whole, "seeds") {
            seeds.push([("seed", seed["seed"].clone())], &without(seed, "seed"));
        }
        return Ok(vec![("seeds", seeds)]);
    }
    // The directory contains several results.
    let mut scenarios: Vec<String> = Vec::new();
    for arm in list(&whole, "arms") {
        let name = arm["scenario"].as_str().unwrap_or_default().to_owned();
        if !scenarios.contains(&name) {
            scenarios.push(name);
        }
    }
    let mut all = Tables::new();
    for scenario in scenarios {
        let Stored { facts, summary, .. } = Stored::open(&dir.join(scenario))?;
        join(
            &mut all,
            of_result(&summary, &Comparison::of(&facts, &summary)),
        );
    }
    Ok(all)
}

/// Adds tables; rows of a table that exists are appended to it.
pub fn join(all: &mut Tables, more: Tables) {
    for (name, rows) in more {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.append(rows),
            None => all.push((name, rows)),
        }
    }
}

/// File names in a result.
const FACTS_FILE: &str = "facts.json";
const SUMMARY_FILE: &str = "summary.json";

/// Maximum file size, bytes.
const FILE_MAX: u64 = 256 << 20;

fn read(path: &Path) -> Result<Value, ResultError> {
    let bytes = read_regular(path, FILE_MAX).map_err(ResultError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(ResultError::json(path))
}

/// The tables of a result.
pub(super) fn of_result(summary: &Summary, comparison: &Comparison<'_>) -> Tables {
    vec![
        ("runs", runs(summary)),
        ("comparison", compared(&summary.scenario, comparison)),
        ("flows", flows(summary)),
    ]
}

/// A row for each repetition of each arm, and one for each arm's pooled
/// repetitions.
fn runs(summary: &Summary) -> Rows {
    let mut rows = Rows::default();
    for_each_run(summary, |head, statistics| {
        let statistics = Statistics {
            flows: Vec::new(),
            ..statistics.clone()
        };
        rows.push(head, &statistics);
    });
    rows
}

/// A row for each flow in each repetition of each arm, and in the pooled ones.
fn flows(summary: &Summary) -> Rows {
    let mut rows = Rows::default();
    for_each_run(summary, |head, statistics| {
        for flow in &statistics.flows {
            let name = ("flow", flow.name.clone().into());
            rows.push(
                head.clone().into_iter().chain([name]),
                &without(json!(flow), "name"),
            );
        }
    });
    rows
}

fn for_each_run(summary: &Summary, mut visit: impl FnMut(Vec<(&'static str, Value)>, &Statistics)) {
    let head = |arm: &Arm, repetition: Value, seed: Value| {
        let policy = arm.policy.as_ref().map(|policy| &policy.name);
        vec![
            ("scenario", summary.scenario.clone().into()),
            ("arm", arm.name.clone().into()),
            ("aqm", arm.aqm.clone().into()),
            ("interval", json!(arm.interval)),
            ("policy", json!(policy)),
            ("repetition", repetition),
            ("seed", seed),
        ]
    };
    for arm in &summary.arms {
        for run in &arm.repetitions {
            visit(
                head(arm, run.repetition.into(), run.seed.into()),
                &run.statistics,
            );
        }
        visit(head(arm, "pooled".into(), Value::Null), &arm.pooled);
    }
}

/// A row for each metric of each pair of arms: the mean difference with its 95 %
/// interval.
fn compared(scenario: &str, comparison: &Comparison<'_>) -> Rows {
    let mut rows = Rows::default();
    for Pair {
        arm,
        baseline,
        differences,
    } in &comparison.pairs
    {
        for of in differences {
            let judgement = &of.judgement;
            let difference = judgement.difference;
            let end = |sign: f64| Some(difference.mean + sign * difference.half_width?);
            let row = [
                ("scenario", scenario.into()),
                ("arm", arm.name.clone().into()),
                ("baseline", baseline.name.clone().into()),
                ("metric", of.metric.key().into()),
                ("pairs", judgement.count.into()),
                ("value", judgement.value.into()),
                ("baseline_value", judgement.reference.into()),
                ("difference", difference.mean.into()),
                ("low", json!(end(-1.0))),
                ("high", json!(end(1.0))),
                ("verdict", judgement.verdict.word().into()),
            ];
            rows.push(row, &());
        }
    }
    rows
}

/// The tables of a suite's file.
pub(super) fn of_suite(suite: &Value) -> Tables {
    let (mut families, mut conditions) = (Rows::default(), Rows::default());
    for family in list(suite, "families") {
        for summary in list(&family, "summaries") {
            push_summary(&mut families, family["name"].clone(), summary);
        }
        for condition in list(&family, "conditions") {
            for mut arm in list(&condition, "arms") {
                let head = [
                    ("family", family["name"].clone()),
                    ("condition", condition["name"].clone()),
                    ("arm", arm["name"].take()),
                ];
                conditions.push(head, &without(without(arm, "name"), "repetitions"));
            }
        }
    }
    for summary in list(suite, "all") {
        push_summary(&mut families, "all".into(), summary);
    }
    vec![("families", families), ("conditions", conditions)]
}

fn push_summary(families: &mut Rows, family: Value, mut summary: Value) {
    let head = [("family", family), ("arm", summary["arm"].take())];
    families.push(head, &without(summary, "arm"));
}

/// The tables of trainings and of measured backbones.
pub(super) fn of_learning(trainings: &[Training], backbones: &[Backbones]) -> Tables {
    let (mut last, mut steps) = (Rows::default(), Rows::default());
    for training in trainings {
        let name = || ("training", training.name.clone().into());
        let best = training
            .best()
            .map(|(step, evaluation)| json!({ "step": step.step, "evaluation": evaluation }));
        let whole = json!({
            "steps": training.last().map(|step| step.step),
            "best": best,
            "costs": training.costs,
        });
        last.push([name()], &whole);
        for step in &training.steps {
            steps.push([name()], step);
        }
    }
    let mut measured = Rows::default();
    for of in backbones {
        measured.append(of.rows());
    }
    let all = [
        ("trainings", last),
        ("steps", steps),
        ("backbones", measured),
    ];
    all.into_iter()
        .filter(|(_, rows)| !rows.rows.is_empty())
        .collect()
}

impl Backbones {
    /// A row for each measured backbone.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        for costs in &self.measured {
            let mut costs = json!(costs);
            rows.push([("name", costs["name"].take())], &without(costs, "name"));
        }
        rows
    }
}

fn list(of: &Value, name: &str) -> Vec<Value> {
    of[name].as_array().cloned().unwrap_or_default()
}

fn without(mut value: Value, name: &str) -> Value {
    if let Some(values) = value.as_object_mut() {
        values.remove(name);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Rows {
        let mut rows = Rows::default();
        let delay = json!({ "delay": { "p50": 1.5, "p99": null }, "of": [7, 8] });
        rows.push([("arm", "a,b".into())], &delay);
        rows.push(
            [("arm", "c".into())],
            &json!({ "marks": 30, "delay": null }),
        );
        rows
    }

    #[test]
    fn csv_has_all_columns_and_quotes_where_needed() {
        assert_eq!(
            table().csv(),
            "arm,delay.p50,delay.p99,of.0,of.1,marks\n\"a,b\",1.5,,7,8,\nc,,,,,30\n"
        );
        assert_eq!(
            table().json()[1],
            json!({ "arm": "c", "delay": null, "marks": 30 })
        );
    }

    #[test]
    fn numbers_are_right_aligned_on_a_terminal() {
        let lines = [
            "arm  delay.p50  delay.p99  of.0  of.1  marks",
            "a,b        1.5          -     7     8      -",
            "c            -          -     -     -     30",
        ];
        assert_eq!(table().text(), lines.join("\n") + "\n");
    }
}
