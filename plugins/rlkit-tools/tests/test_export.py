"""Exported policies act as their checkpoints do, in a process that has no rlkit; what cannot be exported is refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlkit_core import TorchRLModule, get_algorithm_config, load_policy
from rlkit_core.errors import ConfigError
from rlkit_core.run.policy.policy import Policy
from rlkit_core.spaces import leaves, nested_map
from rlkit_tools.export import write
from rlkit_tools.export.graph import PolicyGraph
from rlkit_tools.export.verify import ExportError
from rlkit_tools.export.wrappers import Tap, fold, wrappers_owed
from rlkit_tools.export.write import export_policy

LACKING = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {LACKING}; pip install 'rlkit-tools[export]'")
BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([1.0, 10.0], np.float32))
ACTIONS = {
    "discrete": spaces.Discrete(4, start=1),
    "box": BOX,
    "many": spaces.MultiDiscrete([3, 2]),
    "dict": spaces.Dict({"turn": BOX, "tool": spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2)))}),
}
OBSERVATIONS = {
    "vector": spaces.Box(-10.0, 10.0, (5,), np.float32),
    "wide": spaces.Box(-10.0, 10.0, (5,), np.float64),
    "image": spaces.Box(0, 255, (42, 42, 3), np.uint8),
    "composed": spaces.Dict(
        {
            "where": spaces.Box(-1.0, 1.0, (3,), np.float32),
            "kind": spaces.Discrete(4, start=2),
            "more": spaces.Tuple((spaces.MultiBinary(3), spaces.Box(-5.0, 5.0, (2, 2), np.float64))),
            "picture": spaces.Box(0, 255, (42, 42, 1), np.uint8),
        }
    ),
    "masked": spaces.Dict(
        {"action_mask": spaces.Box(0, 1, (4,), np.int8), "where": spaces.Box(-1.0, 1.0, (3,), np.float32)}
    ),
    "text": spaces.Dict({"said": spaces.Text(10), "where": spaces.Box(-1.0, 1.0, (3,), np.float32)}),
}


class Show(gym.Env[Any, Any]):
    """Observations drawn from a space, some of whose actions a mask forbids; rewards are random, episodes short."""

    def __init__(self, observation: str, action: str) -> None:
        self.observation_space, self.action_space = OBSERVATIONS[observation], ACTIONS[action]

    def _observe(self) -> Any:
        observation: Any = self.observation_space.sample()
        if isinstance(observation, dict) and "action_mask" in observation:
            observation["action_mask"][self.np_random.integers(4)] = 1
        return observation

    def reset(self, *, seed: int | None = None, options: object = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.left = 20
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.left -= 1
        return self._observe(), float(self.np_random.normal()), self.left == 0, False, {}


def saved(path: Any, algorithm: str, observation: str, action: str, train: int = 1, **model_config: Any) -> Any:
    """A checkpoint after a short training, so that statistics and targets are not what they began with."""
    config = get_algorithm_config(algorithm).environment(
        Show, env_config={"observation": observation, "action": action}
    )
    config.rl_module(model_config=model_config).debugging(seed=0)
    few = {"ppo": {"train_batch_size_per_learner": 128, "minibatch_size": 64, "num_epochs": 1}}.get(algorithm, {})
    built = config.training(**few).build_algo()
    for _ in range(train):
        built.train()
    built.save_to_path(path)
    built.stop()
    return path


NORMALIZED = {"normalize_observations": True}
LSTM = {"use_lstm": True, "lstm_cell_size": 16}
PREVIOUS = {**LSTM, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}
ACTOR_CRITIC = [
    ("vector", "discrete", NORMALIZED),
    ("image", "discrete", {}),
    ("vector", "box", {**LSTM, "vf_share_layers": False}),
    ("composed", "dict", NORMALIZED),
    ("masked", "discrete", {}),
]
CELLS = [
    *[(algorithm, *cell) for algorithm in ("ppo", "impala", "appo") for cell in ACTOR_CRITIC],
    ("ppo", "wide", "many", NORMALIZED),
    ("ppo", "vector", "dict", PREVIOUS),
    ("ppo", "masked", "discrete", LSTM),
    ("dqn", "vector", "discrete", {}),
    ("dqn", "vector", "many", {**NORMALIZED, "num_atoms": 11, "noisy": True}),
    ("dqn", "image", "discrete", {}),
    ("dqn", "vector", "discrete", PREVIOUS),
    ("dqn", "composed", "discrete", NORMALIZED),
    ("dqn", "masked", "discrete", LSTM),
    ("sac", "vector", "box", NORMALIZED),
    ("sac", "image", "box", {}),
    ("sac", "composed", "box", NORMALIZED),
]

ACT = """
import json, sys
sys.path += json.loads(sys.argv[1])
import importlib.util
import numpy as np
assert importlib.util.find_spec("rlkit_core") is None
sys.path.insert(0, ".")
from policy import Policy

policy, data, actions = Policy(), np.load("seen.npz"), []
for row, begins in enumerate(data["begins"]):
    if begins:
        policy.reset()
    observation = None
    for leaf in policy.about["inputs"]:
        path, value = leaf["path"], data[leaf["name"]][row]
        if path == []:
            observation = value
        elif path:
            observation = observation or {}
            part = observation
            for key in path[:-1]:
                part = part.setdefault(key, {})
            part[path[-1]] = value
    actions.append(policy(observation, data["reward"][row]))
assert "torch" not in sys.modules
def flat(x):
    if isinstance(x, (dict, tuple)):
        return [y for part in (x.values() if isinstance(x, dict) else x) for y in flat(part)]
    return [np.asarray(x)]
np.savez("acted.npz", *map(np.stack, zip(*map(flat, actions))))
"""


def watch(policy, env, folder, count):
    """Play, and leave what was seen in ``seen.npz``; the actions of the checkpoint."""
    inputs = json.loads((folder / "policy.json").read_text())["inputs"]
    columns = {leaf["name"]: [] for leaf in inputs if leaf["path"] is not None}
    begins, rewards, actions, over = [], [], [], True
    for _ in range(count):
        if over:
            observation, _ = env.reset(seed=len(actions) + 7)
            policy.reset()
            reward = 0.0
        begins.append(over)
        rewards.append(reward)
        for leaf in inputs:
            if leaf["path"] is not None:
                value = observation
                for key in leaf["path"]:
                    value = value[key]
                columns[leaf["name"]].append(value)
        actions.append(policy(observation, reward=reward))
        observation, reward, terminated, truncated, _ = env.step(actions[-1])
        over = terminated or truncated
    np.savez(folder / "seen.npz", begins=begins, **{"reward": rewards, **columns})
    return [np.stack(column) for column in zip(*(list(leaves(action)) for action in actions), strict=True)]


def act_elsewhere(folder):
    """The actions of policy.py in a process that has numpy and onnxruntime, and no rlkit."""
    homes = {str(Path(importlib.util.find_spec(name).origin).parents[1]) for name in ("numpy", "onnxruntime")}
    subprocess.run([sys.executable, "-S", "-c", ACT, json.dumps(sorted(homes))], cwd=folder, check=True)
    with np.load(folder / "acted.npz") as data:
        return [data[name] for name in data.files]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs_onnx
@pytest.mark.parametrize(
    ("algorithm", "observation", "action", "model_config"), CELLS, ids=["-".join([*c[:3], *c[3]]) for c in CELLS]
)
def test_the_exported_policy_acts_as_the_checkpoint_does(algorithm, observation, action, model_config, tmp_path):
    pytest.importorskip(f"rlkit_{algorithm}")
    path = saved(tmp_path / "checkpoint", algorithm, observation, action, **model_config)
    policy = load_policy(path, env=Show)
    about = export_policy(policy, tmp_path / "policy.onnx", checkpoint=path)
    assert about["verified"]["observations"] == 200
    expected = watch(policy, policy.make_env(), tmp_path, 1000)
    got = act_elsewhere(tmp_path)
    assert len(expected) == len(got)
    for one, other in zip(expected, got, strict=True):
        assert one.dtype == other.dtype
        if one.dtype.kind == "f":
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
            assert len(np.unique(one)) > 100  # a constant would pass, too
        else:
            np.testing.assert_array_equal(other, one)


def fresh(observation: str, action: str, **model_config: Any) -> Policy:
    from rlkit_ppo import PPORLModule

    module = PPORLModule(
        observation_space=OBSERVATIONS[observation], action_space=ACTIONS[action], model_config=model_config
    )
    return Policy(module, make_env=lambda: Show(observation, action))


def test_what_a_graph_does_not_hold_is_refused(tmp_path):
    pytest.importorskip("rlkit_ppo")
    policy = fresh("vector", "discrete")
    with pytest.raises(ExportError, match=r"has to end in \.onnx or \.pt2"):
        export_policy(policy, tmp_path / "policy.bin", checkpoint=tmp_path)
    (tmp_path / "policy.py").touch()
    with pytest.raises(ExportError, match=r"policy\.py: is there already"):
        export_policy(policy, tmp_path / "policy.pt2", checkpoint=tmp_path)
    with pytest.raises(ConfigError, match=r"observation\['said'\] is Text.* no array of fixed shape"):
        PolicyGraph(reads_text())
    assert [file.name for file in tmp_path.iterdir()] == ["policy.py"]


def reads_text() -> TorchRLModule:
    return TorchRLModule(observation_space=OBSERVATIONS["text"], action_space=ACTIONS["discrete"])


@pytest.mark.slow
def test_nothing_is_left_of_a_graph_that_acts_otherwise(tmp_path, monkeypatch):
    """The module's weights change after the graph was made of it."""
    pytest.importorskip("rlkit_ppo")
    policy = fresh("vector", "box")
    (tmp_path / "metadata.json").touch()
    untrue = write.verify

    def verify(policy, *rest):
        with torch.no_grad():
            policy.module.pi.net.layers[-1].bias += 0.5
        return untrue(policy, *rest)

    monkeypatch.setattr(write, "verify", verify)
    with pytest.raises(ExportError, match=r"at observation 0 of the env .*; nothing was written"):
        export_policy(policy, tmp_path / "policy.pt2", checkpoint=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["metadata.json"]


@pytest.mark.slow
def test_a_module_that_leaves_torch_is_refused_with_the_reason(tmp_path):
    class Numpy(TorchRLModule):
        def _forward(self, batch, **kwargs):
            return {"actions": torch.from_numpy(batch["obs"].numpy().argmax(-1))}

    module = Numpy(observation_space=OBSERVATIONS["vector"], action_space=ACTIONS["discrete"])
    policy = Policy(module, make_env=lambda: Show("vector", "discrete"))
    with pytest.raises(ExportError, match=r"Numpy cannot be exported: .*Its forward for inference has to be of torch"):
        export_policy(policy, tmp_path / "policy.pt2", checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrappers_that_whoever_acts_owes_are_listed():
    env = gym.make("CartPole-v1")
    assert wrappers_owed(env) == []
    env = gym.wrappers.FrameStackObservation(gym.wrappers.RescaleAction(Show("vector", "box"), -1.0, 1.0), 4)
    names = [one["wrapper"].rpartition(":")[2] for one in wrappers_owed(env)]
    assert names == ["RescaleAction", "FrameStackObservation"]
    stacked = gym.wrappers.FrameStackObservation(gym.make("CartPole-v1"), 4)
    assert wrappers_owed(stacked)[0]["settings"]["stack_size"] == 4


WRAPPED = [
    ("vector", lambda env: gym.wrappers.RescaleObservation(env, np.float32(-1.0), np.float32(2.0)), 1e-6),
    ("vector", lambda env: gym.wrappers.DtypeObservation(env, np.float64), 0.0),
    ("image", gym.wrappers.GrayscaleObservation, 0.0),
    ("image", lambda env: gym.wrappers.GrayscaleObservation(env, keep_dim=True), 0.0),
    ("image", lambda env: gym.wrappers.ReshapeObservation(env, (3, 42, 42)), 0.0),
    ("composed", gym.wrappers.FlattenObservation, 0.0),
    ("masked", lambda env: gym.wrappers.TimeLimit(gym.wrappers.FlattenObservation(env), 5), 0.0),
]


@pytest.mark.parametrize(("observation", "wrap", "tolerance"), WRAPPED)
def test_a_folded_wrapper_does_on_tensors_what_it_does_on_one_observation(observation, wrap, tolerance):
    env = wrap(Show(observation, "discrete"))
    tap, folds = fold(env)
    assert wrappers_owed(tap.env) == []
    seen, expected = [], []
    for seed in range(8):
        expected.append(env.reset(seed=seed)[0])
        seen.append(tap.seen)
    batch: Any = nested_map(lambda *leaf: torch.as_tensor(np.stack(leaf)), *seen)
    for function in folds:
        batch = function(batch)
    np.testing.assert_allclose(batch.numpy(), np.stack(expected), rtol=tolerance, atol=tolerance)
    assert batch.numpy().dtype == env.observation_space.dtype


def test_only_the_outermost_wrappers_are_folded():
    env = gym.wrappers.FrameStackObservation(gym.wrappers.GrayscaleObservation(Show("image", "discrete")), 2)
    assert fold(env) == (None, [])
    tap, folds = fold(gym.wrappers.FlattenObservation(env))
    assert isinstance(tap, Tap)
    assert len(folds) == 1
    owed = [one["wrapper"].rpartition(":")[2] for one in wrappers_owed(tap.env)]
    assert owed == ["GrayscaleObservation", "FrameStackObservation"]
    env = gym.make("CartPole-v1")
    assert fold(gym.wrappers.RescaleObservation(env, env.observation_space.low, env.observation_space.high)) == (
        None,
        [],
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".pt2", pytest.param(".onnx", marks=needs_onnx)])
def test_an_exported_policy_takes_what_comes_before_folded_wrappers(kind, tmp_path):
    pytest.importorskip("rlkit_ppo")
    from rlkit_ppo import PPORLModule

    def make():
        return gym.wrappers.FlattenObservation(Show("composed", "box"))

    env = make()
    module = PPORLModule(observation_space=env.observation_space, action_space=env.action_space)
    (tmp_path / "metadata.json").touch()
    policy = Policy(module, make_env=make)
    about = export_policy(policy, tmp_path / f"policy{kind}", checkpoint=tmp_path)
    assert about["wrappers_owed"] == []
    assert [leaf["name"] for leaf in about["inputs"]] == [
        "obs.kind",
        "obs.more.0",
        "obs.more.1",
        "obs.picture",
        "obs.where",
    ]
    assert about["verified"]["difference"] <= 1e-5
