//! Published models by name: their shapes, as in their `config.json`.

use serde_json::{Value, json};

use super::BackboneConfig;

impl BackboneConfig {
    /// The configuration of a published model: `gpt2`, `gpt2-medium`,
    /// `opt-1.3b`, `llama-2-7b`, `t5-base`, `flan-t5-base` and similar models.
    pub fn named(name: &str) -> Option<BackboneConfig> {
        let value = gpt2(name)
            .or_else(|| opt(name))
            .or_else(|| llama(name))
            .or_else(|| t5(name))?;
        BackboneConfig::from_value(name, value).ok()
    }

    /// All names known to [`BackboneConfig::named`].
    pub fn names() -> Vec<String> {
        let names = |table: &[&str]| table.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let mut all = names(&GPT2.map(|row| row.0));
        all.extend(names(&OPT.map(|row| row.0)));
        all.extend(names(&LLAMA.map(|row| row.0)));
        all.extend(names(&T5.map(|row| row.0)));
        all.extend(T5_V1_1.map(|row| format!("t5-v1_1-{}", row.0)));
        all.extend(T5_V1_1.map(|row| format!("flan-t5-{}", row.0)));
        all
    }
}

/// Name, width, layers, heads.
const GPT2: [(&str, u32, u32, u32); 5] = [
    ("distilgpt2", 768, 6, 12),
    ("gpt2", 768, 12, 12),
    ("gpt2-medium", 1024, 24, 16),
    ("gpt2-large", 1280, 36, 20),
    ("gpt2-xl", 1600, 48, 25),
];

/// Name, width, layers, heads, units of the feed-forward part.
const OPT: [(&str, u32, u32, u32, u32); 8] = [
    ("opt-125m", 768, 12, 12, 3072),
    ("opt-350m", 1024, 24, 16, 4096),
    ("opt-1.3b", 2048, 24, 32, 8192),
    ("opt-2.7b", 2560, 32, 32, 10240),
    ("opt-6.7b", 4096, 32, 32, 16384),
    ("opt-13b", 5120, 40, 40, 20480),
    ("opt-30b", 7168, 48, 56, 28672),
    ("opt-66b", 9216, 64, 72, 36864),
];

/// Name, width, layers, heads, heads of keys and values, units of the
/// feed-forward part.
const LLAMA: [(&str, u32, u32, u32, u32, u32); 3] = [
    ("llama-2-7b", 4096, 32, 32, 32, 11008),
    ("llama-2-13b", 5120, 40, 40, 40, 13824),
    ("llama-2-70b", 8192, 80, 64, 8, 28672),
];

/// Name, width, layers, heads, width of a head, units of the feed-forward part.
const T5: [(&str, u32, u32, u32, u32, u32); 5] = [
    ("t5-small", 512, 6, 8, 64, 2048),
    ("t5-base", 768, 12, 12, 64, 3072),
    ("t5-large", 1024, 24, 16, 64, 4096),
    ("t5-3b", 1024, 24, 32, 128, 16384),
    ("t5-11b", 1024, 24, 128, 128, 65536),
];

/// The later models with a gated feed-forward part: size, width, layers, heads,
/// units of that part.
const T5_V1_1: [(&str, u32, u32, u32, u32); 5] = [
    ("small", 512, 8, 6, 1024),
    ("base", 768, 12, 12, 2048),
    ("large", 1024, 24, 16, 2816),
    ("xl", 2048, 24, 32, 5120),
    ("xxl", 4096, 24, 64, 10240),
];

fn gpt2(name: &str) -> Option<Value> {
    let (_, width, layers, heads) = GPT2.into_iter().find(|row| row.0 == name)?;
    Some(json!({
        "model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": heads,
    }))
}

fn opt(name: &str) -> Option<Value> {
    let (_, width, layers, heads, ffn) = OPT.into_iter().find(|row| row.0 == name)?;
    // The model with norms after its blocks has narrower embeddings.
    let after = name == "opt-350m";
    Some(json!({
        "model_type": "opt", "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "ffn_dim": ffn, "do_layer_norm_before": !after,
        "word_embed_proj_dim": if after { 512 } else { width },
    }))
}

fn llama(name: &str) -> Option<Value> {
    let (_, width, layers, heads, kv, mlp) = LLAMA.into_iter().find(|row| row.0 == name)?;
    Some(json!({
        "model_type": "llama", "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv, "intermediate_size": mlp,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    }))
}

fn t5(name: &str) -> Option<Value> {
    let later = name
        .strip_prefix("t5-v1_1-")
        .or_else(|| name.strip_prefix("flan-t5-"));
    if let Some(size) = later {
        let (_, width, layers, heads, ff) = T5_V1_1.into_iter().find(|row| row.0 == size)?;
        return Some(json!({
            "model_type": "t5", "d_model": width, "num_layers": layers, "num_heads": heads,
            "d_kv": 64, "d_ff": ff, "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": false,
        }));
    }
    let (_, width, layers, heads, kv, ff) = T5.into_iter().find(|row| row.0 == name)?;
    Some(json!({
        "model_type": "t5", "d_model": width, "num_layers": layers, "num_heads": heads,
        "d_kv": kv, "d_ff": ff,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid() {
        for name in BackboneConfig::names() {
            let config = BackboneConfig::named(&name).unwrap();
            config.check(&name).unwrap();
        }
        assert_eq!(BackboneConfig::named("gpt3"), None);
    }

    /// With token embeddings and output layers, which are omitted here, the
    /// models have their published numbers of parameters.
    #[test]
    fn models_have_their_published_sizes() {
        for (name, words, published) in [
            ("gpt2", 50257 * 768, 124_439_808),
            ("gpt2-xl", 50257 * 1600, 1_557_611_200),
            ("opt-125m", 50272 * 768, 125_239_296),
            ("opt-350m", 50272 * 512, 331_196_416),
            ("opt-1.3b", 50272 * 2048, 1_315_758_080),
            ("llama-2-7b", 2 * 32000 * 4096, 6_738_415_616),
            ("t5-small", 32128 * 512, 60_506_624),
            ("t5-base", 32128 * 768, 222_903_552),
            ("flan-t5-base", 2 * 32128 * 768, 247_577_856),
        ] {
            let bare = BackboneConfig::named(name).unwrap().parameters();
            assert_eq!(bare + words, published, "{name}");
        }
    }
}
