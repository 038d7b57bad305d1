//! Progress bar of a stage.

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use crate::output::progress_bar;

/// A bar on standard error, if that is a terminal.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar for `total` steps of a stage.
    pub fn new(stage: &str, of: &str, total: u64) -> anyhow::Result<Bar> {
        let template = format!("{stage} {{bar:30}} {{pos}}/{{len}} {of}{{msg}}, {{left}} left");
        let left = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // A failure to write to the terminal is ignored.
            let _ = write!(out, "{:#}", HumanDuration(state.eta()));
        };
        let style = ProgressStyle::with_template(&template)?.with_key("left", left);
        Ok(Bar(progress_bar(total).with_style(style)))
    }

    /// Shows the position and a note.
    pub fn show(&self, done: u64, message: &str) {
        if !message.is_empty() {
            self.0.set_message(format!(", {message}"));
        }
        self.0.set_position(done);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
