//! Records, policies and a second implementation of the forward pass, shared
//! by several tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "helpers of tests, each of which uses its part"
)]

use std::sync::Arc;

use l4sllm_abi::{Record, Summary, header, raw};
use l4sllm_model::backbone::{BackboneConfig, Gpt2Config, LlamaConfig, OptConfig, T5Config};
use l4sllm_model::{
    EncoderConfig, Encoding, Feature, Period, Periods, Policy, PolicyConfig, Scaling, SplitMix64,
    Step, SummaryFeature, Taken, Tensors, small_gpt2, trained_specs,
};

/// Random generator of the tests.
pub struct Noise(SplitMix64);

impl Noise {
    pub fn new(seed: u64) -> Noise {
        Noise(SplitMix64::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn uniform(&mut self) -> f32 {
        self.0.uniform()
    }
}

/// A record with plausible contents.
pub fn record(seq: u64, noise: &mut Noise) -> Record {
    let action = [0, 0, 0, 0, 1, 2][noise.below(6) as usize];
    let mut record = raw::l4s_record_v1 {
        queue_type: noise.below(2) as u8,
        dequeue_action: action,
        base_action: action,
        ecn: noise.below(4) as u8,
        burst_allowance: noise.below(150_000) as u32,
        drop_probability: noise.below(1 << 28) as u32,
        current_queue_delay: noise.below(60_000) as u32,
        accumulated_probability: noise.below(1 << 31),
        average_dequeue_time: noise.below(20_000) as u32,
        total_bytes: seq * 1500,
        total_drops: seq / 50,
        length_in_bytes: noise.below(100_000) as u32,
        packet_length: 40 + noise.below(1461) as u32,
        ..Default::default()
    };
    record.hdr.version = 1;
    record.hdr.type_ = raw::L4S_RECORD_DECISION as u8;
    record.hdr.length = l4sllm_abi::V1_SIZE as u32;
    record.hdr.seq = seq;
    record.hdr.time_ns = seq * 1_500_000;
    Record::try_from(record).unwrap()
}

/// A stream of records.
pub fn records(count: u64, seed: u64) -> Vec<Record> {
    let mut noise = Noise::new(seed);
    (0..count).map(|seq| record(seq, &mut noise)).collect()
}

/// A summary of `ms` from `begin_ns` on with plausible contents; occasionally
/// nothing was forwarded.
pub fn summary(begin_ns: u64, ms: u64, noise: &mut Noise) -> Summary {
    let length = 1_000_000 * ms;
    let mut s = raw::l4s_summary {
        hdr: header(raw::L4S_RECORD_SUMMARY, 0, begin_ns + length),
        begin_ns,
        idle_ns: noise.below(length / 20),
        updates: ms / 4,
        p_sum: noise.below(1 << 26) * (ms / 4),
        p_max: noise.below(1 << 27) as u32,
        p_variation: noise.below(1 << 27),
        target_ns: 2_000_000 + noise.below(15_000_000),
        tupdate_ns: 4_000_000,
        alpha_uhz: noise.below(1_000_000) as u32,
        beta_uhz: 1_000_000 + noise.below(20_000_000) as u32,
        coupling_q8: 256 + noise.below(512) as u32,
        ..Default::default()
    };
    let log_rate = (20 << 16) + noise.below(1 << 16);
    s.rate_windows = noise.below(ms / 10);
    s.rate_log_sum = s.rate_windows * log_rate;
    s.rate_log_sq = (s.rate_windows * log_rate * log_rate) >> 16;
    if noise.below(8) == 0 {
        return Summary::try_from(s).unwrap();
    }
    for queue in &mut s.queue {
        queue.forwarded = 1 + noise.below(4 * ms);
        queue.forwarded_bytes = 1000 * queue.forwarded;
        queue.sojourn_sum_ns = queue.forwarded * noise.below(20_000_000);
        queue.sojourn_sq = queue.forwarded * noise.below(1 << 30);
        queue.sojourn_max_ns = 20_000_000 + noise.below(20_000_000);
        queue.marks_aqm = noise.below(ms);
        queue.drops_tail = noise.below(3);
        queue.backlog = noise.below(100) as u32;
        queue.flows[0] = noise.next();
    }
    Summary::try_from(s).unwrap()
}

/// A stream of summaries of `ms` each.
pub fn summaries(count: u64, ms: u64, seed: u64) -> Vec<Summary> {
    let mut noise = Noise::new(seed);
    (0..count)
        .map(|i| summary(1_000_000 * ms * i, ms, &mut noise))
        .collect()
}

/// One period for each summary.
pub fn periods(summaries: &[Summary]) -> Vec<Period> {
    let mut periods = Periods::of(0);
    summaries.iter().filter_map(|s| periods.add(s)).collect()
}

/// A configuration on summaries with scaling that fits [`summary`].
pub fn on_summaries(features: &[SummaryFeature]) -> PolicyConfig {
    let mut config = PolicyConfig::on_summaries("periods", features);
    let sample = periods(&summaries(300, 250, 97));
    for feature in &mut config.features {
        let values = sample.iter().filter_map(|s| feature.name.of_period(s));
        feature.scaling = Scaling::fit(feature.name.transform(), values);
    }
    config
}

/// A configuration with scaling that fits [`record`].
pub fn config(features: &[Feature]) -> PolicyConfig {
    let mut config = PolicyConfig::new("test", features);
    let sample = records(500, 99);
    for feature in &mut config.features {
        let values = sample.iter().map(|r| feature.name.of_record(r).unwrap());
        feature.scaling = Scaling::fit(feature.name.transform(), values);
    }
    config.returns.scaling = Scaling {
        transform: l4sllm_model::Transform::Linear,
        mean: 1.0,
        std: 2.0,
        clip: 8.0,
    };
    config.returns.target = 4.0;
    config
}

/// The GPT-2 of a configuration.
pub fn gpt2(config: &mut PolicyConfig) -> &mut Gpt2Config {
    match &mut config.backbone {
        BackboneConfig::Gpt2(gpt2) => gpt2,
        other => panic!("{}", other.family()),
    }
}

/// Paths of each kind in turn: plain, bins, series.
pub fn vary_paths(config: &mut PolicyConfig) {
    let sample = records(500, 98);
    for (i, feature) in config.features.iter_mut().enumerate() {
        let mut values: Vec<f32> = sample
            .iter()
            .map(|r| feature.scaling.apply(feature.name.of_record(r).unwrap()))
            .collect();
        feature.encoder = match i % 4 {
            1 => EncoderConfig::Scalar {
                width: 16,
                encoding: Encoding::bins(&mut values, 4 + i),
            },
            2 => EncoderConfig::series(5, 9),
            3 => EncoderConfig::Series {
                width: 3,
                history: 4,
                kernels: vec![1, 4],
            },
            _ => EncoderConfig::scalar(12),
        };
    }
}

/// Width of the small backbones.
pub const SMALL: usize = 16;

/// A small Llama.
pub fn llama() -> BackboneConfig {
    BackboneConfig::Llama(LlamaConfig {
        hidden_size: SMALL,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: None,
        ..LlamaConfig::default()
    })
}

/// One small backbone of each family.
pub fn families() -> [BackboneConfig; 4] {
    let opt = OptConfig {
        hidden_size: SMALL,
        word_embed_proj_dim: None,
        ffn_dim: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        max_position_embeddings: 64,
        dropout: 0.0,
        ..OptConfig::default()
    };
    let t5 = T5Config {
        d_model: SMALL,
        d_kv: 8,
        d_ff: 24,
        num_layers: 2,
        num_heads: 2,
        dropout_rate: 0.0,
        ..T5Config::default()
    };
    [
        small_gpt2(2, SMALL, 2, 24),
        BackboneConfig::Opt(opt),
        llama(),
        BackboneConfig::T5(t5),
    ]
}

/// A policy with an adapter on a base in `dir`/base; its own directory is
/// `dir`/policy.
#[cfg(feature = "torch")]
pub fn adapted(dir: &tempfile::TempDir, backbone: BackboneConfig) -> PolicyConfig {
    use l4sllm_model::Adaptation;
    use l4sllm_model::backbone::LoraConfig;
    use l4sllm_model::torch::{Options, random_base};
    use std::path::Path;

    let mut config = config(&Feature::PAPER7);
    vary_paths(&mut config);
    config.window = 5;
    config.head.residual = true;
    config.backbone = backbone;
    config.adaptation = Adaptation::Lora(LoraConfig {
        r: 3,
        alpha: 6.0,
        dropout: 0.0,
        ..LoraConfig::default()
    });
    let (base, path) = (dir.path().join("base"), Path::new("../base"));
    config.base = Some(random_base(&base, path, &config.backbone, 5, Options::default()).unwrap());
    config
}

/// Random weights, larger than the initial weights of training, so that
/// probabilities differ between windows.
pub fn tensors(config: &PolicyConfig, seed: u64) -> Tensors {
    let mut noise = Noise::new(seed);
    let specs = trained_specs(config).unwrap();
    let tensors = specs.into_iter().map(|(name, shape)| {
        let values = (0..shape.iter().product()).map(|_| 2.0 * noise.uniform() - 1.0);
        let scale = if shape.len() > 1 {
            1.5 / (shape[1..].iter().product::<usize>() as f32)
                .sqrt()
                .max(3.0)
        } else {
            0.3
        };
        let norm = name.contains("norm") || name.contains("ln_");
        let offset = if norm && name.ends_with("weight") {
            1.0
        } else {
            0.0
        };
        (name, values.map(|v| offset + scale * v).collect())
    });
    Tensors::new(config, tensors.collect()).unwrap()
}

pub fn policy(config: &PolicyConfig, seed: u64) -> (Arc<Policy>, Tensors) {
    let tensors = tensors(config, seed);
    (Policy::new(config.clone(), &tensors).unwrap(), tensors)
}

/// The steps that a session derives from records.
pub fn steps(config: &PolicyConfig, records: &[Record]) -> Vec<Step> {
    let returns = &config.returns;
    let step = |(now, record): (usize, &Record)| {
        let inputs = config.features.iter().flat_map(|f| {
            let h = f.encoder.history();
            // The first value of the stream also pads the history before it.
            let values = (0..h).map(move |i| (now + 1 + i).saturating_sub(h));
            values.map(|i| f.scaling.apply(f.name.of_record(&records[i]).unwrap()))
        });
        Step {
            return_to_go: returns.scaling.apply(returns.target),
            inputs: inputs.collect(),
            action: Taken::Action(record.action() as usize),
        }
    };
    records.iter().enumerate().map(step).collect()
}

/// Probabilities of [`reference_outputs`].
pub fn reference(config: &PolicyConfig, tensors: &Tensors, steps: &[Step]) -> [f64; 3] {
    let logits = reference_outputs(config, tensors, steps);
    let sum: f64 = logits.iter().map(|l| l.exp()).sum();
    [0, 1, 2].map(|i| logits[i].exp() / sum)
}

/// An independent implementation of the forward pass: dense, naive, in f64.
pub fn reference_outputs(config: &PolicyConfig, tensors: &Tensors, steps: &[Step]) -> Vec<f64> {
    let BackboneConfig::Gpt2(gpt2) = &config.backbone else {
        panic!("no GPT-2");
    };
    let d = gpt2.n_embd;
    let get = |name: &str| -> Vec<f64> {
        let values = tensors.values(name);
        assert!(!values.is_empty(), "{name}");
        values.iter().map(|v| f64::from(*v)).collect()
    };
    // Outputs × inputs.
    let linear = |name: &str, x: &[f64]| -> Vec<f64> {
        let (w, b) = (get(&format!("{name}.weight")), get(&format!("{name}.bias")));
        let rows = w.chunks_exact(x.len()).zip(&b);
        rows.map(|(w, b)| b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>())
            .collect()
    };
    // Inputs × outputs.
    let conv1d = |name: &str, x: &[f64]| -> Vec<f64> {
        let (w, mut y) = (get(&format!("{name}.weight")), get(&format!("{name}.bias")));
        let n = y.len();
        for (i, x) in x.iter().enumerate() {
            y.iter_mut()
                .enumerate()
                .for_each(|(o, y)| *y += x * w[i * n + o]);
        }
        y
    };
    let norm = |name: &str, x: &[f64]| -> Vec<f64> {
        let epsilon = if name == "embed_norm" {
            1e-5
        } else {
            gpt2.layer_norm_epsilon
        };
        let (w, b) = (get(&format!("{name}.weight")), get(&format!("{name}.bias")));
        let mean = x.iter().sum::<f64>() / d as f64;
        let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
        let scale = (var + epsilon).sqrt();
        (0..d)
            .map(|i| (x[i] - mean) / scale * w[i] + b[i])
            .collect()
    };
    let add = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };

    let time = get("time.weight");
    let mut inputs: Vec<Vec<f64>> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let time = &time[i * d..(i + 1) * d];
        inputs.push(add(
            &linear("return", &[f64::from(step.return_to_go)]),
            time,
        ));
        let mut rest = step.inputs.as_slice();
        for feature in &config.features {
            let name = format!("encoder.{}", feature.name.name());
            let (own, after) = rest.split_at(feature.encoder.history());
            rest = after;
            let own: Vec<f64> = own.iter().map(|x| f64::from(*x)).collect();
            let mut hidden = match &feature.encoder {
                EncoderConfig::Scalar { encoding, .. } => {
                    let mut x = own.clone();
                    if let Encoding::Bins { edges } = encoding {
                        x.extend(edges.windows(2).map(|e| {
                            let (low, high) = (f64::from(e[0]), f64::from(e[1]));
                            ((own[0] - low) / (high - low)).clamp(0.0, 1.0)
                        }));
                    }
                    linear(&format!("{name}.hidden"), &x)
                }
                EncoderConfig::Series { width, kernels, .. } => {
                    let mut hidden = Vec::new();
                    for k in kernels {
                        let weight = get(&format!("{name}.conv{k}.weight"));
                        let bias = get(&format!("{name}.conv{k}.bias"));
                        for channel in 0..*width {
                            let weight = &weight[channel * k..][..*k];
                            hidden.extend(own.windows(*k).map(|x| {
                                let products = weight.iter().zip(x).map(|(w, x)| w * x);
                                bias[channel] + products.sum::<f64>()
                            }));
                        }
                    }
                    hidden
                }
            };
            hidden.iter_mut().for_each(|h| *h = h.max(0.01 * *h));
            inputs.push(add(&linear(&format!("{name}.project"), &hidden), time));
        }
        let action: Vec<f64> = match step.action {
            Taken::Action(code) => vec![(code as f64 + 1.0) / 3.0],
            Taken::SetPoints(points) => points.map(f64::from).to_vec(),
        };
        inputs.push(add(&linear("action", &action), time));
    }
    inputs.pop(); // the newest action
    let inputs: Vec<_> = inputs.iter().map(|x| norm("embed_norm", x)).collect();

    let mut x = inputs.clone();
    if gpt2.n_positions > 0 {
        let table = get("backbone.wpe.weight");
        for (x, position) in x.iter_mut().zip(table.chunks_exact(d)) {
            *x = add(x, position);
        }
    }
    let size = d / gpt2.n_head;
    for layer in 0..gpt2.n_layer {
        let h = format!("backbone.h.{layer}");
        let qkv: Vec<_> = x
            .iter()
            .map(|x| conv1d(&format!("{h}.attn.c_attn"), &norm(&format!("{h}.ln_1"), x)))
            .collect();
        for (t, x) in x.iter_mut().enumerate() {
            let mut mixed = vec![0.0; d];
            for head in 0..gpt2.n_head {
                let at = |part: usize, i: usize| part * d + head * size + i;
                let scores: Vec<f64> = (0..=t)
                    .map(|s| {
                        let dot = (0..size).map(|i| qkv[t][at(0, i)] * qkv[s][at(1, i)]);
                        (dot.sum::<f64>() / (size as f64).sqrt()).exp()
                    })
                    .collect();
                let sum: f64 = scores.iter().sum();
                for (s, score) in scores.iter().enumerate() {
                    (0..size)
                        .for_each(|i| mixed[head * size + i] += score / sum * qkv[s][at(2, i)]);
                }
            }
            *x = add(x, &conv1d(&format!("{h}.attn.c_proj"), &mixed));
            let mut hidden = conv1d(&format!("{h}.mlp.c_fc"), &norm(&format!("{h}.ln_2"), x));
            for h in &mut hidden {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (*h + 0.044715 * h.powi(3));
                *h *= 0.5 * (1.0 + u.tanh());
            }
            *x = add(x, &conv1d(&format!("{h}.mlp.c_proj"), &hidden));
        }
    }
    let last = x.len() - 1;
    let mut hidden = norm("backbone.ln_f", &x[last]);
    if config.head.residual {
        hidden = add(&hidden, &inputs[last]);
    }
    linear("head", &hidden)
}
