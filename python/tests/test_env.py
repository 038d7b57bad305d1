"""The Gymnasium environment."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import l4sllm
from l4sllm.env import NAMES

ID = "l4sllm/DualPI2-v0"
#: An episode of eleven intervals in a small network.
SMALL = dict(scenario=Path(__file__).parent / "small.toml")
#: Conditions of the suite on slow links.
SUITE = dict(families=["stationary", "flow-counts"], duration=1.0, max_rate=15.0)


def episode(env, seed, steps=None, action=None):
    """Run an episode; returns its observations, rewards and infos."""
    observation, info = env.reset(seed=seed)
    rng = np.random.default_rng(7)
    rows, ended = [(observation, None, info)], False
    while not ended and (steps is None or len(rows) <= steps):
        chosen = rng.uniform(-1, 1, 4).astype(np.float32) if action is None else action
        observation, reward, terminated, ended, info = env.step(chosen)
        assert not terminated
        rows.append((observation, reward, info))
    return rows


def same(first, second):
    """Whether two episodes are equal to the bit."""
    observations = all(a[0].tobytes() == b[0].tobytes() for a, b in zip(first, second))
    return (
        observations
        and len(first) == len(second)
        and [a[1] for a in first] == [b[1] for b in second]
    )


def test_environment_checker_passes():
    env = gymnasium.make(ID, **SMALL)
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.filterwarnings("error::UserWarning")
def test_spaces_match_the_policys_configuration():
    env = gymnasium.make(ID, **SMALL).unwrapped
    config = env.policy_config
    histories = [
        feature["encoder"]["series"]["history"] for feature in config["features"]
    ]
    assert env.observation_space.shape == (1 + sum(histories) + 4,)
    assert env.action_space.shape == (4,)
    head = config["head"]["kind"]["set_points"]["target_ms"]
    low, high = (np.log(head[end]) for end in ("min", "max"))
    bounds = (np.array([low, high]) - head["mean"]) / head["std"]
    np.testing.assert_allclose(
        [env.action_space.low[0], env.action_space.high[0]], bounds, 1e-6
    )


def test_reset_with_a_seed_is_reproducible_to_the_bit():
    first = episode(gymnasium.make(ID, **SMALL), 3)
    env = gymnasium.make(ID, **SMALL)
    episode(env, 4, steps=2)
    assert same(first, episode(env, 3))
    assert not same(first, episode(env, 5))


def test_episodes_after_a_seed_differ_and_repeat():
    env = gymnasium.make(ID, **SUITE)
    names = [[env.reset(seed=1)[1]["scenario"]], []]
    names[0] += [env.reset()[1]["scenario"] for _ in range(5)]
    names[1] = [env.reset(seed=1)[1]["scenario"]] + [
        env.reset()[1]["scenario"] for _ in range(5)
    ]
    assert names[0] == names[1] and len(set(names[0])) > 1


def test_actions_set_the_points_in_force():
    env = gymnasium.make(ID, **SMALL).unwrapped
    head = env.policy_config["head"]["kind"]["set_points"]
    action = np.array([0.5, -0.5, 0.25, -1.0], np.float32)
    info = episode(env, 1, steps=4, action=action)[-1][2]
    for name, output in zip(("target_ms", "alpha_hz", "beta_hz", "coupling"), action):
        want = np.exp(head[name]["mean"] + head[name]["std"] * output)
        assert info[name] == pytest.approx(want, rel=0.01), name


def test_info_describes_the_interval():
    env = gymnasium.make(ID, **SMALL)
    rows = episode(env, 1)
    for _, _, info in rows:
        assert set(NAMES) < set(info) and info["scenario"] == "small"
        assert 0 <= info["utilisation"] <= 1 and info["drops"] >= 0
    times = [info["time"] for _, _, info in rows]
    np.testing.assert_allclose(np.diff(times), 0.25, atol=0.02)
    assert sum(info["marks"] for _, _, info in rows) > 0
    outcome = rows[-1][2]["outcome"]
    assert 0.5 < outcome["utilisation"] <= 1 and outcome["classic_mean_ms"] > 0


def test_reward_is_the_documented_cost():
    env = gymnasium.make(ID, **SMALL, caution=0.7, margin=0.5)
    for _, reward, info in episode(env, 2)[1:]:
        delay = np.log(
            np.sqrt(info["classic_delay_ms"] * info["classic_delay_max_ms"]) / 10
        )
        harm = 0.15 * np.log(max(info["l4s_delay_max_ms"], 0.05))
        idle = 1 - info["utilisation"]
        lost = 0.05 * np.log1p(idle / 0.05) / info["idle_budget"]
        cost = delay + harm + 0.7 * max(0, lost - 0.5)
        assert reward == pytest.approx(-cost, abs=1e-9)


def test_shorter_targets_are_rewarded_where_the_link_stays_busy():
    means = []
    for output in (-0.5, 1.5):
        env = gymnasium.make(ID, **SMALL, duration=8.0)
        action = np.array([output, 0, 0, 0], np.float32)
        means.append(
            np.mean([reward for _, reward, _ in episode(env, 1, action=action)[9:]])
        )
    assert means[0] > means[1] + 0.3


def test_interval_budget_and_condition_options():
    env = gymnasium.make(
        ID, condition="stationary-00001", interval=0.5, idle_budget=0.01, duration=3.0
    )
    rows = episode(env, 1, steps=3)
    assert rows[0][2]["scenario"].startswith("stationary-00001")
    assert rows[0][2]["idle_budget"] == 0.01
    assert rows[2][2]["time"] - rows[1][2]["time"] == pytest.approx(0.5, abs=0.02)
    env = gymnasium.make(ID, idle_budget="random", **SMALL)
    budgets = [env.reset(seed=seed)[1]["idle_budget"] for seed in range(4)]
    assert len(set(budgets)) == 4 and all(0.001 <= budget <= 0.02 for budget in budgets)


def test_part_selects_the_ranges():
    env = gymnasium.make(ID, part="test", **SUITE)
    test = env.reset(seed=1)[1]
    training = gymnasium.make(ID, **SUITE).reset(seed=1)[1]
    # The same families and numbers, from other ranges.
    assert test["classic_delay_ms"] != training["classic_delay_ms"]


@pytest.mark.parametrize(
    "options, text",
    [
        (dict(families=["nowhere"]), "unknown family `nowhere`"),
        (dict(interval=9), "interval 9: expected 0.05 to 5 s"),
        (dict(idle_budget=0.5), "idle_budget 0.5: expected 0.001 to 0.02"),
        (dict(part="all"), "part all: expected training or test"),
        (dict(condition="stationary-99999"), "condition stationary-99999"),
        (dict(scenario="/nowhere.toml"), "cannot read /nowhere.toml"),
        (dict(policy="default"), "policy default: expected a policy on summaries"),
        (dict(scenario="headroom", families=["lte"]), "no families or condition"),
    ],
)
def test_errors_name_the_option(options, text):
    with pytest.raises((ValueError, l4sllm.Error), match=text):
        gymnasium.make(ID, **options).reset(seed=1)


def test_step_without_an_episode_is_refused():
    env = gymnasium.make(ID, **SMALL).unwrapped
    episode(env, 1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(4, np.float32))
    env.reset()
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(4, np.nan, np.float32))


def test_vector_environment_equals_single_ones():
    count = 3
    envs = gymnasium.make_vec(ID, num_envs=count, **SMALL)
    assert type(envs.unwrapped).__name__ == "DualPI2VectorEnv"
    singles = [gymnasium.make(ID, **SMALL) for _ in range(count)]
    observations, infos = envs.reset(seed=11)
    expected = [env.reset(seed=11 + at) for at, env in enumerate(singles)]
    running = np.ones(count, bool)
    rng = np.random.default_rng(5)
    for _ in range(40):
        for at, (observation, info) in enumerate(expected):
            assert observation.tobytes() == observations[at].tobytes()
            assert infos["scenario"][at] == info["scenario"]
            assert infos["drops"][at] == info["drops"]
        actions = rng.uniform(-1, 1, (count, 4)).astype(np.float32)
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        assert observations in envs.observation_space and not terminated.any()
        for at, env in enumerate(singles):
            if not running[at]:  # reset in this step
                expected[at] = env.reset()
                running[at] = True
                assert rewards[at] == 0 and not truncated[at]
                continue
            observation, reward, _, ended, info = env.step(actions[at])
            expected[at] = (observation, info)
            assert (rewards[at], truncated[at]) == (reward, ended)
            if ended:
                assert infos["outcome"][at] == info["outcome"]
            running[at] = not ended


def test_vector_environment_draws_conditions_for_each():
    envs = gymnasium.make_vec(ID, num_envs=4, **SUITE)
    _, infos = envs.reset(seed=1)
    assert len(set(infos["scenario"])) > 1
    alone = gymnasium.make(ID, **SUITE).reset(seed=3)[1]
    assert infos["scenario"][2] == alone["scenario"]


def test_synchronous_vectorisation_works():
    envs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="sync", **SMALL)
    observations, _ = envs.reset(seed=1)
    native = gymnasium.make_vec(ID, num_envs=2, **SMALL)
    assert observations.tobytes() == native.reset(seed=1)[0].tobytes()


def test_only_masked_environments_are_reset():
    envs = gymnasium.make_vec(ID, num_envs=2, **SMALL)
    before, _ = envs.reset(seed=1)
    after, _ = envs.reset(options={"reset_mask": np.array([False, True])})
    assert before[0].tobytes() == after[0].tobytes()
    assert before[1].tobytes() != after[1].tobytes()
