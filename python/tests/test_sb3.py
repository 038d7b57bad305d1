"""The example that trains with Stable-Baselines3."""

import importlib.util
from pathlib import Path

import pytest

import l4sllm

pytest.importorskip("stable_baselines3")

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = dict(scenario=Path(__file__).parent / "small.toml")


@pytest.fixture(scope="module")
def example():
    path = ROOT / "examples/python/train_sb3.py"
    spec = importlib.util.spec_from_file_location("train_sb3", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_exported_decisions_equal_the_trained_ones(example, tmp_path):
    config = example.config_of(layers=1, width=16, heads=2, inner=32)
    model = example.create(example.NativeVecEnv(2, 1, **OPTIONS), config, seed=1)
    before = model.policy.action_net.weight.detach().clone()
    model.learn(512)
    assert not before.equal(model.policy.action_net.weight.detach())
    example.export(model, tmp_path, name="sb3")
    assert example.greatest_difference(model, tmp_path, 7, **OPTIONS) <= 1e-5
    assert '"name": "sb3"' in l4sllm.Policy(tmp_path).config


def test_adapter_resets_ended_episodes_within_the_step(example):
    import numpy as np

    envs = example.NativeVecEnv(2, 1, **OPTIONS)
    first = envs.reset()
    for _ in range(30):
        observations, _, ends, infos = envs.step(np.zeros((2, 4), np.float32))
        if ends.any():
            break
    assert ends.all() and infos[0]["TimeLimit.truncated"]
    last = infos[0]["terminal_observation"]
    assert last.shape == first[0].shape and not np.array_equal(last, observations[0])
    assert 0 < infos[1]["outcome"]["utilisation"] <= 1
