//! Classification of the keys of a Hugging Face configuration: read, without
//! effect on hidden states, or refused.
//!
//! A key is read by the family's struct, renamed to such a key (`attribute_map`
//! of `transformers`), known to have no effect on hidden states, or refused by
//! name: unknown keys could change the numbers. tests/parity/make_references.py
//! has the table for testing this.

use serde_json::{Map, Value};

use super::BackboneError;

/// A family's keys.
struct Family {
    /// Keys of the family's struct.
    read: &'static [&'static str],
    /// Aliases of keys: the alias, then the key that is read.
    aliases: &'static [(&'static str, &'static str)],
    /// Keys of this family without effect on hidden states.
    irrelevant: &'static [&'static str],
}

const GPT2: Family = Family {
    read: &[
        "vocab_size",
        "n_positions",
        "n_embd",
        "n_layer",
        "n_head",
        "n_inner",
        "activation_function",
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "layer_norm_epsilon",
        "initializer_range",
        "scale_attn_weights",
        "scale_attn_by_inverse_layer_idx",
    ],
    aliases: &[
        ("hidden_size", "n_embd"),
        ("max_position_embeddings", "n_positions"),
        ("num_attention_heads", "n_head"),
        ("num_hidden_layers", "n_layer"),
    ],
    irrelevant: &[
        "add_cross_attention", // its layers run only with another model's states
        "hidden_dropout",      // of token classification
        "n_ctx",
        "n_special",
        "predict_special_tokens",
        "reorder_and_upcast_attn", // the same numbers in f32
        "summary_activation",
        "summary_first_dropout",
        "summary_last_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    ],
};

const OPT: Family = Family {
    read: &[
        "vocab_size",
        "max_position_embeddings",
        "hidden_size",
        "word_embed_proj_dim",
        "num_hidden_layers",
        "num_attention_heads",
        "ffn_dim",
        "activation_function",
        "dropout",
        "attention_dropout",
        "do_layer_norm_before",
        "_remove_final_layer_norm",
        "enable_bias",
        "layer_norm_elementwise_affine",
        "init_std",
    ],
    aliases: &[],
    irrelevant: &["activation_dropout", "layerdrop"], // of training
};

const LLAMA: Family = Family {
    read: &[
        "vocab_size",
        "max_position_embeddings",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "hidden_act",
        "rms_norm_eps",
        "attention_bias",
        "mlp_bias",
        "attention_dropout",
        "initializer_range",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
    ],
    aliases: &[],
    irrelevant: &["max_sequence_length", "pretraining_tp"],
};

const T5: Family = Family {
    read: &[
        "vocab_size",
        "d_model",
        "d_kv",
        "d_ff",
        "num_layers",
        "num_decoder_layers",
        "num_heads",
        "relative_attention_num_buckets",
        "relative_attention_max_distance",
        "dropout_rate",
        "layer_norm_epsilon",
        "initializer_factor",
        "feed_forward_proj",
        "dense_act_fn",
        "is_gated_act",
        "tie_word_embeddings",
        "causal",
    ],
    aliases: &[
        ("hidden_size", "d_model"),
        ("num_attention_heads", "num_heads"),
        ("num_hidden_layers", "num_layers"),
        ("head_dim", "d_kv"),
    ],
    irrelevant: &["n_positions", "scale_decoder_outputs"],
};

/// Keys of every family without effect on hidden states: about tokens and output
/// layers, files, and return values.
const IRRELEVANT: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_commit_hash",
    "_experts_implementation_internal",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attn_implementation",
    "auto_map",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "dtype",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "prefix",
    "problem_type",
    "return_dict",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_last_hidden_states",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
    // About generation.
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// Parameters used only by types of rotary frequencies that are refused by name.
const OTHER_ROPE: &[&str] = &[
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "long_factor",
    "mscale",
    "mscale_all_dim",
    "short_factor",
    "truncate",
];

/// Renames aliased keys, and refuses keys that could change the numbers.
pub(super) fn settle(
    file: &str,
    family: &str,
    keys: &mut Map<String, Value>,
) -> Result<(), BackboneError> {
    let table = match family {
        "gpt2" => &GPT2,
        "opt" => &OPT,
        "llama" => &LLAMA,
        "t5" => &T5,
        _ => return Ok(()),
    };
    // As in `transformers`, which takes the decoder's layers from num_layers
    // before it considers that key's alias.
    if family == "t5" && is_nothing(keys.get("num_decoder_layers")) {
        let layers = keys.get("num_layers").cloned();
        let default = Value::from(super::T5Config::default().num_layers);
        if keys.contains_key("num_hidden_layers") {
            keys.insert("num_decoder_layers".into(), layers.unwrap_or(default));
        }
    }
    for (alias, name) in table.aliases {
        let Some(value) = keys.remove(*alias) else {
            continue;
        };
        match keys.get(*name) {
            Some(other) if !same(other, &value) => {
                let want = format!("{other}: it is an alias of {name}, which is {other}");
                return Err(BackboneError::value(file, *alias, value, want));
            }
            _ => keys.insert((*name).to_owned(), value),
        };
    }
    for parameters in ["rope_scaling", "rope_parameters"] {
        if let Some(Value::Object(parameters)) = keys.get_mut(parameters) {
            parameters.retain(|key, _| !OTHER_ROPE.contains(&key.as_str()));
        }
    }
    let known = |key: &str| {
        [table.read, table.irrelevant, IRRELEVANT]
            .iter()
            .any(|list| list.contains(&key))
            || key.ends_with("_token_id")
            || key.ends_with("_token_ids")
            || key.ends_with("_token_index")
    };
    for (key, value) in &*keys {
        // `is_causal: false` would make a causal model non-causal.
        let neutral = match key.as_str() {
            "is_causal" => *value == Value::Bool(true),
            _ => is_nothing(Some(value)),
        };
        if !known(key) && !neutral {
            return Err(BackboneError::Syntax {
                file: file.to_owned(),
                key: key.to_owned(),
                reason: format!(
                    "unknown field `{key}`: {family} has no such key, and it could change the \
                     results"
                ),
            });
        }
    }
    Ok(())
}

/// The same number, whether written as 4 or as 4.0, or the same value.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

/// Absent, null, false or empty.
pub(super) fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(items)) => items.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::{BackboneConfig, Gpt2Config, LlamaConfig, OptConfig, T5Config};
    use super::*;

    #[test]
    fn known_keys_match_the_struct() {
        let configs = [
            (&GPT2, BackboneConfig::Gpt2(Gpt2Config::default())),
            (&OPT, BackboneConfig::Opt(OptConfig::default())),
            (&LLAMA, BackboneConfig::Llama(LlamaConfig::default())),
            (&T5, BackboneConfig::T5(T5Config::default())),
        ];
        for (family, config) in configs {
            let Value::Object(keys) = serde_json::to_value(&config).unwrap() else {
                unreachable!("a struct is an object")
            };
            for key in keys.keys().filter(|key| *key != "model_type") {
                assert!(family.read.contains(&key.as_str()), "{key}");
            }
        }
    }
}
