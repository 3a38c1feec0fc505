"""One observation at a time: a policy that rlkit saved and loaded, its bare forward pass, Stable-Baselines3's predict.

python benchmarks/peers/one_observation.py SIDE-CASE --steps N [--threads 1] [--seed 1]

Networks of 64-64, untrained, which takes the same time. The case ``box`` normalises observations on all sides.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from _span import HIDDENS, Work, measure, parse_order, repeated
from torch import nn

ENVS = {"ppo": "CartPole-v1", "dqn": "CartPole-v1", "box": "Pendulum-v1"}
MODELS: dict[str, dict[str, Any]] = {
    "ppo": {"fcnet_activation": "tanh"},
    "dqn": {"head_fcnet_hiddens": []},
    "box": {"fcnet_activation": "tanh", "normalize_observations": True},
}
Run = Callable[[], tuple[int, float]]


def calls(act: Callable[[Any], object], case: str, steps: int) -> Run:
    """Different observations, one after the other; the first hundred are not measured."""
    space = gym.make(ENVS[case]).observation_space
    space.seed(0)
    observations = [space.sample() for _ in range(100)]

    def hundred() -> None:
        for observation in observations:
            act(observation)

    hundred()
    return repeated(hundred, -(-steps // 100), worth=100)


def ours(case: str, explore: bool, work: Work) -> Run:
    """``load_policy`` of a checkpoint."""
    from rlkit_core import get_algorithm_config, load_policy

    config = get_algorithm_config("dqn" if case == "dqn" else "ppo").environment(ENVS[case])
    config.rl_module(model_config={"fcnet_hiddens": list(HIDDENS), **MODELS[case]}).debugging(seed=work.seed)
    with tempfile.TemporaryDirectory() as folder, config.build_algo() as algo:
        policy = load_policy(algo.save_to_path(folder), explore=explore)
    return calls(policy, case, work.steps)


def forward(case: str, work: Work) -> Run:
    """The layers in an ``nn.Sequential`` on a tensor that is there, and argmax; observations are shifted and scaled."""
    env = gym.make(ENVS[case])
    sizes = [int(env.observation_space.shape[0]), *HIDDENS, 1 if case == "box" else 2]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU() if case == "dqn" else nn.Tanh()]
    network = nn.Sequential(*layers[:-1])
    observation, shift, scale = torch.full((1, sizes[0]), 0.1), torch.zeros(sizes[0]), torch.ones(sizes[0])

    def best(_: object) -> None:
        with torch.inference_mode():
            network(observation).argmax(-1)

    def mean(_: object) -> None:
        with torch.inference_mode():
            network(((observation - shift) * scale).clamp(-10.0, 10.0))

    return calls(mean if case == "box" else best, case, work.steps)


def sb3(case: str, explore: bool, work: Work) -> Run:
    """``predict``, of observations that ``VecNormalize`` normalises in the case ``box``."""
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    envs: Any = DummyVecEnv([lambda: gym.make(ENVS[case])])
    if case == "box":
        envs = VecNormalize(envs)
    networks = {"net_arch": list(HIDDENS)}
    algo = (DQN if case == "dqn" else PPO)("MlpPolicy", envs, policy_kwargs=networks, device="cpu", seed=work.seed)

    def act(observation: np.ndarray[Any, Any]) -> None:
        seen = envs.normalize_obs(observation) if case == "box" else observation
        algo.predict(seen, deterministic=not explore)

    return calls(act, case, work.steps)


WORKS: dict[str, Callable[[Work], Run]] = {f"forward-{case}": partial(forward, case) for case in ENVS}
for _case in ENVS:
    for _ending, _explore in (("", False), ("-sampled", True)):
        WORKS[f"ours-{_case}{_ending}"] = partial(ours, _case, _explore)
        WORKS[f"sb3-{_case}{_ending}"] = partial(sb3, _case, _explore)


if __name__ == "__main__":
    name, work = parse_order(WORKS)
    torch.set_num_threads(work.threads)
    package = "stable-baselines3" if name.startswith("sb3") else "rlkit-core"
    measure(WORKS[name](work), [package, "torch", "gymnasium", "numpy"])
