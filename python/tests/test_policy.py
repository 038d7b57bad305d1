"""Policies in Python: the plain engine, and the network in PyTorch."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

import l4sllm

ID = "l4sllm/DualPI2-v0"
SMALL = Path(__file__).parent / "small.toml"


def observations(steps=6):
    """Observations of an episode that the policy `context` drives."""
    env = gymnasium.make(ID, scenario=SMALL)
    policy = l4sllm.Policy(l4sllm.find_policy("context"))
    seen = [env.reset(seed=1)[0]]
    for _ in range(steps):
        outputs = np.frombuffer(policy.outputs(seen[-1].tobytes()), np.float32)
        seen.append(env.step(outputs)[0])
    return policy, np.stack(seen)


def test_policy_decides_on_observations():
    policy, seen = observations()
    together = np.frombuffer(policy.outputs(seen.tobytes()), np.float32).reshape(-1, 4)
    assert together.shape == (7, 4) and len(policy.hash) == 64
    each = [np.frombuffer(policy.outputs(one.tobytes()), np.float32) for one in seen]
    np.testing.assert_array_equal(together, each)
    with pytest.raises(ValueError, match="expected 709 numbers for each"):
        policy.outputs(b"\0" * 8)


def test_missing_policy_is_named():
    with pytest.raises(l4sllm.PolicyError, match="nowhere"):
        l4sllm.Policy("/nowhere")


def test_network_in_torch_equals_the_engine(tmp_path):
    torch = pytest.importorskip("torch")
    from l4sllm.network import PolicyNetwork

    policy, seen = observations()
    env = gymnasium.make(ID).unwrapped
    network = PolicyNetwork(env.policy_config).load("context")
    with torch.no_grad():
        outputs = network(torch.from_numpy(seen))[:, :4].numpy()
    engine = np.frombuffer(policy.outputs(seen.tobytes()), np.float32).reshape(-1, 4)
    np.testing.assert_allclose(outputs, engine, atol=1e-5)
    # Saved and loaded, it is the same policy.
    network.save(tmp_path / "copy")
    copy = l4sllm.Policy(tmp_path / "copy")
    assert copy.outputs(seen.tobytes()) == policy.outputs(seen.tobytes())


def test_network_of_scalars_equals_the_engine(tmp_path):
    torch = pytest.importorskip("torch")
    from l4sllm.network import PolicyNetwork

    config = gymnasium.make(ID).unwrapped.policy_config
    for feature in config["features"]:
        feature["encoder"] = {"scalar": {"width": 8, "encoding": "none"}}
    config["backbone"].update(n_layer=2, n_embd=24, n_head=3, n_inner=40, n_positions=24)
    config["head"]["residual"] = True
    torch.manual_seed(1)
    PolicyNetwork(config).save(tmp_path, name="scalars")
    env = gymnasium.make(ID, policy=tmp_path, scenario=SMALL)
    assert env.observation_space.shape == (1 + 22 + 4,)
    seen, _ = env.reset(seed=1)
    network = PolicyNetwork(config).load(tmp_path)
    with torch.no_grad():
        outputs = network(torch.from_numpy(seen[None]))[0, :4].numpy()
    engine = np.frombuffer(l4sllm.Policy(tmp_path).outputs(seen.tobytes()), np.float32)
    np.testing.assert_allclose(outputs, engine, atol=1e-5)


def test_tensors_that_do_not_fit_are_named(tmp_path):
    pytest.importorskip("torch")
    from l4sllm.network import PolicyNetwork

    network = PolicyNetwork(gymnasium.make(ID).unwrapped.policy_config)
    network.config["head"]["kind"]["set_points"]["tupdate_ms"] = 0
    with pytest.raises(l4sllm.PolicyError, match="tupdate_ms"):
        network.save(tmp_path)
