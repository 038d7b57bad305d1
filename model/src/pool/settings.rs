//! Which of three settings of DualPI2 was best in each condition of a pool:
//! what a head that steers learns.

use std::collections::HashMap;

use super::EpisodeFacts;
use crate::{ACTIONS, Setting};

/// How much worse than the first setting the best one may be, and how much
/// better it has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Utilisation, absolute.
    pub utilisation: f64,
    /// Jain's index, absolute.
    pub jain: f64,
    /// 99th percentile of L4S delay, as a factor.
    pub l4s_delay: f64,
    /// How much less mean delay of the classic queue is worth leaving the
    /// first setting for, ms.
    pub worth_ms: f64,
}

impl Default for Tolerance {
    /// What hardly anybody notices, and about what the same setting differs
    /// by from one run to the next.
    fn default() -> Self {
        Tolerance {
            utilisation: 0.005,
            jain: 0.05,
            l4s_delay: 1.2,
            worth_ms: 1.0,
        }
    }
}

/// Settings, and which is the best for each episode.
#[derive(Debug, Clone, PartialEq)]
pub struct BestSettings {
    /// As factors on RFC 9332's defaults.
    pub settings: [Setting; ACTIONS],
    /// By episode, an index into `settings`.
    pub best: Vec<u8>,
}

/// Finds, for each condition (episodes of the same scenario), the setting
/// with the least mean delay of the classic queue among those that keep
/// utilisation, fairness and L4S delay within `tolerance` of the first.  The
/// settings are behaviours by name; whatever else ran in a condition learns
/// its best setting, too.
///
/// # Errors
/// The name of a setting that a condition lacks, or that is not the same
/// throughout.
pub fn best_settings(
    episodes: &[EpisodeFacts],
    names: &[String; ACTIONS],
    tolerance: &Tolerance,
) -> Result<BestSettings, String> {
    let mut conditions: HashMap<&str, [Option<&EpisodeFacts>; ACTIONS]> = HashMap::new();
    let mut settings = [None; ACTIONS];
    for episode in episodes {
        let runs = conditions.entry(&episode.scenario).or_default();
        let behaviour = &episode.behaviour;
        let Some(at) = names.iter().position(|name| *name == behaviour.name) else {
            continue;
        };
        runs[at] = Some(episode);
        let base = l4sllm_abi::Params::default();
        let setting = Setting {
            target: behaviour.target_ns as f64 / base.target_ns as f64,
            gain: behaviour.gain,
        };
        if *settings[at].get_or_insert(setting) != setting || behaviour.noise.is_some() {
            return Err(format!("behaviour {}: not one fixed setting", names[at]));
        }
    }
    let mut best = HashMap::new();
    for (scenario, runs) in &conditions {
        let mut complete = Vec::with_capacity(ACTIONS);
        for (run, name) in runs.iter().zip(names) {
            complete.push(run.ok_or_else(|| format!("{scenario}: no behaviour {name}"))?);
        }
        best.insert(*scenario, choose(&complete, tolerance));
    }
    let mut found = [Setting::ONE; ACTIONS];
    for ((found, setting), name) in found.iter_mut().zip(settings).zip(names) {
        *found = setting.ok_or_else(|| format!("no behaviour {name}"))?;
    }
    Ok(BestSettings {
        settings: found,
        best: episodes
            .iter()
            .map(|episode| best[episode.scenario.as_str()])
            .collect(),
    })
}

/// The first run, or a better one.
fn choose(runs: &[&EpisodeFacts], tolerance: &Tolerance) -> u8 {
    let first = runs[0].outcome;
    let allowed = |run: &EpisodeFacts| {
        let own = run.outcome;
        let fair = own.jain.zip(first.jain);
        let l4s = own.l4s_p99_ms.zip(first.l4s_p99_ms);
        own.utilisation >= first.utilisation - tolerance.utilisation
            && fair.is_none_or(|(own, first)| own >= first - tolerance.jain)
            && l4s.is_none_or(|(own, first)| own <= first * tolerance.l4s_delay)
    };
    // Without classic traffic nothing is gained by leaving the first.
    let delay = |at: usize| runs[at].outcome.classic_mean_ms.unwrap_or(f64::INFINITY);
    let mut best = 0;
    for (at, run) in runs.iter().enumerate().skip(1) {
        let worth = delay(at) <= delay(0) - tolerance.worth_ms;
        if worth && allowed(run) && delay(at) < delay(best) {
            best = at;
        }
    }
    best as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{BehaviourFacts, Outcome};

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
                gain: 4.0,
                coupling: 2.0,
                l4s_threshold_ns: 1_000_000,
                noise: None,
                interval: None,
                share: None,
            },
            outcome: Outcome {
                utilisation,
                classic_mean_ms: Some(delay),
                classic_p50_ms: None,
                classic_p99_ms: None,
                l4s_mean_ms: None,
                l4s_p99_ms: Some(1.0),
                jain: Some(0.9),
            },
        }
    }

    fn names() -> [String; ACTIONS] {
        ["safe", "mid", "low"].map(str::to_owned)
    }

    /// Three settings in each of `conditions`, as utilisation and delay, and
    /// a fourth behaviour that is none of them.
    fn pool(conditions: &[[(f64, f64); ACTIONS]]) -> Vec<EpisodeFacts> {
        let mut episodes = Vec::new();
        for (at, outcomes) in conditions.iter().enumerate() {
            let scenario = format!("c-{at}");
            for ((name, target), (u, d)) in names().iter().zip([15.0, 7.5, 3.75]).zip(outcomes) {
                episodes.push(run(&scenario, name, target, *u, *d));
            }
            episodes.push(run(&scenario, "other", 1.0, 1.0, 0.1));
        }
        episodes
    }

    #[test]
    fn the_least_delay_that_costs_no_utilisation() {
        let episodes = pool(&[
            [(0.99, 10.0), (0.99, 7.0), (0.99, 4.0)],
            [(0.99, 10.0), (0.987, 7.0), (0.90, 4.0)],
            [(0.99, 10.0), (0.98, 7.0), (0.90, 4.0)],
            [(0.99, 10.0), (0.99, 11.0), (0.99, 12.0)],
            [(0.99, 1.5), (0.99, 1.0), (0.99, 0.7)],
        ]);
        let found = best_settings(&episodes, &names(), &Tolerance::default()).unwrap();
        assert_eq!(found.settings.map(|s| s.target), [1.0, 0.5, 0.25]);
        assert_eq!(found.settings.map(|s| s.gain), [4.0; 3]);
        let each: Vec<u8> = found.best.chunks(4).map(|of| of[0]).collect();
        assert_eq!(each, [2, 1, 0, 0, 0]);
        // Whatever ran in a condition learns the same.
        assert!(
            found
                .best
                .chunks(4)
                .all(|of| of.iter().all(|best| *best == of[0]))
        );
    }

    #[test]
    fn fairness_and_the_other_queue_are_not_paid_with() {
        let mut episodes = pool(&[[(0.99, 10.0), (0.99, 7.0), (0.99, 4.0)]]);
        episodes[2].outcome.jain = Some(0.8);
        let best = |episodes: &[EpisodeFacts]| {
            best_settings(episodes, &names(), &Tolerance::default())
                .unwrap()
                .best[0]
        };
        assert_eq!(best(&episodes), 1);
        episodes[1].outcome.l4s_p99_ms = Some(1.3);
        assert_eq!(best(&episodes), 0);
        // Nothing to gain: no classic traffic.
        for episode in &mut episodes {
            episode.outcome.classic_mean_ms = None;
        }
        assert_eq!(best(&episodes), 0);
    }

    #[test]
    fn what_is_no_setting_is_named() {
        let refused = |episodes: &[EpisodeFacts]| {
            best_settings(episodes, &names(), &Tolerance::default()).unwrap_err()
        };
        let mut episodes = pool(&[[(0.99, 10.0); 3]; 2]);
        episodes[1].behaviour.target_ns += 1;
        assert!(refused(&episodes).contains("mid"));
        let mut episodes = pool(&[[(0.99, 10.0); 3]; 2]);
        episodes.remove(2);
        assert_eq!(refused(&episodes), "c-0: no behaviour low");
    }
}
