//! Policies that the plain engine cannot run: run with libtorch if available,
//! and otherwise refused with a remedy.

use std::path::PathBuf;

use l4sllm_model::backbone::{BackboneConfig, OptConfig};
use l4sllm_model::{Feature, Policy, PolicyConfig, Tensors};

use crate::harness::{Place, check, policy_section};

fn opt(name: &str) -> PolicyConfig {
    let mut config = PolicyConfig::new(name, &Feature::PAPER7);
    config.window = 4;
    config.backbone = BackboneConfig::Opt(OptConfig {
        hidden_size: 16,
        word_embed_proj_dim: None,
        ffn_dim: 24,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: 64,
        dropout: 0.0,
        ..OptConfig::default()
    });
    config
}

fn saved(place: &Place, config: &PolicyConfig) -> PathBuf {
    let path = place.path(&config.name);
    Policy::save(&path, config, &Tensors::random(config, 1).unwrap()).unwrap();
    path
}

#[test]
fn plain_engine_is_selected_by_name() {
    let place = Place::new();
    let section = policy_section(&place.policy("small", 1));
    place.configure("", &format!("{section}\nengine = \"plain\""));
    let (code, said) = check(&place);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("plain, cpu, f32"), "{said}");
    let section = policy_section(&saved(&place, &opt("large")));
    place.configure("", &format!("{section}\nengine = \"plain\""));
    let (code, said) = check(&place);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("policy large: its backbone is opt"), "{said}");
}

#[cfg(not(feature = "torch"))]
#[test]
fn reports_a_build_without_libtorch() {
    let place = Place::new();
    place.configure("", &policy_section(&saved(&place, &opt("large"))));
    let (code, said) = check(&place);
    assert_eq!(code, Some(65), "{said}");
    let words = [
        "policy large",
        "backbone is opt",
        "build with `--features torch'",
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let section = policy_section(&place.policy("small", 1));
    for (line, key) in [
        ("engine = \"libtorch\"", "engine.engine"),
        ("accelerator = \"cuda\"", "engine.accelerator"),
        ("precision = \"bf16\"", "engine.precision"),
    ] {
        place.configure("", &format!("{section}\n{line}"));
        let (code, said) = check(&place);
        assert_eq!(code, Some(78), "{said}");
        let words = [key, "built without it", "build with `--features torch'"];
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

#[cfg(feature = "torch")]
mod libtorch {
    use std::path::Path;

    use l4sllm_model::backbone::LoraConfig;
    use l4sllm_model::torch::{Network, Options, random_base};
    use l4sllm_model::{Adaptation, EngineKind, WEIGHTS_FILE};
    use l4sllmd::status::EngineStatus;
    use nix::sys::signal::Signal;

    use super::*;
    use crate::harness::{Emulated, Program, until};

    /// An adapter and its base, in `place`/base.
    fn adapted(place: &Place) -> PathBuf {
        let mut config = opt("adapted");
        config.adaptation = Adaptation::Lora(LoraConfig {
            r: 2,
            ..LoraConfig::default()
        });
        let (base, options) = (place.path("base"), Options::default());
        let base = random_base(&base, Path::new("../base"), &config.backbone, 5, options);
        config.base = Some(base.unwrap());
        let path = place.path("adapted");
        let network = Network::create(config.clone(), &path, None, 1, options).unwrap();
        network.save(&path, &config).unwrap();
        path
    }

    #[test]
    fn torch_engine_decides_and_overrides_are_applied() {
        let place = Place::new();
        let sections = |policy| {
            let section = policy_section(policy);
            format!("{section}\n[pipeline]\ninterval = 10")
        };
        let (adapted, small) = (adapted(&place), place.policy("small", 1));
        place.configure("", &sections(&adapted));
        let mut device = Emulated::start(&place, 1024);
        let mut program = Program::start(&place);
        program.log("controlling the device");
        until("overrides applied", || {
            (device.stats().overrides_applied >= 5).then_some(())
        });
        let engine = |policy: &str, on: EngineKind, status: &EngineStatus| {
            matches!(status, EngineStatus::Policy { name, runs_on: Some(runs_on), .. }
                if name == policy && runs_on.engine == on)
        };
        let status = program.status("decisions", |s| s.counters.accepted >= 5);
        let libtorch = engine("adapted", EngineKind::Libtorch, &status.engine);
        assert!(libtorch, "{:?}", status.engine);
        assert_eq!((status.counters.skipped, status.counters.lost), (0, 0));

        // From one engine to the other, and back.
        for (policy, name, kind) in [
            (&small, "small", EngineKind::Plain),
            (&adapted, "adapted", EngineKind::Libtorch),
        ] {
            let before = program.status("any", |_| true).counters.accepted;
            place.configure("", &sections(policy));
            program.signal(Signal::SIGHUP);
            program.log("reloaded");
            program.status("decisions after it", |s| {
                s.counters.accepted > before && engine(name, kind, &s.engine)
            });
        }
        program.signal(Signal::SIGTERM);
        program.end_with(0);
    }

    #[test]
    fn names_configuration_errors() {
        let place = Place::new();
        let adapted = adapted(&place);
        let refused = |code: i32, more: &str, words: &[&str]| {
            let (got, said) = check(&place);
            let all = words.iter().all(|word| said.contains(word));
            assert!(got == Some(code) && all, "{more}: {got:?} {said}");
        };
        let configure = |more: &str| {
            place.configure("", &format!("{}\n{more}", policy_section(&adapted)));
        };
        configure("precision = \"bf16\"");
        let (code, said) = check(&place);
        assert!(
            code == Some(0) && said.contains("libtorch, cpu, bf16"),
            "{said}"
        );
        configure("accelerator = \"gpu\"");
        refused(65, "accelerator", &["device gpu", "cpu, cuda or cuda:N"]);
        configure("precision = \"half\"");
        refused(78, "precision", &["engine.precision", "f32", "bf16"]);

        configure("");
        let base = place.path("base").join(WEIGHTS_FILE);
        let weights = std::fs::read(&base).unwrap();
        std::fs::write(&base, &weights[..weights.len() / 2]).unwrap();
        refused(65, "cut base", &["base.sha256", "the hash of"]);
        std::fs::remove_file(&base).unwrap();
        refused(65, "no base", &["cannot read", "base"]);

        // Files are opened by path, which is impossible in a sandbox.
        std::fs::write(&base, &weights).unwrap();
        place.configure_first("sandbox = true");
        let mut program = Program::start(&place);
        program.end_with(65);
        let said = format!("{:?}", program.rest());
        assert!(said.contains("set sandbox = false"), "{said}");
    }
}
