//! Initialisation of each family's weights.

use super::{BackboneConfig, Gpt2Config, T5Config};

/// Initial content of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// Zeros.
    Zeros,
    /// This constant.
    Constant(f64),
    /// Normal, with mean 0 and this standard deviation.
    Normal(f64),
}

impl BackboneConfig {
    /// The family's initialisation of the tensor of this name, one of
    /// [`BackboneConfig::specs`].
    pub fn initial(&self, name: &str) -> Initial {
        match self {
            BackboneConfig::Gpt2(c) => gpt2(c, name),
            BackboneConfig::Opt(c) => plain(c.init_std, name),
            BackboneConfig::Llama(c) => plain(c.initializer_range, name),
            BackboneConfig::T5(c) => t5(c, name),
        }
    }
}

fn plain(deviation: f64, name: &str) -> Initial {
    match name.rsplit_once('.') {
        Some((_, "bias")) => Initial::Zeros,
        Some((module, _)) if is_norm(module) => Initial::Constant(1.0),
        _ => Initial::Normal(deviation),
    }
}

fn gpt2(config: &Gpt2Config, name: &str) -> Initial {
    if name.ends_with("c_proj.weight") {
        // 2 n_layer parts add to the residual stream.
        let parts = 2.0 * config.n_layer as f64;
        return Initial::Normal(config.initializer_range / parts.sqrt());
    }
    plain(config.initializer_range, name)
}

fn t5(config: &T5Config, name: &str) -> Initial {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    let inputs = match module.rsplit('.').next() {
        // This includes the scale of attention scores.
        Some("q") => config.d_model * config.d_kv,
        Some("o") => config.num_heads * config.d_kv,
        Some("wo") => config.d_ff,
        _ if is_norm(module) => return Initial::Constant(config.initializer_factor),
        _ => config.d_model,
    };
    Initial::Normal(config.initializer_factor / (inputs as f64).sqrt())
}

fn is_norm(module: &str) -> bool {
    let last = module.rsplit('.').next().unwrap_or(module);
    last.contains("norm") || last.starts_with("ln_")
}
