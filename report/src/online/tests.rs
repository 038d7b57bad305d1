use std::fs;

use serde_json::{Value, json};

use super::*;

/// A lesson with these costs of its evaluation in three conditions.
fn lesson(stage: &str, steps: u64, costs: [f64; 3]) -> Value {
    json!({
        "stage": stage, "steps": steps, "training_cost": -0.2,
        "cost": costs.iter().sum::<f64>() / 3.0, "delay_over_adaptive": 0.9,
        "mean_loss": 0.002, "adaptive_mean_loss": 0.004, "kept": 2, "adaptive_kept": 1,
        "conditions": 3, "best": true, "seconds": 60.0, "costs": costs,
        "settings": { "target_ms": [2.0, 3.0, 5.0, 9.0, 20.0], "gain": [1.0, 2.0, 3.0, 4.0, 8.0] },
        "losses": [[steps / 2, 0.1], [steps, -0.2]],
    })
}

fn write_lines(dir: &Path, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(dir.join(METRICS_FILE), text).unwrap();
}

/// Imitation, a round and an improvement that are each better.
fn training() -> Vec<Value> {
    let mut round = lesson("round-1", 200, [-0.2, -0.3, -0.4]);
    round["own_runs"] = json!({ "regret": 0.25, "agreement": 0.5 });
    let mut improvement = lesson("improvement-1", 250, [-0.31, -0.4, -0.49]);
    improvement["own_runs"] = json!({ "costs": [-0.3, -0.2], "best_offset_costs": [-0.35, -0.2] });
    vec![
        lesson("imitation", 100, [-0.1, -0.2, -0.3]),
        round,
        improvement,
    ]
}

#[test]
fn each_lesson_is_a_row_and_every_number_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    write_lines(dir.path(), &training());
    assert!(is_online(dir.path()));
    let report = render_online(dir.path(), dir.path()).unwrap();
    for stage in ["imitation", "round-1", "improvement-1"] {
        assert!(
            report.text.lines().any(|line| line.starts_with(stage)),
            "{}",
            report.text
        );
    }
    let said = "The best policy is that after improvement-1: cost \u{2212}0.400, \u{2212}0.200 \u{b1} \
                0.025 compared with the imitation";
    assert!(report.text.contains(said), "{}", report.text);
    let [(name, rows)] = report.tables.as_slice() else {
        panic!("{:?}", report.tables);
    };
    let csv = rows.csv();
    assert_eq!((*name, csv.lines().count()), ("lessons", 4), "{csv}");
    assert!(
        csv.lines().next().unwrap().contains("delay_over_adaptive"),
        "{csv}"
    );
    let page = fs::read_to_string(&report.page).unwrap();
    assert!(page.contains("Did the training help?") && page.contains(">Yes.<"));
    for figure in ["evaluation", "loss", "own-runs", "settings"] {
        assert!(
            dir.path()
                .join("figures")
                .join(figure)
                .with_extension("svg")
                .is_file(),
            "{figure}"
        );
    }
    for panel in [
        "Regret before a round",
        "Cost before an improvement",
        "Target",
        "Gain",
    ] {
        assert!(page.contains(panel), "{panel}");
    }
}

/// The interval is of differences within conditions: a change in all of them is
/// certain, no matter how much conditions differ.
#[test]
fn lessons_are_compared_in_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let verdict = |second: [f64; 3]| {
        write_lines(
            dir.path(),
            &[
                lesson("imitation", 100, [-1.0, 0.0, 1.0]),
                lesson("round-1", 200, second),
            ],
        );
        let report = render_online(dir.path(), dir.path()).unwrap();
        fs::read_to_string(report.page).unwrap()
    };
    assert!(verdict([-1.1, -0.1, 0.9]).contains(">Yes.<"));
    assert!(verdict([-2.0, 0.5, 1.2]).contains(">Not measurably.<"));
}

/// Metrics of an older program, and of a killed training.
#[test]
fn missing_data_is_omitted() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = lesson("imitation", 100, [-0.1, -0.2, -0.3]);
    for key in ["costs", "settings", "losses"] {
        old.as_object_mut().unwrap().remove(key);
    }
    write_lines(dir.path(), &[old]);
    let path = dir.path().join(METRICS_FILE);
    fs::write(
        &path,
        fs::read_to_string(&path).unwrap() + "{\"stage\":\"rou",
    )
    .unwrap();
    let report = render_online(dir.path(), dir.path()).unwrap();
    assert!(
        report.text.contains("Unreadable lines of its metrics: 1."),
        "{}",
        report.text
    );
    let figures = dir.path().join("figures");
    assert!(figures.join("evaluation.svg").is_file());
    assert!(!figures.join("loss.svg").exists() && !figures.join("settings.svg").exists());
}

#[test]
fn distinguishes_trainings_on_pools() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!is_online(dir.path()));
    write_lines(dir.path(), &[json!({ "step": 1, "loss": 1.0 })]);
    assert!(!is_online(dir.path()));
    assert!(render_online(dir.path(), dir.path()).is_err());
}
