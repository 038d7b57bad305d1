//! The content of pages, and the overlay of results.

use super::*;
use l4sllm_testbed::result::Transfers;

/// A finished result with `repetitions` and the same traffic in all arms.
fn fill_paired(dir: &Path, facts: Facts) {
    let repetitions = facts.repetitions;
    let out = ResultDir::create(dir, facts, false).unwrap();
    for (index, (name, _)) in ARMS.iter().enumerate() {
        for repetition in 0..repetitions {
            out.add(name, repetition, &paired(index, repetition))
                .unwrap();
        }
    }
}

#[test]
fn page_starts_with_benefit_size_and_cost() {
    let dir = tempfile::tempdir().unwrap();
    fill_paired(dir.path(), facts(&ARMS, 3));
    let page = read(render(dir.path()).unwrap().page);
    let top = page.split("<table>").next().unwrap();
    // Less delay than plain on a less busy link; busier than tuned with more
    // delay.
    assert!(
        top.contains("Is the learned queue better? <span class=\"verdict\">"),
        "{top}"
    );
    assert!(top.contains("<dt class=\"better\">Gain</dt>"), "{top}");
    assert!(top.contains("<dt class=\"worse\">Cost</dt>"), "{top}");
    assert!(
        top.contains("against <span class=\"word\">dualpi2-tuned"),
        "{top}"
    );
    assert_eq!(
        top.matches("<svg xmlns").count(),
        2,
        "a panel for each baseline"
    );
    for term in ["Arm", "dualpi2-tuned", "Override", "Jain"] {
        assert!(page.contains(&format!("<dt>{term}</dt>")), "{term}");
    }
}

#[test]
fn uncertain_leads_are_not_marked_best() {
    let dir = tempfile::tempdir().unwrap();
    fill_paired(dir.path(), facts(&ARMS, 3));
    let mut data = load(dir.path()).unwrap();
    let best = |data: &Data| {
        let rows = table::results(data).rows.into_iter();
        rows.map(|row| row.cells[0].tone == table::Tone::Best)
            .collect::<Vec<_>>()
    };
    let mut set = |utilisation: [f64; 3]| {
        for (arm, utilisation) in data.summary.arms.iter_mut().zip(utilisation) {
            let repetitions = arm.repetitions.iter_mut();
            repetitions.for_each(|of| of.statistics.utilisation = utilisation);
        }
        best(&data)
    };
    assert_eq!(set([0.9, 0.8, 0.9]), [false; 3], "a tie");
    assert_eq!(set([0.9004, 0.8, 0.9]), [false; 3], "too little to matter");
    assert_eq!(set([0.91, 0.8, 0.9]), [true, false, false]);
}

#[test]
fn latency_that_was_set_is_not_shown_as_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut facts = facts(&ARMS, 1);
    facts.arms[2].set_latency_ns = Some(100_000);
    fill(dir.path(), facts);
    let report = render(dir.path()).unwrap();
    let row = report
        .text
        .lines()
        .find(|line| line.starts_with("l4sllm-10"));
    assert_eq!(
        row.unwrap().matches("\u{a0}set").count(),
        2,
        "{}",
        report.text
    );
    assert_eq!(read(report.page).matches("<td class=\"set\">").count(), 1);
}

/// The fixture has a warm-up of 1 s out of 4 s.
#[test]
fn time_figures_include_the_warm_up() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), facts(&ARMS, 1));
    let data = load(dir.path()).unwrap();
    assert_eq!((data.warmup_s, data.end_s), (1.0, 4.0));
    let series = &data.arms[0].series;
    assert_eq!(series.len(), 40);
    // 8 Mbit/s, with the link idle for 2 %.
    let sent = |point: &data::Point| point.sent_mbps.iter().sum::<f64>();
    assert!(series.iter().all(|point| point.capacity_mbps == 8.0));
    assert!(
        series
            .iter()
            .all(|point| sent(point) > 6.0 && sent(point) <= 8.1)
    );
    // 30 kB in 100 ms.
    let flows = &data.arms[0].flows;
    assert_eq!(flows.len(), 3);
    let point = flows[0].points[20].unwrap();
    assert_eq!((point.mbps, point.window_kb), (Some(2.4), 3.0));
    render(dir.path()).unwrap();
    for name in ["rate-time", "flow-throughput-time", "flow-window-time"] {
        let svg = read(dir.path().join(format!("figures/{name}.svg")));
        assert!(svg.contains("warm-up, not measured"), "{name}");
    }
}

#[test]
fn completion_times_are_drawn_where_transfers_end() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 2), false).unwrap();
    for (index, (name, _)) in ARMS.iter().enumerate() {
        for repetition in 0..2 {
            let mut run = made(index, repetition);
            run.meta.flows[0].transfers = Some(Transfers {
                finished_ns: vec![40_000_000, 30_000_000 + u64::from(repetition)],
                unfinished: 1,
            });
            out.add(name, repetition, &run).unwrap();
        }
    }
    let data = load(dir.path()).unwrap();
    let (name, took_ms) = &data.arms[0].completions[0];
    assert_eq!((name.as_str(), took_ms.len()), ("cubic-1", 4));
    assert!(took_ms.is_sorted());
    assert!(read(render(dir.path()).unwrap().page).contains("Completion time (ms)"));
}

#[test]
fn results_are_overlaid_and_each_arm_is_compared_with_itself() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = ["before", "after"].map(|name| dir.path().join(name));
    fill_paired(&dirs[0], facts(&ARMS, 3));
    let out = ResultDir::create(&dirs[1], facts(&ARMS, 3), false).unwrap();
    for (index, (name, _)) in ARMS.iter().enumerate() {
        for repetition in 0..3 {
            // The arms of the other result under exchanged names: plain is
            // tuned, and so on.
            let run = paired((index + 1) % 3, repetition);
            out.add(name, repetition, &run).unwrap();
        }
    }
    let report = render_overlay(&dirs, &dir.path().join("change")).unwrap();
    let page = read(report.page);
    assert!(page.contains("What differs between before and after?"));
    assert!(page.contains("dualpi2: after against before"));
    let row = (report.text.lines())
        .find(|line| line.starts_with("dualpi2 (after) vs dualpi2 (before)"))
        .unwrap();
    assert!(row.contains("\u{2212}36\u{a0}\u{b1}\u{a0}2.7 !!"), "{row}");
    assert!(
        !report
            .text
            .contains("dualpi2-tuned (after) vs dualpi2 (before)")
    );
    // Solid and dashed lines in the axes of one arm.
    let svg = read(dir.path().join("change/figures/queue-delay-time.svg"));
    assert_eq!(svg.matches(">dualpi2</text>").count(), 1);
    assert!(svg.contains(">before</text>") && svg.contains("stroke-dasharray"));
    let differs = "Their scenario files differ";
    assert!(!page.contains(differs));
    assert!(matches!(
        render_overlay(&[], dir.path()),
        Err(ReportError::Empty)
    ));
}

#[test]
fn page_supports_dark_mode_and_print() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), facts(&ARMS, 1));
    let page = read(render(dir.path()).unwrap().page);
    let style = page.split("<style>").nth(1).unwrap();
    let style = style.split("</style>").next().unwrap();
    assert!(style.contains("@media screen and (prefers-color-scheme: dark)"));
    assert!(style.contains("@media print") && style.contains("@media (max-width:"));
    // Every colour used has a rule for dark mode.
    let body = page.split("</style>").nth(1).unwrap();
    let colours = ["fill=\"#", "stroke=\"#"].iter().flat_map(|attribute| {
        let found = body.split(attribute).skip(1);
        found.map(move |rest| format!("[{attribute}{}\"]", &rest[..6]))
    });
    for rule in colours.collect::<BTreeSet<_>>() {
        assert!(style.contains(&rule), "{rule}");
    }
}

/// A line in the legend would suggest a line among the dots.
#[test]
fn the_legend_of_a_scatter_figure_shows_dots() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), facts(&ARMS, 3));
    let data = load(dir.path()).unwrap();
    let scatter = figures(&data)
        .into_iter()
        .find(|of| of.figure.name == "delay-utilisation")
        .unwrap();
    let legend = &scatter.figure.legend;
    assert_eq!(legend.len(), ARMS.len());
    for key in legend {
        let dot = matches!(key.sign, crate::figure::Sign::Dot { .. });
        assert!(dot, "{key:?}");
    }
    let html = scatter.figure.html("id");
    let keys = html.split("class=\"panels").next().unwrap();
    assert!(
        keys.contains("<circle") && !keys.contains("<line"),
        "{keys}"
    );
}
