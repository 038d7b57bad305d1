"""The network of policies on summaries as a PyTorch module, for learners in Python.

    env = gymnasium.make("l4sllm/DualPI2-v0")
    network = PolicyNetwork(env.unwrapped.policy_config)
    network.save("my-policy")                      # l4sllm run --policy my-policy

The parameters have the names and layouts of model.safetensors (policies/FORMAT.md), so a
policy directory is loaded and saved exactly. The architecture is the one that the plain
engine runs: encoders of features, a GPT-2, a linear head; with a window of 1.
"""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from . import find_policy
from ._native import read_tensors, save_policy

__all__ = ["PolicyNetwork"]

#: Slope of the encoders' activation below 0.
LEAK = 0.01
#: Initial standard deviation of weights without another rule.
DEVIATION = 0.02


class PolicyNetwork(nn.Module):
    """The network of the policy configuration `config`, a dictionary as in config.json.

    `forward` maps observations [batch, 1 + inputs + 4] to the eight outputs of the head;
    `hidden` to the input of the head [batch, width].
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config = json.loads(json.dumps(config))
        backbone = config["backbone"]
        if backbone["model_type"] != "gpt2" or config["window"] != 1:
            raise ValueError("policy: expected a GPT-2 with a window of 1")
        self.width = width = backbone["n_embd"]
        self.heads = backbone["n_head"]
        inner = backbone.get("n_inner") or 4 * width
        shapes = {"return.weight": (width, 1), "return.bias": (width,)}
        shapes |= {"action.weight": (width, 4), "action.bias": (width,)}
        shapes["time.weight"] = (1, width)
        for feature in config["features"]:
            shapes |= _encoder_shapes(feature, width)
        shapes |= {"embed_norm.weight": (width,), "embed_norm.bias": (width,)}
        if backbone.get("n_positions"):
            shapes["backbone.wpe.weight"] = (backbone["n_positions"], width)
        if backbone.get("vocab_size"):
            shapes["backbone.wte.weight"] = (backbone["vocab_size"], width)
        for layer in range(backbone["n_layer"]):
            shapes |= _block_shapes(f"backbone.h.{layer}", width, inner)
        shapes |= {"backbone.ln_f.weight": (width,), "backbone.ln_f.bias": (width,)}
        shapes |= {"head.weight": (8, width), "head.bias": (8,)}
        # A dot is not allowed in a parameter's name.
        self._names = {name: name.replace(".", "/") for name in shapes}
        for name, shape in shapes.items():
            self.register_parameter(self._names[name], _initial(name, shape))

    def tensor(self, name: str) -> nn.Parameter:
        """Return the parameter with this name in model.safetensors."""
        return getattr(self, self._names[name])

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self._linear(self.hidden(observations), "head")

    def hidden(self, observations: torch.Tensor) -> torch.Tensor:
        """Map observations to the input of the head."""
        x = self._norm(self._tokens(observations), "embed_norm", 1e-5)
        token = x[:, -1]
        if "backbone.wpe.weight" in self._names:
            x = x + self.tensor("backbone.wpe.weight")[: x.shape[1]]
        epsilon = self.config["backbone"].get("layer_norm_epsilon", 1e-5)
        for layer in range(self.config["backbone"]["n_layer"]):
            x = self._block(x, f"backbone.h.{layer}", epsilon)
        # The head decides at the token before that of the action.
        x = self._norm(x[:, -1], "backbone.ln_f", epsilon)
        return x + token if self.config["head"]["residual"] else x

    def load(self, directory: str | PathLike[str]) -> PolicyNetwork:
        """Load the tensors of a policy directory of the same architecture."""
        with torch.no_grad():
            for name, shape, data in read_tensors(find_policy(directory)):
                values = np.frombuffer(data, np.float32).reshape(shape).copy()
                self.tensor(name).copy_(torch.from_numpy(values))
        return self

    def save(self, directory: str | PathLike[str], **changes: Any) -> None:
        """Write a policy directory, and check that the plain engine runs it.

        changes: keys of config.json to replace, such as name or trained_on.
        """
        tensors = {
            name: self.tensor(name).detach().cpu().float().contiguous().numpy().tobytes()
            for name in self._names
        }
        save_policy(directory, json.dumps({**self.config, **changes}), tensors)

    def _linear(self, x, name):
        return functional.linear(
            x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        )

    def _conv1d(self, x, name):
        # GPT-2's matrices are inputs x outputs.
        return x @ self.tensor(f"{name}.weight") + self.tensor(f"{name}.bias")

    def _norm(self, x, name, epsilon):
        weight, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        return functional.layer_norm(x, (self.width,), weight, bias, epsilon)

    def _tokens(self, observations):
        """Return the tokens of the budget and of the features, [batch, 1 + features, width]."""
        tokens = [self._linear(observations[:, :1], "return")]
        at = 1
        for feature in self.config["features"]:
            name, encoder = f"encoder.{feature['name']}", feature["encoder"]
            history = _history(encoder)
            series = observations[:, at : at + history]
            at += history
            if "scalar" in encoder:
                hidden = self._linear(series, f"{name}.hidden")
            else:
                channels = [
                    functional.conv1d(
                        series[:, None],
                        self.tensor(f"{name}.conv{kernel}.weight"),
                        self.tensor(f"{name}.conv{kernel}.bias"),
                    ).flatten(1)
                    for kernel in encoder["series"]["kernels"]
                ]
                hidden = torch.cat(channels, 1)
            hidden = functional.leaky_relu(hidden, LEAK)
            tokens.append(self._linear(hidden, f"{name}.project"))
        return torch.stack(tokens, 1) + self.tensor("time.weight")[0]

    def _block(self, x, name, epsilon):
        batch, length, width = x.shape
        joint = self._conv1d(
            self._norm(x, f"{name}.ln_1", epsilon), f"{name}.attn.c_attn"
        )
        query, key, value = (
            part.reshape(batch, length, self.heads, -1).transpose(1, 2)
            for part in joint.split(width, 2)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch, length, width)
        x = x + self._conv1d(mixed, f"{name}.attn.c_proj")
        hidden = self._conv1d(self._norm(x, f"{name}.ln_2", epsilon), f"{name}.mlp.c_fc")
        hidden = functional.gelu(hidden, approximate="tanh")
        return x + self._conv1d(hidden, f"{name}.mlp.c_proj")


def _history(encoder):
    return encoder["series"]["history"] if "series" in encoder else 1


def _encoder_shapes(feature, width):
    name, encoder = f"encoder.{feature['name']}", feature["encoder"]
    if "scalar" in encoder:
        if encoder["scalar"]["encoding"] != "none":
            raise ValueError(
                f"features: {feature['name']} has bins; expected a scalar or a series"
            )
        hidden = encoder["scalar"]["width"]
        shapes = {f"{name}.hidden.weight": (hidden, 1), f"{name}.hidden.bias": (hidden,)}
    else:
        series = encoder["series"]
        channels, hidden, shapes = series["width"], 0, {}
        for kernel in series["kernels"]:
            shapes[f"{name}.conv{kernel}.weight"] = (channels, 1, kernel)
            shapes[f"{name}.conv{kernel}.bias"] = (channels,)
            hidden += channels * (series["history"] - kernel + 1)
    shapes[f"{name}.project.weight"] = (width, hidden)
    shapes[f"{name}.project.bias"] = (width,)
    return shapes


def _block_shapes(name, width, inner):
    shapes = {}
    for norm in ("ln_1", "ln_2"):
        shapes |= {f"{name}.{norm}.weight": (width,), f"{name}.{norm}.bias": (width,)}
    for part, inputs, outputs in (
        ("attn.c_attn", width, 3 * width),
        ("attn.c_proj", width, width),
        ("mlp.c_fc", width, inner),
        ("mlp.c_proj", inner, width),
    ):
        shapes[f"{name}.{part}.weight"] = (inputs, outputs)
        shapes[f"{name}.{part}.bias"] = (outputs,)
    return shapes


def _initial(name, shape):
    """Return a parameter with the initial values of training in Rust."""
    values = torch.zeros(shape)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if name.endswith(("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")):
        values.fill_(1.0)
    elif name.endswith("hidden.bias") or name in ("return.weight", "action.weight"):
        values.uniform_(-1.0, 1.0)
    elif name.endswith("bias"):
        pass
    elif name.endswith("project.weight"):
        values.normal_(0.0, fan_in**-0.5)
    elif name.startswith("encoder."):
        values.uniform_(-(fan_in**-0.5), fan_in**-0.5)
    else:
        values.normal_(0.0, DEVIATION)
    return nn.Parameter(values)
