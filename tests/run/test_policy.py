"""Policies that are loaded from runs: what they do, what they refuse, which env they act in, and what they need."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from any_space import any_space
from gymnasium import spaces as S
from hypothesis import given, settings
from torch.utils._python_dispatch import TorchDispatchMode

from actor_critic import ACConfig
from rlkit_core import ActorCriticTorchRLModule, RLModule, RLModuleSpec, load_policy
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.data.one_observation import observation_reader
from rlkit_core.errors import CheckpointError, CheckpointNotFoundError, ConfigError
from rlkit_core.rl_module.deploy import to_tensor
from rlkit_core.run.policy.policy import Policy
from rlkit_core.spaces import as_arrays, leaves, map_space, nested_map

STACK = {"name": "gymnasium.wrappers:FrameStackObservation", "stack_size": 3}
CLIP = {"name": "gymnasium.wrappers:ClipReward", "min_reward": -1, "max_reward": 1, "training_only": True}


def config(env: Any = "CartPole-v1", wrappers: Any = (), **model_config: Any) -> ACConfig:
    return (
        ACConfig()
        .environment(env, wrappers=list(wrappers))
        .rl_module(model_config={"fcnet_hiddens": [8], **model_config})
        .training(train_batch_size=32, minibatch_size=32)
        .debugging(seed=1)
    )


def saved(config: AlgorithmConfig, path: Path, *, train: bool = False) -> Path:
    with config.build_algo() as algorithm:
        if train:
            algorithm.train()
        return Path(algorithm.save_to_path(path))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with two checkpoints, the first of which is the best."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with config(wrappers=[STACK, "gymnasium.wrappers:FlattenObservation", CLIP]).build_algo() as algorithm:
        for iteration in (1, 2):
            algorithm.train()
            algorithm.save_to_path(folder / "checkpoints" / f"{iteration:06d}")
    shutil.copytree(folder / "checkpoints" / "000001", folder / "best")
    best = {"path": "best", "iteration": 1, "steps": 32, "return": 9.0}
    (folder / "index.json").write_text(json.dumps({"format": 1, "checkpoints": [], "best": best}))
    return folder


def weights(policy: Policy) -> torch.Tensor:
    module: Any = policy.module
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_which_checkpoint_of_a_run(run: Path, tmp_path: Path) -> None:
    first, second = (load_policy(run / "checkpoints" / f"{n:06d}") for n in (1, 2))
    assert not torch.equal(weights(first), weights(second))
    for policy in (load_policy(run), load_policy(run, "best"), load_policy(run, which="best")):
        assert torch.equal(weights(policy), weights(first))
    assert torch.equal(weights(load_policy(run, "last")), weights(second))
    shutil.copytree(run / "checkpoints", tmp_path / "young" / "checkpoints")
    assert torch.equal(weights(load_policy(tmp_path / "young")), weights(second))
    with pytest.raises(CheckpointNotFoundError, match="has no best checkpoint"):
        load_policy(tmp_path / "young", "best")
    with pytest.raises(CheckpointError, match="no module 'other'; it has default_policy"):
        load_policy(run, module_id="other")
    part = run / "best" / "learner_group" / "learner" / "rl_module" / "default_policy"
    alone = load_policy(part)
    assert torch.equal(weights(alone), weights(first))
    with pytest.raises(CheckpointError, match="knows no env"):
        alone.make_env()


def test_it_acts_in_its_wrapped_env_as_its_module_does(run: Path) -> None:
    policy = load_policy(run)
    env = policy.make_env(max_episode_steps=30)
    assert str(env).startswith("<FlattenObservation<FrameStackObservation")
    assert env.observation_space == policy.observation_space
    assert env.action_space == policy.action_space
    observation, _ = env.reset(seed=3)
    for _ in range(40):
        action = policy(observation)
        actions, _ = policy.module.compute_actions(observation[None])
        alone, _ = policy.module.compute_single_action(observation)
        assert action == actions[0] == alone == policy.act(list(observation))
        assert env.action_space.contains(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert reward == 1
        if terminated or truncated:
            observation, _ = env.reset()
    assert truncated or env.spec.max_episode_steps == 30
    sampled = policy.another(explore=True)
    assert {int(sampled(observation)) for _ in range(60)} == {0, 1}


@pytest.mark.parametrize("prev", [False, True])
def test_it_keeps_recurrent_state_and_forgets_it_at_a_reset(prev: bool, tmp_path: Path) -> None:
    lstm = {"use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 8}
    lstm |= {"lstm_use_prev_action": prev, "lstm_use_prev_reward": prev}
    policy = load_policy(saved(config("Pendulum-v1", **lstm), tmp_path / "saved"))
    env = policy.make_env()
    observation, _ = env.reset(seed=3)
    state, reward, actions = None, 0.0, []
    for step in range(20):
        if step == 10:
            policy.reset()
            state, reward = None, 0.0
        rewards = {"prev_rewards": reward} if prev else {}
        expected, state = policy.module.compute_single_action(observation, state, **rewards)
        if step == 5:
            kept = policy.get_state()
            policy = policy.another()
            policy.set_state(kept)
        action = policy(observation, reward=reward) if prev else policy(observation)
        assert action.dtype == np.float32
        assert np.array_equal(action, expected)
        actions.append(action)
        observation, reward, *_ = env.step(action)
    assert len({float(action[0]) for action in actions}) == 20
    forgetful = policy.another()
    assert any(not np.array_equal(forgetful(observation), policy(observation)) for _ in range(3))


NESTED = S.Dict({"image": S.Box(0, 255, (3, 3), np.uint8), 7: S.Tuple([S.Discrete(3, start=1), S.MultiBinary(2)])})
FITS = {"image": np.zeros((3, 3), np.uint8), 7: (1, np.zeros(2, np.int8))}


@pytest.mark.parametrize(
    ("space", "seen", "said"),
    [
        (
            S.Box(-1, 1, (3,)),
            np.zeros((1, 3), np.float32),
            r"observation: .*\(3,\).* got shape \(1, 3\) and",
        ),
        (S.Box(-1, 1, (3,)), 0.5, r"observation: .* got float 0.5"),
        (S.Box(-1, 1, ()), np.zeros(1), r"got shape \(1,\) and dtype float64, \[0.0\]"),
        (S.Box(-1, 1, (2,)), "ab", "got str 'ab'"),
        (S.Box(0, 255, (2,), np.uint8), np.array([0.5, 1]), "dtype float64"),
        (S.Box(0, 255, (2,), np.uint8), [0, 300], r"got list \[0, 300\]"),
        (S.Discrete(3), 3, r"Discrete\(3\)"),
        (S.Discrete(3, start=2), 1, r"Discrete\(3, start=2\)"),
        (S.MultiDiscrete([3, 3]), np.array([0, 4]), r"\[0, 4\]"),
        (S.MultiBinary(2), np.array([0, 7]), r"\[0, 7\]"),
        (NESTED, np.zeros(3), r"observation: expected a dict with \['image', 7\]"),
        (NESTED, {"image": FITS["image"]}, r"expected a dict with \['image', 7\].* got a dict with \['image'\]"),
        (NESTED, {**FITS, "image": np.zeros((3, 3, 1), np.uint8)}, r"observation\['image'\]: .*got shape \(3, 3, 1\)"),
        (NESTED, {**FITS, 7: (0, [0, 0])}, r"observation\[7\]\[0\]: "),
        (NESTED, {**FITS, 7: (1,)}, r"observation\[7\]: expected a tuple of 2"),
    ],
)
def test_what_the_wrapped_env_does_not_give_is_refused_by_name(space: Any, seen: Any, said: str) -> None:
    for reuse in (False, True):
        read = observation_reader(space, reuse=reuse)
        with pytest.raises(ConfigError, match=said):
            read(seen)
    fits = space.sample()
    assert all(leaf.shape[0] == 1 for leaf in leaves(read(fits)))


@settings(max_examples=80, deadline=None)
@given(space=any_space(4))
def test_one_observation_of_any_space_is_read_as_a_batch_of_one(space: Any) -> None:
    fresh, reused = observation_reader(space), observation_reader(space, reuse=True)
    kept = []
    for _ in range(3):
        observation = space.sample()
        arrays = nested_map(lambda x: x[None], as_arrays(space, observation))
        expected = map_space(lambda leaf, x: to_tensor(x, wide=leaf.dtype == np.float64), space, arrays)
        for read in (fresh, reused):
            for one, other in zip(leaves(read(observation)), leaves(expected), strict=True):
                assert one.dtype == other.dtype
                assert torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
        seen = fresh(observation)
        kept.append((nested_map(torch.clone, seen), seen))
    for before, after in kept:
        assert all(torch.equal(a, b) for a, b in zip(leaves(before), leaves(after), strict=True))


def test_envs_and_wrappers_of_a_script_are_given_again(tmp_path: Path) -> None:
    def make(length: int = 5) -> gym.Env:
        return gym.make("CartPole-v1", max_episode_steps=length)

    def wrap(env: gym.Env) -> gym.Env:
        return gym.wrappers.TransformReward(env, lambda reward: 2 * reward)

    evaluated = (
        config(make, [wrap])
        .environment(env_config={"length": 7})
        .evaluation(evaluation_config={"env_config": {"length": 9}})
    )
    path = saved(evaluated, tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"was the function .*make.*load_policy\(path, env=function\)"):
        load_policy(path).make_env()
    with pytest.raises(CheckpointError, match="a wrapper was the function"):
        load_policy(path, env=make).make_env()
    env = load_policy(path, env=make, wrappers=[wrap, CLIP]).make_env()
    assert env.spec.max_episode_steps == 9
    env.reset()
    assert env.step(0)[1] == 2
    assert load_policy(path, env=make, wrappers=[]).make_env(length=3).spec.max_episode_steps == 3
    with pytest.raises(ConfigError, match=r"load_policy\(RUN\) knows its run's"):
        Policy(load_policy(path).module).make_env()


SCRIPT = """
import sys
import rlkit_core
policy = rlkit_core.load_policy(sys.argv[1])
action = policy([0.1, 0.2, 0.3, 0.4])
unneeded = ("rlkit_core.learner", "rlkit_core.envs", "rlkit_core.algorithm", "actor_")
late = [module for module in sys.modules if module.startswith(unneeded)]
print(action, policy.make_env().spec.id, late)
"""


def test_it_needs_no_runner_no_learner_and_not_the_algorithm(tmp_path: Path) -> None:
    own = config(wrappers=[CLIP]).rl_module(rl_module_spec=RLModuleSpec(module_class=ActorCriticTorchRLModule))
    path = saved(own, tmp_path / "saved")
    expected = load_policy(path)([0.1, 0.2, 0.3, 0.4])
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert out.stdout.split("\n")[0] == f"{expected} CartPole-v1 []", out.stderr


class Operations(TorchDispatchMode):
    """Counts what torch does."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def calls_of(function: Callable[[], object]) -> tuple[int, int]:
    """How many Python functions one call calls, and how many of torch's operations, whatever the machine does."""
    calls = 0

    def on_call(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    function()
    sys.setprofile(on_call)
    try:
        function()
    finally:
        sys.setprofile(None)
    with Operations() as operations:
        function()
    return calls, operations.count


def module_for(env: str, module_class: type[RLModule] | None = None, **model_config: Any) -> RLModule:
    spec = config(env, **model_config).get_rl_module_spec(env=gym.make(env), inference_only=True)
    if module_class is not None:
        spec.module_class = module_class
    return spec.build()


@pytest.mark.parametrize("explore", [False, True])
@pytest.mark.parametrize(
    ("env", "model_config", "most", "exploring"),
    [
        ("CartPole-v1", {}, (20, 1), (24, 7)),
        ("Pendulum-v1", {"normalize_observations": True}, (36, 4), (40, 7)),
        ("CartPole-v1", {"fcnet_hiddens": [300, 300]}, (22, 10), (26, 16)),  # too large for numpy
    ],
)
def test_one_observation_costs_few_calls(
    env: str, model_config: dict[str, Any], most: tuple[int, int], exploring: tuple[int, int], explore: bool
) -> None:
    policy = Policy(module_for(env, **model_config), explore=explore)
    observation, _ = gym.make(env).reset(seed=1)
    for seen, limit in zip(calls_of(lambda: policy(observation)), exploring if explore else most, strict=True):
        assert seen <= limit, (seen, limit)


class Mine(ActorCriticTorchRLModule):
    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {"actions": torch.full((len(batch["obs"]),), 1)}


def test_it_acts_with_what_its_module_is_by_now() -> None:
    """By numpy or not: weights, statistics, hooks and methods count as they are when it acts."""
    policy = Policy(module_for("CartPole-v1"))
    module: Any = policy.module
    observations = list(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))

    def expected() -> list[int]:
        with torch.no_grad():
            batch = {"obs": torch.from_numpy(np.stack(observations))}
            return module.forward_inference(batch)["action_dist_inputs"].argmax(-1).tolist()  # type: ignore[no-any-return]

    def acts() -> list[int]:
        return [int(policy(one)) for one in observations]

    weight, bias = module.pi.plan[-1][0].weight, module.pi.plan[-1][0].bias
    with torch.no_grad():
        weight.zero_()
    for first in (1.0, -1.0):  # in place, as optimizers do
        with torch.no_grad():
            bias.copy_(torch.tensor([first, 0.0]))
        assert acts() == expected() == [int(first < 0)] * 20
    module.pi.plan[-1][0].bias = torch.nn.Parameter(torch.tensor([1.0, 0.0]))
    assert acts() == expected() == [0] * 20
    handle = module.pi.register_forward_hook(lambda head, inputs, out: -out)
    assert acts() == expected() == [1] * 20
    handle.remove()
    assert acts() == [0] * 20
    module._forward_inference = lambda batch, **kwargs: {"actions": torch.ones(len(batch["obs"]), dtype=torch.int64)}
    assert acts() == [1] * 20
    del module._forward_inference
    other = module.get_state()
    other = {name: -value for name, value in other.items()}
    module.set_state(other)
    assert acts() == expected() == [1] * 20
    assert int(Policy(module_for("CartPole-v1", Mine))(observations[0])) == 1


def test_its_draws_follow_torchs_generator_and_nan_is_no_secret() -> None:
    policy = Policy(module_for("Pendulum-v1", normalize_observations=True), explore=True)
    observation = policy.observation_space.sample()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append([float(policy(observation)[0]) for _ in range(3)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 3
    for explore in (False, True):
        assert np.isnan(policy.another(explore=explore)(np.full(3, np.nan, np.float32))).all()
