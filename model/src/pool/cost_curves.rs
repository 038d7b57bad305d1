//! Costs of DualPI2's settings in each condition of a pool, which a head that
//! steers learns.

use std::collections::BTreeMap;

use super::EpisodeFacts;
use crate::{ACTIONS, Outcome, Setting};

/// The costs of settings, from the outcomes of runs.  All are relative to the
/// first setting, whose cost is 0 everywhere.
///
/// ```text
/// cost = ln (delay + offset) / (first's delay + offset)
///      + caution x sum of ln(1 + (loss / tolerance - 1/2)), of losses above half their tolerance
///      - gain x utilisation gained
/// ```
///
/// Halving the classic queue's delay is worth ln 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Utilisation, absolute.
    pub utilisation: f64,
    /// Jain's index, absolute.
    pub jain: f64,
    /// 99th percentile of L4S delay, as a factor above 1.
    pub l4s_delay: f64,
    /// Weight of losses beyond the tolerances.
    pub caution: f64,
    /// Value of utilisation beyond the first's.
    pub gain: f64,
    /// Added to mean delays, ms: below it, less delay has little value.
    pub offset_ms: f64,
}

impl Default for Tolerance {
    /// Differences that are hardly noticeable, similar to those between runs of
    /// the same setting.
    fn default() -> Self {
        Tolerance {
            utilisation: 0.005,
            jain: 0.05,
            l4s_delay: 1.2,
            caution: 2.0,
            gain: 15.0,
            offset_ms: 1.0,
        }
    }
}

/// Costs of settings over their targets.
#[derive(Debug, Clone, PartialEq)]
pub struct CostCurves {
    /// The settings that a head chooses from, as factors on RFC 9332's
    /// defaults.
    pub settings: [Setting; ACTIONS],
    /// Measured settings: ln of the factor on the target, ascending.
    pub knots: Vec<f32>,
    /// By episode, the costs at the knots in its condition.
    pub costs: Vec<Vec<f32>>,
}

impl CostCurves {
    /// Measures the costs of settings in each condition (episodes of the same
    /// scenario, any number per behaviour). Settings are behaviours by name:
    /// the three that a head chooses from, compared with the first, and
    /// `between`, with targets between theirs. Episodes of other behaviours in
    /// a condition get the same costs.
    ///
    /// # Errors
    /// The name of a setting that is missing in a condition, varies, is outside
    /// the three, or coincides with another one.
    pub fn measure(
        episodes: &[EpisodeFacts],
        names: &[String; ACTIONS],
        between: &[String],
        tolerance: &Tolerance,
    ) -> Result<CostCurves, String> {
        let names: Vec<&String> = names.iter().chain(between).collect();
        let mut conditions: BTreeMap<&str, Vec<Vec<Outcome>>> = BTreeMap::new();
        let mut settings = vec![None; names.len()];
        for episode in episodes {
            let runs = conditions.entry(&episode.scenario);
            let runs = runs.or_insert_with(|| vec![Vec::new(); names.len()]);
            let behaviour = &episode.behaviour;
            let Some(at) = names.iter().position(|name| **name == behaviour.name) else {
                continue;
            };
            runs[at].push(episode.outcome);
            let base = l4sllm_abi::Params::default();
            let setting = Setting {
                target: behaviour.target_ns as f64 / base.target_ns as f64,
                gains: behaviour.gains,
                tupdate: behaviour.tupdate_ns as f64 / base.tupdate_ns as f64,
            };
            let fixed = behaviour.noise.is_none()
                && behaviour.interval.is_none()
                && behaviour.rule.is_none();
            if *settings[at].get_or_insert(setting) != setting || !fixed {
                return Err(format!("behaviour {}: not one fixed setting", names[at]));
            }
        }
        let mut found = Vec::with_capacity(names.len());
        for (setting, name) in settings.into_iter().zip(&names) {
            found.push(setting.ok_or_else(|| format!("no behaviour {name}"))?);
        }
        let order = order(&found, &names)?;
        let mut curves = BTreeMap::new();
        for (scenario, runs) in &conditions {
            if let Some(at) = runs.iter().position(Vec::is_empty) {
                return Err(format!("{scenario}: no behaviour {}", names[at]));
            }
            let first = Outcome::mean(&runs[0]);
            let cost = |at: &usize| tolerance.cost(&Outcome::mean(&runs[*at]), &first) as f32;
            curves.insert(*scenario, order.iter().map(cost).collect::<Vec<f32>>());
        }
        Ok(CostCurves {
            settings: [found[0], found[1], found[2]],
            knots: order.iter().map(|at| place(&found[*at])).collect(),
            costs: episodes
                .iter()
                .map(|episode| curves[episode.scenario.as_str()].clone())
                .collect(),
        })
    }

    /// Indices of the settings among the knots.
    pub fn points(&self) -> [f32; ACTIONS] {
        self.settings.each_ref().map(place)
    }

    /// Index of the setting with the least cost in an episode's condition; the
    /// first of equal ones.
    pub fn best(&self, episode: usize) -> u8 {
        let points = self.points();
        let cost = |at: u8| {
            let of = |(knot, _): &(&f32, &f32)| **knot == points[usize::from(at)];
            let mut costs = self.knots.iter().zip(&self.costs[episode]);
            costs.find(of).map_or(f32::INFINITY, |(_, cost)| *cost)
        };
        let all = 0..ACTIONS as u8;
        all.min_by(|a, b| cost(*a).total_cmp(&cost(*b)))
            .unwrap_or(0)
    }
}

impl Tolerance {
    fn cost(&self, own: &Outcome, first: &Outcome) -> f64 {
        let pair = |of: fn(&Outcome) -> Option<f64>| of(own).zip(of(first));
        let delay = pair(|o| o.classic_mean_ms).map_or(0.0, |(own, first)| {
            ((own + self.offset_ms) / (first + self.offset_ms)).ln()
        });
        let lost = first.utilisation - own.utilisation;
        let unfair = pair(|o| o.jain).map_or(0.0, |(own, first)| first - own);
        let slower = pair(|o| o.l4s_p99_ms).map_or(0.0, |(own, first)| own / first - 1.0);
        let weighed = [
            lost / self.utilisation,
            unfair / self.jain,
            slower / (self.l4s_delay - 1.0),
        ];
        let losses: f64 = weighed
            .iter()
            .map(|loss| (loss - 0.5).max(0.0).ln_1p())
            .sum();
        delay + self.caution * losses - self.gain * (-lost).max(0.0)
    }
}

/// The settings by ascending target.
fn order(settings: &[Setting], names: &[&String]) -> Result<Vec<usize>, String> {
    let mut order: Vec<usize> = (0..settings.len()).collect();
    order.sort_by(|a, b| settings[*a].target.total_cmp(&settings[*b].target));
    if let Some(two) = order
        .windows(2)
        .find(|two| place(&settings[two[0]]) == place(&settings[two[1]]))
    {
        let [a, b] = [names[two[0]], names[two[1]]];
        return Err(format!("behaviours {a} and {b}: the same target"));
    }
    let ends = [order[0], order[order.len() - 1]];
    match ends.iter().find(|end| **end >= ACTIONS) {
        Some(end) => Err(format!("behaviour {}: not between the three", names[*end])),
        None => Ok(order),
    }
}

fn place(setting: &Setting) -> f32 {
    setting.target.ln() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gains;
    use crate::pool::BehaviourFacts;

    fn run(
        scenario: &str,
        name: &str,
        target_ms: f64,
        utilisation: f64,
        delay: f64,
    ) -> EpisodeFacts {
        EpisodeFacts {
            episode: 0,
            scenario: scenario.to_owned(),
            rows: 1,
            seed: 1,
            rate_bps: 1,
            rates_bps: None,
            rtt_ns: 1,
            flows: Vec::new(),
            behaviour: BehaviourFacts {
                name: name.to_owned(),
                target_ns: (target_ms * 1e6) as u64,
                gains: Gains::both(4.0),
                tupdate_ns: 16_000_000,
                coupling: 2.0,
                l4s_threshold_ns: 1_000_000,
                flow_weights: false,
                noise: None,
                interval: None,
                share: None,
                rule: None,
            },
            outcome: Outcome {
                utilisation,
                classic_mean_ms: Some(delay),
                classic_p50_ms: None,
                classic_p99_ms: None,
                l4s_mean_ms: None,
                l4s_p99_ms: Some(1.0),
                jain: Some(0.9),
                drop_share: None,
            },
        }
    }

    fn names() -> [String; ACTIONS] {
        ["safe", "high", "low"].map(str::to_owned)
    }

    /// Three settings in each of `conditions`, as utilisation and delay, and a
    /// fourth behaviour that is not a setting.
    fn pool(conditions: &[[(f64, f64); ACTIONS]]) -> Vec<EpisodeFacts> {
        let mut episodes = Vec::new();
        for (at, outcomes) in conditions.iter().enumerate() {
            let scenario = format!("c-{at}");
            for ((name, target), (u, d)) in names().iter().zip([7.5, 15.0, 3.75]).zip(outcomes) {
                episodes.push(run(&scenario, name, target, *u, *d));
            }
            episodes.push(run(&scenario, "other", 1.0, 1.0, 0.1));
        }
        episodes
    }

    fn measured(episodes: &[EpisodeFacts]) -> CostCurves {
        CostCurves::measure(episodes, &names(), &[], &Tolerance::default()).unwrap()
    }

    #[test]
    fn chooses_least_delay_without_loss_of_utilisation() {
        let found = measured(&pool(&[
            [(0.99, 9.0), (0.99, 14.0), (0.99, 4.0)],
            [(0.99, 9.0), (0.99, 14.0), (0.988, 4.0)],
            [(0.99, 9.0), (0.99, 14.0), (0.97, 4.0)],
            // With half of the link lost, more delay is justified.
            [(0.5, 9.0), (0.8, 14.0), (0.4, 4.0)],
            [(0.99, 9.0), (0.99, 9.0), (0.99, 9.0)],
        ]));
        assert_eq!(found.settings.map(|s| s.target), [0.5, 1.0, 0.25]);
        assert_eq!(found.settings.map(|s| s.gains), [Gains::both(4.0); 3]);
        let best = |at| (4 * at..4 * at + 4).map(|episode| found.best(episode));
        for (at, want) in [2, 2, 0, 1, 0].into_iter().enumerate() {
            // All episodes of a condition get the same costs.
            assert!(best(at).all(|best| best == want), "{at}");
        }
        // From low to high; the first setting costs nothing.
        let knots = [0.25f64, 0.5, 1.0].map(|target| target.ln() as f32);
        assert_eq!(found.knots, knots);
        assert_eq!(found.costs[0][0], 0.5f64.ln() as f32);
        assert_eq!(found.costs[0][1], 0.0);
        assert_eq!(found.costs[0][2], 1.5f64.ln() as f32);
        // The loss is four times the tolerance, half a tolerance of which is
        // free.
        let cost = 0.5f64.ln() + 2.0 * 4.5f64.ln();
        assert!((f64::from(found.costs[8][0]) - cost).abs() < 1e-5);
    }

    #[test]
    fn fairness_and_other_queue_are_not_traded() {
        let mut episodes = pool(&[[(0.99, 9.0), (0.99, 14.0), (0.99, 4.0)]]);
        assert_eq!(measured(&episodes).best(0), 2);
        episodes[2].outcome.jain = Some(0.8);
        assert_eq!(measured(&episodes).best(0), 0);
        episodes[2].outcome.jain = None;
        assert_eq!(measured(&episodes).best(0), 2);
        episodes[2].outcome.l4s_p99_ms = Some(1.3);
        assert_eq!(measured(&episodes).best(0), 0);
        // Nothing to gain: no classic traffic.
        let mut episodes = pool(&[[(0.99, 9.0); 3]]);
        for episode in &mut episodes {
            episode.outcome.classic_mean_ms = None;
        }
        assert_eq!(measured(&episodes).costs[0], [0.0; 3]);
    }

    /// The noise of a single run is not learned.
    #[test]
    fn repetitions_count_in_the_mean() {
        let mut episodes = pool(&[[(0.99, 9.0), (0.99, 14.0), (0.97, 4.0)]]);
        assert_eq!(measured(&episodes).best(0), 0);
        episodes.extend(pool(&[[(0.98, 9.0), (0.98, 14.0), (0.998, 4.0)]]));
        let found = measured(&episodes);
        assert_eq!((found.best(0), found.best(7)), (2, 2));
        assert_eq!(found.costs[0], found.costs[7]);
    }

    #[test]
    fn intermediate_settings_are_measured() {
        let mut episodes = pool(&[[(0.99, 9.0), (0.99, 14.0), (0.9, 4.0)]]);
        episodes.push(run("c-0", "mid", 5.0, 0.99, 4.0));
        let between = |episodes: &[EpisodeFacts]| {
            let mid = ["mid".to_owned()];
            CostCurves::measure(episodes, &names(), &mid, &Tolerance::default())
        };
        let found = between(&episodes).unwrap();
        assert_eq!(found.knots.len(), 4);
        assert_eq!(found.costs[0][1], 0.5f64.ln() as f32);
        // It is not one of the settings that can be chosen.
        assert_eq!((found.settings.len(), found.best(0)), (3, 0));
        episodes[4].behaviour.target_ns = 1_000_000;
        assert_eq!(
            between(&episodes).unwrap_err(),
            "behaviour mid: not between the three"
        );
        episodes[4].behaviour.target_ns = 7_500_000;
        assert!(between(&episodes).unwrap_err().ends_with("the same target"));
    }

    #[test]
    fn names_invalid_settings() {
        let refused = |episodes: &[EpisodeFacts]| {
            CostCurves::measure(episodes, &names(), &[], &Tolerance::default()).unwrap_err()
        };
        let mut episodes = pool(&[[(0.99, 10.0); 3]; 2]);
        episodes[1].behaviour.target_ns += 1;
        assert!(refused(&episodes).contains("high"));
        let mut episodes = pool(&[[(0.99, 10.0); 3]; 2]);
        episodes[2].behaviour.interval = Some(100);
        assert!(refused(&episodes).contains("low"));
        let mut episodes = pool(&[[(0.99, 10.0); 3]; 2]);
        episodes.remove(2);
        assert_eq!(refused(&episodes), "c-0: no behaviour low");
    }
}
