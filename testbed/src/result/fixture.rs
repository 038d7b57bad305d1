//! Synthetic runs for tests, without an emulated queue.

use l4sllm_model::{EngineKind, Precision, RunsOn};

use super::{
    ArmFacts, DecisionRow, Facts, Floor, FlowMeta, FlowRow, Overrides, PacketRow, Packets,
    PolicyFacts, RateStep, Records, Run, RunMeta,
};

/// Behaviour of a synthetic arm.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Typical classic delay, ns.
    pub classic_ns: u64,
    /// Typical L4S delay, ns.
    pub l4s_ns: u64,
    /// Idle share of the link, percent.
    pub idle: u64,
    /// Packets between decisions.
    pub interval: Option<u32>,
}

/// Rate of the synthetic bottleneck, bits per second.
pub const RATE: u64 = 8_000_000;
const BYTES: u32 = 1500;
const SECONDS: u64 = 1_000_000_000;

/// Facts with these arms, all DualPI2.
pub fn facts(arms: &[(&str, Option<u32>)], repetitions: u32) -> Facts {
    let policy = PolicyFacts {
        name: "made-up".to_owned(),
        sha256: "ab".repeat(32),
        runs_on: Some(RunsOn {
            engine: EngineKind::Libtorch,
            device: "cpu".to_owned(),
            precision: Precision::F32,
        }),
        period_ns: Some(250_000_000),
        idle_budget: Some(0.005),
    };
    Facts {
        version: "0.0.0".to_owned(),
        seed: 7,
        scenario: "made-up".to_owned(),
        description: "Synthetic rows for a test.".to_owned(),
        scenario_file: Some("/made up/made-up.toml".to_owned()),
        scenario_toml: "# <made up> & \"quoted\"\nname = \"made-up\"\n".to_owned(),
        repetitions,
        duration_ns: 4 * SECONDS,
        arms: arms
            .iter()
            .map(|&(name, interval)| ArmFacts {
                name: name.to_owned(),
                aqm: "dualpi2".to_owned(),
                interval,
                rule: None,
                policy: interval.map(|_| policy.clone()),
                policy_dir: interval.map(|_| "/made up/policy".to_owned()),
                set_latency_ns: None,
                student: None,
            })
            .collect(),
        baselines: super::usual_baselines(),
        warnings: vec![super::Warning {
            code: super::BOTTLENECK_NOT_SLOWEST.to_owned(),
            text: "made up".to_owned(),
            cell: "made-up".to_owned(),
            arm: None,
        }],
        floor: Some(Floor {
            flows: 9,
            min_window_packets: 2,
            packet_bytes: BYTES,
            bits_per_s: RATE,
            base_rtt_ns: 10_000_000,
        }),
        lab: None,
    }
}

/// `seconds` of rows. Three flows, the last one in the L4S queue.
pub fn run(seed: u64, seconds: u64, shape: Shape) -> Run {
    let mut random = Random(seed);
    let mut run = Run {
        meta: meta(seed, seconds),
        ..Run::default()
    };
    let transmission = u64::from(BYTES) * 8 * SECONDS / RATE;
    let mut time = 0;
    let mut wave = 0.0;
    while time < seconds * SECONDS {
        wave = 0.98 * wave + 0.2 * (random.unit() - 0.5);
        let flow = random.below(3) as u32;
        let queue = u8::from(flow == 2);
        let around = if queue == 0 {
            shape.classic_ns
        } else {
            shape.l4s_ns
        } as f64;
        let sojourn = around * (1.0 + wave).max(0.05) * (0.6 + 0.8 * random.unit());
        let action = match random.below(100) {
            0 if queue == 0 => 1,
            1..4 => 2,
            _ => 0,
        };
        run.packets.push(PacketRow {
            time_ns: time,
            flow,
            queue,
            action,
            ecn: if action == 2 { 3 } else { 1 },
            bytes: BYTES,
            sojourn_ns: sojourn as u64,
        });
        time += transmission;
        if random.below(100) < shape.idle {
            time += transmission;
        }
        let decides = |interval| run.packets.len() as u64 % u64::from(interval) == 0;
        if shape.interval.is_some_and(decides) {
            run.decisions.push(DecisionRow {
                time_ns: time,
                latency_ns: 60_000 + random.below(40_000),
                action: random.below(3) as u8,
            });
        }
    }
    count(&mut run);
    run.flows = (0..seconds * 10)
        .flat_map(|tick| {
            (0..3).map(move |flow| FlowRow {
                time_ns: tick * SECONDS / 10,
                flow,
                cwnd_bytes: 3000,
                srtt_ns: 20_000_000,
                delivered_bytes: tick * 30_000,
            })
        })
        .collect();
    run
}

fn meta(seed: u64, seconds: u64) -> RunMeta {
    let flow = |name: &str, cc: &str, queue| FlowMeta {
        name: name.to_owned(),
        cc: cc.to_owned(),
        queue,
        start_ns: 0,
        end_ns: seconds * SECONDS,
        goodput_bytes: 0,
        retransmits: 0,
        fair: true,
        transfers: None,
    };
    RunMeta {
        seed,
        start_ns: SECONDS,
        end_ns: seconds * SECONDS,
        capacity: vec![RateStep {
            from_ns: 0,
            bits_per_s: RATE,
        }],
        flows: vec![
            flow("cubic-1", "cubic", 0),
            flow("reno-1", "newreno", 0),
            flow("prague", "prague", 1),
        ],
        virtual_s: seconds as f64,
        wall_s: 0.25,
        ..RunMeta::default()
    }
}

/// Fills in values derived from the rows.
fn count(run: &mut Run) {
    let dropped = run.packets.iter().filter(|row| row.dropped()).count() as u64;
    let all = run.packets.len() as u64;
    run.meta.packets = Packets {
        arrived: all + 3,
        forwarded: all - dropped,
        dropped,
        queued: 3,
    };
    let decided = run.decisions.len() as u64;
    run.meta.records = Records {
        written: all,
        read: all - 2,
        lost: 0,
        waiting: 2,
    };
    let refused = decided / 10;
    run.meta.overrides = Overrides {
        received: decided,
        applied: decided - refused,
        refused,
        ..Overrides::default()
    };
    let measured = run.meta.start_ns..run.meta.end_ns;
    for (index, flow) in run.meta.flows.iter_mut().enumerate() {
        let own = run.packets.iter().filter(|row| {
            row.flow as usize == index && row.forwarded() && measured.contains(&row.time_ns)
        });
        flow.goodput_bytes = own.count() as u64 * 1448;
        flow.retransmits = index as u64;
    }
}

/// Reproducible numbers (a 64-bit LCG; only its high bits are used).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    fn unit(&mut self) -> f64 {
        self.below(1 << 30) as f64 / (1u64 << 30) as f64
    }
}
