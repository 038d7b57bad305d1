#!/usr/bin/env python3
"""Trains set-points of DualPI2 with PPO of Stable-Baselines3, and exports the policy.

    pip install ./python[sb3]
    examples/python/train_sb3.py --out out/sb3
    l4sllm policy info out/sb3
    l4sllm run headroom --policy out/sb3 --out out/headroom

The actor is the network that the queue's engines run (l4sllm.network), so the export is
exact: at the end, the decisions of both are compared on the observations of an episode.
"""

import argparse
import time

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

import l4sllm
from l4sllm.network import PolicyNetwork

#: Largest difference of the exported policy's outputs.
TOLERANCE = 1e-5


class NativeVecEnv(VecEnv):
    """The native vector environment for Stable-Baselines3, which resets within a step."""

    def __init__(self, count, seed, **options):
        self.env = gymnasium.make_vec("l4sllm/DualPI2-v0", num_envs=count, **options)
        super().__init__(
            count, self.env.single_observation_space, self.env.single_action_space
        )
        self.first_seed = seed

    def reset(self):
        observations, _ = self.env.reset(seed=self.first_seed)
        return observations

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        observations, rewards, _, ends, info = self.env.step(self.actions)
        infos = [{} for _ in range(self.num_envs)]
        if ends.any():
            last = observations
            observations, _ = self.env.reset(options={"reset_mask": ends})
            for at in np.flatnonzero(ends):
                infos[at] = {
                    "terminal_observation": last[at],
                    "TimeLimit.truncated": True,
                    "outcome": info["outcome"][at],
                }
        return observations, rewards.astype(np.float32), ends, infos

    def close(self):
        self.env.close()

    def get_attr(self, name, indices=None):
        return [getattr(self.env, name)] * self.num_envs

    def set_attr(self, name, value, indices=None):
        raise NotImplementedError

    def env_method(self, name, *args, indices=None, **kwargs):
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * self.num_envs


class Backbone(BaseFeaturesExtractor):
    """Everything in front of the head; the head is the actor's only layer."""

    def __init__(self, observation_space, config):
        super().__init__(observation_space, config["backbone"]["n_embd"])
        self.network = PolicyNetwork(config)

    def forward(self, observations):
        return self.network.hidden(observations)


def config_of(layers, width, heads, inner):
    """The configuration of the built-in policy `context` with another size."""
    config = gymnasium.make("l4sllm/DualPI2-v0").unwrapped.policy_config
    config["backbone"].update(n_layer=layers, n_embd=width, n_head=heads, n_inner=inner)
    return config


def create(envs, config, seed):
    """Create a PPO whose deterministic action is the head's output."""
    return PPO(
        "MlpPolicy",
        envs,
        n_steps=256,
        batch_size=512,
        n_epochs=5,
        gamma=0.9,  # a decision affects a few intervals
        learning_rate=1e-3,
        ent_coef=0.0,
        seed=seed,
        device="cpu",
        policy_kwargs=dict(
            features_extractor_class=Backbone,
            features_extractor_kwargs=dict(config=config),
            share_features_extractor=False,
            net_arch=dict(pi=[], vf=[64, 64]),
            activation_fn=nn.Tanh,
            log_std_init=-0.7,
        ),
    )


def export(model, directory, **changes):
    """Write the actor as a policy directory; its spreads are those of the exploration."""
    policy = model.policy
    network = policy.pi_features_extractor.network
    with torch.no_grad():
        weight, bias = network.tensor("head.weight"), network.tensor("head.bias")
        weight.zero_()
        weight[:4].copy_(policy.action_net.weight)
        bias[:4].copy_(policy.action_net.bias)
        bias[4:].copy_(policy.log_std.clamp(-5, 1))
    network.save(directory, **changes)


def greatest_difference(model, directory, seed, **options):
    """Compare decisions on an episode that the exported policy drives."""
    exported = l4sllm.Policy(directory)
    env = gymnasium.make("l4sllm/DualPI2-v0", **options)
    space = env.action_space
    observation, _ = env.reset(seed=seed)
    greatest, ended = 0.0, False
    while not ended:
        outputs = np.frombuffer(exported.outputs(observation.tobytes()), np.float32)
        action = np.clip(outputs, space.low, space.high)
        expected, _ = model.predict(observation, deterministic=True)
        greatest = max(greatest, float(np.abs(action - expected).max()))
        observation, _, _, ended, _ = env.step(action)
    return greatest


def evaluate(decide, seed, episodes, **options):
    """Mean reward of a step over new conditions."""
    env = gymnasium.make("l4sllm/DualPI2-v0", **options)
    rewards = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        ended = False
        while not ended:
            observation, reward, _, ended, _ = env.step(decide(observation))
            rewards.append(reward)
    return float(np.mean(rewards))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="out/sb3", help="policy directory to write")
    parser.add_argument("--steps", type=int, default=60_000, help="environment steps")
    parser.add_argument("--envs", type=int, default=16, help="parallel emulators")
    parser.add_argument(
        "--duration", type=float, default=20.0, help="measured s of an episode"
    )
    parser.add_argument(
        "--max-rate", type=float, default=60.0, help="of the links, Mbit/s"
    )
    parser.add_argument("--families", default="stationary,flow-counts,rtt-mix")
    parser.add_argument("--episodes", type=int, default=12, help="of the evaluation")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--mlp", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    args = arguments()
    options = dict(
        families=args.families.split(","), duration=args.duration, max_rate=args.max_rate
    )
    torch.set_num_threads(1)  # faster for a network of this size
    config = config_of(args.layers, args.width, args.heads, args.mlp)
    model = create(NativeVecEnv(args.envs, args.seed, **options), config, args.seed)
    decide = lambda observation: model.predict(observation, deterministic=True)[0]  # noqa: E731
    unseen = args.seed + 1_000_000
    print(f"reward before  {evaluate(decide, unseen, args.episodes, **options):.3f}")
    began = time.monotonic()
    model.learn(args.steps)
    print(f"trained        {args.steps} steps in {time.monotonic() - began:.0f} s")
    print(f"reward after   {evaluate(decide, unseen, args.episodes, **options):.3f}")
    export(model, args.out, name="sb3", trained_on=None)
    greatest = greatest_difference(model, args.out, unseen, **options)
    print(f"exported       {args.out}, greatest difference {greatest:.1e}")
    if greatest > TOLERANCE:
        raise SystemExit(f"the exported decisions differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
