//! The grid of `l4sllm lab compare` and `l4sllm lab grid`.

use clap::Args;
use l4sllm_lab::compare::cell;
use l4sllm_model::strict_toml::RATE;
use l4sllm_testbed::scenario::Scenario;
use l4sllm_testbed::transport::Cc;

use crate::duration;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Scenarios of two flows: one with each control, next to one with CUBIC.
#[derive(Debug, Args)]
pub struct Grid {
    /// Congestion controls of the grid.
    #[arg(
        long,
        value_name = "CC,CC",
        value_delimiter = ',',
        default_value = "cubic,newreno,bbr,udp-prague"
    )]
    controls: Vec<Cc>,
    /// Rates of the grid.
    #[arg(long, value_name = "RATE,RATE", value_delimiter = ',', value_parser = rate, default_value = "4Mbit/s,20Mbit/s,100Mbit/s,400Mbit/s")]
    rates: Vec<u64>,
    /// Round-trip times of the grid.
    #[arg(long, value_name = "TIME,TIME", value_delimiter = ',', value_parser = rtt, default_value = "10ms,40ms,100ms")]
    rtts: Vec<u64>,
}

fn rate(text: &str) -> Result<u64, String> {
    RATE.parse(text)
}

fn rtt(text: &str) -> Result<u64, String> {
    duration::within(text, MS..=S)
}

impl Grid {
    /// Its scenarios, on plain DualPI2.
    pub fn cells(&self) -> Vec<Scenario> {
        let mut list = Vec::new();
        for cc in &self.controls {
            for bits_per_s in &self.rates {
                let rtts = self.rtts.iter();
                list.extend(rtts.map(|rtt_ns| cell(*cc, *bits_per_s, *rtt_ns)));
            }
        }
        list
    }
}
