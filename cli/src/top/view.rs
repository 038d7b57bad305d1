//! Draws the screen.

use std::collections::VecDeque;

use l4sllm_abi::{Cause, Params, Queue, raw};
use l4sllm_model::text::printable;
use l4sllmd::metrics::openmetrics::DeviceSnapshot;
use l4sllmd::status::{InForce, Quantiles, State, Status};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table, Wrap};

use super::rates::{History, QueueRates, Sample};

/// Draws the newest sample of `history`.
pub fn draw(frame: &mut Frame<'_>, history: &History, paused: bool) {
    let Some(now) = history.now() else {
        return;
    };
    let [head, queues, middle, bottom, charts] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(5),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Min(3),
    ])
    .areas(frame.area());
    let [signals, set_points] =
        Layout::horizontal([Constraint::Percentage(46), Constraint::Percentage(54)]).areas(middle);
    head_lines(frame, head, history, &now.status, paused);
    queue_table(frame, queues, history.queues());
    signal_table(frame, signals, history);
    let params = now.device.as_ref().map(|device| &device.params);
    set_point_table(frame, set_points, params, now.status.in_force.as_ref());
    decisions(frame, bottom, history, now);
    let [classic, l4s] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(charts);
    delay_chart(frame, classic, "classic delay p99", &history.delays[0]);
    delay_chart(frame, l4s, "L4S delay p99", &history.delays[1]);
}

fn head_lines(frame: &mut Frame<'_>, area: Rect, history: &History, status: &Status, paused: bool) {
    if let Some(error) = &history.error {
        let error = Line::from(printable(error)).red();
        frame.render_widget(Paragraph::new(error).wrap(Wrap { trim: true }), area);
        return;
    }
    let (state, colour) = match status.state {
        State::Running => ("running", Color::Green),
        State::Waiting => ("waiting for a device", Color::Yellow),
    };
    let first = format!(
        "l4sllmd {}, {state} for {:.0} s{}",
        status.version,
        status.uptime_s,
        if paused { "  [paused]" } else { "" }
    );
    let second = format!("{}, {}", status.engine, status.pace());
    let lines = vec![Line::from(first).fg(colour), Line::from(printable(&second))];
    frame.render_widget(Paragraph::new(lines), area);
}

/// A rate with three digits; a dash while it is unknown.
fn rate(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) if value.abs() < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

fn queue_table(frame: &mut Frame<'_>, area: Rect, queues: Option<[QueueRates; 2]>) {
    let header = [
        "queue",
        "Mbit/s",
        "packets/s",
        "marks/s",
        "drops/s",
        "waiting",
        "p50 ms",
        "p99 ms",
    ];
    let rows = ["classic", "L4S"].into_iter().enumerate().map(|(i, name)| {
        let queue = queues.map(|queues| queues[i]);
        let of = |value: fn(&QueueRates) -> f64| rate(queue.as_ref().map(value));
        Row::new([
            name.to_owned(),
            of(|q| q.mbit_s),
            of(|q| q.packets_s),
            of(|q| q.marks_s),
            of(|q| q.drops_s),
            queue.map_or("-".to_owned(), |q| q.waiting.to_string()),
            rate(queue.and_then(|q| q.p50_ms)),
            rate(queue.and_then(|q| q.p99_ms)),
        ])
    });
    let table = Table::new(rows, [Constraint::Fill(1); 8])
        .header(Row::new(header).style(Style::new().bold()))
        .block(Block::bordered().title("queues"));
    frame.render_widget(table, area);
}

fn signal_table(frame: &mut Frame<'_>, area: Rect, history: &History) {
    let of = |counter| rate(history.device_rate(counter));
    let causes = Cause::MARKS.iter().zip(&Cause::DROPS);
    let mut rows: Vec<Row<'_>> = causes
        .map(|(mark, drop)| {
            let (marks, drops) = (of(mark.of), of(drop.of));
            Row::new([mark.name.to_owned(), marks, drop.name.to_owned(), drops])
        })
        .collect();
    let overridden = of(|stats| stats.decisions_overridden);
    rows.push(Row::new(["overridden".to_owned(), overridden]));
    let names = Constraint::Length(10);
    let widths = [names, Constraint::Fill(1), names, Constraint::Fill(1)];
    let table = Table::new(rows, widths)
        .header(Row::new(["marks", "per s", "drops", "per s"]).style(Style::new().bold()))
        .block(Block::bordered().title("signals by cause"));
    frame.render_widget(table, area);
}

fn set_point_table(
    frame: &mut Frame<'_>,
    area: Rect,
    params: Option<&Params>,
    in_force: Option<&InForce>,
) {
    type SetPoint = (
        &'static str,
        fn(&Params) -> f64,
        fn(&InForce) -> Option<f64>,
    );
    let set_points: [SetPoint; 5] = [
        ("target ms", |p| p.target_ns as f64 / 1e6, |f| f.target),
        ("alpha Hz", |p| f64::from(p.alpha_uhz) / 1e6, |f| f.alpha),
        ("beta Hz", |p| f64::from(p.beta_uhz) / 1e6, |f| f.beta),
        ("k", |p| f64::from(p.coupling_q8) / 256.0, |f| f.coupling),
        ("tupdate ms", |p| p.tupdate_ns as f64 / 1e6, |f| f.tupdate),
    ];
    let rows = set_points.map(|(name, configured, factor)| {
        let factor = in_force.and_then(factor);
        let configured = params.map(configured);
        let now = configured.map(|value| value * factor.unwrap_or(1.0));
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
        let factor = factor.map_or("-".to_owned(), |f| format!("{f:.3}"));
        Row::new([name.to_owned(), number(configured), number(now), factor])
    });
    let title = match in_force {
        Some(f) => format!("set-points, sched {}.{}", f.sched, f.instance),
        None => "set-points, no override in force".to_owned(),
    };
    let names = Constraint::Length(10);
    let widths = [names, names, Constraint::Fill(1), Constraint::Fill(1)];
    let table = Table::new(rows, widths)
        .header(Row::new(["", "configured", "in force", "factor"]).style(Style::new().bold()))
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

/// Probabilities, and how fast the integral term of the controller moves p' at the
/// present delay: with the set-points in force, and with the configured ones, as
/// DualPI2 alone would (RFC 9332, appendix A.1: α · (delay − target) per period).
fn controller(device: Option<&DeviceSnapshot>, in_force: Option<&InForce>) -> String {
    let Some(device) = device else {
        return "p' -, p_C -, p_CL -; integral -, DualPI2 alone -".to_owned();
    };
    let (queues, params) = (&device.queues, &device.params);
    let share = |p: u32| f64::from(p) / f64::from(raw::L4S_PROB_ONE);
    let delays = [Queue::Classic, Queue::L4s].map(|queue| queues.queue(queue).delay_ns);
    let delay_s = delays[0].max(delays[1]) as f64 / 1e9;
    let integral = |alpha: f64, target: f64, tupdate: f64| {
        let alpha_hz = alpha * f64::from(params.alpha_uhz) / 1e6;
        let target_s = target * params.target_ns as f64 / 1e9;
        alpha_hz * (delay_s - target_s) / (tupdate * params.tupdate_ns as f64 / 1e9)
    };
    let of = |factor: fn(&InForce) -> Option<f64>| in_force.and_then(factor).unwrap_or(1.0);
    format!(
        "p' {:.4}, p_C {:.4}, p_CL {:.4}; integral {:+.3}/s, DualPI2 alone {:+.3}/s",
        share(queues.base_probability),
        share(queues.classic_probability),
        share(queues.coupled_probability),
        integral(of(|f| f.alpha), of(|f| f.target), of(|f| f.tupdate)),
        integral(1.0, 1.0, 1.0)
    )
}

fn decisions(frame: &mut Frame<'_>, area: Rect, history: &History, now: &Sample) {
    let status = &now.status;
    let c = &status.counters;
    let of = |counter| rate(history.rate(counter));
    let lost = status.recorder.map_or(0, |recorder| recorder.lost);
    let lines = vec![
        Line::from(format!(
            "{}/s, {} in all; overrides {} accepted, {} refused, {} stale, {} failed",
            of(|c| c.decisions),
            c.decisions,
            c.accepted,
            c.refused,
            c.stale,
            c.failed
        )),
        Line::from(format!(
            "latency {}; deciding {}",
            microseconds(&status.latency_minute_us),
            microseconds(&status.decision_minute_us)
        )),
        Line::from(controller(now.device.as_ref(), status.in_force.as_ref())),
        Line::from(format!(
            "lost: {} messages, {} gaps, {} torn reads, {} intervals skipped, {lost} recorder frames",
            c.lost, c.gaps, c.torn_reads, c.skipped_behind
        )),
    ];
    let block = Block::bordered().title("decisions");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn microseconds(q: &Quantiles) -> String {
    match q.count {
        0 => "-".to_owned(),
        _ => format!("p50 {:.0} us, p99 {:.0} us", q.p50, q.p99),
    }
}

/// The last values, as many as fit, with the largest in the title.
fn delay_chart(frame: &mut Frame<'_>, area: Rect, name: &str, delays: &VecDeque<u64>) {
    let width = usize::from(area.width.saturating_sub(2));
    let shown: Vec<u64> = delays.iter().rev().take(width).rev().copied().collect();
    let most = shown.iter().max().copied().unwrap_or(0);
    let title = format!("{name}, at most {:.2} ms", most as f64 / 1e3);
    let chart = Sparkline::default()
        .data(&shown)
        .block(Block::bordered().title(title));
    frame.render_widget(chart, area);
}

#[cfg(test)]
mod tests {
    use l4sllm_abi::{Queues, Stats};
    use l4sllmd::status::Counters;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn sample(time_s: f64, packets: u64, decisions: u64) -> Sample {
        let counters = Counters {
            decisions,
            accepted: decisions,
            lost: 3,
            ..Counters::default()
        };
        let quantiles = Quantiles {
            count: 9,
            p50: 120.0,
            p99: 480.0,
            ..Quantiles::default()
        };
        let status = serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "pid": 1, "uptime_s": 61.0, "state": "running", "abi": [1, 2],
            "device": { "path": "/d", "module": null, "abi": null, "opened": 1 },
            "engine": { "kind": "adaptive", "preset": "balanced" },
            "interval": 100, "period_ms": 100,
            "reloads": { "succeeded": 0, "failed": 0, "last_error": null },
            "counters": counters,
            "latency_us": quantiles, "latency_minute_us": quantiles,
            "decision_us": quantiles, "decision_minute_us": Quantiles::default(),
            "in_force": { "sched": 1, "instance": 7, "target": 0.25, "threshold": null,
                "coupling": null, "alpha": 2.0, "beta": 4.0, "tupdate": 0.25, "expires_s": 0.5 },
        }))
        .expect("a status");
        let mut raw = Queues::question(0, 0);
        for (i, queue) in raw.queue.iter_mut().enumerate() {
            let share = packets * (i as u64 + 1);
            queue.packets_in = share;
            queue.forwarded = share;
            queue.forwarded_bytes = share * 1250;
            queue.marked = share / 10;
            queue.delays[8 + 4 * i] = share;
            queue.delay_max_ns = 1 << 30;
        }
        let mut stats = Stats::question(0, 0);
        stats.packets_in = 3 * packets;
        stats.forwarded = 3 * packets;
        stats.marks_coupled = packets / 5;
        stats.decisions_overridden = packets / 100;
        Sample {
            time_s,
            status,
            device: Some(DeviceSnapshot {
                queues: Queues::try_from(raw).expect("its own question"),
                stats: Stats::try_from(stats).expect("its own question"),
                params: Params::default(),
            }),
        }
    }

    fn screen(history: &History) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a buffer");
        terminal
            .draw(|frame| draw(frame, history, false))
            .expect("a buffer");
        terminal.backend().to_string()
    }

    #[test]
    fn rates_delays_and_set_points_are_shown() {
        let mut history = History::default();
        history.push(sample(0.0, 1000, 10));
        let first = screen(&history);
        assert!(
            first.contains("adaptive rule balanced, every 100 ms"),
            "{first}"
        );
        history.push(sample(2.0, 3000, 30));
        let shown = screen(&history);
        // 2000 packets of 1250 bytes in 2 s, and twice that.
        for expected in [
            "classic   10.0",
            "L4S       20.0",
            "running for 61 s",
            "signals by cause",
            "sched 1.7",
            "10.0/s, 30 in all; overrides 30 accepted, 0 refused",
            "latency p50 120 us, p99 480 us; deciding -",
            // Of an empty queue: α · (0 − target) / tupdate.
            "integral -0.300/s, DualPI2 alone -0.150/s",
            "lost: 3 messages",
            "classic delay p99, at most",
            "configured in force",
        ] {
            assert!(shown.contains(expected), "{expected}\n{shown}");
        }
        let target = shown.lines().find(|line| line.contains("target ms"));
        let target = target.expect("a row");
        assert!(
            target.contains("15.000") && target.contains("3.750"),
            "{target}"
        );
        assert!(target.contains("0.250"), "{target}");
        let coupled = shown.lines().find(|line| line.contains("coupled"));
        assert!(coupled.is_some_and(|line| line.contains("200")), "{shown}");
    }

    #[test]
    fn unknown_values_are_dashes_and_errors_are_shown() {
        let mut history = History::default();
        history.push(Sample {
            device: None,
            ..sample(0.0, 0, 0)
        });
        let asked = "is l4sllmd running with [status] enabled?";
        let path = "/var/run/l4sllmd/status.sock";
        history.fail(format!("no daemon answers on {path} ({asked}): refused"));
        let shown = screen(&history);
        assert!(shown.contains("no daemon answers on /var/run"), "{shown}");
        // On the second line.
        assert!(shown.contains("enabled?): refused"), "{shown}");
        let classic = shown.lines().find(|line| line.contains("classic  "));
        assert!(classic.is_some_and(|line| line.contains(" - ")), "{shown}");
    }

    #[test]
    fn a_device_restart_interrupts_rates() {
        let mut history = History::default();
        history.push(sample(0.0, 3000, 10));
        history.push(sample(1.0, 1000, 20));
        assert_eq!(history.queues(), None);
        assert_eq!(history.device_rate(|s| s.marks_coupled), None);
        history.push(sample(2.0, 2000, 30));
        assert_eq!(history.device_rate(|s| s.marks_coupled), Some(200.0));
    }

    #[test]
    fn a_small_terminal_is_enough() {
        let mut history = History::default();
        history.push(sample(0.0, 1000, 10));
        history.push(sample(1.0, 2000, 20));
        for (width, height) in [(1, 1), (20, 5), (40, 12), (200, 60)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a buffer");
            let drawn = terminal.draw(|frame| draw(frame, &history, true));
            drawn.expect("no panic");
        }
    }
}
