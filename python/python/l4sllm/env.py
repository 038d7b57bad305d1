"""`l4sllm/DualPI2-v0`: set-points of DualPI2, one decision per interval, in the emulator.

A step applies set-points and runs the emulator to the end of the next interval, in the loop
that `l4sllm train --online` uses for its roll-outs.

Observation: the input of the network of a policy on summaries. A vector of
1 + inputs + 4 float32 numbers: the scaled idle budget; for each feature of the policy's
config.json its scaled history, oldest first; and the outputs that correspond to the
set-points in force. Every number is within the clip of its scaling.

Action: the first four outputs of the head: o gives ln(target in ms) = mean + std * o, and
likewise alpha in Hz, beta in Hz and k. Beyond the bounds set-points do not change. On links
with regular bursts the adaptive rule decides instead, as in the daemon (`info["bursty"]`).

Reward, of the interval that the step ran: the negated cost of training in the loop,

    -( ln(sqrt(mean * max) / 10 ms) of the classic queue's delay
       + 0.15 ln(max / 1 ms) of the L4S queue's delay
       + caution * max(0, lost / idle_budget - margin) )

where lost = s ln(1 + idle / s), s = 5 %, idle = the link's idle share. A queue that
forwarded nothing adds nothing.

Info: `NAMES`, numbers about that interval (delays in ms, NaN for a queue that forwarded
nothing; utilisation as the share of time in which the link was busy; marked and dropped
packets), and the name of the scenario. `info["outcome"]` of the last step has the measured
part of the whole run. Episodes are truncated at the end of the run, never terminated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Union

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from numpy.typing import ArrayLike, NDArray

from . import find_policy, find_scenario
from ._native import INFO, Emulators

__all__ = ["NAMES", "DualPI2Env", "DualPI2VectorEnv"]

#: Names of the numbers in `info`.
NAMES = tuple(INFO)

_SUITE = Path(__file__).parent / "scenarios" / "suite"
_SEEDS = 2**63
_Path = Union[str, "PathLike[str]"]


def _emulators(count: int, threads: int, options: dict[str, Any]) -> Emulators:
    scenario = options["scenario"]
    options = {
        **options,
        "scenario": None if scenario is None else str(find_scenario(scenario)),
        "suite": str(options["suite"] or _SUITE),
        "families": list(options["families"] or []),
        "policy": str(find_policy(options["policy"])),
        "threads": threads,
    }
    return Emulators(count, json.dumps(options))


def _spaces(emulators: Emulators) -> tuple[Any, Any]:
    bound = np.frombuffer(emulators.observation_bounds, np.float32)
    low, high = (np.frombuffer(bound, np.float32) for bound in emulators.action_bounds)
    return spaces.Box(-bound, bound, dtype=np.float32), spaces.Box(
        low, high, dtype=np.float32
    )


def _observations(emulators: Emulators, count: int) -> NDArray[np.float32]:
    # A copy: the bytes are read-only.
    return np.frombuffer(emulators.observations(), np.float32).reshape(count, -1).copy()


def _infos(emulators: Emulators, count: int) -> NDArray[np.float64]:
    return np.frombuffer(emulators.infos(), np.float64).reshape(count, -1)


def _actions(action: ArrayLike, shape: tuple[int, ...]) -> bytes:
    action = np.ascontiguousarray(action, np.float32)
    if action.shape != shape or not np.isfinite(action).all():
        raise ValueError(f"action {action}: expected finite numbers of shape {shape}")
    return action.tobytes()


class DualPI2Env(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One emulated bottleneck. See the module for observations, actions and rewards.

    scenario: a scenario file or the name of a built-in one. Default: each episode has new
        conditions of the suite.
    suite, families, part: directory of suite.toml (built-in), families (all), "training" or
        "test" ranges.
    condition, suite_seed: one condition of the suite for all episodes, such as
        "stationary-00003", drawn with this seed.
    max_rate: maximum mean rate of conditions, Mbit/s.
    policy: a policy directory or the name of a built-in one, whose config.json defines
        features, scaling and head.
    duration: measured time after the warm-up, s (40); of a scenario, its whole time (its
        own).
    interval: time between decisions, s (that of the policy, 0.25).
    idle_budget: share of time that the link may be idle, 0.001 to 0.02, or "random" for a new
        one in each episode (that of the policy, 0.005).
    caution, margin: of the reward.
    """

    metadata = {"render_modes": []}

    def __init__(
        self,
        scenario: _Path | None = None,
        *,
        suite: _Path | None = None,
        families: Sequence[str] | None = None,
        condition: str | None = None,
        suite_seed: int = 1,
        part: str = "training",
        max_rate: float = 130.0,
        policy: _Path = "context",
        duration: float | None = None,
        interval: float | None = None,
        idle_budget: float | str | None = None,
        caution: float = 0.4,
        margin: float = 0.6,
        render_mode: None = None,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode {render_mode}: expected None")
        self._options = dict(
            scenario=scenario,
            suite=suite,
            families=families,
            condition=condition,
            suite_seed=suite_seed,
            part=part,
            max_rate=max_rate,
            policy=policy,
            duration=duration,
            interval=interval,
            idle_budget=idle_budget,
            caution=caution,
            margin=margin,
        )
        self.render_mode = None
        self._emulators = _emulators(1, 1, self._options)
        self.observation_space, self.action_space = _spaces(self._emulators)
        self._seeded = False
        self._running = False

    @property
    def policy_config(self) -> dict[str, Any]:
        """The config.json of policies trained here, as a dictionary."""
        return json.loads(self._emulators.config)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the first episode of `seed` or, without a seed, the next one."""
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(_SEEDS))
        self._seeded = True
        self._emulators.reset([seed], [True])
        self._running = True
        return _observations(self._emulators, 1)[0], self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Decide, and run to the end of the next interval."""
        if not self._running:
            raise gymnasium.error.ResetNeeded("the episode has ended: call reset()")
        rewards, ends = self._emulators.step(_actions(action, (4,)))
        reward = float(np.frombuffer(rewards, np.float64)[0])
        truncated = bool(ends[0])
        info = self._info()
        if truncated:
            self._running = False
            info["outcome"] = self._emulators.outcome(0)
        return _observations(self._emulators, 1)[0], reward, False, truncated, info

    def _info(self) -> dict[str, Any]:
        values = _infos(self._emulators, 1)[0].tolist()
        return {**dict(zip(NAMES, values)), "scenario": self._emulators.names()[0]}


class DualPI2VectorEnv(VectorEnv):
    """`num_envs` emulated bottlenecks, stepped by `threads` native threads (0: one per core).

    `gymnasium.make_vec("l4sllm/DualPI2-v0", num_envs=8)` creates it. Options are those of
    `DualPI2Env`. An environment whose episode ended is reset by the next step, whose action it
    ignores (`AutoresetMode.NEXT_STEP`).
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        threads: int = 0,
        max_episode_steps: None = None,
        **options: Any,
    ) -> None:
        if max_episode_steps is not None:
            raise ValueError("max_episode_steps: expected None; duration limits episodes")
        one = DualPI2Env(**options)
        self.num_envs = num_envs
        self.render_mode = None
        self._emulators = _emulators(num_envs, threads, one._options)
        self.single_observation_space = one.observation_space
        self.single_action_space = one.action_space
        self.observation_space = batch_space(one.observation_space, num_envs)
        self.action_space = batch_space(one.action_space, num_envs)
        self._seeded = False

    @property
    def policy_config(self) -> dict[str, Any]:
        """The config.json of policies trained here, as a dictionary."""
        return json.loads(self._emulators.config)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start episodes; environment i has the seed `seed + i`, or `seed[i]` of a list.

        `options={"reset_mask": mask}` resets only environments for which the mask is true.
        """
        count = self.num_envs
        if seed is None and not self._seeded:
            super().reset(seed=None)
            seed = [int(self.np_random.integers(_SEEDS)) for _ in range(count)]
        elif isinstance(seed, (int, np.integer)):
            super().reset(seed=int(seed))
            seed = [int(seed) + at for at in range(count)]
        elif seed is None:
            seed = [None] * count
        mask = (options or {}).get("reset_mask", np.ones(count, bool))
        self._seeded = True
        self._emulators.reset(list(seed), [bool(one) for one in mask])
        return _observations(self._emulators, count), self._info()

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Step all environments in parallel, without Python's lock."""
        count = self.num_envs
        data, ends = self._emulators.step(_actions(actions, (count, 4)))
        rewards = np.frombuffer(data, np.float64).copy()
        truncated = np.frombuffer(ends, np.uint8).astype(bool)
        info = self._info()
        if truncated.any():
            outcomes = np.full(count, None, object)
            for at in np.flatnonzero(truncated):
                outcomes[at] = self._emulators.outcome(int(at))
            info["outcome"], info["_outcome"] = outcomes, truncated.copy()
        return (
            _observations(self._emulators, count),
            rewards,
            np.zeros(count, bool),
            truncated,
            info,
        )

    def _info(self) -> dict[str, Any]:
        every = np.ones(self.num_envs, bool)
        columns = _infos(self._emulators, self.num_envs).T
        info = {name: column.copy() for name, column in zip(NAMES, columns)}
        info["scenario"] = np.array(self._emulators.names(), object)
        info.update({f"_{name}": every.copy() for name in [*NAMES, "scenario"]})
        return info
