use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use super::*;

/// A training with falling loss and accuracy rising to `accuracy`.
fn fill(dir: &Path, steps: u64, accuracy: f64, costs: bool) {
    let mut lines = String::new();
    for step in 1..=steps {
        let done = step as f64 / steps as f64;
        let loss = 1.1 * (-4.0 * done).exp() + 0.08 + 0.02 * (step as f64 * 2.4).sin();
        let now = accuracy - 0.3 * (-5.0 * done).exp();
        let _ = write!(
            lines,
            "{{\"step\":{step},\"epoch\":{},\"loss\":{loss},\"accuracy\":{now},\"gradient_norm\":0.3,\
             \"learning_rate\":1e-3,\"tokens_per_s\":8123.4",
            done * 12.0
        );
        if step % 50 == 0 {
            let _ = write!(
                lines,
                ",\"evaluation\":{{\"loss\":{},\"decisions\":1024,\"accuracy\":{},\"majority_share\":0.83,\
                 \"balanced_accuracy\":{},\"macro_f1\":{},\"recall\":[0.9,null,0.8],\"share\":[0.83,0,0.17]}}",
                loss + 0.05,
                now - 0.01,
                now - 0.1,
                now - 0.12,
            );
        }
        lines.push_str("}\n");
    }
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(METRICS_FILE), lines).unwrap();
    if costs {
        made("gpt2", 1.0).save(dir).unwrap();
    }
}

fn made(name: &str, factor: f64) -> Costs {
    Costs {
        name: name.to_owned(),
        parameters: (124e6 * factor) as u64,
        trainable_parameters: (2.4e6 * factor) as u64,
        device: "a processor".to_owned(),
        threads: 2,
        precision: "f32".to_owned(),
        memory_bytes: Some((0.9e9 * factor) as u64),
        decision_ms: Some(Latency {
            p50: 21.0 * factor,
            p99: 33.0 * factor,
            count: 50,
        }),
        step_ms: Some(1400.0 * factor),
        step_windows: Some(8),
        training_s: None,
    }
}

fn backbones() -> Backbones {
    Backbones {
        version: "0.1.0".to_owned(),
        window: 20,
        tokens: 180,
        adaptation: "LoRA, rank 128".to_owned(),
        measured: vec![made("gpt2", 1.0), made("opt-1.3b", 9.4)],
        skipped: vec![Skipped {
            name: "llama-2-7b".to_owned(),
            reason: "needs 27 GiB, 20 GiB are free".to_owned(),
        }],
    }
}

fn page(report: &Report) -> String {
    fs::read_to_string(&report.page).unwrap()
}

#[test]
fn trainings_are_compared_with_the_majority() {
    let dir = tempfile::tempdir().unwrap();
    let dirs: Vec<_> = ["gpt2", "t5-base"].map(|name| dir.path().join(name)).into();
    fill(&dirs[0], 300, 0.981, true);
    fill(&dirs[1], 200, 0.842, false);
    let out = dir.path().join("out");
    let report = render_learning("four <backbones>", &dirs, &out).unwrap();
    for (name, words) in [
        ("gpt2", "points above the majority-class baseline of 83 %"),
        (
            "t5-base",
            "no better than the majority-class baseline of 83 %",
        ),
    ] {
        let line = report
            .text
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")));
        assert!(line.unwrap().contains(words), "{line:?}");
    }
    let page = page(&report);
    assert!(page.contains("four &lt;backbones&gt;") && page.contains("1.94"));
    for foreign in [
        "src=",
        "<script",
        "<link",
        "@import",
        "href=\"http",
        "NaN",
        "inf\"",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let ids: Vec<&str> = page.split(" id=\"").skip(1).collect();
    let ids: Vec<&str> = ids.iter().filter_map(|id| id.split('"').next()).collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len());
    for name in ["loss", "accuracy", "scores", "costs"] {
        let svg = fs::read_to_string(out.join(format!("figures/{name}.svg"))).unwrap();
        resvg::usvg::roxmltree::Document::parse(&svg).unwrap();
        assert!(!svg.contains("NaN"), "{name}");
        let png = out.join(format!("figures/{name}.png")).is_file();
        assert_eq!(png, cfg!(feature = "png"), "{name}");
    }
    let accuracy = fs::read_to_string(out.join("figures/accuracy.svg")).unwrap();
    assert!(accuracy.contains("majority class") && accuracy.contains("Epochs"));
}

#[test]
fn backbones_that_did_not_fit_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let made = backbones();
    made.save(dir.path()).unwrap();
    assert!(is_learning(dir.path()));
    assert_eq!(load_backbones(dir.path()).unwrap(), made);
    let report = render_learning("costs", &[dir.path().to_owned()], dir.path()).unwrap();
    let skipped = "llama-2-7b was not measured: needs 27 GiB, 20 GiB are free";
    assert!(report.text.contains(skipped) && page(&report).contains(skipped));
    assert!(report.text.contains("LoRA, rank 128"), "{}", report.text);
}

#[test]
fn one_evaluation_and_none_are_drawn() {
    let dir = tempfile::tempdir().unwrap();
    for steps in [1, 50] {
        fill(dir.path(), steps, 0.9, false);
        let report = render_learning("short", &[dir.path().to_owned()], dir.path()).unwrap();
        assert!(!page(&report).contains("NaN"));
    }
}

#[test]
fn rejects_directories_without_a_training() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |dir: &Path| {
        let error = render_learning("x", &[dir.to_owned()], dir).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    assert!(refused(dir.path()).contains("metrics.jsonl"));
    fs::write(dir.path().join(METRICS_FILE), "nonsense\n").unwrap();
    assert!(refused(dir.path()).contains("no training step"));
    fs::write(dir.path().join(METRICS_FILE), "{\"step\":1,\"loss\":1}\n").unwrap();
    fs::write(dir.path().join(COSTS_FILE), "{}").unwrap();
    assert!(refused(dir.path()).contains(COSTS_FILE));
}
