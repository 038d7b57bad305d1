#!/usr/bin/env python3
"""Writes the references that model/tests/backbones.rs and model/tests/lora.rs
compare with: for each variant of each family of backbones a directory with

  config.json, model*.safetensors   a tiny model with random weights, as
                                     `transformers` saves it
  expected.safetensors              embeddings, padding masks, and the hidden
                                     states that `transformers` gives for them
  adapter/                          a LoRA adapter as `peft` saves it
  adapted.safetensors               the hidden states with that adapter

All of it comes from fixed seeds on the CPU, in f32, with eager attention.
Versions: requirements.txt next to this file."""
import argparse
import contextlib
import copy
import json
import pathlib
import shutil

import peft
import torch
import transformers
from safetensors.torch import save_file

BATCH, TOKENS = 3, 20
# Number of tokens in each row of the batch, followed by padding.
LENGTHS = [TOKENS, 9, 1]

GPT2 = dict(vocab_size=8, n_positions=32, n_embd=16, n_layer=2, n_head=2)
OPT = dict(vocab_size=8, max_position_embeddings=32, hidden_size=16, num_hidden_layers=2,
           num_attention_heads=2, ffn_dim=32)
LLAMA = dict(vocab_size=8, max_position_embeddings=32, hidden_size=16, num_hidden_layers=2,
             num_attention_heads=4, intermediate_size=24)
T5 = dict(vocab_size=8, d_model=16, d_kv=6, d_ff=24, num_layers=2, num_heads=2,
          relative_attention_num_buckets=8, relative_attention_max_distance=16,
          # T5 does not scale its scores, so narrow models need small
          # weights.
          initializer_factor=0.4)


class Variant:
    """One model: `model` is the class that is saved, its base is what counts."""

    def __init__(self, name, model, config, targets, dtype=torch.float32, shards=None, lora=None):
        self.name, self.model, self.config, self.targets = name, model, config, targets
        self.dtype, self.shards, self.lora = dtype, shards, lora or {}


def variants():
    t = transformers
    return [
        Variant("gpt2", t.GPT2LMHeadModel, t.GPT2Config(**GPT2), ["c_attn"]),
        Variant("gpt2-scaled", t.GPT2Model,
                t.GPT2Config(**GPT2, n_inner=24, activation_function="gelu",
                             scale_attn_by_inverse_layer_idx=True, layer_norm_epsilon=1e-3),
                ["c_attn", "c_proj"], lora=dict(use_rslora=True)),
        Variant("opt", t.OPTForCausalLM, t.OPTConfig(**OPT), ["q_proj", "v_proj"]),
        # Like the model of 350M: norms after the layers, embeddings narrower
        # than blocks.
        Variant("opt-post", t.OPTModel,
                t.OPTConfig(**OPT, word_embed_proj_dim=8, do_layer_norm_before=False,
                            activation_function="gelu"), ["q_proj", "v_proj"]),
        Variant("opt-bare", t.OPTModel,
                t.OPTConfig(**OPT, enable_bias=False, layer_norm_elementwise_affine=False),
                ["q_proj", "v_proj"], dtype=torch.bfloat16),
        Variant("llama", t.LlamaForCausalLM, t.LlamaConfig(**LLAMA), ["q_proj", "v_proj"]),
        Variant("llama-gqa", t.LlamaForCausalLM,
                t.LlamaConfig(**LLAMA, num_key_value_heads=2, head_dim=6, attention_bias=True,
                              mlp_bias=True, rms_norm_eps=1e-5,
                              rope_parameters=dict(rope_type="llama3", rope_theta=500000.0,
                                                   factor=8.0, low_freq_factor=1.0,
                                                   high_freq_factor=4.0,
                                                   original_max_position_embeddings=16)),
                ["q_proj", "v_proj"], shards="12KB"),
        Variant("llama-linear", t.LlamaModel,
                t.LlamaConfig(**LLAMA, rope_parameters=dict(rope_type="linear", factor=2.5,
                                                            rope_theta=10000.0)),
                ["q_proj", "v_proj"], dtype=torch.float16),
        Variant("t5", t.T5Model, t.T5Config(**T5), ["q", "v"]),
        Variant("t5-gated", t.T5Model,
                t.T5Config(**T5, num_decoder_layers=1, feed_forward_proj="gated-gelu"), ["q", "v"]),
    ]


def bare(model):
    """The model without its output layer."""
    inner = getattr(model, model.base_model_prefix, None)
    return model if inner is None else inner


def hidden(model, embeds, mask):
    """The last hidden state.  A T5's decoder gets the encoder's output as its
    input as well, and does not see padding."""
    if not isinstance(model, transformers.T5Model):
        return model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    encoded = model.encoder(inputs_embeds=embeds, attention_mask=mask)
    return model(encoder_outputs=encoded, attention_mask=mask,
                 decoder_inputs_embeds=encoded.last_hidden_state,
                 decoder_attention_mask=mask).last_hidden_state


def outputs(model, embeds, masks):
    model.eval()
    with torch.no_grad():
        states = {"plain": hidden(model, embeds, None)}
        states |= {side: hidden(model, embeds, mask) for side, mask in masks.items()}
    return {f"hidden.{name}": state.contiguous() for name, state in states.items()}


def randomise(parameters, scale, generator):
    """Random weights everywhere, so that no bias is 0 and no norm is 1."""
    with torch.no_grad():
        for parameter in parameters:
            parameter += scale * torch.randn(parameter.shape, generator=generator)


def write(variant, directory, seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    config = copy.deepcopy(variant.config)
    config._attn_implementation = "eager"
    model = variant.model(config).float()
    randomise(model.parameters(), 0.15, generator)
    model = model.to(variant.dtype)
    size = {"max_shard_size": variant.shards} if variant.shards else {}
    with contextlib.redirect_stdout(None):
        model.save_pretrained(directory, **size)
    (directory / "generation_config.json").unlink(missing_ok=True)
    # Reload it, because the stored weights are the reference.
    model = variant.model.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")

    width = getattr(config, "word_embed_proj_dim", None) or config.hidden_size
    embeds = torch.randn(BATCH, TOKENS, width, generator=generator)
    place = torch.arange(TOKENS)
    lengths = torch.tensor(LENGTHS)[:, None]
    masks = {"left": (place >= TOKENS - lengths).long(), "right": (place < lengths).long()}
    expected = {"embeds": embeds}
    expected |= {f"mask.{side}": mask.to(torch.uint8) for side, mask in masks.items()}
    expected |= outputs(bare(model), embeds, masks)
    save_file(expected, directory / "expected.safetensors")

    lora = peft.LoraConfig(r=4, lora_alpha=6, lora_dropout=0.05, bias="none",
                           target_modules=variant.targets, task_type="FEATURE_EXTRACTION",
                           fan_in_fan_out=config.model_type == "gpt2", **variant.lora)
    adapted = peft.get_peft_model(model, lora)
    randomise((p for n, p in adapted.named_parameters() if "lora_" in n), 0.2, generator)
    adapted.save_pretrained(directory / "adapter")
    (directory / "adapter" / "README.md").unlink(missing_ok=True)
    tidy(directory / "adapter" / "adapter_config.json")
    states = outputs(bare(adapted.base_model.model), embeds, {"left": masks["left"]})
    save_file(states, directory / "adapted.safetensors")
    # The adapter must have a visible effect.
    assert (states["hidden.plain"] - expected["hidden.plain"]).abs().max() > 0.05


def tidy(path):
    """Nothing of the machine belongs into the file, nor the order of a set."""
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = None
    config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=here / "references",
                        help="directory to write to; what is there of these names is replaced "
                             "(default: references next to this file)")
    parser.add_argument("-s", "--seed", type=int, default=1, help="of all weights and inputs (default: 1)")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    total = 0
    for number, variant in enumerate(variants()):
        directory = arguments.output / variant.name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        write(variant, directory, arguments.seed + 1000 * number)
        size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
        total += size
        print(f"{variant.name:14} {size:7} bytes")
    print(f"{'total':14} {total:7} bytes")


if __name__ == "__main__":
    main()
