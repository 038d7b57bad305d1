use super::judge::{Arm, Condition, Judged, Kept, Summary};
use super::*;
use crate::verdict::Verdict;
use l4sllm_model::Outcome as RunOutcome;
use l4sllm_testbed::sim::Random;
use l4sllm_testbed::suite::{
    ADAPTIVE, ArmOutcome, AtBudget, Completions, ConditionOutcome, FamilyOutcome, Measures, PLAIN,
    POLICY, TUNED, TUNED_AGAIN,
};

/// A cell with this classic delay, ms, and utilisation.
fn cell(delay_ms: f64, utilisation: f64) -> Option<Measures> {
    Some(Measures {
        outcome: RunOutcome {
            utilisation,
            classic_mean_ms: Some(delay_ms),
            classic_p50_ms: Some(delay_ms),
            classic_p99_ms: Some(delay_ms * 4.0),
            l4s_mean_ms: Some(0.4),
            l4s_p99_ms: Some(1.2),
            jain: Some(0.95),
            drop_share: Some(0.001),
        },
        completions: Some(Completions {
            finished: 100,
            unfinished: 1,
            mean_ms: 80.0 + delay_ms,
            p99_ms: 400.0,
        }),
        ..Measures::default()
    })
}

/// One condition, with the delay and utilisation of each arm's repetitions.
fn condition(name: &str, arms: &[(&str, &[(f64, f64)])]) -> ConditionOutcome {
    let arms = arms.iter().map(|(name, cells)| ArmOutcome {
        name: (*name).to_owned(),
        budget: None,
        repetitions: cells
            .iter()
            .map(|(delay, share)| cell(*delay, *share))
            .collect(),
    });
    ConditionOutcome {
        name: name.to_owned(),
        facts: "50 Mbit/s, 20 ms, 2 cubic".to_owned(),
        figures: Vec::new(),
        arms: arms.collect(),
    }
}

fn suite(conditions: Vec<ConditionOutcome>) -> Outcome {
    Outcome {
        complete: true,
        unused: 0,
        families: vec![FamilyOutcome {
            name: "stationary".to_owned(),
            description: "Of one rate".to_owned(),
            drawn: "5 Mbit/s to 94.4 Mbit/s, RTT 6.1 ms".to_owned(),
            sources: Vec::new(),
            conditions,
        }],
    }
}

fn summary<'a>(judged: &'a Judged, arm: &str) -> &'a Summary {
    judged.all.iter().find(|of| of.arm == arm).unwrap()
}

fn arm<'a>(judged: &'a Judged, at: usize, arm: &str) -> &'a Arm {
    let condition: &Condition = &judged.families[0].conditions[at];
    condition.arms.iter().find(|of| of.name == arm).unwrap()
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
}

/// Pairs whose logarithms differ by -ln 2, 0 and -ln 4: mean -ln 2, and the
/// interval of three values with standard deviation ln 2 (t = 4.3027 with two
/// degrees of freedom).
#[test]
fn ratios_are_computed_over_pairs() {
    let judged = judge(&suite(vec![condition(
        "stationary-00000",
        &[
            (TUNED, &[(8.0, 0.9), (2.0, 0.9), (16.0, 0.9)]),
            (POLICY, &[(4.0, 0.9), (2.0, 0.9), (4.0, 0.9)]),
        ],
    )]));
    let ratio = arm(&judged, 0, POLICY).ratios.classic_delay.unwrap();
    near(ratio.mean, 0.5);
    let half = 4.302_652_729_911_275 * 2_f64.ln() / 3_f64.sqrt();
    assert!((ratio.low.unwrap() / (0.5 * (-half).exp()) - 1.0).abs() < 1e-6);
    assert!((ratio.high.unwrap() / (0.5 * half.exp()) - 1.0).abs() < 1e-6);
    near(
        arm(&judged, 0, TUNED).ratios.classic_delay.unwrap().mean,
        1.0,
    );
}

/// Families are geometric means over conditions; the worst one is named.
#[test]
fn families_are_geometric_means_over_conditions() {
    let of = |name: &str, own: f64| {
        condition(
            name,
            &[(TUNED, &[(10.0, 0.9); 3]), (POLICY, &[(own, 0.9); 3])],
        )
    };
    let judged = judge(&suite(vec![
        of("stationary-00000", 5.0),
        of("stationary-00001", 20.0),
        of("stationary-00002", 2.5),
    ]));
    let delay = summary(&judged, POLICY).classic_delay.clone().unwrap();
    near(delay.mean.mean, (0.5_f64 * 2.0 * 0.25).cbrt());
    near(delay.median, 0.5);
    near(delay.worst, 2.0);
    assert_eq!(delay.worst_condition, "stationary-00001");
    let worst = summary(&judged, POLICY).worst.clone().unwrap();
    assert_eq!(
        (worst.condition.as_str(), worst.loss.as_str()),
        ("stationary-00001", "delay \u{d7}2.00")
    );
}

/// A condition with an always empty queue does not affect the others' mean.
#[test]
fn conditions_without_delay_are_excluded_from_means() {
    let tuned: &[(f64, f64)] = &[(8.0, 0.9)];
    let mut empty = condition("stationary-00001", &[(TUNED, &[(0.0, 0.9)])]);
    empty.arms[0].repetitions[0]
        .as_mut()
        .unwrap()
        .outcome
        .l4s_p99_ms = Some(0.0);
    let judged = judge(&suite(vec![
        condition("stationary-00000", &[(TUNED, tuned)]),
        empty,
    ]));
    let row = &table::families(&judged).rows[0];
    let shown: Vec<&str> = row.cells.iter().map(|cell| cell.text.as_str()).collect();
    assert_eq!((shown[0], shown[1], shown[4]), ("16.0", "8.00", "1.20"));
}

#[test]
fn utilisation_is_compared_with_the_better_of_plain_and_tuned() {
    let judged = judge(&suite(vec![condition(
        "stationary-00000",
        &[
            (TUNED, &[(5.0, 0.90); 3]),
            (PLAIN, &[(9.0, 0.98); 3]),
            (POLICY, &[(4.0, 0.91); 3]),
            (TUNED_AGAIN, &[(5.0, 0.897); 3]),
        ],
    )]));
    let utilisation = |name| arm(&judged, 0, name).utilisation.unwrap();
    near(utilisation(POLICY).points, -7.0);
    assert!(!utilisation(POLICY).kept && utilisation(POLICY).surely_lost);
    near(utilisation(TUNED).points, -8.0);
    assert!(utilisation(PLAIN).kept);
    // The noise arm is compared with tuned.
    near(utilisation(TUNED_AGAIN).points, -0.3);
    assert!(utilisation(TUNED_AGAIN).kept);
    let kept = summary(&judged, POLICY).utilisation;
    let Kept {
        kept, conditions, ..
    } = kept;
    assert_eq!((kept, conditions), (0, 1));
}

/// An arm never counts as better than itself, for any noise, with the same or
/// other draws.
#[test]
fn an_arm_is_never_better_than_itself() {
    for seed in 0..200 {
        let random = &mut Random::stream(seed, "noise");
        let conditions = (0..8).map(|number| {
            let mut draw = |_| {
                let delay = 8.0 * (0.3 * (random.unit() - 0.5)).exp();
                (delay, 0.95 + 0.04 * random.unit())
            };
            let first: Vec<(f64, f64)> = (0..3).map(&mut draw).collect();
            let second: Vec<(f64, f64)> = (0..3).map(&mut draw).collect();
            condition(
                &format!("stationary-{number:05}"),
                &[(TUNED, &first), (POLICY, &first), (TUNED_AGAIN, &second)],
            )
        });
        let judged = judge(&suite(conditions.collect()));
        let same = summary(&judged, POLICY);
        assert_eq!(same.verdict, Verdict::Same);
        near(same.classic_delay.as_ref().unwrap().mean.mean, 1.0);
        assert!(same.worst.is_none() && same.utilisation.kept == 8);
        let again = summary(&judged, TUNED_AGAIN).verdict;
        assert!(!matches!(again, Verdict::Better | Verdict::Worse), "{seed}");
    }
}

/// A difference that counts as better without noise does not if tuned differs
/// from itself by more.
#[test]
fn a_gain_within_the_noise_does_not_count() {
    let verdict = |again: f64| {
        let of = |number: usize| {
            let tuned = [(10.0, 0.9), (10.0, 0.9)];
            let own = 9.0 + 0.01 * number as f64;
            condition(
                &format!("stationary-{number:05}"),
                &[
                    (TUNED, &tuned),
                    (POLICY, &[(own, 0.9), (own, 0.9)]),
                    (TUNED_AGAIN, &[(again, 0.9), (again, 0.9)]),
                ],
            )
        };
        let judged = judge(&suite((0..5).map(of).collect()));
        summary(&judged, POLICY).verdict
    };
    assert_eq!(verdict(10.05), Verdict::Better);
    assert_eq!(verdict(8.5), Verdict::Same);
}

/// The oracle's setting is chosen on even repetitions and evaluated on odd
/// ones, and must keep utilisation.
#[test]
fn oracle_is_chosen_on_one_half_and_evaluated_on_the_other() {
    let judged = judge(&suite(vec![condition(
        "stationary-00000",
        &[
            (TUNED, &[(10.0, 0.95); 4]),
            (PLAIN, &[(15.0, 0.96); 4]),
            (
                POLICY,
                &[(9.0, 0.96), (6.0, 0.96), (9.0, 0.96), (6.0, 0.96)],
            ),
            // Lucky in even repetitions.
            (
                "fixed-7.5ms-x1",
                &[(4.0, 0.96), (12.0, 0.96), (4.0, 0.96), (12.0, 0.96)],
            ),
            ("fixed-5ms-x1", &[(5.0, 0.96); 4]),
            // Least delay, but it loses utilisation.
            ("fixed-2.5ms-x1", &[(2.0, 0.90); 4]),
        ],
    )]));
    let choice = judged.families[0].conditions[0].oracle.clone().unwrap();
    assert_eq!(
        (choice.setting.as_str(), choice.holds),
        ("fixed-7.5ms-x1", true)
    );
    near(arm(&judged, 0, POLICY).to_oracle.unwrap().mean, 0.5);
    assert_eq!(judged.families[0].conditions[0].arms.len(), 3);
    near(
        summary(&judged, POLICY)
            .to_oracle
            .as_ref()
            .unwrap()
            .mean
            .mean,
        0.5,
    );
}

/// Two pairs have an interval of 12.7 standard errors, which is meaningless.
#[test]
fn two_repetitions_have_no_interval() {
    let of = |count: usize| {
        let (tuned, own) = ([(10.0, 0.9); 3], [(4.0, 0.9), (5.0, 0.9), (4.5, 0.9)]);
        let arms: &[(&str, &[(f64, f64)])] = &[(TUNED, &tuned[..count]), (POLICY, &own[..count])];
        let judged = judge(&suite(vec![condition("stationary-00000", arms)]));
        arm(&judged, 0, POLICY).ratios.classic_delay.unwrap()
    };
    assert_eq!((of(2).low, of(2).high), (None, None));
    assert!(of(3).low.is_some_and(|low| low < of(3).mean));
    assert!(!table::interval(&of(2)).contains(" to "));
}

/// A quick run first states that it allows no conclusions.
#[test]
fn quick_run_gives_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = suite(vec![condition(
        "stationary-00000",
        &[(TUNED, &[(10.0, 0.9); 2]), (ADAPTIVE, &[(9.0, 0.9); 2])],
    )]);
    let quick = Facts {
        quick: true,
        ..facts()
    };
    let report = render_suite(&outcome, &quick, dir.path()).unwrap();
    assert!(report.text.starts_with("No verdict: "), "{}", report.text);
    let page = std::fs::read_to_string(&report.page).unwrap();
    let (caution, table) = (page.find("No verdict"), page.find("<table>"));
    assert!(caution.unwrap() < table.unwrap());
    assert!(page.contains("1 family, 1 condition of the test part, 2 repetitions"));
    // Every arm and column is explained.
    for name in [ADAPTIVE, "kept", "worst", "Greatest loss"] {
        assert!(page.contains(&format!("<dt>{name}</dt>")), "{name}");
        assert!(report.text.contains(&format!("\n{name} ")), "{name}");
    }
    assert!(!page.contains("<dt>policy</dt>"), "it did not run");
    let whole = render_suite(&outcome, &facts(), dir.path()).unwrap();
    assert!(!whole.text.contains("No verdict"));
}

/// Arms at other idle budgets are points of curves, the smallest budget first,
/// and not rows of families.
#[test]
fn arms_with_budgets_are_points_of_curves() {
    let with_budget = |arm: &str, share: f64, cells: &[(f64, f64)]| ArmOutcome {
        name: format!("{arm}-budget-{share}"),
        budget: Some(AtBudget {
            arm: arm.to_owned(),
            share,
        }),
        repetitions: cells.iter().map(|(ms, share)| cell(*ms, *share)).collect(),
    };
    let conditions = [10.0, 40.0].map(|tuned| {
        let mut of = condition(
            &format!("stationary-{tuned:05}"),
            &[
                (TUNED, &[(tuned, 0.9); 3]),
                (PLAIN, &[(tuned * 2.0, 0.96); 3]),
                (POLICY, &[(tuned, 0.95); 3]),
            ],
        );
        of.arms
            .push(with_budget(POLICY, 0.02, &[(tuned / 4.0, 0.94); 3]));
        of.arms
            .push(with_budget(POLICY, 0.001, &[(tuned * 1.5, 0.96); 3]));
        of
    });
    let judged = judge(&suite(conditions.to_vec()));
    assert_eq!(
        judged.all.len(),
        3,
        "arms with budgets are not among the arms"
    );
    let [curve] = judged.frontier.as_slice() else {
        panic!("{:?}", judged.frontier);
    };
    assert_eq!(curve.arm, POLICY);
    let points: Vec<(f64, f64, usize)> = (curve.points.iter())
        .map(|of| {
            let delay = of.summary.classic_delay.as_ref().unwrap().mean.mean;
            (of.idle_budget, delay, of.summary.utilisation.kept)
        })
        .collect();
    let near = |got: (f64, f64, usize), want: (f64, f64, usize)| {
        assert_eq!((got.0, got.2), (want.0, want.2));
        assert!((got.1 - want.1).abs() < 1e-9, "{got:?}");
    };
    near(points[0], (0.001, 1.5, 2));
    near(points[1], (0.02, 0.25, 0));
    let table = table::compact(&frontier::table(&judged).unwrap());
    let rows: Vec<&str> = table.lines().map(|line| line.trim_start()).collect();
    for (row, start) in rows.iter().zip([
        "Idle budget",
        "plain",
        "tuned",
        "policy",
        "0.1\u{a0}%",
        "2\u{a0}%",
    ]) {
        assert!(
            row.trim_start_matches('\u{a0}').starts_with(start),
            "{table}"
        );
    }
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    assert!(frontier::figure(&judged).is_some());
}

#[test]
fn the_frontier_needs_idle_budgets() {
    let judged = judge(&suite(vec![condition(
        "stationary-00000",
        &[(TUNED, &[(8.0, 0.9)]), (POLICY, &[(8.0, 0.9)])],
    )]));
    assert!(judged.frontier.is_empty());
    assert!(frontier::table(&judged).is_none() && frontier::figure(&judged).is_none());
}

/// The only repetition is used for choosing, so none remains for evaluation.
#[test]
fn an_oracle_needs_two_repetitions() {
    let of = |count: usize| {
        let (tuned, fixed) = ([(10.0, 0.95); 2], [(5.0, 0.95); 2]);
        let arms: &[(&str, &[(f64, f64)])] = &[
            (TUNED, &tuned[..count]),
            (PLAIN, &tuned[..count]),
            ("fixed-5ms-x1", &fixed[..count]),
        ];
        let judged = judge(&suite(vec![condition("stationary-00000", arms)]));
        judged.families[0].conditions[0].oracle.is_some()
    };
    assert!(of(2) && !of(1));
}

fn facts() -> Facts {
    Facts {
        version: "0".to_owned(),
        description: "Families".to_owned(),
        part: "test".to_owned(),
        quick: false,
        seed: 1,
        protocol: Protocol {
            conditions: None,
            repetitions: 2,
            measured_ns: 60_000_000_000,
            warmup_percent: 100,
        },
        policy: None,
        interval: None,
        command: "l4sllm suite".to_owned(),
    }
}

#[test]
fn table_fits_80_columns_and_page_lists_every_condition() {
    let dir = tempfile::tempdir().unwrap();
    let arms: &[(&str, &[(f64, f64)])] = &[
        (TUNED, &[(10.0, 0.95), (11.0, 0.95)]),
        (PLAIN, &[(115.0, 0.96), (215.0, 0.96)]),
        (POLICY, &[(9.0, 0.76), (9.2, 0.76)]),
        (TUNED_AGAIN, &[(10.2, 0.95), (10.4, 0.95)]),
    ];
    let conditions = (0..12).map(|n| condition(&format!("stationary-{n:05}"), arms));
    let mut outcome = suite(conditions.collect());
    outcome.families[0].name = "unresponsive".to_owned();
    outcome.complete = false;
    let report = render_suite(&outcome, &facts(), dir.path()).unwrap();
    for line in report.text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(
        report.text.starts_with("Partial result: "),
        "{}",
        report.text
    );
    let page = std::fs::read_to_string(&report.page).unwrap();
    for number in 0..12 {
        assert!(
            page.contains(&format!("<li>{number}: 50 Mbit/s")),
            "{number}"
        );
    }
    // A page break in print is between conditions, not within one.
    let conditions = page.rsplit("<table>").next().unwrap();
    assert_eq!(conditions.matches("<tbody>").count(), 12);
    for group in conditions.split("<tbody>").skip(1) {
        assert_eq!(group.matches("<tr>").count(), arms.len(), "{group}");
    }
    let json = std::fs::read(dir.path().join(SUITE_FILE)).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["complete"], false);
    let own = &json["families"][0]["conditions"][3]["arms"][2];
    assert_eq!(own["name"], "policy");
    assert_eq!(own["repetitions"][1]["classic_mean_ms"], 9.2);
}

/// In half of the conditions the policy trades utilisation for delay.
#[test]
fn page_starts_with_whether_the_policy_is_better() {
    let page = |policy: Option<(f64, f64)>, used: f64| {
        let dir = tempfile::tempdir().unwrap();
        let of = |number: usize| {
            let plain = [(10.0, 0.95), (10.1, 0.95), (9.9, 0.95)];
            let tuned = plain.map(|(delay, _)| (delay, used));
            let own = policy.map(|(delay, lost)| {
                let share = 0.95 - lost * (number % 2) as f64;
                [(delay, share), (delay * 1.01, share), (delay * 0.99, share)]
            });
            let mut arms: Vec<(&str, &[(f64, f64)])> = vec![(TUNED, &tuned), (PLAIN, &plain)];
            if let Some(own) = &own {
                arms.push((POLICY, own));
            }
            condition(&format!("stationary-{number:05}"), &arms)
        };
        let outcome = suite((0..6).map(of).collect());
        let report = render_suite(&outcome, &facts(), dir.path()).unwrap();
        std::fs::read_to_string(report.page).unwrap()
    };
    let top_if_tuned = |policy, used| {
        let page = page(policy, used);
        page.split("<table>").next().unwrap().to_owned()
    };
    let top = |policy| top_if_tuned(policy, 0.95);
    let question = "Is the learned policy better? <span class=\"verdict\">";
    let yes = top(Some((5.0, 0.0)));
    assert!(yes.contains(&format!("{question}Yes.")), "{yes}");
    assert!(
        yes.contains(
            "0.500 (0.500 to 0.500) times that of tuned, 0.500 times that of plain, over 6 \
             conditions."
        ),
        "{yes}"
    );
    let part = top(Some((5.0, 0.1)));
    assert!(part.contains(&format!("{question}In part.")), "{part}");
    assert!(
        part.contains("kept in 3 of 6 conditions, certainly lost in 3"),
        "{part}"
    );
    assert!(
        part.contains("Kept by tuned in 6 and plain in 6."),
        "{part}"
    );
    assert!(top(Some((20.0, 0.0))).contains(&format!("{question}No.")));
    // Tuned has less delay because it leaves the link idle.
    let safer = top_if_tuned(Some((20.0, 0.0)), 0.8);
    assert!(safer.contains(&format!("{question}In part.")), "{safer}");
    assert!(!top(None).contains("better?"));
}
