//! Draws, and reports of errors.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use l4sllm_abi::{Ecn, Record, header, raw};
use l4sllmd::{Decision, Scheduler};
use proptest::prelude::*;

use super::*;
use crate::control::built_in;
use crate::net::{Distribution, Spread};
use crate::scenario::{Control, SizeDistribution};
use crate::transport::Cc;

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
fn draws_are_independent_of_order() {
    let curriculum = parse(TEXT).unwrap();
    assert_eq!(curriculum.episodes(), 6);
    let draw = |seed, index| {
        let episode = curriculum.episode(seed, index);
        (episode.scenario, episode.behaviour.arm, episode.from_ns)
    };
    let forward: Vec<_> = (0..6).map(|index| draw(1, index)).collect();
    let backward: Vec<_> = (0..6).rev().map(|index| draw(1, index)).collect();
    assert!(forward.iter().eq(backward.iter().rev()));
    // Episodes of one condition differ only in behaviour.
    assert_eq!(forward[0].0, forward[1].0);
    assert_ne!(forward[0].0, forward[2].0);
    assert_ne!(draw(2, 0).0.bottleneck, forward[0].0.bottleneck);
    assert_eq!(forward[0].0.name, "lesson-00000");
}

#[test]
fn draws_have_the_requested_distribution() {
    let curriculum = parse(TEXT).unwrap();
    let n = 4000;
    let conditions: Vec<Scenario> = (0..n).map(|i| curriculum.condition(7, i)).collect();
    let share = |count: usize| count as f64 / f64::from(n);

    // Each doubling is equally likely: four of the rate, four of the round
    // trip.
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

    // Counts 0 to 3 are equally likely; a total of none is redrawn, in 1 of 8
    // cases.
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
            "{count} flows: {got}, expected {want}"
        );
    }
}

#[test]
fn behaviours_are_drawn_by_weight_within_their_ranges() {
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

#[test]
fn the_adaptive_rule_is_a_behaviour() {
    let rule = "[[behaviour]]\nname = \"rule\"\nengine = \"adaptive\"\npreset = \"low-delay\"\n\
                period = \"250 ms\"\n";
    let curriculum = parse(&format!("{TEXT}{rule}")).unwrap();
    let drawn = curriculum.behaviours[2].draw(1);
    let facts = drawn.arm.control.as_ref().and_then(Control::rule).unwrap();
    assert_eq!(
        (facts.preset.as_str(), facts.period_ns),
        ("low-delay", 250_000_000)
    );
    // It needs no files.
    assert!(drawn.engine.is_none() && curriculum.policies().arms.is_empty());
    assert!(built_in(drawn.arm.control.as_ref().unwrap()).is_some());
}

/// `gain` applies to the gain without its own factor.
#[test]
fn separate_gains_and_optional_keys() {
    let own = "alpha = { choice = [2, 3] }\ntupdate = \"4 ms\"\ngain = 8\nflow_weights = true";
    let text = TEXT.replace("gain = { choice = [1, 4] }", own);
    let steered = "target = { log_uniform = [0.25, 1] }";
    let noise = "gain = { log_uniform = [0.05, 20] }, tupdate = 0.25";
    let curriculum = Curriculum {
        conditions: 50,
        ..parse(&text.replace(steered, noise)).unwrap()
    };
    let record = Record::try_from(raw::l4s_record_v1 {
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
            assert!(params.flow_weights);
            continue;
        }
        let mut engine = drawn.engine.unwrap().make(Scheduler {
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
fn each_behaviour_runs_once_per_condition() {
    let text = TEXT.replace("behaviours = 2", "behaviours = \"each\"");
    let curriculum = parse(&text).unwrap();
    let names: Vec<_> = (0..curriculum.episodes())
        .map(|index| curriculum.episode(1, index).behaviour.name)
        .collect();
    assert_eq!(names, ["plain", "steered"].repeat(3));
}

#[test]
fn repetitions_differ_only_in_their_seed() {
    let text = TEXT.replace("conditions = 3", "conditions = 3\nrepetitions = 2");
    let text = text.replace("behaviours = 2", "behaviours = \"each\"");
    let curriculum = parse(&text).unwrap();
    assert_eq!(curriculum.episodes(), 12);
    let once = parse(TEXT).unwrap();
    let runs: Vec<_> = (0..12).map(|index| curriculum.episode(1, index)).collect();
    for (condition, runs) in runs.chunks(4).enumerate() {
        // The first repetition is the same as without a second one.
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
fn errors_name_the_key_and_the_expected_value() {
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
            "greater than",
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
            "not allowed with steer",
        ),
        (
            "name = \"steered\"",
            "name = \"steered\"\nengine = \"adaptive\"",
            "behaviour[1].noise",
            "not allowed with",
        ),
        (
            "name = \"plain\"",
            "name = \"plain\"\nengine = \"adaptative\"",
            "behaviour[0].engine",
            "adaptive",
        ),
        (
            "name = \"plain\"",
            "name = \"plain\"\npreset = \"low-delay\"",
            "behaviour[0].preset",
            "allowed only with engine",
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

/// Every key of links and traffic, with ranges.
const LINKS: &str = r#"
conditions = 3
duration = "10 s"
rtt = { log_uniform = ["5 ms", "80 ms"] }
rtt_jitter = 0.03

[bottleneck]
rate = { log_uniform = ["20 Mbit/s", "200 Mbit/s"] }
bursts = { on = { uniform = ["1 ms", "6 ms"] }, off = { log_uniform = ["1 ms", "9 ms"] }, distribution = { training = ["fixed"], test = ["exponential"] } }
loss = { choice = [0, 0.001] }
jitter = { mean = { uniform = ["0 ms", "4 ms"] }, distribution = "uniform" }

[[flow]]
name = "bulk"
cc = { training = ["cubic"], test = ["newreno"] }
count = { training = [1, 4], test = [2, 8] }
ecn = { choice = [true, false] }

[[flow]]
name = "web"
cc = "cubic"
count = 1
arrivals = { load = { uniform = [0.1, 0.4] }, size = "pareto", shape = 1.2, least = "4 kB", most = "2 MB" }

[[flow]]
name = "video"
cc = "prague"
chunks = { share = { uniform = [0.05, 0.2] }, every = "2 s" }

[[flow]]
name = "burst"
cc = "udp"
codepoint = "ect1"
load = 0.9
chunks = { share = 0.05, every = { uniform = ["50 ms", "200 ms"] } }
"#;

const WALK: &str = "walk = { every = { uniform = [\"0.1 s\", \"1 s\"] }, \
                    sigma = { uniform = [0.1, 0.4] }, least = 0.2, most = { uniform = [2, 4] } }\n\
                    grant = { choice = [\"1 ms\", \"5 ms\"] }\n";

/// With a walk instead of the bursts.
fn walking() -> String {
    let lines = LINKS.lines().map(|line| match line.starts_with("bursts") {
        true => WALK,
        false => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn links_and_traffic_match_their_ranges() {
    let curriculum = parse(LINKS).unwrap();
    assert_eq!(curriculum.behaviours.len(), 1);
    let mut loads = Vec::new();
    for number in 0..200 {
        let scenario = curriculum.condition(5, number);
        assert_eq!(scenario.rtt_jitter, 0.03);
        let bursts = scenario.link.bursts.unwrap();
        assert!((1_000_000..=6_000_000).contains(&bursts.on.mean_ns));
        assert!([0.0, 0.001].contains(&scenario.link.loss));
        let jitter = scenario.link.jitter.unwrap();
        assert_eq!(jitter.distribution, Distribution::Uniform);
        let rate = scenario.bottleneck.steps()[0].bits_per_s as f64;
        let mean = rate * bursts.duty();
        let [bulk, web, video, burst] = &scenario.flows[..] else {
            panic!("{:?}", scenario.flows)
        };
        assert!([1, 2, 4, 8].contains(&bulk.count));
        assert_eq!((burst.ecn, burst.codepoint), (true, Some(Ecn::Ect1)));
        let arrivals = web.arrivals.unwrap();
        loads.push(arrivals.per_s * arrivals.size.mean() * 8.0 / mean);
        let chunks = video.chunks.unwrap();
        let share = chunks.bytes as f64 * 8.0 / 2.0 / mean;
        assert!((0.0499..=0.2001).contains(&share), "{share}");
        // Bursts of unresponsive traffic at 0.9 of the link's own rate.
        assert!((burst.rate_bps.unwrap() as f64 / rate - 0.9).abs() < 1e-6);
        let chunks = burst.chunks.unwrap();
        let bps = chunks.bytes as f64 * 8e9 / chunks.every_ns as f64;
        assert!((bps / mean - 0.05).abs() < 1e-3);
    }
    // Minus the headers.
    let mean = loads.iter().sum::<f64>() / 200.0;
    assert!((mean - 0.25 * 1448.0 / 1500.0).abs() < 0.02, "{mean}");

    let curriculum = parse(&walking()).unwrap();
    for number in 0..200 {
        let scenario = curriculum.condition(5, number);
        let rate = scenario.bottleneck.steps()[0].bits_per_s as f64;
        let walk = scenario.link.walk.unwrap();
        assert!((walk.least_bps as f64 / rate - 0.2).abs() < 1e-3);
        assert!((1.999..=4.001).contains(&(walk.most_bps as f64 / rate)));
        assert!((0.1..=0.4).contains(&walk.sigma));
        assert!([1_000_000, 5_000_000].contains(&scenario.link.grant_ns.unwrap()));
    }
}

/// The load is computed with the mean of the drawn sizes.
#[test]
fn sizes_have_the_requested_mean() {
    let size = SizeDistribution::Pareto {
        shape: 1.2,
        least: 4_000,
        most: 2_000_000,
    };
    let random = &mut Random::stream(1, "sizes");
    let n = 200_000;
    let sum: u64 = (0..n).map(|_| size.draw(random)).sum();
    let mean = sum as f64 / n as f64;
    assert!((mean / size.mean() - 1.0).abs() < 0.02, "{mean}");
}

#[test]
fn errors_in_links_and_traffic_are_reported() {
    let cases = [
        (
            "test = [2, 8]",
            "test = [2, 4]",
            "flow[0].count.test: value 2 is in training too",
        ),
        (
            "test = [\"newreno\"]",
            "test = [\"cubic\"]",
            "flow[0].cc.test: value 1 is in training",
        ),
        (
            ", test = [2, 8]",
            "",
            "flow[0].count: expected one of choice",
        ),
        (
            ", test = [\"newreno\"]",
            "",
            "flow[0].cc.test: missing, but required",
        ),
        (
            "\"1 ms\", \"9 ms\"",
            "\"1 ms\", \"19 s\"",
            "bottleneck.bursts.off.log_uniform[1]",
        ),
        (
            "loss = {",
            "grant = \"5 ms\"\nloss = {",
            "bottleneck.grant: not allowed with bursts",
        ),
        (
            "[0, 0.001]",
            "[0, 2]",
            "bottleneck.loss.choice[1]: 2 is not a number of 0 to 1",
        ),
        (
            "mean = { uniform",
            "meen = { uniform",
            "bottleneck.jitter.mean: missing, but required; is \"meen\"",
        ),
        (
            "arrivals = { load",
            "arrivals = { per_s = 1, load",
            "flow[1].arrivals.per_s: not allowed with load",
        ),
        (
            "load = { uniform = [0.1, 0.4] }, ",
            "",
            "flow[1].arrivals.load: missing",
        ),
        ("shape = 1.2, ", "", "flow[1].arrivals.shape: missing"),
        (
            "cc = \"prague\"",
            "cc = \"udp-prague\"",
            "flow[2].chunks: not allowed with udp-prague",
        ),
        (
            "share = 0.05",
            "share = 0",
            "flow[3].chunks.share: 0 is not a number",
        ),
        (
            "rtt_jitter = 0.03",
            "rtt_jitter = 0.6",
            "rtt_jitter: 0.6 is not a number of 0 to 0.5",
        ),
        (
            "loss = {",
            "change = { every = \"1 s\", factor = 2 }\nwalk = { every = \"1 s\", sigma = 1, least = 1, most = 1 }\nloss = {",
            "bottleneck.walk: not allowed with change",
        ),
    ];
    for (from, to, expected) in cases {
        let text = LINKS.replacen(from, to, 1);
        assert_ne!(text, LINKS, "{from}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(
            error.starts_with("lesson.toml:") && error.contains(expected),
            "{error}"
        );
    }
}

/// Parts are disjoint for all keys of a file, and the same condition number and
/// seed give different conditions in each.
#[test]
fn training_and_test_conditions_are_disjoint() {
    let curriculum = parse(LINKS).unwrap();
    let (training, test) = (curriculum.part(Part::Training), curriculum.part(Part::Test));
    let values = |curriculum: &Curriculum| {
        let mut values = vec![std::collections::BTreeSet::new(); 5];
        for number in 0..1000 {
            let scenario = curriculum.condition(9, number);
            let bursts = scenario.link.bursts.unwrap();
            let Spread { mean_ns, .. } = scenario.link.jitter.unwrap();
            let drawn = [
                scenario.rtt_ns,
                scenario.bottleneck.steps()[0].bits_per_s,
                bursts.on.mean_ns,
                mean_ns,
                u64::from(scenario.flows[0].count),
            ];
            for (values, drawn) in values.iter_mut().zip(drawn) {
                values.insert(drawn);
            }
            let is_test = curriculum.part == Some(Part::Test);
            assert_eq!(scenario.flows[0].cc == Cc::NewReno, is_test);
            let exponential = bursts.off.distribution == Distribution::Exponential;
            assert_eq!(exponential, is_test);
        }
        values
    };
    let (training_values, test_values) = (values(&training), values(&test));
    for (of_training, of_test) in training_values.iter().zip(&test_values) {
        assert!(of_training.is_disjoint(of_test));
    }
    // Training stays within the file's range, tests go beyond both its ends.
    let rtt = |values: &[std::collections::BTreeSet<u64>]| {
        (*values[0].first().unwrap(), *values[0].last().unwrap())
    };
    let (least, most) = rtt(&training_values);
    assert!(least >= 5_000_000 && most <= 80_000_000);
    let (least, most) = rtt(&test_values);
    assert!((3_700_000..4_500_000).contains(&least), "{least}");
    assert!((90_000_000..106_000_000).contains(&most), "{most}");
    assert_eq!(training.condition(9, 3), training.condition(9, 3));
    assert_ne!(training.condition(9, 3).seed, test.condition(9, 3).seed);
    // Behaviours are not part of a condition.
    assert_eq!(training.behaviours, curriculum.behaviours);
}

fn whole(range: &Range, random: &mut Random) -> (f64, u64) {
    (range.draw(random), range.draw_whole(random))
}

proptest! {
    /// No value of any range belongs to both parts, for real and whole numbers;
    /// each part has values.
    #[test]
    fn parts_are_disjoint(
        least in 0u64..10_000_000_000,
        width in prop_oneof![1u64..20, 1u64..20_000_000_000],
        log: bool,
        seed: u64,
    ) {
        let (from, to) = (least as f64 + 1.0, (least + 1 + width) as f64);
        let range = if log { Range::LogUniform(from, to) } else { Range::Uniform(from, to) };
        let parts = [Part::Training, Part::Test].map(|part| range.part(part));
        let [Range::Bands { bands: training, .. }, Range::Bands { bands: test, .. }] = &parts else {
            panic!("{parts:?}")
        };
        let within = |bands: &[(f64, f64)], value: f64| {
            bands.iter().any(|(from, to)| (*from..*to).contains(&value))
        };
        // Together they cover the range.
        let covered: f64 = training.iter().chain(test).map(|(from, to)| to - from).sum();
        prop_assert!(covered > to - from);
        let random = &mut Random::stream(seed, "parts");
        for _ in 0..200 {
            let (number, integer) = whole(&parts[0], random);
            prop_assert!(within(training, number) && !within(test, number));
            prop_assert!(within(training, integer as f64) && !within(test, integer as f64));
            prop_assert!(from <= number && number < to);
            let (number, integer) = whole(&parts[1], random);
            prop_assert!(within(test, number) && !within(training, number));
            prop_assert!(within(test, integer as f64) && !within(training, integer as f64));
        }
    }
}

#[test]
fn every_key_is_documented() {
    let readme = include_str!("../../../../scenarios/README.md");
    let curricula = readme.split("# Curricula").nth(1).unwrap();
    let source = [
        include_str!("parse.rs"),
        include_str!("link.rs"),
        include_str!("flow.rs"),
        include_str!("range.rs"),
    ];
    let source = source.concat();
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
