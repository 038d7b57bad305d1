mod page;

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use data::SetPoint;
use l4sllm_testbed::result::fixture::{Shape, facts, run};
use l4sllm_testbed::result::{Facts, ResultDir, Run, SetPointRow};

const ARMS: [(&str, Option<u32>); 3] = [
    ("dualpi2", None),
    ("dualpi2-tuned", None),
    ("l4sllm-10", Some(10)),
];

fn shape(arm: usize) -> Shape {
    let classic_ns = [15_000_000, 10_000_000, 13_000_000][arm];
    Shape {
        classic_ns,
        l4s_ns: 900_000,
        idle: 2,
        interval: ARMS[arm].1,
    }
}

fn made(arm: usize, repetition: u32) -> Run {
    run(arm as u64 * 10 + u64::from(repetition), 4, shape(arm))
}

/// The same traffic in every arm; with tuned, the link is partly idle.
fn paired(arm: usize, repetition: u32) -> Run {
    let mut shape = shape(arm);
    if arm == 1 {
        shape.idle = 60;
    }
    run(50 + u64::from(repetition), 4, shape)
}

/// A finished result in `dir`.
fn fill(dir: &Path, facts: Facts) {
    let repetitions = facts.repetitions;
    let out = ResultDir::create(dir, facts, false).unwrap();
    for (index, (name, _)) in ARMS.iter().enumerate() {
        for repetition in 0..repetitions {
            out.add(name, repetition, &made(index, repetition)).unwrap();
        }
    }
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn page_from_disk_equals_page_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), facts(&ARMS, 2));
    let summary = Stored::open(dir.path()).unwrap().summary;
    let from_memory = Data::from_runs(facts(&ARMS, 2), summary, |arm, repetition, visit| {
        let index = ARMS.iter().position(|(name, _)| *name == arm).unwrap();
        let run = made(index, repetition);
        visit(&run.meta, &run.packets, &run.flows);
        Ok(())
    })
    .unwrap();
    assert_eq!(from_memory, load(dir.path()).unwrap());

    let report = render(dir.path()).unwrap();
    let slug = slug(&from_memory.facts.scenario);
    let comparison = from_memory.comparison();
    let overview = overview(&from_memory, &Answer::of(&from_memory, &comparison));
    let drawn = |captioned: Captioned| (captioned.figure.html(&slug), captioned);
    let figures = Figures {
        overview: overview.map(drawn),
        others: figures(&from_memory).into_iter().map(drawn).collect(),
    };
    assert_eq!(
        read(report.page),
        html("made-up", &[(from_memory.clone(), figures)], &[])
    );
}

#[test]
fn the_same_result_gives_the_same_bytes() {
    let bytes = || {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), facts(&ARMS, 1));
        render(dir.path()).unwrap();
        let mut files: Vec<_> = fs::read_dir(dir.path().join("figures"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .chain([dir.path().join(PAGE)])
            .collect();
        files.sort();
        files
            .into_iter()
            .map(|path| {
                (
                    path.file_name().unwrap().to_owned(),
                    fs::read(path).unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    let (first, second) = (bytes(), bytes());
    let files = if cfg!(feature = "png") { 23 } else { 12 };
    assert_eq!(
        first.len(),
        files,
        "eleven figures in each format, and the page"
    );
    for (a, b) in first.iter().zip(&second) {
        assert!(a == b, "{:?} differs", a.0);
    }
}

/// Steps from the base to 5 ms at 2 s, and on to 6 ms at 3 s.
#[test]
fn set_points_are_drawn_for_controlled_arms() {
    let base = SetPointRow {
        time_ns: 0,
        target_ns: 15_000_000,
        tupdate_ns: 16_000_000,
        alpha_uhz: 160_000,
        beta_uhz: 3_200_000,
        coupling_q8: 512,
    };
    let steered = |seconds: u64, target_ns| SetPointRow {
        time_ns: seconds * 1_000_000_000,
        target_ns,
        ..base
    };
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 1), false).unwrap();
    for (index, (name, interval)) in ARMS.iter().enumerate() {
        let mut run = made(index, 0);
        if interval.is_some() {
            run.set_points = vec![base, steered(2, 5_000_000), steered(3, 6_000_000)];
        }
        out.add(name, 0, &run).unwrap();
    }
    let data = load(dir.path()).unwrap();
    let steering = &data.arms[2].set_points;
    for (since_s, target_ms) in [(1.9, 15.0), (2.1, 5.0), (2.9, 5.0), (3.1, 6.0)] {
        let before = |of: &&SetPoint| of.time_s <= since_s;
        let found = steering.iter().rev().find(before).unwrap();
        assert_eq!(found.target_ms, target_ms, "at {since_s} s");
    }
    assert!(data.arms[0].set_points.is_empty());

    let page = read(render(dir.path()).unwrap().page);
    assert!(dir.path().join("figures/set-points-time.svg").exists());
    assert!(page.contains("Target delay (ms)") && page.contains("Set-points over time"));
    // A sampled queue whose set-points never moved is not drawn.
    let still = tempfile::tempdir().unwrap();
    fill(still.path(), facts(&ARMS, 1));
    render(still.path()).unwrap();
    assert!(!still.path().join("figures/set-points-time.svg").exists());
}

#[test]
fn figures_are_well_formed_and_have_text_in_png_too() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), facts(&ARMS, 1));
    let data = load(dir.path()).unwrap();
    for captioned in figures(&data) {
        let name = &captioned.figure.name;
        let svg = captioned.figure.svg("x");
        let document = resvg::usvg::roxmltree::Document::parse(&svg).unwrap();
        assert!(
            document.descendants().any(|node| node.has_tag_name("text")),
            "{name}"
        );
        let bad = svg.contains("NaN") || svg.contains("inf");
        assert!(!bad, "{name} has a coordinate that is no number");
        #[cfg(feature = "png")]
        {
            // The same drawing without text has fewer dark pixels.
            let silent = svg.replace("<text ", "<text display=\"none\" ");
            assert!(dark_pixels(&svg) > dark_pixels(&silent) + 500, "{name}");
        }
    }
}

#[cfg(feature = "png")]
fn dark_pixels(svg: &str) -> usize {
    let png = figure::png(svg).unwrap();
    let pixels = resvg::tiny_skia::Pixmap::decode_png(&png).unwrap();
    pixels
        .pixels()
        .iter()
        .filter(|pixel| pixel.red() < 100 && pixel.green() < 100)
        .count()
}

#[test]
fn result_without_packets_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&[("dualpi2", None)], 1), false).unwrap();
    let mut empty = made(0, 0);
    empty.packets.clear();
    out.add("dualpi2", 0, &empty).unwrap();
    let page = read(render(dir.path()).unwrap().page);
    assert!(page.contains("no packets"));
    assert!(!page.contains("NaN"));
}

#[test]
fn partial_result_is_marked_and_empty_result_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 2), false).unwrap();
    assert!(read(render(dir.path()).unwrap().page).contains("0 of 6 repetitions"));
    out.add("dualpi2", 0, &made(0, 0)).unwrap();
    let report = render(dir.path()).unwrap();
    let page = read(report.page);
    assert!(page.contains("1 of 6 repetitions"));
    assert!(page.contains("<li>dualpi2: repetition 1</li>"));
    assert!(page.contains("l4sllm-10:</span> all</li>"));
    assert!(report.text.contains("partial: 1 of 6"), "{}", report.text);
    assert!(report.text.contains("missing: l4sllm-10: all\n"));
    assert!(!report.text.contains('*'), "no arm is the best of one");
}

#[test]
fn missing_repetitions_are_named_as_ranges() {
    let missing = |repetitions: &[u32]| {
        let repetitions = repetitions.to_vec();
        data::Missing {
            arm: "a".to_owned(),
            repetitions,
            all: false,
        }
        .to_string()
    };
    assert_eq!(missing(&[3]), "a: repetition 3");
    assert_eq!(
        missing(&[0, 2, 3, 5, 6, 7]),
        "a: repetitions 0, 2, 3 and 5 to 7"
    );
}

#[test]
fn interrupted_run_compares_only_complete_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 4), false).unwrap();
    for (index, (name, _)) in ARMS.iter().enumerate() {
        // Two repetitions of the last arm, three of the others.
        for repetition in 0..3 - u32::from(index == 2) {
            out.add(name, repetition, &paired(index, repetition))
                .unwrap();
        }
    }
    let report = render(dir.path()).unwrap();
    let data = load(dir.path()).unwrap();
    let comparison = data.comparison();
    let counts: Vec<_> = comparison
        .pairs
        .iter()
        .map(|pair| (pair.arm.name.as_str(), pair.count()))
        .collect();
    assert_eq!(counts.len(), 3);
    for (arm, count) in counts {
        assert_eq!(count, if arm == "l4sllm-10" { 2 } else { 3 }, "{arm}");
    }
    assert!(
        read(report.page)
            .contains("<li><span class=\"word\">l4sllm-10:</span> repetitions 2 and 3</li>")
    );
}

#[test]
fn one_repetition_gives_no_conclusion_on_page_and_table() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), facts(&ARMS, 1));
    let report = render(dir.path()).unwrap();
    let page = read(report.page);
    let text = report.text;
    assert!(page.contains("<b>One repetition: no conclusion.</b>"));
    assert!(
        text.contains("\nOne repetition: no conclusion.\n"),
        "{text}"
    );
    let table = page
        .split("<table>")
        .nth(2)
        .unwrap()
        .split("</table>")
        .next()
        .unwrap();
    assert!(table.contains("uncertain\">\u{2212}37\u{a0}%<"), "{table}");
    for verdict in ["better", "worse"] {
        assert!(!table.contains(verdict), "{table}");
    }
    let best = page.contains("class=\"best\"") || text.contains('*');
    assert!(!best, "no best of single runs");
}

#[test]
fn a_difference_of_three_repetitions_is_a_verdict_with_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let out = ResultDir::create(dir.path(), facts(&ARMS, 3), false).unwrap();
    for (index, (name, _)) in ARMS.iter().enumerate() {
        for repetition in 0..3 {
            out.add(name, repetition, &paired(index, repetition))
                .unwrap();
        }
    }
    let report = render(dir.path()).unwrap();
    let text = report.text;
    let row = text
        .lines()
        .find(|line| line.starts_with("dualpi2-tuned vs dualpi2"));
    // The tuned arm's link is partly idle, and a third of the delay is gone.
    for cell in [
        "\u{2212}36\u{a0}\u{b1}\u{a0}2.7 !!",
        "\u{2212}31\u{a0}\u{b1}\u{a0}9.9\u{a0}% +",
    ] {
        assert!(row.unwrap().contains(cell), "{text}");
    }
    let page = read(report.page);
    assert!(
        page.contains("much-worse\">\u{2212}"),
        "a severe loss stands out"
    );
    assert!(
        page.contains("Student's t"),
        "the definition is on the page"
    );
    assert!(text.replace('\n', " ").contains(DEFINITION));
}

#[test]
fn page_is_self_contained_and_escapes_quoted_text() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), facts(&ARMS, 1));
    let page = read(render(dir.path()).unwrap().page);
    for foreign in [
        "src=",
        "<script",
        "<link",
        "@import",
        "url(http",
        "href=\"http",
        "<made up>",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let address = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(
        !address.contains("http"),
        "nothing is named that could be fetched"
    );
    assert!(page.contains("&lt;made up&gt; &amp; &quot;quoted&quot;"));
    // Nine flows of two packets at 8 Mbit/s and 10 ms, from the facts.
    assert!(page.contains("about 17 ms of queue"));
    for arm in ARMS {
        let row = format!(
            "<th class=\"name\" scope=\"row\">{}\u{a0}\u{26a0}</th>",
            arm.0
        );
        assert!(
            page.contains(&row),
            "the made-up run has a warning on all arms"
        );
    }
}

#[test]
fn identifiers_are_unique_in_a_page_on_several_results() {
    let dir = tempfile::tempdir().unwrap();
    let mut dirs = Vec::new();
    for name in ["paper", "headroom"] {
        let mut facts = facts(&ARMS, 1);
        facts.scenario = name.to_owned();
        fill(&dir.path().join(name), facts);
        dirs.push(dir.path().join(name));
    }
    let report = render_collection("demo", &dirs, &[], dir.path()).unwrap();
    let page = read(report.page);
    let ids: Vec<&str> = page
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len());
    for link in page
        .split("href=\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        assert!(ids.contains(&link), "{link}");
    }
    let summary: serde_json::Value =
        serde_json::from_str(&read(dir.path().join("summary.json"))).unwrap();
    let arms = summary["arms"].as_array().unwrap();
    assert_eq!(arms.len(), 6);
    assert_eq!(
        (&arms[0]["name"], &arms[0]["scenario"]),
        (&"dualpi2".into(), &"paper".into())
    );
    assert!(matches!(
        render_collection("demo", &[], &[], dir.path()),
        Err(ReportError::Empty)
    ));
}

#[test]
fn scenarios_that_were_not_started_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let one = dir.path().join("paper");
    fill(&one, facts(&ARMS, 1));
    let missing = ["paper-prague".to_owned(), "headroom".to_owned()];
    let report = render_collection("demo", &[one], &missing, dir.path()).unwrap();
    let sentence = "Not started: paper-prague and headroom.";
    assert!(report.text.contains(sentence), "{}", report.text);
    let page = read(report.page);
    assert!(page.contains("<b>Partial result.</b> Not started: "));
    let summary: serde_json::Value =
        serde_json::from_str(&read(dir.path().join("summary.json"))).unwrap();
    assert_eq!(summary["complete"], false);
}

#[test]
fn page_cites_published_work() {
    let dir = tempfile::tempdir().unwrap();
    let mut facts = facts(&ARMS, 1);
    fill(&dir.path().join("a"), facts.clone());
    let page = read(render(&dir.path().join("a")).unwrap().page);
    assert!(!page.contains("arXiv"));
    facts.description = "The published testbed".to_owned();
    fill(&dir.path().join("b"), facts);
    let page = read(render(&dir.path().join("b")).unwrap().page);
    let first = page.find("arXiv:2501.16734").unwrap();
    assert!(first < page.find("The published testbed").unwrap());
}

#[test]
fn warnings_are_at_the_top_and_in_the_table() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), facts(&ARMS, 2));
    let mut data = load(dir.path()).unwrap();
    data.summary.warnings = vec![Warning {
        code: "queue-never-built".to_owned(),
        text: "the queue never built".to_owned(),
        cell: "made-up".to_owned(),
        arm: Some("dualpi2-tuned".to_owned()),
    }];
    let text = text(&data);
    assert!(
        text.contains("\nwarning: dualpi2-tuned: the queue never built\n"),
        "{text}"
    );
    let rows = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(rows("dualpi2-tuned\u{a0}\u{26a0} "), 1, "{text}");
    assert_eq!(
        rows("l4sllm-10 vs dualpi2-tuned\u{a0}\u{26a0} "),
        1,
        "{text}"
    );
    assert_eq!(rows("l4sllm-10 vs dualpi2 "), 1, "{text}");
    let page = html("made-up", &[(data, Figures::default())], &[]);
    let warning = page.find("the queue never built").unwrap();
    assert!(warning < page.find("<table>").unwrap());
    assert!(page.contains("scope=\"row\">dualpi2-tuned\u{a0}\u{26a0}</th>"));
    assert!(page.contains("scope=\"row\">dualpi2</th>"));
}
