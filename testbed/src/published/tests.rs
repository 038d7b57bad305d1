#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use super::*;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/published")
}

#[test]
fn every_number_cites_its_source() {
    let published = Published::load(&dir()).unwrap();
    let figures = || published.cases.iter().flat_map(|case| &case.figures);
    assert!(figures().count() > 80);
    for figure in figures() {
        let mut sources = published.sources.iter();
        assert!(sources.any(|source| source.name == figure.source));
        assert!(!figure.place.is_empty());
    }
    let mut names: Vec<&str> = published
        .cases
        .iter()
        .map(|case| case.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), published.cases.len());
    let ratio = |name: &str| {
        let case = published
            .cases
            .iter()
            .find(|case| case.name == name)
            .unwrap();
        case.figures[0].theirs
    };
    let corners =
        ["5-5", "5-100", "100-5", "100-100"].map(|pair| ratio(&format!("mixed-rtt-{pair}")));
    for (found, known) in corners.into_iter().zip([1.01, 6.07, 0.30, 1.82]) {
        assert!((found / known - 1.0).abs() < 0.01, "{found} or {known}");
    }
}

/// The grid of round-trip times, shortened: link shares in the emulator match
/// those of the Linux testbed.
#[test]
fn results_are_near_published_ones() {
    let mut published = Published::load(&dir()).unwrap();
    let wanted = [
        "mixed-rtt-5-5",
        "mixed-rtt-100-5",
        "mixed-rtt-100-100",
        "overload-l4s-140",
    ];
    published
        .cases
        .retain(|case| wanted.contains(&case.name.as_str()));
    assert_eq!(published.cases.len(), wanted.len());
    for case in &mut published.cases {
        case.scenario.repetitions = 1;
        case.scenario.duration_ns = 60_000_000_000;
        // Prague takes many of its round trips of 100 ms to converge.
        case.scenario.warmup_ns = 20_000_000_000;
    }
    let compared = published
        .compare(0, &AtomicBool::new(false))
        .unwrap()
        .unwrap();
    for c in &compared {
        // One short repetition is noisier than the command's runs.
        let ratio = c.ratio.unwrap();
        assert!((0.6..1.6).contains(&ratio) || c.why.is_some(), "{c:?}");
    }
    let unexplained = compared.iter().filter(|c| c.why.is_none());
    let near = unexplained.clone().filter(|c| c.near).count();
    assert!(near * 4 > unexplained.count() * 3, "{compared:#?}");
}

#[test]
fn mistakes_are_named() {
    let place = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        std::fs::write(place.path().join("figures.toml"), text).unwrap();
        let scenario = dir().join("mixed-rtt.toml");
        std::fs::copy(scenario, place.path().join("s.toml")).unwrap();
        Published::load(place.path()).unwrap_err().to_string()
    };
    let head = "[[source]]\nname = \"a\"\ntitle = \"t\"\nat = \"x\"\n[[case]]\nname = \"c\"\nscenario = \"s.toml\"\n";
    for (text, want) in [
        ("source = \"b\"", "8: case[0].source: unknown value \"b\""),
        (
            "source = \"a\"\nflow = [{ name = \"x\" }]",
            "case[0].flow[0].name: the scenario has no flow",
        ),
        (
            "source = \"a\"\nfigure = [{ what = \"share\", of = \"pragu\", value = 1, place = \"p\" }]",
            "did you mean \"prague\"?",
        ),
    ] {
        let error = load(&format!("{head}{text}\n"));
        assert!(error.contains(want), "{error}");
    }
}
