//! `l4sllm top`: the queues and the daemon on a terminal, once a second.

pub mod rates;
mod view;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use l4sllmd::config::DEFAULT_SOCKET;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::status::{device_of, fetch};
use crate::{cancel, duration};
use rates::{History, Sample};

/// Watch the queues, the set-points and the daemon's decisions on a terminal.
///
/// Rates and delay percentiles cover the time since the previous display. Keys: q, Esc
/// or Ctrl-C ends the display, space pauses it. While the daemon does not answer, the
/// last values remain below the error.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm top
  l4sllm top --socket /tmp/l4sllmd-status.sock --watch 250ms")]
pub struct TopArgs {
    /// The daemon's status socket (`[status] socket` of its configuration).
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Time between two displays, 100ms to 1h.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::refresh)]
    watch: u64,
}

/// Longest time until a signal is noticed.
const NOTICE: Duration = Duration::from_millis(100);

/// Shows the daemon's state until a key or a signal ends it.
pub fn run(args: &TopArgs) -> anyhow::Result<()> {
    ensure!(
        std::io::stdout().is_terminal() && std::io::stdin().is_terminal(),
        "top needs a terminal; `l4sllm status --watch` prints to files and pipes"
    );
    // An unreachable daemon is reported before the screen changes.
    let first = sample(args, Instant::now())?;
    let ended = cancel::signals()?;
    // Restores the terminal in a panic as well.
    let mut terminal = ratatui::try_init().context("cannot set up the terminal")?;
    // The second signal ends the program while a query waits for its answer.
    cancel::set_cleanup(Some(ratatui::restore));
    let result = show(&mut terminal, args, first, &ended);
    cancel::set_cleanup(None);
    ratatui::restore();
    result
}

fn show(
    terminal: &mut DefaultTerminal,
    args: &TopArgs,
    first: Sample,
    ended: &Receiver<()>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let pause = Duration::from_nanos(args.watch);
    let mut history = History::default();
    history.push(first);
    let mut next = started + pause;
    let mut paused = false;
    loop {
        terminal.draw(|frame| view::draw(frame, &history, paused))?;
        match wait(next)? {
            Some(Event::Key(key)) if ends(&key) => return Ok(()),
            Some(Event::Key(key)) if is_pressed(&key, KeyCode::Char(' ')) => paused = !paused,
            Some(_) => {}
            None if ended.try_recv().is_ok() => return Ok(()),
            None => {}
        }
        if Instant::now() < next {
            continue;
        }
        next = Instant::now() + pause;
        if paused {
            continue;
        }
        match sample(args, started) {
            Ok(sample) => history.push(sample),
            Err(error) => history.fail(format!("{error:#}")),
        }
    }
}

/// Waits for a key or another event until `end`, but no longer than [`NOTICE`].
fn wait(end: Instant) -> anyhow::Result<Option<Event>> {
    let left = end.saturating_duration_since(Instant::now());
    match event::poll(left.min(NOTICE))? {
        true => Ok(Some(event::read()?)),
        false => Ok(None),
    }
}

fn sample(args: &TopArgs, started: Instant) -> anyhow::Result<Sample> {
    let status = fetch(&args.socket)?;
    let device = device_of(&status).ok();
    Ok(Sample {
        time_s: started.elapsed().as_secs_f64(),
        status,
        device,
    })
}

fn is_pressed(key: &KeyEvent, code: KeyCode) -> bool {
    key.kind == KeyEventKind::Press && key.code == code
}

fn ends(key: &KeyEvent) -> bool {
    let control_c = key.modifiers.contains(KeyModifiers::CONTROL);
    is_pressed(key, KeyCode::Char('q'))
        || is_pressed(key, KeyCode::Esc)
        || (control_c && is_pressed(key, KeyCode::Char('c')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_end_the_display() {
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        let none = KeyModifiers::NONE;
        assert!(ends(&key(KeyCode::Char('q'), none)));
        assert!(ends(&key(KeyCode::Esc, none)));
        assert!(ends(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!ends(&key(KeyCode::Char('c'), none)));
        assert!(!ends(&key(KeyCode::Char(' '), none)));
    }
}
