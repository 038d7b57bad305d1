//! What is drawn, and how a mistake is reported.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use l4sllm_abi::{Record, header, raw};
use l4sllmd::{Decision, Scheduler};

use super::*;

const TEXT: &str = r#"
conditions = 3
behaviours = 2
duration = "10 s"
rtt = { log_uniform = ["5 ms", "80 ms"] }

[bottleneck]
rate = { log_uniform = ["4 Mbit/s", "64 Mbit/s"] }
change = { every = { uniform = ["1 s", "3 s"] }, factor = { uniform = [0.5, 2.0] } }

[[flow]]
cc = { choice = ["cubic", "newreno"] }
count = { uniform = [0, 3] }
rtt = { uniform = ["10 ms", "20 ms"] }

[[flow]]
cc = "udp"
load = 0.25
count = { choice = [0, 1] }

[[behaviour]]
name = "plain"
weight = 3
target = { log_uniform = ["5 ms", "20 ms"] }
gain = { choice = [1, 4] }

[[behaviour]]
name = "steered"
noise = { mode = "steer", interval = 50, for = "1 s", target = { log_uniform = [0.25, 1] } }
"#;

fn parse(text: &str) -> Result<Curriculum, ScenarioError> {
    Curriculum::parse(Path::new("lesson.toml"), text)
}

#[test]
fn the_same_seed_draws_the_same_in_any_order() {
    let curriculum = parse(TEXT).unwrap();
    assert_eq!(curriculum.episodes(), 6);
    let draw = |seed, index| {
        let episode = curriculum.episode(seed, index);
        (episode.scenario, episode.behaviour.arm, episode.from_ns)
    };
    let forward: Vec<_> = (0..6).map(|index| draw(1, index)).collect();
    let backward: Vec<_> = (0..6).rev().map(|index| draw(1, index)).collect();
    assert!(forward.iter().eq(backward.iter().rev()));
    // Episodes of one condition differ in their behaviour alone.
    assert_eq!(forward[0].0, forward[1].0);
    assert_ne!(forward[0].0, forward[2].0);
    assert_ne!(draw(2, 0).0.bottleneck, forward[0].0.bottleneck);
    assert_eq!(forward[0].0.name, "lesson-00000");
}

#[test]
fn what_is_drawn_is_distributed_as_asked() {
    let curriculum = parse(TEXT).unwrap();
    let n = 4000;
    let conditions: Vec<Scenario> = (0..n).map(|i| curriculum.condition(7, i)).collect();
    let share = |count: usize| count as f64 / f64::from(n);

    // Each doubling is as likely: four of the rate, four of the round trip.
    let rate = |scenario: &Scenario| scenario.bottleneck.steps()[0].bits_per_s as f64 / 1e6;
    for (least, most) in [(4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0)] {
        let within = conditions
            .iter()
            .map(rate)
            .filter(|r| (least..most).contains(r));
        let share = share(within.count());
        assert!((share - 0.25).abs() < 0.03, "{least} to {most}: {share}");
    }
    let short = conditions.iter().filter(|s| s.rtt_ns < 20_000_000).count();
    assert!((share(short) - 0.5).abs() < 0.03, "{}", share(short));

    // Counts 0 to 3 are as likely; none at all is drawn again, 1 in 8 times.
    let mut counts = BTreeMap::new();
    for scenario in &conditions {
        let cubic = scenario.flows.iter().find(|group| group.name == "cubic");
        *counts
            .entry(cubic.map_or(0, |group| group.count))
            .or_insert(0) += 1;
        for group in &scenario.flows {
            match group.cc {
                Cc::Udp => {
                    let load = group.rate_bps.unwrap() as f64 / 1e6 / rate(scenario);
                    assert!((load - 0.25).abs() < 1e-3, "{load}");
                }
                _ => assert!((10_000_000..=20_000_000).contains(&group.rtt_ns.unwrap())),
            }
        }
        assert!(
            scenario.bottleneck.steps().len() >= 4,
            "a change every 1 to 3 s"
        );
        for step in scenario.bottleneck.steps() {
            let factor = step.bits_per_s as f64 / 1e6 / rate(scenario);
            assert!((0.499..=2.001).contains(&factor), "{factor}");
        }
    }
    for (count, want) in [
        (0, 1.0 / 7.0),
        (1, 2.0 / 7.0),
        (2, 2.0 / 7.0),
        (3, 2.0 / 7.0),
    ] {
        let got = share(counts[&count]);
        assert!(
            (got - want).abs() < 0.03,
            "{count} flows: {got}, want {want}"
        );
    }
}

#[test]
fn behaviours_are_drawn_by_weight_and_each_within_its_ranges() {
    let curriculum = Curriculum {
        conditions: 2000,
        ..parse(TEXT).unwrap()
    };
    let (mut plain, mut gains) = (0, BTreeMap::new());
    for index in 0..curriculum.episodes() {
        let drawn = curriculum.episode(3, index).behaviour;
        if drawn.name == "plain" {
            plain += 1;
            assert!((5_000_000..=20_000_000).contains(&drawn.params.target_ns));
            *gains.entry(drawn.params.alpha_uhz).or_insert(0) += 1;
            assert!(drawn.engine.is_none() && drawn.arm.control.is_none());
        } else {
            assert_eq!((drawn.noise, drawn.interval), (Some("steer"), Some(50)));
            assert!(drawn.engine.is_some() && drawn.arm.control.is_some());
        }
    }
    let share = f64::from(plain) / f64::from(curriculum.episodes());
    assert!((share - 0.75).abs() < 0.03, "{share}");
    assert_eq!(
        gains.keys().copied().collect::<Vec<_>>(),
        [160_000, 640_000]
    );
}

/// `gain` stands for the gain that has no factor of its own.
#[test]
fn gains_apart_and_a_period() {
    let own = "alpha = { choice = [2, 3] }\ntupdate = \"4 ms\"\ngain = 8";
    let text = TEXT.replace("gain = { choice = [1, 4] }", own);
    let steered = "target = { log_uniform = [0.25, 1] }";
    let noise = "gain = { log_uniform = [0.05, 20] }, tupdate = 0.25";
    let curriculum = Curriculum {
        conditions: 50,
        ..parse(&text.replace(steered, noise)).unwrap()
    };
    let record = Record::try_from(raw::l4s_record {
        hdr: header(raw::L4S_RECORD_DECISION, 0, 0),
        ..Default::default()
    });
    let record = record.unwrap();
    for index in 0..curriculum.episodes() {
        let drawn = curriculum.episode(3, index).behaviour;
        if drawn.name == "plain" {
            assert!([2.0, 3.0].contains(&drawn.gains.alpha));
            assert_eq!(drawn.gains.beta, 8.0);
            let params = drawn.params;
            assert_eq!(f64::from(params.alpha_uhz), 160_000.0 * drawn.gains.alpha);
            assert_eq!(
                (params.beta_uhz, params.tupdate_ns),
                (25_600_000, 4_000_000)
            );
            continue;
        }
        let mut engine = drawn.engine.unwrap()(Scheduler {
            sched: 1,
            instance: 0,
        });
        let decided = (0..50).find_map(|_| engine.observe(&record));
        let Some(Decision::Steer(steer)) = decided else {
            panic!("{decided:?}")
        };
        let factors = steer.factors();
        assert!(factors.alpha.is_some() && factors.alpha == factors.beta);
        assert_eq!(factors.tupdate.unwrap().as_f64(), 0.25);
        assert_eq!(factors.target, None);
    }
}

#[test]
fn each_behaviour_once_where_outcomes_are_compared() {
    let text = TEXT.replace("behaviours = 2", "behaviours = \"each\"");
    let curriculum = parse(&text).unwrap();
    let names: Vec<_> = (0..curriculum.episodes())
        .map(|index| curriculum.episode(1, index).behaviour.name)
        .collect();
    assert_eq!(names, ["plain", "steered"].repeat(3));
}

#[test]
fn repetitions_differ_in_their_seed_alone() {
    let text = TEXT.replace("conditions = 3", "conditions = 3\nrepetitions = 2");
    let text = text.replace("behaviours = 2", "behaviours = \"each\"");
    let curriculum = parse(&text).unwrap();
    assert_eq!(curriculum.episodes(), 12);
    let once = parse(TEXT).unwrap();
    let runs: Vec<_> = (0..12).map(|index| curriculum.episode(1, index)).collect();
    for (condition, runs) in runs.chunks(4).enumerate() {
        // The first repetition is what it is without a second one.
        assert_eq!(runs[0].scenario, once.condition(1, condition as u32));
        assert!(runs.iter().all(|run| run.condition as usize == condition));
        let names: Vec<_> = runs.iter().map(|run| run.behaviour.name.as_str()).collect();
        assert_eq!(names, ["plain", "steered", "plain", "steered"]);
        assert_eq!(runs[0].scenario, runs[1].scenario);
        assert_eq!(runs[2].scenario, runs[3].scenario);
        assert_ne!(runs[0].scenario.seed, runs[2].scenario.seed);
        let seed = runs[0].scenario.seed;
        let again = runs[2].scenario.clone();
        assert_eq!(runs[0].scenario, Scenario { seed, ..again });
    }
}

#[test]
fn a_mistake_is_told_with_its_key_and_what_was_expected() {
    let cases = [
        (
            "conditions = 3",
            "conditions = 0",
            "conditions",
            "1 to 1000000",
        ),
        (
            "conditions = 3",
            "condition = 3",
            "conditions",
            "is \"condition\" meant",
        ),
        (
            "\"5 ms\", \"80 ms\"",
            "\"80 ms\", \"5 ms\"",
            "rtt.log_uniform",
            "more than",
        ),
        (
            "\"5 ms\", \"80 ms\"",
            "\"5 ms\"",
            "rtt.log_uniform",
            "two values",
        ),
        (
            "\"5 ms\", \"80 ms\"",
            "5, 80",
            "rtt.log_uniform[0]",
            "a duration in quotes",
        ),
        (
            "rtt = { log_uniform",
            "rtt = { loguniform",
            "rtt.loguniform",
            "log_uniform",
        ),
        (
            "{ uniform = [0, 3] }",
            "{ uniform = [0, 3], choice = [1] }",
            "flow[0].count",
            "one of",
        ),
        (
            "{ uniform = [0, 3] }",
            "{}",
            "flow[0].count",
            "one of choice, uniform",
        ),
        (
            "[\"cubic\", \"newreno\"]",
            "[\"cubik\"]",
            "flow[0].cc.choice[0]",
            "\"cubic\"",
        ),
        (
            "[\"cubic\", \"newreno\"]",
            "[]",
            "flow[0].cc.choice",
            "at least one",
        ),
        ("load = 0.25", "", "flow[1].load", "udp needs one"),
        (
            "weight = 3",
            "weight = -1",
            "behaviour[0].weight",
            "0 to 1000000",
        ),
        (
            "gain = { choice = [1, 4] }",
            "gain = 0",
            "behaviour[0].gain",
            "0.01 to 100",
        ),
        (
            "gain = { choice = [1, 4] }",
            "beta = 0",
            "behaviour[0].beta",
            "0.01 to 100",
        ),
        (
            "gain = { choice = [1, 4] }",
            "tupdate = \"50 us\"",
            "behaviour[0].tupdate",
            "100 us to 1 s",
        ),
        (
            "name = \"steered\"",
            "name = \"plain\"",
            "behaviour[1].name",
            "another",
        ),
        (
            "mode = \"steer\"",
            "mode = \"stear\"",
            "behaviour[1].noise.mode",
            "\"steer\"",
        ),
        (
            "interval = 50, ",
            "",
            "behaviour[1].noise.interval",
            "required",
        ),
        (
            "[0.25, 1]",
            "[0.09, 1]",
            "behaviour[1].noise.target.log_uniform[0]",
            "0.1 to 4",
        ),
        (
            "target = { log_uniform = [0.25, 1] } }",
            "share = 1 }",
            "noise.share",
            "steer has none",
        ),
        (
            "behaviours = 2",
            "repetitions = 0",
            "repetitions",
            "1 to 1000",
        ),
        (
            "behaviours = 2",
            "behaviours = \"all\"",
            "behaviours",
            "each",
        ),
    ];
    for (from, to, key, expected) in cases {
        let text = TEXT.replacen(from, to, 1);
        assert_ne!(text, TEXT, "{from}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.starts_with("lesson.toml:"), "{error}");
        assert!(
            error.contains(key) && error.contains(expected),
            "{to}: {error}"
        );
    }
}

#[test]
fn every_key_is_documented() {
    let readme = include_str!("../../../../scenarios/README.md");
    let curricula = readme.split("# Curricula").nth(1).unwrap();
    let source = include_str!("parse.rs");
    let asked = source.split(['"']).collect::<Vec<_>>();
    let keys = asked.windows(2).filter_map(|pair| {
        let call = pair[0];
        let asks = ["field(", "require(", "sections(", "factor("];
        asks.iter()
            .any(|ask| call.ends_with(ask))
            .then_some(pair[1])
    });
    let mut count = 0;
    for key in keys {
        count += 1;
        assert!(curricula.contains(&format!("`{key}`")), "{key}");
    }
    assert!(count > 25, "{count}");
}
