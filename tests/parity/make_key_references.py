#!/usr/bin/env python3
"""Writes the references that model/tests/backbones/keys.rs compares with: for
each key of a configuration what `transformers` makes of it, and for each way
in which `peft` chooses layers what it gives.

  keys/FAMILY/model.safetensors     random weights for every case of the family
  keys/FAMILY/expected.safetensors  embeddings, and a hidden state for each case
  keys/FAMILY/cases.json            what each case changes of the base's keys
  keys/adapters/NAME/               an adapter as `peft` saves it
  keys/adapters/expected.safetensors, cases.json

A case is `read` (its key changes the numbers, or names them otherwise), of
`no effect`, or `refused`: not supported here, whatever `transformers` does.
All of it comes from fixed seeds on the CPU, in f32, with eager attention."""
import argparse
import contextlib
import json
import pathlib
import shutil
import tempfile

import peft
import torch
import transformers
from safetensors.torch import save_file

from make_references import bare, randomise

BATCH, TOKENS = 2, 9
ABSENT = "(absent)"

LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

# Keys of every family without effect.
COMMON = [
    {"use_cache": False},
    {"tie_word_embeddings": False},
    {"output_hidden_states": True, "output_attentions": True},
    {"chunk_size_feed_forward": 2},
    {"torch_dtype": "float16"},
    {"dtype": "bfloat16"},
    {"bos_token_id": 3, "eos_token_id": 4, "pad_token_id": 5, "decoder_start_token_id": 0},
    {"task_specific_params": {"summarization": {"num_beams": 4}}},
    {"id2label": {"0": "a"}, "label2id": {"a": 0}},
    {"is_decoder": True},
    {"max_length": 7, "do_sample": True, "temperature": 0.5},
    {"_name_or_path": "somewhere", "transformers_version": "4.1.0", "architectures": ["Some"]},
    {"is_causal": True},
    {"gradient_checkpointing": True},
]
UNKNOWN = [
    {"is_causal": False},
    {"per_layer_config": {"0": {"layer_norm_epsilon": 0.1}}},
    {"quantization_config": {"quant_method": "gptq"}},
    {"pruned_heads": {"0": [1]}},
    {"sliding_window": 4},
    {"something_new": 3},
]

FAMILIES = {
    "gpt2": dict(
        base=dict(model_type="gpt2", vocab_size=8, n_positions=32, n_embd=16, n_layer=2, n_head=2),
        read=[
            {"n_embd": ABSENT, "hidden_size": 16},
            {"n_head": ABSENT, "num_attention_heads": 4},
            {"n_layer": ABSENT, "num_hidden_layers": 1},
            {"n_positions": ABSENT, "max_position_embeddings": 32},
            {"n_head": 4, "num_attention_heads": 4},
            {"n_head": 8}, {"n_layer": 1}, {"layer_norm_epsilon": 1e-3},
            *({"activation_function": name} for name in
              ["gelu", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish"]),
            {"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True},
        ],
        none=[
            {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}, {"initializer_range": 0.5},
            {"reorder_and_upcast_attn": True}, {"add_cross_attention": True}, {"n_ctx": 7},
            {"summary_type": "mean", "summary_use_proj": False, "summary_first_dropout": 0.3},
            {"n_special": 0, "predict_special_tokens": True, "output_past": True},
        ],
        refused=[{"num_attention_heads": 4}, {"hidden_size": 24}, {"n_layers": 1}],
    ),
    "opt": dict(
        base=dict(model_type="opt", vocab_size=8, max_position_embeddings=32, hidden_size=16,
                  num_hidden_layers=2, num_attention_heads=2, ffn_dim=32, word_embed_proj_dim=16),
        read=[
            {"num_attention_heads": 4}, {"num_hidden_layers": 1}, {"word_embed_proj_dim": ABSENT},
            *({"activation_function": name} for name in ["gelu", "gelu_new", "silu"]),
            {"do_layer_norm_before": False}, {"_remove_final_layer_norm": True},
            {"enable_bias": False}, {"layer_norm_elementwise_affine": False},
        ],
        none=[
            {"dropout": 0.5, "attention_dropout": 0.5, "activation_dropout": 0.5},
            {"layerdrop": 0.9}, {"init_std": 0.5}, {"prefix": "</s>"},
        ],
        refused=[{"n_head": 4}, {"scale_embedding": True}],
    ),
    "llama": dict(
        base=dict(model_type="llama", vocab_size=8, max_position_embeddings=32, hidden_size=16,
                  num_hidden_layers=2, num_attention_heads=4, intermediate_size=24),
        read=[
            {"num_attention_heads": 2}, {"num_hidden_layers": 1}, {"num_key_value_heads": 4},
            {"head_dim": 4}, {"rms_norm_eps": 1e-2},
            *({"hidden_act": name} for name in ["gelu", "relu", "gelu_pytorch_tanh"]),
            {"attention_bias": True}, {"mlp_bias": True},
            {"rope_theta": 50.0},
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_scaling": LINEAR | {"rope_theta": 50.0}},
            {"rope_scaling": {"rope_type": "default", "rope_theta": 50.0}},
            {"rope_scaling": LLAMA3 | {"rope_theta": 500.0, "original_max_position_embeddings": 16}},
            {"rope_scaling": LINEAR, "rope_theta": 50.0},
            {"rope_scaling": LINEAR | {"rope_theta": 70.0}, "rope_theta": 50.0},
            {"rope_parameters": LINEAR | {"rope_theta": 50.0}},
            {"rope_parameters": LINEAR, "rope_theta": 50.0},
            {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}, "rope_scaling": LINEAR},
            {"rope_parameters": LINEAR | {"rope_theta": 50.0}, "rope_scaling": {}},
            {"rope_parameters": LINEAR | {"rope_theta": 50.0}, "rope_scaling": None},
            {"rope_parameters": LLAMA3 | {"rope_theta": 500.0}},
            {"rope_parameters": LLAMA3 | {"rope_theta": 500.0}, "max_position_embeddings": 64},
            {"rope_parameters": LLAMA3 | {"rope_theta": 500.0, "original_max_position_embeddings": 16},
             "original_max_position_embeddings": 8},
            {"rope_scaling": LINEAR | {"type": "llama3"}},
        ],
        none=[
            {"attention_dropout": 0.5}, {"initializer_range": 0.5}, {"pretraining_tp": 2},
            {"max_position_embeddings": 7}, {"max_sequence_length": 7},
            {"partial_rotary_factor": 0.5},
            {"rope_scaling": {"rope_type": "default", "factor": 4.0, "beta_fast": 32.0}},
        ],
        refused=[
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            {"rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16}},
            {"rope_scaling": LINEAR, "partial_rotary_factor": 0.5},
            {"rope_parameters": {"full_attention": LINEAR}, "layer_types": ["full_attention"] * 2},
            {"rope_parameters": LINEAR | {"something_new": 3}},
            {"num_local_experts": 4},
        ],
    ),
    "t5": dict(
        base=dict(model_type="t5", vocab_size=8, d_model=16, d_kv=6, d_ff=24, num_layers=2,
                  num_decoder_layers=2, num_heads=2, relative_attention_num_buckets=8,
                  relative_attention_max_distance=16),
        read=[
            {"d_model": ABSENT, "hidden_size": 16},
            {"num_heads": ABSENT, "num_attention_heads": 2},
            {"d_kv": ABSENT, "head_dim": 6},
            {"num_layers": ABSENT, "num_hidden_layers": 1},
            # transformers takes the number of decoder layers from num_layers, by
            # default 6.
            {"num_layers": ABSENT, "num_decoder_layers": ABSENT, "num_hidden_layers": 1},
            {"num_layers": 1, "num_decoder_layers": ABSENT, "num_hidden_layers": 1},
            {"num_decoder_layers": ABSENT}, {"num_layers": 1}, {"num_decoder_layers": 1},
            {"layer_norm_epsilon": 1e-3}, {"relative_attention_max_distance": 8},
            *({"feed_forward_proj": name} for name in
              ["gelu", "gelu_new", "gated-gelu", "gated-silu", "gated-relu"]),
            {"dense_act_fn": "gelu"}, {"is_gated_act": True},
            {"feed_forward_proj": "gelu", "dense_act_fn": "gelu", "is_gated_act": True},
            {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu", "is_gated_act": True},
            {"feed_forward_proj": "gated-gelu", "is_gated_act": False},
        ],
        none=[
            {"dropout_rate": 0.5}, {"initializer_factor": 0.5}, {"classifier_dropout": 0.5},
            {"scale_decoder_outputs": False}, {"n_positions": 7}, {"is_encoder_decoder": True},
        ],
        refused=[{"num_hidden_layers": 1}, {"head_dim": 5}, {"tie_encoder_decoder": True}],
    ),
}

# Name, family, whether peft gets the model without its output layer, and the
# adapter options.
QV = ["q_proj", "v_proj"]
ADAPTERS = [
    ("all-linear", "llama", False, dict(target_modules="all-linear")),
    ("names", "llama", False, dict(target_modules=QV)),
    ("whole-names", "llama", False, dict(target_modules=["model.layers.0.self_attn.q_proj",
                                                         "model.layers.1.mlp.up_proj"])),
    ("whole-names-bare", "llama", True, dict(target_modules=["layers.0.self_attn.q_proj"])),
    ("part-names", "llama", False, dict(target_modules=["self_attn.q_proj", "1.mlp.up_proj"])),
    ("pattern", "llama", False, dict(target_modules=r".*\.(q|v)_proj")),
    ("pattern-look-around", "llama", False, dict(target_modules=r"^(?!.*\.0\.).*(?:q|down)_proj$")),
    ("layers", "llama", False, dict(target_modules=QV, layers_to_transform=[1])),
    ("layer-pattern", "llama", False, dict(target_modules=QV, layers_to_transform=0,
                                           layers_pattern="layers")),
    ("layer-patterns-bare", "llama", True, dict(target_modules=QV, layers_to_transform=[1],
                                                layers_pattern=["h", "layers"])),
    ("layers-of-whole-names", "llama", False,
     dict(target_modules=["model.layers.0.self_attn.q_proj", "v_proj"], layers_to_transform=[1])),
    ("ranks", "llama", False, dict(target_modules=QV, rank_pattern={
        "q_proj": 3, r"layers\.1\.self_attn\.v_proj": 1})),
    ("alphas", "llama", False, dict(target_modules=QV, alpha_pattern={"1.self_attn.q_proj": 9})),
    ("ranks-rslora", "llama", False, dict(target_modules=QV, use_rslora=True, rank_pattern={
        ".*0.*v_proj": 4}, alpha_pattern={"v_proj": 2})),
    ("excluded", "llama", False, dict(target_modules="all-linear",
                                      exclude_modules=["k_proj", "model.layers.0.mlp.up_proj"])),
    ("excluded-pattern", "llama", False, dict(target_modules=QV, exclude_modules=r".*\.1\..*")),
    ("fan-in", "llama", False, dict(target_modules=QV, fan_in_fan_out=True)),
    ("gaussian", "llama", False, dict(target_modules=QV, init_lora_weights="gaussian")),
    ("gpt2-fan-out", "gpt2", False, dict(target_modules=["c_attn"], fan_in_fan_out=False)),
    ("gpt2-all-linear", "gpt2", False, dict(target_modules="all-linear")),
    ("gpt2-defaults", "gpt2", True, dict()),
    ("opt-layers", "opt", False, dict(target_modules=QV + ["fc1"], layers_to_transform=[0])),
    ("t5-pattern", "t5", False, dict(target_modules=r"decoder\..*\.(q|wo)")),
    ("t5-all-linear", "t5", False, dict(target_modules="all-linear")),
]


def configured(base, changes):
    keys = {**base, **changes}
    return {key: value for key, value in keys.items() if value != ABSENT}


def load(keys, headed=False):
    """The model that `transformers` makes of a config.json."""
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory, "config.json").write_text(json.dumps(keys))
        config = transformers.AutoConfig.from_pretrained(directory)
    config._attn_implementation = "eager"
    kinds = {"gpt2": (transformers.GPT2Model, transformers.GPT2LMHeadModel),
             "opt": (transformers.OPTModel, transformers.OPTForCausalLM),
             "llama": (transformers.LlamaModel, transformers.LlamaForCausalLM),
             "t5": (transformers.T5Model, transformers.T5ForConditionalGeneration)}
    config.dtype = torch.float32
    return kinds[keys["model_type"]][headed](config).float().eval()


def hidden(model, embeds):
    """The last hidden state; a T5's as in make_references.py."""
    with torch.no_grad():
        inner = bare(model)
        if model.config.model_type != "t5":
            return inner(inputs_embeds=embeds, return_dict=True).last_hidden_state.contiguous()
        encoded = model.get_encoder()(inputs_embeds=embeds, return_dict=True).last_hidden_state
        decoder = model.get_decoder()
        return decoder(inputs_embeds=encoded, encoder_hidden_states=encoded,
                       return_dict=True).last_hidden_state.contiguous()


def fill(model, weights):
    """Gives a model the weights that all cases share."""
    state = model.state_dict()
    kept = {name: weights[name] for name in state if name in weights}
    for name in state:
        assert name in kept or "crossattention" in name or "embed_tokens" in name \
            or name in ("wte.weight", "shared.weight", "lm_head.weight"), name
    model.load_state_dict(kept, strict=False)
    return model


def family(name, table, directory, seed):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    base = table["base"]
    weights = {}
    cases = [("read", keys) for keys in table["read"]]
    cases += [("no effect", keys) for keys in table["none"] + COMMON]
    for _, keys in cases:
        model = load(configured(base, keys))
        scale = 0.05 if name == "t5" else 0.15
        randomise(model.parameters(), scale, generator)
        for key, value in model.state_dict().items():
            if any(part in key for part in ("embed_tokens", "wte", "shared", "crossattention")):
                continue
            assert weights.setdefault(key, value.clone()).shape == value.shape, (keys, key)
    embeds = torch.randn(BATCH, TOKENS, 16, generator=generator)
    plain = hidden(fill(load(base), weights), embeds)
    expected = {"embeds": embeds, "hidden": plain}
    listed = []
    for verdict, keys in cases:
        state = hidden(fill(load(configured(base, keys)), weights), embeds)
        apart = (state - plain).abs().max().item()
        if verdict == "no effect":
            assert apart < 1e-5, (keys, apart)
            listed.append({"keys": keys, "verdict": verdict})
            continue
        expected[f"hidden.{len(listed)}"] = state
        listed.append({"keys": keys, "verdict": verdict, "apart": round(apart, 4)})
    listed += [{"keys": keys, "verdict": "refused"} for keys in table["refused"] + UNKNOWN]
    save_file(weights, directory / "model.safetensors")
    save_file(expected, directory / "expected.safetensors")
    # One case a line.
    lines = ",\n  ".join(json.dumps(case, sort_keys=True) for case in listed)
    text = f'{{"base": {json.dumps(base)},\n "absent": "{ABSENT}",\n "cases": [\n  {lines}\n]}}\n'
    (directory / "cases.json").write_text(text)
    return weights, embeds


def adapters(models, directory, seed):
    expected, listed = {}, []
    for name, kind, without_head, options in ADAPTERS:
        weights, embeds = models[kind]
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        model = load(FAMILIES[kind]["base"], headed=not without_head)
        # T5's output layer is a sibling of its stacks, and has no prefix.
        fill(model if kind == "t5" else bare(model), weights)
        plain = hidden(model, embeds)
        config = peft.LoraConfig(**(dict(r=2, lora_alpha=6) | options))
        adapted = peft.get_peft_model(model, config)
        randomise((p for n, p in adapted.named_parameters() if "lora_" in n), 0.3, generator)
        target = directory / name
        with contextlib.redirect_stdout(None):
            adapted.save_pretrained(target)
        (target / "README.md").unlink(missing_ok=True)
        path = target / "adapter_config.json"
        keys = json.loads(path.read_text())
        keys["base_model_name_or_path"] = None
        if isinstance(keys["target_modules"], list):
            keys["target_modules"].sort()
        if isinstance(keys["exclude_modules"], list):
            keys["exclude_modules"].sort()
        path.write_text(json.dumps(keys, indent=1, sort_keys=True) + "\n")
        state = hidden(adapted.base_model.model, embeds)
        assert (state - plain).abs().max() > 0.01, name
        expected[name] = state
        listed.append({"name": name, "family": kind})
    save_file(expected, directory / "expected.safetensors")
    (directory / "cases.json").write_text(json.dumps(listed, indent=1) + "\n")


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=here / "references" / "keys",
                        help="directory to write to, which is replaced (default: references/keys)")
    parser.add_argument("-s", "--seed", type=int, default=1, help="of all weights and inputs (default: 1)")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shutil.rmtree(arguments.output, ignore_errors=True)
    models = {}
    for number, (name, table) in enumerate(FAMILIES.items()):
        directory = arguments.output / name
        directory.mkdir(parents=True)
        models[name] = family(name, table, directory, arguments.seed + number)
    directory = arguments.output / "adapters"
    directory.mkdir()
    adapters(models, directory, arguments.seed + 100)


if __name__ == "__main__":
    main()
