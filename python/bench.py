"""Measures the environment next to the Rust loop, as ratios within one run.

Each does the same virtual time of one scenario in turn, and the median of its rounds
counts. Events are those of the emulation, such as packets that arrive: the number of them
in a run depends on the set-points, so events per second are compared.
"""

import os
import statistics
import sys
import time

import gymnasium
import numpy as np

import l4sllm
from l4sllm._native import run_rust_loop

SCENARIO, DURATION, ROUNDS, ENVS = "headroom", 20.0, 5, 4
#: Least ratios to the Rust loop: of one environment, and of several for each core.
AIM, AIM_VECTOR = 0.5, 0.5


def rust():
    events, seconds = run_rust_loop(l4sllm.find_scenario(SCENARIO), DURATION)
    return events / seconds, None


def stepped(envs, count):
    """Events and steps per second of the environment, and of the native emulators in it."""
    emulators = envs.unwrapped._emulators
    action = np.zeros((4,) if count is None else (count, 4), np.float32)
    envs.reset(seed=1)
    before, began, steps = emulators.events, time.perf_counter(), 0
    ended = False
    while not ended:
        ended = np.all(envs.step(action)[3])
        steps += count or 1
    seconds = time.perf_counter() - began
    return (emulators.events - before) / seconds, steps / seconds


def main():
    options = dict(scenario=SCENARIO, duration=DURATION)
    single = gymnasium.make("l4sllm/DualPI2-v0", **options)
    several = gymnasium.make_vec("l4sllm/DualPI2-v0", num_envs=ENVS, **options)
    runs = {
        "Rust loop": rust,
        "environment": lambda: stepped(single, None),
        f"vector of {ENVS}": lambda: stepped(several, ENVS),
    }
    seen = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            seen[name].append(run())
    cores = min(ENVS, len(os.sched_getaffinity(0)))
    base = statistics.median(events for events, _ in seen["Rust loop"])
    print(
        f"{'':<14} {'steps/s':>9} {'Mevents/s':>10} {'of the Rust loop':>17} {'aim':>6}"
    )
    missed = False
    aims = {"environment": AIM, f"vector of {ENVS}": AIM_VECTOR * cores}
    for name, rows in seen.items():
        events = statistics.median(events for events, _ in rows)
        steps = [steps for _, steps in rows if steps]
        shown = f"{statistics.median(steps):9.0f}" if steps else f"{'':>9}"
        aim = aims.get(name)
        missed |= aim is not None and events / base < aim
        print(
            f"{name:<14} {shown} {events / 1e6:10.2f} {events / base:17.2f} "
            f"{f'{aim:.2f}' if aim else '':>6}"
        )
    print(f"{DURATION:.0f} s of {SCENARIO}, median of {ROUNDS} rounds, {cores} cores")
    sys.exit(missed)


if __name__ == "__main__":
    main()
