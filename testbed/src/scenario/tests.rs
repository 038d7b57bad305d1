use std::path::Path;

use l4sllm_abi::{Action, Ecn, Mode, Params, Queue, raw};
use l4sllm_model::IdleBudget;
use l4sllmd::engine::Preset;
use l4sllmd::{OverrideMode, Scope};

use super::curriculum::Curriculum;
use super::*;
use crate::net::{Bursts, Distribution, RateStep, Spread, Walk};
use crate::transport::Cc;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

const MINIMAL: &str = r#"
duration = "10 s"
rtt = "10 ms"
[bottleneck]
rate = "8 Mbit/s"
[[flow]]
cc = "cubic"
[[arm]]
aqm = "dualpi2"
"#;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(Path::new("dir/test.toml"), text)
}

/// The error of [`MINIMAL`] with one text replaced by another.
fn error(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from), "{from}");
    parse(&MINIMAL.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
}

#[test]
fn minimal_and_its_defaults() {
    let scenario = parse(MINIMAL).unwrap();
    assert_eq!((scenario.name.as_str(), scenario.repetitions), ("test", 1));
    assert_eq!((scenario.duration_ns, scenario.warmup_ns), (10 * S, 5 * S));
    assert_eq!(scenario.clients, [Client::new("client")]);
    assert_eq!(scenario.flows, [FlowGroup::new("cubic", Cc::Cubic)]);
    assert_eq!(scenario.arms, [Arm::dualpi2("dualpi2", Params::default())]);
}

#[test]
fn unknown_keys_name_file_line_and_a_near_key() {
    assert_eq!(
        error("cc = \"cubic\"", "cc = \"cubic\"\nstrat = \"1 s\""),
        "dir/test.toml:8: flow[0].strat: unknown key \"strat\", did you mean \"start\"?"
    );
    let far = error("rtt =", "colour = 1\nrtt =");
    assert!(
        far.starts_with("dir/test.toml:3: colour: unknown key \"colour\", expected one of: arm,"),
        "{far}"
    );
    let required = error("rate = \"8", "rat = \"8");
    assert!(
        required.ends_with("bottleneck.rate: missing, but required; is \"rat\" meant for it?"),
        "{required}"
    );
}

#[test]
fn baselines_are_named_or_default() {
    let arms = "[[arm]]\naqm = \"dualpi2\"\n[[arm]]\naqm = \"pie\"\n[[arm]]\naqm = \"fifo\"\n";
    let with = |top: &str, arms: &str| {
        let text = MINIMAL.replace("[[arm]]\naqm = \"dualpi2\"\n", arms);
        parse(&format!("{top}{text}"))
    };
    let baselines = |top, arms| with(top, arms).unwrap().facts().baselines;
    assert_eq!(baselines("", arms), ["dualpi2"]);
    assert_eq!(
        baselines("", "[[arm]]\naqm = \"pie\"\n[[arm]]\naqm = \"fifo\"\n"),
        ["pie"]
    );
    assert_eq!(
        baselines("baselines = [\"fifo\", \"pie\"]", arms),
        ["fifo", "pie"]
    );
    let error = with("baselines = [\"fifos\"]", arms)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "dir/test.toml:1: baselines[0]: unknown value \"fifos\", did you mean \"fifo\"?"
    );
    // An omitted arm is not a baseline.
    let mut some = with("baselines = [\"fifo\", \"pie\"]", arms).unwrap();
    some.arms.retain(|arm| arm.name != "fifo");
    assert_eq!(some.facts().baselines, ["pie"]);
}

#[test]
fn ranges_carry_units() {
    assert_eq!(
        error("rtt = \"10 ms\"", "rtt = \"20 s\""),
        "dir/test.toml:3: rtt: \"20 s\" is not a duration of 1 us to 10 s"
    );
    let unit = error("rate = \"8 Mbit/s\"", "rate = \"8 MB\"");
    assert!(
        unit.contains("5: bottleneck.rate") && unit.contains("Mbit/s"),
        "{unit}"
    );
    let bare = error("rate = \"8 Mbit/s\"", "rate = 8000000");
    assert!(bare.contains("8000000 is not a rate in quotes"), "{bare}");
}

#[test]
fn other_errors() {
    for (from, to, expected) in [
        ("rtt = \"10 ms\"", "", "1: rtt: missing"),
        ("cc = \"cubic\"", "cc = \"cubik\"", "did you mean \"cubic\""),
        (
            "cc = \"cubic\"",
            "cc = \"udp\"",
            "flow[0].rate: missing, but udp needs one",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"cubic\"\nrate = \"1 Mbit/s\"",
            "only with udp and udp-prague",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"cubic\"\nclient = \"x\"",
            "unknown value \"x\"",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"cubic\"\nname = \"../x\"",
            "is not a name",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"cubic\"\n[[flow]]\ncc = \"cubic\"",
            "duplicate name \"cubic\"",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"cubic\"\ncount = 2\narrivals = { per_s = 1, size = \"fixed\", mean = \"1 kB\" }",
            "not allowed with arrivals",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"cubic\"\nbytes = \"1 kB\"\nchunks = { bytes = \"1 kB\", every = \"1 s\" }",
            "flow[0].bytes: not allowed with chunks",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"cubic\"\nchunks = { bytes = \"1 kB\", ever = \"1 s\" }",
            "8: flow[0].chunks.every: missing, but required; is \"ever\" meant",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"udp-prague\"\nchunks = { bytes = \"1 kB\", every = \"1 s\" }",
            "flow[0].chunks: not allowed with udp-prague",
        ),
        (
            "cc = \"cubic\"",
            "cc = \"udp\"\nrate = \"1 Mbit/s\"\nchunks = { bytes = \"125 kB\", every = \"1 s\" }",
            "flow[0].chunks.bytes: a burst at the flow's rate lasts longer than every",
        ),
        (
            "aqm = \"dualpi2\"",
            "aqm = \"fifo\"\nprofile = \"tuned\"",
            "allowed only for dualpi2",
        ),
        (
            "aqm = \"dualpi2\"",
            "aqm = \"dualpi2\"\nparams = { coupling = 0.5 }",
            "arm[0].params.coupling: 0.5 is not a number of 1 to 255.99",
        ),
        (
            "aqm = \"dualpi2\"",
            "aqm = \"dualpi2\"\nparams = { typical_rtt = \"20 ms\", max_rtt = \"10 ms\" }",
            "arm[0].params.max_rtt: typical_rtt is above max_rtt, or both are too short",
        ),
        (
            "aqm = \"dualpi2\"",
            "aqm = \"dualpi2\"\nscript = [{ at = \"1 s\", for = \"1 s\", mode = \"steer\", target = 9.0 }]",
            "a number of 0.1 to 4",
        ),
        (
            "aqm = \"dualpi2\"",
            "aqm = \"dualpi2\"\nring_records = 100",
            "power of two",
        ),
        (
            "aqm = \"dualpi2\"",
            "aqm = \"dualpi2\"\n[[arm]]\naqm = \"dualpi2\"",
            "duplicate name \"dualpi2\"",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nstep = [{ at = \"0 s\", rate = \"1 Mbit/s\" }]",
            "step[0].at",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nbursts = { on = \"1 ms\", of = \"1 ms\" }",
            "6: bottleneck.bursts.off: missing, but required; is \"of\" meant",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nbursts = { on = \"1 us\", off = \"1 ms\" }",
            "bottleneck.bursts.on: \"1 us\" is not a duration of 100 us to 10 s",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nbursts = { on = \"1 ms\", off = \"1 ms\", distribution = \"uniforn\" }",
            "bottleneck.bursts.distribution: unknown value \"uniforn\", did you mean \"uniform\"",
        ),
        (
            "duration = \"10 s\"\nrtt = \"10 ms\"\n[bottleneck]",
            "duration = \"24 min\"\nrtt = \"10 ms\"\n[bottleneck]\nbursts = { on = \"100 us\", off = \"100 us\" }",
            "bottleneck.bursts: more than 1000000 of them",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nwalk = { every = \"1 s\", sigma = 0.2, least = \"9 Mbit/s\", most = \"10 Mbit/s\" }",
            "bottleneck.walk.least: \"9 Mbit/s\" is not a rate of 1 kbit/s to 8 Mbit/s",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nstep = [{ at = \"1 s\", rate = \"1 Mbit/s\" }]\n\
             walk = { every = \"1 s\", sigma = 0.2, least = \"1 Mbit/s\", most = \"10 Mbit/s\" }",
            "7: bottleneck.walk: allowed only with a single rate",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\ngrant = \"1 us\"",
            "bottleneck.grant: \"1 us\" is not a duration of 100 us to 100 ms",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nbursts = { on = \"4 ms\", off = \"6 ms\" }\ngrant = \"5 ms\"",
            "bottleneck.grant: not allowed with bursts",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\nloss = 1.5",
            "bottleneck.loss: 1.5 is not a number of 0 to 1",
        ),
        (
            "rate = \"8 Mbit/s\"",
            "rate = \"8 Mbit/s\"\njitter = { mean = \"1 ms\", distribution = \"fixed\" }",
            "bottleneck.jitter.distribution: unknown value \"fixed\"",
        ),
        (
            "rtt = \"10 ms\"",
            "rtt = \"10 ms\"\nrtt_jitter = 3",
            "4: rtt_jitter: 3 is not a number of 0 to 0.5",
        ),
        ("duration = \"10 s\"", "duration = 10 s", "2:"),
    ] {
        let message = error(from, to);
        assert!(
            message.starts_with("dir/test.toml:") && message.contains(expected),
            "{message}"
        );
    }
}

#[test]
fn every_key_of_an_arm() {
    let text = format!(
        r#"{MINIMAL}
name = "all"
profile = "paper"
ring_records = 1024
params = {{ target = "5 ms", tupdate = "1 ms", l4s_threshold = "800 us", l4s_range = "1 us",
    max_burst = "0 ms", alpha = 0.5, beta = 1, coupling = 1.5, l4s_min_packets = 2,
    limit = 50, limit_bytes = "60 kB", max_ecnth = 1.0, classic_weight = 20,
    dither = "random", laqm = "ramp", ecn = false,
    l4s_ecn = "any", overflow = true, flow_weights = true }}
limits = {{ ceiling = "100 ms", max_ttl = "5 s", watchdog = "1 s", max_hold = 10,
    drop_share = 0.5, mark_share = 0.25, factor_min = 0.5, factor_max = 2, gain_min = 0.25, gain_max = 8 }}
control = {{ policy = "p", interval = 10, mode = "hold", hold = 5, queue = "any", ttl = "2 s",
    latency = "measured", idle_budget = 0.02 }}
script = [{{ at = "2 s", for = "1 s", mode = "steer", target = 0.5, gain = 0.25, beta = 8,
        tupdate = 0.5 }},
    {{ at = "1 s", for = "1 s", mode = "hold", action = "drop", queue = "classic", packets = 3 }}]
"#
    );
    let arm = parse(&text).unwrap().arms.remove(0);
    let Aqm::DualPi2(dualpi2) = arm.aqm else {
        panic!()
    };
    assert_eq!(dualpi2.ring_records, 1024);
    assert_eq!(
        dualpi2.params,
        Params {
            target_ns: 5 * MS,
            tupdate_ns: MS,
            l4s_threshold_ns: 800_000,
            l4s_range_ns: 1_000,
            max_burst_ns: 0,
            alpha_uhz: 500_000,
            beta_uhz: 1_000_000,
            coupling_q8: 384,
            l4s_min_packets: 2,
            limit_packets: 50,
            limit_bytes: 60_000,
            max_ecnth: raw::L4S_PROB_ONE,
            classic_weight: 20,
            dither: l4sllm_abi::Dither::Random,
            laqm: l4sllm_abi::NativeAqm::Ramp,
            ecn: false,
            any_ect: true,
            l4s_dscp: 0,
            overflow: true,
            flow_weights: true,
        }
    );
    assert_eq!(
        (dualpi2.limits.drop_share, dualpi2.limits.mark_share),
        (32_768, 16_384)
    );
    assert_eq!(
        (dualpi2.limits.factor_min, dualpi2.limits.factor_max),
        (32_768, 131_072)
    );
    assert_eq!(
        (dualpi2.limits.gain_min, dualpi2.limits.gain_max),
        (16_384, 524_288)
    );
    assert_eq!(
        (dualpi2.limits.max_hold, dualpi2.limits.watchdog_ns),
        (10, S)
    );
    let control = arm.control.unwrap();
    assert_eq!(control.policy(), Some(Path::new("p")));
    assert_eq!(control.mode, OverrideMode::Hold(5.try_into().unwrap()));
    assert_eq!((control.queue, control.ttl_ns), (Scope::Any, 2 * S));
    assert_eq!(control.latency, Latency::Measured);
    let hold = Mode::Hold {
        action: Action::Drop,
        queue: Some(Queue::Classic),
        packets: 3.try_into().unwrap(),
    };
    assert_eq!((arm.script[0].at_ns, arm.script[0].mode), (S, hold));
    let Mode::Steer(steer) = arm.script[1].mode else {
        panic!("{:?}", arm.script[1])
    };
    let f = steer.factors();
    let given = [
        f.target,
        f.threshold,
        f.coupling,
        f.alpha,
        f.beta,
        f.tupdate,
    ];
    let q16 = given.map(|factor| factor.map(|f| f.q16()));
    let one = raw::L4S_FACTOR_ONE;
    let want = [
        Some(one / 2),
        None,
        None,
        Some(one / 4),
        Some(one * 8),
        Some(one / 2),
    ];
    assert_eq!(q16, want);
}

#[test]
fn the_adaptive_rule_needs_no_policy() {
    let control = |keys: &str| {
        let text = format!("{MINIMAL}\ncontrol = {{ engine = \"adaptive\"{keys} }}\n");
        parse(&text).map(|mut scenario| scenario.arms.remove(0).control.unwrap())
    };
    let usual = control("").unwrap();
    assert_eq!(usual, Control::adaptive(Preset::Balanced));
    assert_eq!((usual.period_ns, usual.idle_budget), (100 * MS, None));
    let other =
        control(", preset = \"low-delay\", period = \"250 ms\", latency = \"1 ms\"").unwrap();
    let frugal = control(", idle_budget = 0.001").unwrap();
    assert_eq!(frugal.idle_budget, IdleBudget::new(0.001));
    assert_eq!(frugal.rule().unwrap().idle_budget, Some(0.001));
    assert_eq!(other.engine, ControlEngine::Adaptive(Preset::LowDelay));
    assert_eq!(
        (other.period_ns, other.latency),
        (250 * MS, Latency::Fixed(MS))
    );
    for (keys, complaint) in [
        (", preset = \"q9\"", "unknown value \"q9\""),
        (", idle_budget = 0.03", "0.001 to 0.02"),
        (", period = \"100 us\"", "1 ms to 60 s"),
        (", interval = 10", "unknown key \"interval\""),
        (
            ", ttl = \"100 ms\"",
            "control.ttl: ttl (100 ms) must be longer than period (100 ms)",
        ),
        (
            ", period = \"1500 ms\"",
            "control.period: ttl (1000 ms) must be longer than period (1500 ms)",
        ),
        (
            ", ttl = \"150 ms\", latency = \"1 s\"",
            "control.latency: latency (1000 ms) must be shorter than ttl (150 ms)",
        ),
    ] {
        let error = control(keys).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn flows_become_a_plan() {
    let text = MINIMAL.replace(
        "cc = \"cubic\"",
        "cc = \"cubic\"\ncount = 2\nparallel = 2\nstagger = \"1 s\"\nduration = \"3 s\"\n\
         [[flow]]\ncc = \"udp\"\nrate = \"1 Mbit/s\"\ncodepoint = \"ect1\"\nrtt = \"11 ms\"",
    );
    let scenario = parse(&text).unwrap();
    let plan = Plan::draw(&scenario, 1);
    let names: Vec<&str> = plan
        .reported
        .iter()
        .map(|flow| flow.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["cubic-1.1", "cubic-1.2", "cubic-2.1", "cubic-2.2", "udp"]
    );
    assert_eq!(
        plan.reported
            .iter()
            .map(|flow| flow.queue)
            .collect::<Vec<_>>(),
        [0, 0, 0, 0, 1]
    );
    assert_eq!(
        plan.reported
            .iter()
            .map(|flow| flow.fair)
            .collect::<Vec<_>>(),
        [true, true, true, true, false]
    );
    assert!((S..=S + scenario.start_jitter_ns).contains(&plan.flows[2].start_ns));
    assert_eq!(plan.flows[2].stop_ns, Some(plan.flows[2].start_ns + 3 * S));
    let udp = &plan.flows[4];
    assert_eq!(udp.config.ecn_codepoint(), Ecn::Ect1);
    assert_eq!(udp.forward_ns + udp.return_ns, 11 * MS);
    assert_eq!(plan, Plan::draw(&scenario, 1));
    assert_ne!(plan, Plan::draw(&scenario, 2));
}

#[test]
fn every_key_of_a_link() {
    let with = |keys: &str| {
        let rate = "rate = \"8 Mbit/s\"";
        parse(&MINIMAL.replace(rate, &format!("{rate}\n{keys}")))
            .unwrap()
            .link
    };
    assert_eq!(with(""), Link::default());
    let spread = |mean_ns, distribution| Spread {
        mean_ns,
        distribution,
    };
    let bursty = with(
        "bursts = { on = \"4 ms\", off = \"6 ms\", distribution = \"exponential\" }\n\
         loss = 0.001\njitter = { mean = \"1 ms\", distribution = \"uniform\" }",
    );
    let want = Link {
        bursts: Some(Bursts {
            on: spread(4 * MS, Distribution::Exponential),
            off: spread(6 * MS, Distribution::Exponential),
        }),
        loss: 0.001,
        jitter: Some(spread(MS, Distribution::Uniform)),
        ..Link::default()
    };
    assert_eq!(bursty, want);
    let walking = with(
        "walk = { every = \"100 ms\", sigma = 0.2, least = \"1 Mbit/s\", most = \"16 Mbit/s\" }\n\
         grant = \"5 ms\"",
    );
    let want = Link {
        walk: Some(Walk {
            every_ns: 100 * MS,
            sigma: 0.2,
            least_bps: 1_000_000,
            most_bps: 16_000_000,
        }),
        grant_ns: Some(5 * MS),
        ..Link::default()
    };
    assert_eq!(walking, want);
}

/// Each flow's round-trip time varies within the bounds; starts do not change.
#[test]
fn repetitions_vary_round_trip_times() {
    let text = MINIMAL.replace("cc = \"cubic\"", "cc = \"cubic\"\ncount = 500");
    let plain = parse(&text).unwrap();
    let varied = parse(&text.replace("rtt =", "rtt_jitter = 0.03\nrtt =")).unwrap();
    let draw = |scenario: &Scenario, seed| {
        let flows = Plan::draw(scenario, seed).flows;
        let of = |flow: FlowPlan| {
            let rtt_ns = flow.forward_ns + flow.return_ns;
            assert_eq!(flow.config.handshake_rtt_ns, Some(rtt_ns));
            (flow.start_ns, rtt_ns)
        };
        flows.into_iter().map(of).unzip()
    };
    let (starts, rtts): (Vec<u64>, Vec<u64>) = draw(&varied, 1);
    assert_eq!(draw(&plain, 1), (starts.clone(), vec![10 * MS; 500]));
    assert_eq!(draw(&varied, 1), (starts, rtts.clone()));
    assert_ne!(draw(&varied, 2).1, rtts);
    assert!(
        rtts.iter()
            .all(|rtt| (9_700_000..=10_300_000).contains(rtt))
    );
    let low = rtts.iter().filter(|rtt| **rtt < 9_850_000).count();
    let high = rtts.iter().filter(|rtt| **rtt > 10_150_000).count();
    // A quarter of 500 each; the standard deviation is 10.
    assert!(
        low.abs_diff(125) < 40 && high.abs_diff(125) < 40,
        "{low} {high}"
    );
}

/// Adding a group does not change the draws of the others.
#[test]
fn groups_draw_independently() {
    let web = "\n[[flow]]\nname = \"web\"\ncc = \"cubic\"\n\
               arrivals = { per_s = 20, size = \"pareto\", shape = 1.2, least = \"1 kB\", most = \"1 MB\" }\n";
    let one = parse(&format!("{MINIMAL}{web}")).unwrap();
    let two = parse(&format!("{MINIMAL}\n[[flow]]\ncc = \"prague\"\n{web}")).unwrap();
    let sizes = |scenario: &Scenario| {
        let plan = Plan::draw(scenario, 5);
        let short = plan.flows.into_iter().filter(|flow| !flow.lasting);
        short
            .map(|flow| (flow.start_ns, flow.config.bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(&one), sizes(&two));
    let drawn = sizes(&one);
    // 200 expected in ten seconds; the standard deviation is 14.
    assert!((140..260).contains(&drawn.len()), "{}", drawn.len());
    assert!(
        drawn
            .iter()
            .all(|(_, bytes)| (1_000..=1_000_000).contains(&bytes.unwrap()))
    );
}

#[test]
fn traces() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.toml");
    let write = |text: &str| std::fs::write(dir.path().join("trace.csv"), text).unwrap();
    let text = |repeat| {
        MINIMAL.replace(
            "rate = \"8 Mbit/s\"",
            &format!("trace = \"trace.csv\"\nrepeat = {repeat}"),
        )
    };
    write("# time, rate\n0 s, 8 Mbit/s\n\n4 s, 0 bit/s\n6 s, 8 Mbit/s\n");
    let step = |at: u64, mbps: u64| RateStep {
        from_ns: at * S,
        bits_per_s: mbps * 1_000_000,
    };
    let once = Scenario::parse(&file, &text(false)).unwrap();
    assert_eq!(
        once.bottleneck.steps(),
        [step(0, 8), step(4, 0), step(6, 8)]
    );
    let repeated = Scenario::parse(&file, &text(true)).unwrap();
    assert_eq!(
        repeated.bottleneck.steps(),
        [step(0, 8), step(4, 0), step(6, 8), step(10, 0)]
    );
    write("0 s, 8 Mbit/s\n1 s 4 Mbit/s\n");
    let error = Scenario::parse(&file, &text(false))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("trace.csv:2: expected a time and a rate with units"),
        "{error}"
    );
    write("1 s, 8 Mbit/s\n");
    let error = Scenario::parse(&file, &text(false))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the first step is at 1000000000 ns"),
        "{error}"
    );
}

/// Every built-in scenario is valid.
#[test]
fn shipped_scenarios() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut seen, mut curricula) = (0, 0);
    for dir in ["scenarios", "policies"] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let description = if text.contains("[[behaviour]]") {
                curricula += 1;
                Curriculum::load(&path).unwrap().description
            } else {
                seen += 1;
                Scenario::load(&path).unwrap().description
            };
            assert!(!description.is_empty(), "{}", path.display());
        }
    }
    assert!(seen >= 5 && curricula >= 3);
}

/// The floor of the published cell; the cell with headroom has none.
#[test]
fn floor() {
    let load = |name: &str| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        Scenario::load(&dir.join(name)).unwrap().facts().floor
    };
    let delay_ms = load("paper.toml").unwrap().delay_ns() as f64 / 1e6;
    assert!((16.9..17.1).contains(&delay_ms), "{delay_ms}");
    assert_eq!(load("headroom.toml"), None);
}

/// README.md of the scenarios documents every key that the parser reads.
#[test]
fn every_key_is_documented() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let sources = [
        include_str!("parse.rs"),
        include_str!("flow.rs"),
        include_str!("link.rs"),
        include_str!("arm.rs"),
    ];
    let mut keys = 0;
    for call in ["field(\"", "require(\"", "sections(\"", "factor(\""] {
        for source in sources {
            for rest in source.split(call).skip(1) {
                let key = rest.split('"').next().unwrap();
                assert!(
                    readme.contains(&format!("`{key}`")),
                    "{key} is not documented"
                );
                keys += 1;
            }
        }
    }
    assert!(keys > 70, "{keys}");
}

/// A parameter of DualPI2 has one name: in scenarios, as a sysctl, and, with its
/// unit appended, in the kernel's interface.
#[test]
fn parameter_names_match_the_module() {
    let manual = include_str!("../../../man/dualpi2_llm.4");
    let header = include_str!("../../../shared-abi/include/l4sllm_abi.h");
    let (_, fields) = header.split_once("struct l4s_params {").unwrap();
    let (fields, _) = fields.split_once("};").unwrap();
    let variables: Vec<&str> = manual
        .lines()
        .filter_map(|line| line.strip_prefix(".It Va "))
        .flat_map(|names| names.split(" , "))
        .collect();
    let (_, source) = include_str!("arm.rs")
        .split_once("fn read_params(")
        .unwrap();
    let (source, _) = source.split_once("\n}\n").unwrap();
    let keys: Vec<&str> = source
        .split("field(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(keys.len() > 12, "{keys:?}");
    for key in keys {
        assert!(variables.contains(&key), "{key} in dualpi2_llm(4)");
        let units = ["", "_ns", "_uhz", "_q8", "_packets"];
        let known = units.map(|unit| format!("\t{key}{unit};"));
        assert!(known.iter().any(|name| fields.contains(name)), "{key}");
    }
}

/// Round-trip times derive set-points; explicit settings take precedence.
#[test]
fn round_trip_times_give_parameters() {
    let text = MINIMAL.replacen(
        "aqm = \"dualpi2\"",
        "aqm = \"dualpi2\"\nparams = { typical_rtt = \"10 ms\", beta = 2 }",
        1,
    );
    let Aqm::DualPi2(dualpi2) = parse(&text).unwrap().arms.remove(0).aqm else {
        panic!()
    };
    let params = dualpi2.params;
    assert_eq!((params.target_ns, params.tupdate_ns), (10 * MS, 10 * MS));
    assert_eq!((params.alpha_uhz, params.beta_uhz), (277_778, 2_000_000));
}

/// The identity of a group's packets at the bottleneck.
#[test]
fn tunnels_and_changing_ports() {
    let group = |keys: &str| {
        format!("{MINIMAL}[[flow]]\nname = \"two\"\ncc = \"cubic\"\ncount = 2\n{keys}\n")
    };
    let seen = |keys: &str, now_ns: u64| {
        let plan = Plan::draw(&parse(&group(keys)).unwrap(), 1);
        let flows = plan.flows.iter().rev().take(2);
        flows.map(|flow| flow.seen_as(now_ns)).collect::<Vec<_>>()
    };
    let [second, first] = seen("", S)[..] else {
        panic!()
    };
    assert_eq!(second, first + 1);
    assert_eq!(seen("tunnel = true", S), [first, first]);
    let hop = "port_hop = \"20 ms\"";
    let at = seen(hop, 100 * MS);
    assert_ne!(at[0], at[1]);
    assert_eq!(at, seen(hop, 119 * MS));
    let next = seen(hop, 120 * MS);
    assert!(next[0] != at[0] && next[1] != at[1], "{at:?} {next:?}");
    let error = parse(&group(&format!("tunnel = true\n{hop}"))).unwrap_err();
    assert!(
        error.to_string().contains("not allowed with tunnel"),
        "{error}"
    );
}
