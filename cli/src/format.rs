//! `--format`: results for people or for programs.

use clap::{Args, ValueEnum};
use l4sllm_report::{Report, Rows, Tables, join};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::output::{note, print};

/// The option of every command that prints results.
#[derive(Debug, Clone, Copy, Args)]
pub struct FormatArgs {
    /// Output format: text for people, CSV with one table, or JSON.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Csv,
    Json,
}

/// Prints a table.
pub fn print_rows(format: Format, rows: &Rows) -> anyhow::Result<()> {
    match format {
        Format::Text => print(&rows.text()),
        Format::Csv => print(&rows.csv()),
        Format::Json => print_json(&rows.json()),
    }
}

/// Prints a document as CSV with two columns, names and values.
pub fn print_values(value: &impl Serialize) -> anyhow::Result<()> {
    print(&Rows::of_values(value).csv())
}

/// Prints a document, indented.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Prints the table of a report and the path of its page.
pub fn print_report(format: Format, report: &Report) -> anyhow::Result<()> {
    print_reports(format, std::slice::from_ref(report))
}

/// Prints reports: as CSV the main table, as JSON all tables by name, with the
/// rows of all reports. The paths of the pages go to standard error.
pub fn print_reports(format: Format, reports: &[Report]) -> anyhow::Result<()> {
    let mut tables = Tables::new();
    for Report {
        page,
        text,
        tables: own,
    } in reports
    {
        let page = page.display();
        match format {
            Format::Text => print(&format!("{text}\n{page}\n"))?,
            Format::Csv | Format::Json => note!("{page}"),
        }
        join(&mut tables, own.clone());
    }
    match format {
        Format::Text => Ok(()),
        Format::Csv => print(
            &tables
                .first()
                .map_or_else(String::new, |(_, rows)| rows.csv()),
        ),
        Format::Json => {
            let tables = tables.iter();
            let tables = tables.map(|(name, rows)| ((*name).to_owned(), rows.json()));
            print_json(&Value::Object(tables.collect::<Map<_, _>>()))
        }
    }
}
