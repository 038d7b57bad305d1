//! The configuration file: the sample, the defaults, and errors in other files.

#![allow(clippy::unwrap_used)]

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use l4sllm_abi::{Action, Limits};
use l4sllm_model::IdleBudget;
use l4sllmd::config::{
    Config, ConfigError, ControlConfig, DEFAULT_CONTROL, DEFAULT_METRICS, DEFAULT_SOCKET,
    DeviceKind, EngineConfig, LimitsConfig, StatusConfig, Wake,
};
use l4sllmd::engine::{Input, Preset};
use l4sllmd::{Decision, OverrideMode, PipelineConfig, Scope};

const SAMPLE: &str = include_str!("../l4sllmd.toml.sample");
const LEAST: &str = "[engine]\npolicy = \"p\"\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("l4sllmd.toml"), text)
}

fn complaint(text: &str) -> String {
    let error = parse(text).unwrap_err().to_string();
    let place = error.strip_prefix("configuration l4sllmd.toml:");
    let (line, said) = place
        .and_then(|rest| rest.split_once(": "))
        .expect("names the file and the line");
    assert!(line.parse::<u32>().is_ok(), "{error}");
    said.to_owned()
}

#[test]
fn sample_is_valid_and_shows_the_defaults() {
    let sample = parse(SAMPLE).unwrap();
    let defaults = parse(LEAST).unwrap();
    assert_eq!(sample.device, defaults.device);
    // The rule reads summaries; a policy may read records, and the rule is its
    // fallback.
    let reading = |input| PipelineConfig {
        input,
        ..PipelineConfig::default()
    };
    assert_eq!(sample.pipeline, reading(Input::Summaries));
    assert_eq!(defaults.pipeline, reading(Input::Both));
    assert_eq!(sample.log, defaults.log);
    let status = StatusConfig {
        socket: DEFAULT_SOCKET.into(),
        mode: 0o660,
    };
    assert_eq!(sample.status, Some(status));
    assert!(SAMPLE.contains(DEFAULT_SOCKET));
    assert_eq!(defaults.status, None);

    // Commented keys are valid too, and show the defaults. These are valid only
    // in place of others.
    let alternatives = [
        "#socket = ",
        "#hold = ",
        "#idle_budget = ",
        "#[[engine.script]]",
        "#at_ms",
        "#target = ",
    ];
    let (before, remote) = SAMPLE.split_once("#[engine.remote]").unwrap();
    let (_, after) = remote.split_once("\n\n").unwrap();
    let uncommented: String = (before.to_owned() + after)
        .lines()
        // `policy` and `engine` exclude each other.
        .filter(|line| *line != "engine = \"adaptive\"")
        .map(|line| {
            let key = line.starts_with('#') && !line.starts_with("# ");
            let other = alternatives.iter().any(|a| line.starts_with(a));
            if key && !other {
                format!("{}\n", &line[1..])
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    let shown = parse(&uncommented).unwrap();
    assert_eq!(shown.device, defaults.device);
    assert_eq!(shown.pipeline, defaults.pipeline);
    assert_eq!(shown.log, defaults.log);
    assert_eq!(shown.status, sample.status);
    assert_eq!((sample.metrics, &sample.recorder), (None, &None));
    assert_eq!(sample.control, None);
    let control = shown.control.unwrap();
    let defaults = ControlConfig {
        socket: DEFAULT_CONTROL.into(),
        mode: 0o600,
        policy: control.policy.clone(),
    };
    assert_eq!(control, defaults);
    assert!(SAMPLE.contains(DEFAULT_CONTROL) && control.policy.is_some());
    assert_eq!(shown.metrics, DEFAULT_METRICS.parse().ok());
    let recorder = shown.recorder.unwrap();
    assert_eq!(recorder.bytes, 64 << 20);
    assert_eq!(shown.limits.over(Limits::default()), Limits::default());
    assert!(
        shown.limits.max_hold.is_some(),
        "the limits were uncommented"
    );
}

#[test]
fn every_key_is_applied() {
    let config = parse(
        "[device]\nsocket = \"/s\"\non_missing = \"wait\"\non_gone = \"exit\"\n\
         retry_min_ms = 2\nretry_max_ms = 3\nrequest_timeout_ms = 4\nmax_torn_reads = 5\n\
         wake = \"interval\"\n\
         [pipeline]\ninterval = 6\nperiod_ms = 70\nmode = \"hold\"\nhold = 7\nqueue = \"any\"\nttl_ms = 8\n\
         max_instances = 9\n\
         [[engine.script]]\nat_ms = 10\naction = \"drop\"\n\
         [[engine.script]]\nat_ms = 11\ngain = 0.5\n\
         [limits]\nceiling_ms = 12\ndrop_share = 0.25\nmark_share = 0.5\n\
         [status]\nsocket = \"/t\"\nmode = \"0600\"\n\
         [metrics]\nlisten = \"[::1]:13\"\n[recorder]\ndirectory = \"/r\"\nsize_mb = 14\n\
         [log]\nlevel = \"warn\"\nformat = \"json\"\n",
    )
    .unwrap();
    let d = &config.device;
    assert_eq!(
        (d.kind, d.path.as_path()),
        (DeviceKind::Socket, Path::new("/s"))
    );
    assert!(d.wait_missing && !d.reconnect);
    assert_eq!(
        d.retry,
        (Duration::from_millis(2), Duration::from_millis(3))
    );
    assert_eq!((d.timeout, d.max_torn_reads), (Duration::from_millis(4), 5));
    assert_eq!(d.wake, Wake::Interval);
    let number = |n| NonZeroU32::new(n).unwrap();
    assert_eq!(
        config.pipeline,
        PipelineConfig {
            input: Input::Records,
            interval: number(6),
            period_ns: 70_000_000,
            mode: OverrideMode::Hold(number(7)),
            queue: Scope::Any,
            ttl_ns: 8_000_000,
            max_instances: 9,
            idle_budget: None,
        },
    );
    let EngineConfig::Script(steps) = &config.engine else {
        panic!("{:?}", config.engine)
    };
    assert_eq!(
        steps.iter().map(|s| s.at_ns).collect::<Vec<_>>(),
        [10_000_000, 11_000_000]
    );
    assert!(matches!(
        steps[0].decision,
        Decision::Action {
            action: Action::Drop,
            probabilities: [0.0, 1.0, 0.0]
        }
    ));
    assert!(
        matches!(steps[1].decision, Decision::Steer(s) if s.factors().beta.unwrap().as_f64() == 0.5)
    );
    assert_eq!(
        config.limits,
        LimitsConfig {
            ceiling_ns: Some(12_000_000),
            drop_share: Some(16_384),
            mark_share: Some(32_768),
            ..Default::default()
        },
    );
    let status = config.status.unwrap();
    assert_eq!(
        (status.socket.as_path(), status.mode),
        (Path::new("/t"), 0o600)
    );
    assert_eq!(config.metrics, "[::1]:13".parse().ok());
    let recorder = config.recorder.unwrap();
    assert_eq!(recorder.directory, Path::new("/r"));
    assert_eq!(recorder.bytes, 14 << 20);
    assert_eq!(
        (config.log.level, config.log.json),
        (tracing::Level::WARN, true)
    );
}

#[test]
fn names_the_invalid_key() {
    for (text, expected) in [
        (
            "[pipeline]\nintervall = 1",
            "pipeline.intervall: unknown key \"intervall\", did you mean \"interval\"?",
        ),
        (
            "[metrics]\nlisten = \"here\"",
            "metrics.listen: expected an address and a port, as in",
        ),
        (
            "[recorder]\nsize_mb = 1",
            "recorder.directory: missing: the directory of its files",
        ),
        (
            "[devcie]\npath = \"x\"",
            "devcie: unknown key \"devcie\", did you mean \"device\"?",
        ),
        (
            "[log]\nxyz = 1",
            "log.xyz: unknown key \"xyz\", expected one of: format, level",
        ),
        (
            "[[engine.script]]\nat_ms = 1\ngian = 1.0",
            "engine.script[0].action: missing",
        ),
        (
            "[pipeline]\ninterval = -1",
            "pipeline.interval: -1 is not a whole number of 1 to 65536",
        ),
        (
            "[pipeline]\ninterval = 0",
            "pipeline.interval: 0 is not a whole number of 1 to 65536",
        ),
        (
            "[pipeline]\ninterval = \"10\"",
            "pipeline.interval: \"10\" is not a whole number",
        ),
        (
            "[pipeline]\nmode = \"twice\"",
            "pipeline.mode: unknown value \"twice\", expected one of: hold, once",
        ),
        (
            "[pipeline]\nhold = 3",
            "pipeline.hold: only with mode = \"hold\"",
        ),
        (
            "[pipeline]\nttl_ms = 0",
            "pipeline.ttl_ms: 0 is not a whole number of 1 to 3600000",
        ),
        ("pipeline = 3", "pipeline: 3 is not a table"),
        (
            "[device]\npath = \"a\"\nsocket = \"b\"",
            "device.socket: only one of",
        ),
        (
            "[device]\nretry_min_ms = 9\nretry_max_ms = 8",
            "device.retry_max_ms: 8 is not a whole number of 9 to",
        ),
        (
            "[limits]\ndrop_share = 1.5",
            "limits.drop_share: 1.5 is not a number of 0 to 1",
        ),
        (
            "[limits]\nmark_share = -0.1",
            "limits.mark_share: -0.1 is not a number of 0 to 1",
        ),
        (
            "[limits]\nfactor_min = nan",
            "limits.factor_min: nan is not a number of 0.001 to 1",
        ),
        (
            "[status]\nsocket = \"s\"\nmode = \"9\"",
            "status.mode: expected octal digits",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "log.level: unknown value \"loud\", expected one of: debug, error",
        ),
        ("[pipeline\n", "not TOML: "),
    ] {
        let text = if text.contains("script") {
            text.to_owned()
        } else {
            format!("{text}\n{LEAST}")
        };
        let said = complaint(&text);
        assert!(said.starts_with(expected), "{text}\n{said}");
    }
}

/// An override that expires before the next decision silently leaves DualPI2 to
/// decide in between.
#[test]
fn an_override_outlives_the_period_of_the_rule() {
    let adaptive = "[engine]\nengine = \"adaptive\"";
    for (keys, expected) in [
        (
            "ttl_ms = 100",
            "pipeline.ttl_ms: pipeline.ttl_ms (100) must be greater than pipeline.period_ms (100)",
        ),
        (
            "ttl_ms = 20\nperiod_ms = 21",
            "pipeline.ttl_ms: pipeline.ttl_ms (20) must",
        ),
        (
            "period_ms = 1000",
            "pipeline.period_ms: pipeline.ttl_ms (1000) must",
        ),
    ] {
        // The rule alone, and as the fallback of a policy.
        for engine in [adaptive, LEAST] {
            let said = complaint(&format!("[pipeline]\n{keys}\n{engine}"));
            assert!(said.starts_with(expected), "{said}");
        }
    }
    // Intervals of records are not checked, because their duration depends on
    // the traffic.
    let alone = format!("[pipeline]\nttl_ms = 8\n{LEAST}\nfallback = \"dualpi2\"");
    assert_eq!(parse(&alone).unwrap().pipeline.ttl_ns, 8_000_000);
    let fits = format!("[pipeline]\nttl_ms = 101\n{adaptive}");
    assert_eq!(parse(&fits).unwrap().pipeline.ttl_ns, 101_000_000);
}

#[test]
fn adaptive_rule_decides_alone_or_as_fallback() {
    let config = parse("[engine]\nengine = \"adaptive\"\npreset = \"low-delay\"").unwrap();
    assert_eq!(config.engine, EngineConfig::Adaptive(Preset::LowDelay));
    assert_eq!(config.pipeline.input, Input::Summaries);
    for (text, wanted, input) in [
        ("", Some(Preset::Balanced), Input::Both),
        (
            "preset = \"low-delay\"",
            Some(Preset::LowDelay),
            Input::Both,
        ),
        ("fallback = \"dualpi2\"", None, Input::Records),
    ] {
        let config = parse(&format!("{LEAST}{text}")).unwrap();
        let EngineConfig::Policy { fallback, .. } = config.engine else {
            panic!("{:?}", config.engine)
        };
        assert_eq!((fallback, config.pipeline.input), (wanted, input), "{text}");
    }
}

#[test]
#[cfg(feature = "remote")]
fn a_server_decides_with_a_local_fallback() {
    let base = "sandbox = false\n[engine]\nengine = \"remote\"\npolicy = \"p\"\n";
    let section = "[engine.remote]\nurl = \"http://localhost:8001\"\n";
    let read = |text: &str| match parse(text).unwrap() {
        Config {
            engine: EngineConfig::Remote(remote),
            pipeline,
            ..
        } => (*remote, pipeline.input),
        other => panic!("{:?}", other.engine),
    };
    let (remote, input) = read(&format!("{base}{section}"));
    assert_eq!(
        (remote.fallback, input),
        (Some(Preset::Balanced), Input::Both)
    );
    assert_eq!((&remote.model, remote.deadline), (&None, None));
    let ms = Duration::from_millis;
    assert_eq!(remote.retry, (ms(100), ms(10_000)));
    let (remote, input) = read(&format!("{base}fallback = \"dualpi2\"\n{section}"));
    assert_eq!((remote.fallback, input), (None, Input::Records));
    // The sample's keys are valid, too.
    let (_, sample) = SAMPLE.split_once("#[engine.remote]").unwrap();
    let (sample, _) = sample.split_once("\n\n").unwrap();
    let keys: String = sample
        .lines()
        .filter(|line| !line.starts_with("# "))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\n#", "\n");
    let (remote, _) = read(&format!("{base}[engine.remote]{keys}"));
    assert_eq!(remote.deadline, Some(ms(250)));
    assert!(remote.ca_file.is_some() && remote.token_file.is_some());
    assert!(remote.local_policy.is_some() && remote.model.is_some());
    for (text, words) in [
        (base.to_owned(), "engine.remote: missing"),
        (
            format!("{base}[engine.remote]\n"),
            "engine.remote.url: missing",
        ),
        (
            format!("{base}precision = \"f32\"\n{section}"),
            "only with a policy's own engine",
        ),
        (
            format!("{base}{section}deadline_ms = 0"),
            "engine.remote.deadline_ms: ",
        ),
        (
            format!("{base}{section}ca_file = \"ca\""),
            "a CA file is only for https",
        ),
        (format!("{LEAST}{section}"), "only with engine = \"remote\""),
        (
            format!("{base}{section}").replace("false", "true"),
            "sandbox: expected sandbox = false",
        ),
    ] {
        let said = complaint(&text);
        assert!(said.contains(words), "{said:?} has no {words:?}");
    }
}

#[test]
#[cfg(not(feature = "remote"))]
fn a_build_without_the_engine_for_servers_names_the_feature() {
    let said = complaint(
        "sandbox = false\n[engine]\nengine = \"remote\"\npolicy = \"p\"\n\
         [engine.remote]\nurl = \"http://localhost:8001\"",
    );
    assert!(said.contains("build with --features remote"), "{said}");
}

#[test]
fn idle_budget_requires_an_engine_that_supports_it() {
    for engine in [LEAST, "[engine]\nengine = \"adaptive\"\n"] {
        let budget = |key: &str| {
            let config = parse(&format!("{engine}{key}")).unwrap();
            config.pipeline.idle_budget.map(IdleBudget::share)
        };
        assert_eq!(budget(""), None);
        assert_eq!(budget("idle_budget = 0.02"), Some(0.02));
        for wrong in ["0.0009", "0.03", "-1.0", "\"0.5 %\""] {
            let said = complaint(&format!("{engine}idle_budget = {wrong}"));
            assert!(said.starts_with("engine.idle_budget: "), "{said}");
        }
    }
    let script = "[engine]\nidle_budget = 0.01\n[[engine.script]]\nat_ms = 1\ntarget = 1.0";
    let said = complaint(script);
    assert!(
        said.starts_with("engine.idle_budget: only with a policy or"),
        "{said}"
    );
}

#[test]
fn rejects_two_engines() {
    assert!(complaint("").starts_with("engine.policy: missing"));
    for (text, expected) in [
        (
            "[engine]\npolicy = \"p\"\n[[engine.script]]\nat_ms = 1",
            "engine.script: only one of",
        ),
        (
            "[[engine.script]]\naction = \"drop\"",
            "engine.script[0].at_ms: missing",
        ),
        (
            "[[engine.script]]\nat_ms = 1",
            "engine.script[0].action: missing",
        ),
        (
            "[[engine.script]]\nat_ms = 1\naction = \"drop\"\ntarget = 1.0",
            "engine.script[0].action: not allowed together with factors",
        ),
        (
            "[[engine.script]]\nat_ms = 1\ntarget = -1.0",
            "engine.script[0].target: expected a factor above 0",
        ),
        (
            "[engine]\nengine = \"adaptive\"\npolicy = \"p\"",
            "engine.policy: only with a policy's own engine",
        ),
        (
            "[engine]\npolicy = \"p\"\nfallback = \"dualpi2\"\npreset = \"low-delay\"",
            "engine.preset: only with the adaptive rule",
        ),
        (
            "[engine]\nengine = \"fast\"\npolicy = \"p\"",
            "engine.engine: unknown value \"fast\", expected one of: adaptive, libtorch, plain",
        ),
        (
            "[engine]\nseed = 1\n[[engine.script]]\nat_ms = 1",
            "engine.seed: only with a policy",
        ),
    ] {
        let said = complaint(text);
        assert!(said.starts_with(expected), "{text}\n{said}");
    }
}

#[test]
fn names_unreadable_file() {
    let error = Config::load(Path::new("/nonexistent/l4sllmd.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("configuration /nonexistent/l4sllmd.toml: cannot read: "),
        "{error}"
    );
}
