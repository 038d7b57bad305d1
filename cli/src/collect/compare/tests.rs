use super::*;
use serde_json::json;

/// Repetition `seed` of a behaviour.
fn episode(
    scenario: &str,
    name: &str,
    seed: u64,
    utilisation: f64,
    classic: Option<f64>,
) -> EpisodeFacts {
    let outcome = json!({
        "utilisation": utilisation, "classic_mean_ms": classic, "classic_p50_ms": null,
        "classic_p99_ms": null, "l4s_mean_ms": null, "l4s_p99_ms": 1.0, "jain": null,
        "drop_share": 0.01,
    });
    let behaviour = json!({
        "name": name, "target_ns": 1, "gain": 1.0, "coupling": 2.0, "l4s_threshold_ns": 1,
    });
    let facts = json!({
        "episode": 0, "scenario": scenario, "rows": 1, "seed": seed, "rate_bps": 1, "rtt_ns": 1,
        "flows": [], "behaviour": behaviour, "outcome": outcome,
    });
    serde_json::from_value(facts).unwrap()
}

fn runs(scenario: &str, name: &str, of: [f64; 3], classic: f64) -> Vec<EpisodeFacts> {
    let run = |(utilisation, seed)| episode(scenario, name, seed, utilisation, Some(classic));
    of.into_iter().zip(1..).map(run).collect()
}

#[test]
fn single_repetitions_are_compared_only_across_conditions() {
    let episodes = [
        episode("a", "base", 1, 1.0, Some(10.0)),
        episode("a", "new", 1, 0.998, Some(5.0)),
        episode("b", "base", 2, 0.9, Some(4.0)),
        episode("b", "new", 2, 0.8, Some(2.0)),
        episode("c", "base", 3, 0.9, None),
        episode("c", "new", 3, 0.9, None),
    ];
    let comparison = Comparison::new(&episodes);
    assert_eq!(comparison.names, ["base", "new"]);
    let new = comparison.line("new");
    assert!((new.factors[0].unwrap().mean.exp() - 0.5).abs() < 1e-12);
    assert_eq!((new.factors[1], new.means[4]), (None, None));
    // -0.2, -10 and 0 points: 3.4 in the mean, give or take 14.2 at t = 4.303.
    let difference = new.difference.unwrap();
    assert!((difference.mean + 3.4).abs() < 1e-9, "{new:?}");
    assert!(
        (difference.half_width.unwrap() - 14.2).abs() < 0.05,
        "{new:?}"
    );
    assert!((new.worst + 10.0).abs() < 1e-9, "{new:?}");
    assert_eq!(
        (new.verdicts, new.better, new.conditions),
        ([[0; 2]; 5], 0, 3)
    );
    let table = comparison.table();
    let row = "| new | 89.93 | \u{2212}3.4\u{a0}\u{b1}\u{a0}14, \u{2212}10.00 | 1.00 | 0.500 | - | 1.000 | - | - | - | - | - | - |";
    assert!(table.contains(row), "{table}");
    assert!(table.contains("one repetition each: no conclusion about single conditions"));
    assert!(comparison.each().contains("| (\u{2212}10\u{a0}pt) |"));
    let rows = comparison.rows().json();
    let of_new = |name: &str| rows[1][name].as_f64().unwrap();
    assert_eq!(rows[1]["behaviour"], "new");
    assert!((of_new("classic_mean_ratio.mean") - 0.5).abs() < 1e-12);
    assert!(
        (of_new("utilisation_difference_points.high") - 10.8).abs() < 0.05,
        "{rows}"
    );
    let each = comparison.each_rows().json();
    assert_eq!(each[0]["utilisation_percent.verdict"], "no conclusion");
}

#[test]
fn condition_verdicts_match_reports() {
    let mut episodes = [
        // A certain loss of 49 points, one of 0.2 points, and one that may be
        // zero.
        runs("a-00001", "base", [0.99, 0.99, 0.99], 10.0),
        runs("a-00001", "new", [0.50, 0.50, 0.50], 8.0),
        runs("a-00002", "base", [0.992, 0.991, 0.990], 10.0),
        runs("a-00002", "new", [0.990, 0.989, 0.988], 8.0),
        runs("a-00003", "base", [0.90, 0.92, 0.94], 10.0),
        runs("a-00003", "new", [0.91, 0.90, 0.91], 8.0),
    ]
    .concat();
    let comparison = Comparison::new(&episodes);
    let new = comparison.line("new");
    assert_eq!(new.verdicts[UTILISATION], [2, 0]);
    assert_eq!(new.verdicts[CLASSIC], [0, 3]);
    assert_eq!(new.better, 1, "in the others capacity is given up");
    assert!(comparison.table().contains(DEFINITION));
    let each = comparison.each();
    let rows: Vec<&str> = each
        .lines()
        .filter(|line| line.starts_with("| 0"))
        .collect();
    let starts = |row: &str, text: &str| assert!(row.starts_with(text), "{row}");
    starts(
        rows[0],
        "| 00001 | 0.0 | 0 |  | 99.00 | \u{2212}49\u{a0}\u{b1}\u{a0}0\u{a0}pt worse | 1.00 | \u{2248} |",
    );
    starts(
        rows[1],
        "| 00002 | 0.0 | 0 |  | 99.10 | \u{2212}0.2\u{a0}\u{b1}\u{a0}0\u{a0}pt worse |",
    );
    starts(
        rows[2],
        "| 00003 | 0.0 | 0 |  | 92.00 | (\u{2212}1.3\u{a0}\u{b1}\u{a0}5.2\u{a0}pt) |",
    );
    assert!(
        rows[2].contains("| 10.00 | \u{2212}20\u{a0}\u{b1}\u{a0}0\u{a0}% better |"),
        "{}",
        rows[2]
    );
    // With more drops, no condition counts as better.
    for episode in episodes.iter_mut().filter(|of| of.behaviour.name == "new") {
        episode.outcome.drop_share = Some(0.03);
    }
    let new = Comparison::new(&episodes).line("new");
    assert_eq!((new.verdicts[1], new.better), ([3, 0], 0));
}
