//! Speed of one model of given shape on synthetic windows.

use std::io::BufRead;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use l4sllm_model::backbone::{BackboneConfig, Gpt2Config, LoraConfig};
use l4sllm_model::torch::{Measurement, Options, adapt, device, set_threads};
use l4sllm_model::{Feature, PolicyConfig};
use l4sllm_report::Rows;
use l4sllm_testbed::result::quantile;

use crate::duration;
use crate::format::{Format, FormatArgs};
use crate::output::{Done, outln, print};

/// Measure training, or decisions, of a GPT-2 on synthetic windows, in tokens/s
/// and ms.
///
/// `scripts/bench-train.sh` compares this with the same model in Python.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  l4sllm bench training --layers 12 --width 768 --heads 12
  l4sllm bench training --decisions --turn 1s")]
pub(super) struct TrainingArgs {
    /// Transformer blocks.
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Width of a hidden state.
    #[arg(long, default_value_t = 128)]
    width: usize,
    /// Attention heads.
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// Features, 1 to 8.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=8))]
    features: u8,
    /// Records per window.
    #[arg(long, default_value_t = 20)]
    window: usize,
    /// Windows per step.
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    batch: usize,
    /// Rank of LoRA on the attention's projections; 0: train all weights.
    #[arg(long, default_value_t = 0)]
    lora_rank: usize,
    /// Threads used by libtorch.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    threads: usize,
    /// Measure decisions on one window at a time instead of training.
    #[arg(long)]
    decisions: bool,
    /// Number of measured turns, after a short one for warm-up.
    #[arg(long, default_value_t = 3, conflicts_with = "paced")]
    turns: u32,
    /// Length of a turn, up to 1h.
    #[arg(long = "turn", value_name = "TIME", default_value = "4s",
          value_parser = |text: &str| duration::within(text, 0..=3_600_000_000_000))]
    turn_ns: u64,
    /// Run a turn for each line of standard input, so that two programs can
    /// alternate; the first is for warm-up.
    #[arg(long)]
    paced: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the turns.
pub(super) fn run(args: &TrainingArgs, cancel: &AtomicBool) -> anyhow::Result<Done> {
    set_threads(args.threads);
    let config = config(args)?;
    let (windows, what) = match args.decisions {
        true => (1, "decisions"),
        false => (args.batch, "steps"),
    };
    let tokens = windows * config.tokens();
    let options = Options::default();
    let mut model = Measurement::new(config, options, args.batch, 1)?;
    let parameters = model.parameters()?;
    // CSV has names above its first row.
    let mut named = false;
    let mut turn = |ns: u64| -> anyhow::Result<()> {
        let (began, length) = (Instant::now(), Duration::from_nanos(ns));
        let mut each_ns = Vec::new();
        while each_ns.is_empty() || began.elapsed() < length {
            let began = Instant::now();
            if args.decisions {
                model.decide()?;
            } else {
                let loss = model.step()?;
                ensure!(loss.is_finite(), "the loss is {loss}");
            }
            each_ns.push(began.elapsed().as_nanos() as u64);
        }
        let steps = each_ns.len();
        let tokens_per_s = (steps * tokens) as f64 / began.elapsed().as_secs_f64().max(1e-9);
        each_ns.sort_unstable();
        let p50_ms = quantile(&each_ns, 0.5).map_or(0.0, |ns| ns as f64 / 1e6);
        let row = [
            ("tokens_per_s", tokens_per_s.into()),
            ("p50_ms", p50_ms.into()),
            (what, steps.into()),
            ("threads", args.threads.into()),
            ("trainable_parameters", parameters.trained.into()),
            ("parameters", parameters.all.into()),
            ("device", device::describe(options.device).into()),
        ];
        let mut rows = Rows::default();
        rows.push(row, &());
        match args.format.format {
            Format::Text => outln!(
                "{tokens_per_s:.0} tokens/s in {steps} {what} of {tokens} tokens, p50 {p50_ms:.3} ms"
            ),
            Format::Csv => {
                let csv = rows.csv();
                let values = csv.split_once('\n').map_or("", |(_, values)| values);
                print(if named { values } else { &csv })?;
                named = true;
                Ok(())
            }
            Format::Json => outln!("{}", rows.json()[0]),
        }
    };
    if args.paced {
        let mut first = true;
        for line in std::io::stdin().lock().lines() {
            line?;
            turn(if first { 0 } else { args.turn_ns })?;
            first = false;
        }
        return Ok(Done::of(cancel));
    }
    for index in 0..=args.turns {
        turn(if index == 0 { 0 } else { args.turn_ns })?;
        if Done::of(cancel) == Done::Interrupted {
            break;
        }
    }
    Ok(Done::of(cancel))
}

fn config(args: &TrainingArgs) -> anyhow::Result<PolicyConfig> {
    let features = &Feature::PAPER8[..usize::from(args.features)];
    let mut config = PolicyConfig::new("bench", features);
    config.window = args.window;
    config.backbone = BackboneConfig::Gpt2(Gpt2Config {
        n_layer: args.layers,
        n_embd: args.width,
        n_head: args.heads,
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        ..Gpt2Config::default()
    });
    if args.lora_rank > 0 {
        let lora = LoraConfig {
            r: args.lora_rank,
            ..LoraConfig::default()
        };
        adapt(&mut config, lora);
    }
    config.check()?;
    Ok(config)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(e) => Err(format!("{e}")),
    }
}
