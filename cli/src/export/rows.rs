//! Summaries as rows of named values.

use l4sllm_testbed::result::{Arm, Statistics, Summary};
use serde_json::{Map, Value};

/// Rows, which may have different columns.
#[derive(Debug, Default)]
pub struct Table {
    pub rows: Vec<Map<String, Value>>,
}

impl Table {
    /// Adds a row for each repetition of each arm, and one for each arm.
    ///
    /// # Errors
    /// A number that JSON cannot represent.
    pub fn add_runs(&mut self, summary: &Summary) -> serde_json::Result<()> {
        for_each_run(summary, |mut row, statistics| {
            if let Value::Object(mut values) = serde_json::to_value(statistics)? {
                values.remove("flows");
                flatten("", values, &mut row);
            }
            self.rows.push(row);
            Ok(())
        })
    }

    /// Adds a row for each flow.
    ///
    /// # Errors
    /// As [`Table::add_runs`].
    pub fn add_flows(&mut self, summary: &Summary) -> serde_json::Result<()> {
        for_each_run(summary, |row, statistics| {
            for flow in &statistics.flows {
                let mut row = row.clone();
                if let Value::Object(mut values) = serde_json::to_value(flow)? {
                    let name = values.remove("name").unwrap_or_default();
                    row.insert("flow".to_owned(), name);
                    flatten("", values, &mut row);
                }
                self.rows.push(row);
            }
            Ok(())
        })
    }

    /// CSV (RFC 4180, with LF) with a header line; missing values are empty.
    pub fn csv(&self) -> String {
        let mut columns: Vec<&String> = Vec::new();
        for name in self.rows.iter().flat_map(Map::keys) {
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
        let mut out = line(columns.iter().map(|name| field(name)));
        for row in &self.rows {
            out += &line(columns.iter().map(|name| match row.get(*name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => field(text),
                Some(value) => value.to_string(),
            }));
        }
        out
    }
}

fn for_each_run(
    summary: &Summary,
    mut visit: impl FnMut(Map<String, Value>, &Statistics) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    let head = |arm: &Arm, repetition: Value, seed: Value| {
        let interval = serde_json::to_value(arm.interval)?;
        let policy = arm.policy.as_ref().map(|policy| &policy.name);
        let row = [
            ("scenario", summary.scenario.clone().into()),
            ("arm", arm.name.clone().into()),
            ("aqm", arm.aqm.clone().into()),
            ("interval", interval),
            ("policy", serde_json::to_value(policy)?),
            ("repetition", repetition),
            ("seed", seed),
        ];
        let row = row.map(|(name, value)| (name.to_owned(), value));
        Ok(row.into_iter().collect::<Map<_, _>>())
    };
    for arm in &summary.arms {
        for run in &arm.repetitions {
            let row = head(arm, run.repetition.into(), run.seed.into())?;
            visit(row, &run.statistics)?;
        }
        visit(head(arm, "pooled".into(), Value::Null)?, &arm.pooled)?;
    }
    Ok(())
}

/// Adds the values of an object; those of inner objects as `outer.inner`.
fn flatten(prefix: &str, values: Map<String, Value>, row: &mut Map<String, Value>) {
    for (name, value) in values {
        let name = match prefix {
            "" => name,
            prefix => format!("{prefix}.{name}"),
        };
        match value {
            Value::Object(inner) => flatten(&name, inner, row),
            value => {
                row.insert(name, value);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_all_that_a_row_has_and_text_is_quoted_where_it_must_be() {
        let row = |value: Value| match value {
            Value::Object(values) => {
                let mut row = Map::new();
                flatten("", values, &mut row);
                row
            }
            other => panic!("{other}"),
        };
        let table = Table {
            rows: vec![
                row(json!({ "arm": "a,b", "delay": { "p50": 1.5, "p99": null } })),
                row(json!({ "arm": "c", "marks": 3 })),
            ],
        };
        assert_eq!(
            table.csv(),
            "arm,delay.p50,delay.p99,marks\n\"a,b\",1.5,,\nc,,,3\n"
        );
    }
}
