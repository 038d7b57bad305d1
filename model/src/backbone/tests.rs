use super::*;

fn parse(text: &str) -> BackboneConfig {
    BackboneConfig::from_json("config.json", text.as_bytes()).unwrap()
}

fn refused(text: &str) -> String {
    let error = BackboneConfig::from_json("config.json", text.as_bytes()).unwrap_err();
    error.to_string()
}

/// Parameters including the token embedding, and the output layer if it is not
/// tied.
fn published(config: &BackboneConfig, vocabulary: u64, embeddings: u64) -> u64 {
    config.parameters() + embeddings * vocabulary * config.width() as u64
}

#[test]
fn gpt2_sizes_are_the_published_ones() {
    for (n_embd, n_layer, n_head, want) in [
        (768, 12, 12, 124_439_808),
        (1024, 24, 16, 354_823_168),
        (1280, 36, 20, 774_030_080),
        (1600, 48, 25, 1_557_611_200),
    ] {
        let config = BackboneConfig::Gpt2(Gpt2Config {
            n_embd,
            n_layer,
            n_head,
            ..Gpt2Config::default()
        });
        config.check("gpt2").unwrap();
        assert_eq!(published(&config, 50257, 1), want);
    }
}

#[test]
fn opt_sizes_are_the_published_ones() {
    for (hidden_size, num_hidden_layers, num_attention_heads, want) in [
        (768, 12, 12, 125_239_296),
        (1024, 24, 16, 331_196_416),
        (2048, 24, 32, 1_315_758_080),
        (2560, 32, 32, 2_651_596_800),
        (4096, 32, 32, 6_658_473_984),
        (5120, 40, 40, 12_853_473_280),
        (7168, 48, 56, 29_974_540_288),
        (9216, 64, 72, 65_719_701_504),
    ] {
        let post = num_hidden_layers == 24 && hidden_size == 1024;
        let config = BackboneConfig::Opt(OptConfig {
            hidden_size,
            num_hidden_layers,
            num_attention_heads,
            ffn_dim: 4 * hidden_size,
            word_embed_proj_dim: post.then_some(512),
            do_layer_norm_before: !post,
            ..OptConfig::default()
        });
        config.check("opt").unwrap();
        assert_eq!(published(&config, 50272, 1), want, "{hidden_size}");
    }
}

#[test]
fn llama_sizes_are_the_published_ones() {
    for (hidden_size, intermediate_size, num_hidden_layers, heads, shared, want) in [
        (4096, 11008, 32, 32, 32, 6_738_415_616),
        (5120, 13824, 40, 40, 40, 13_015_864_320),
        (8192, 28672, 80, 64, 8, 68_976_648_192),
    ] {
        let config = BackboneConfig::Llama(LlamaConfig {
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: Some(shared),
            ..LlamaConfig::default()
        });
        config.check("llama").unwrap();
        assert_eq!(published(&config, 32000, 2), want);
    }
}

#[test]
fn t5_sizes_are_the_published_ones() {
    for (d_model, d_ff, num_layers, num_heads, d_kv, want) in [
        (512, 2048, 6, 8, 64, 60_506_624),
        (768, 3072, 12, 12, 64, 222_903_552),
        (1024, 4096, 24, 16, 64, 737_668_096),
        (1024, 16384, 24, 32, 128, 2_851_598_336),
        (1024, 65536, 24, 128, 128, 11_307_321_344),
    ] {
        let config = T5Config {
            d_model,
            d_ff,
            num_layers,
            num_heads,
            d_kv,
            ..T5Config::default()
        };
        let config = BackboneConfig::T5(config);
        config.check("t5").unwrap();
        assert_eq!(published(&config, 32128, 1), want);
    }
    // 1.1 is gated, and its output layer is not the token embedding.
    let small = parse(
        r#"{"model_type": "t5", "d_model": 512, "d_ff": 1024, "num_layers": 8,
            "num_heads": 6, "feed_forward_proj": "gated-gelu"}"#,
    );
    assert_eq!(published(&small, 32128, 2), 76_961_152);
}

#[test]
fn missing_keys_have_hugging_face_defaults() {
    let config = parse(r#"{"model_type": "gpt2", "summary_type": "cls_index", "n_inner": null}"#);
    assert_eq!(config, BackboneConfig::Gpt2(Gpt2Config::default()));
    assert_eq!((config.width(), config.layers()), (768, 12));
    let config = parse(r#"{"model_type": "opt", "_remove_final_layer_norm": true}"#);
    let BackboneConfig::Opt(opt) = &config else {
        unreachable!()
    };
    assert!(!opt.has_final_norm());
    assert_eq!(config.tokens_max(), Some(2048));
}

#[test]
fn configuration_round_trips() {
    for text in [
        r#"{"model_type": "gpt2", "n_positions": 0, "activation_function": "gelu_fast"}"#,
        r#"{"model_type": "opt", "word_embed_proj_dim": 512, "do_layer_norm_before": false}"#,
        r#"{"model_type": "llama", "num_key_value_heads": 8, "rope_theta": 500000.0,
            "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.0}}"#,
        r#"{"model_type": "t5", "feed_forward_proj": "gated-gelu", "causal": true}"#,
    ] {
        let config = parse(text);
        assert_eq!(parse(&config.to_json()), config);
    }
}

#[test]
fn rope_frequencies_are_scaled() {
    let rope = |text: &str| {
        let BackboneConfig::Llama(config) = parse(text) else {
            unreachable!()
        };
        config.frequencies()
    };
    let plain = rope(r#"{"model_type": "llama", "head_dim": 8}"#);
    for (got, want) in plain.iter().zip([1.0, 0.1, 0.01, 0.001]) {
        assert!((got - want).abs() < 1e-12);
    }
    let linear = r#"{"model_type": "llama", "head_dim": 8,
        "rope_scaling": {"type": "linear", "factor": 4.0}}"#;
    for (got, want) in rope(linear).iter().zip(&plain) {
        assert!((got - want / 4.0).abs() < 1e-12);
    }
    // 8192 tokens are 1304, 130, 13 and 1.3 turns; frequencies with one to four
    // turns are interpolated.
    let llama3 = r#"{"model_type": "llama", "head_dim": 8, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#;
    let got = rope(llama3);
    let keep = (8.192 / std::f64::consts::TAU - 1.0) / 3.0;
    let slid = 0.001 * (keep + (1.0 - keep) / 8.0);
    for (got, want) in got.iter().zip([1.0, 0.1, 0.01, slid]) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
}

#[test]
fn errors_name_file_and_key() {
    for (text, parts) in [
        ("{", ["config.json: .: ", "EOF"]),
        ("[]", ["config.json: .: ", "not a JSON object"]),
        ("{}", ["config.json: model_type: ", "missing"]),
        (
            r#"{"model_type": "bert"}"#,
            ["model_type = bert", "gpt2, opt, llama or t5"],
        ),
        (
            r#"{"model_type": "gpt2", "num_attention_heads": 4, "n_head": 2}"#,
            ["num_attention_heads = 4", "an alias of n_head"],
        ),
        (
            r#"{"model_type": "gpt2", "num_layers": 4}"#,
            ["num_layers: unknown field", "gpt2 has no such key"],
        ),
        (
            r#"{"model_type": "llama", "is_causal": false}"#,
            ["is_causal: unknown field", "could change the results"],
        ),
        (
            r#"{"model_type": "gpt2", "n_layer": "x"}"#,
            ["config.json: n_layer: ", "invalid type"],
        ),
        (
            r#"{"model_type": "gpt2", "n_layer": -1}"#,
            ["config.json: n_layer: ", "invalid value"],
        ),
        (
            r#"{"model_type": "gpt2", "n_layer": 0}"#,
            ["n_layer = 0", "1..=1024"],
        ),
        (
            r#"{"model_type": "gpt2", "n_head": 7}"#,
            ["n_embd = 768", "multiple of n_head = 7"],
        ),
        (
            r#"{"model_type": "gpt2", "attn_pdrop": 1.0}"#,
            ["attn_pdrop = 1", "0 <= x < 1"],
        ),
        (
            r#"{"model_type": "gpt2", "layer_norm_epsilon": 0}"#,
            ["layer_norm_epsilon = 0", "1e-12"],
        ),
        (
            r#"{"model_type": "gpt2", "activation_function": "mish"}"#,
            [
                "config.json: activation_function: ",
                "unknown variant `mish`",
            ],
        ),
        (
            r#"{"model_type": "llama", "rope_scaling": {"type": "yarn", "factor": 2.0}}"#,
            ["rope_scaling.rope_type = yarn", "default, linear or llama3"],
        ),
        (
            r#"{"model_type": "llama", "rope_parameters": {"rope_type": "llama3"}}"#,
            ["rope_parameters.factor = nothing", "at least 1"],
        ),
        (
            r#"{"model_type": "llama", "num_key_value_heads": 5}"#,
            ["= 32", "num_key_value_heads = 5"],
        ),
        (
            r#"{"model_type": "llama", "head_dim": 5}"#,
            ["head_dim = 5", "multiple of a pair"],
        ),
        (
            r#"{"model_type": "t5", "feed_forward_proj": "gated-maxout"}"#,
            ["config.json: feed_forward_proj: ", "maxout"],
        ),
        (
            r#"{"model_type": "t5", "num_decoder_layers": 0}"#,
            ["num_decoder_layers = 0", "1..=1024"],
        ),
    ] {
        let error = refused(text);
        assert!(
            parts.iter().all(|part| error.contains(part)),
            "{text}: {error}"
        );
    }
    // Within another file, the error has no file name.
    let error = serde_json::from_str::<BackboneConfig>(r#"{"model_type": "gpt2", "n_head": "x"}"#);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("n_head: invalid type")
    );
}

#[test]
fn adapters_go_to_query_and_value_projections() {
    for (family, layers, parameters) in [
        // 128 (768 + 3 · 768) in 12 blocks.
        ("gpt2", 12, 4_718_592),
        ("opt", 24, 24 * 128 * 2 * 768),
        ("llama", 64, 64 * 128 * 2 * 4096),
        // Encoder 6 · 2, decoder 6 · 4.
        ("t5", 36, 36 * 128 * 2 * 512),
    ] {
        let config = parse(&format!(r#"{{"model_type": "{family}"}}"#));
        let lora = LoraConfig::default();
        assert_eq!(
            lora.layers(&config, "", "").unwrap().len(),
            layers,
            "{family}"
        );
        let specs = lora.specs(&config).unwrap();
        let count: usize = specs.iter().map(|(_, s)| s[0] * s[1]).sum();
        assert_eq!(count, parameters, "{family}");
        // Each next to an existing matrix.
        let base: std::collections::BTreeSet<String> =
            config.specs().into_iter().map(|(name, _)| name).collect();
        for (name, _) in specs {
            let (linear, _) = name.split_once(".lora_").unwrap();
            assert!(base.contains(&format!("{linear}.weight")), "{name}");
        }
    }
}

#[test]
fn adapter_keys_are_checked() {
    let config = parse(r#"{"model_type": "gpt2"}"#);
    let refused = |lora: LoraConfig| {
        let error = lora.layers(&config, "config.json", "adaptation.");
        error.unwrap_err().to_string()
    };
    let default = LoraConfig::default;
    assert_eq!(
        (default().scale("h.0.attn.c_attn"), default().r),
        (0.25, 128)
    );
    let text = refused(LoraConfig { r: 0, ..default() });
    assert_eq!(text, "config.json: adaptation.r = 0, expected 1..=65536");
    let text = refused(LoraConfig {
        alpha: 0.0,
        ..default()
    });
    assert!(text.contains("adaptation.alpha = 0"), "{text}");
    let target_modules = vec!["c_attn".to_owned(), "q_proj".to_owned()];
    let text = refused(LoraConfig {
        target_modules,
        ..default()
    });
    assert!(
        text.contains("adaptation.target_modules = q_proj"),
        "{text}"
    );
    assert!(text.contains("c_attn, c_fc, c_proj"), "{text}");
}

#[test]
fn the_first_flan_t5_is_gated() {
    let config = parse(
        r#"{"model_type": "t5", "feed_forward_proj": "gelu", "dense_act_fn": "gelu",
            "is_gated_act": true}"#,
    );
    let names: Vec<String> = config.linears().into_iter().map(|l| l.name).collect();
    assert!(names.iter().any(|name| name.ends_with(".wi_1")));
    let BackboneConfig::T5(t5) = &config else {
        unreachable!()
    };
    let want = FeedForward {
        activation: Activation::Gelu,
        gated: true,
    };
    assert_eq!(t5.feed_forward(), want);
    assert_eq!(parse(&config.to_json()), config);
}
