"""rlkit at the works of ``races.py``, each as a user writes it: what a work does not ask for is left at its default.

python benchmarks/peers/ours.py NAME --steps N [--threads 1] [--seed 1]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import _agents
import _dqn
import _envs
import _frames
import _impala
import _sac
import _stateless
import _vector
import bare_learner_update as bare
import gymnasium as gym
import numpy as np
from _span import (
    CLIP,
    ENTROPY_COEFF,
    ENV_ID,
    GAMMA,
    HIDDENS,
    LAMBDA,
    LEARNING_RATE,
    LIFETIME,
    MAX_GRAD_NORM,
    MINIBATCH_SIZE,
    NUM_ENVS,
    NUM_EPOCHS,
    NUM_STEPS,
    ROLLOUT,
    VALUE_COEFF,
    Work,
    after_first,
    measure,
    parse_order,
    repeated,
)

from rlkit_core import get_algorithm_config

PPO = {
    "train_batch_size": ROLLOUT,
    "minibatch_size": MINIBATCH_SIZE,
    "num_epochs": NUM_EPOCHS,
    "lr": LEARNING_RATE,
    "gamma": GAMMA,
    "lambda_": LAMBDA,
    "clip_param": CLIP,
    "vf_loss_coeff": VALUE_COEFF,
    "entropy_coeff": ENTROPY_COEFF,
    "grad_clip": MAX_GRAD_NORM,
    "grad_clip_by": "global_norm",
    "normalize_advantages": "minibatch",
}
TWO_NETS = {"fcnet_hiddens": list(HIDDENS), "fcnet_activation": "tanh", "vf_share_layers": False}


def images(filters: tuple[tuple[int, int, int], ...], dense: int) -> dict[str, Any]:
    """One convolutional network with two heads."""
    return {
        "conv_filters": [[*row, "valid"] for row in filters],
        "conv_activation": "relu",
        "conv_fcnet_hiddens": [dense],
        "vf_share_layers": True,
    }


def ppo(env: Any, model: dict[str, Any], num_envs: int = NUM_ENVS, num_steps: int = NUM_STEPS, **training: Any) -> Any:
    """PPO on an env by id or class."""
    return (
        get_algorithm_config("ppo")
        .environment(env)
        .env_runners(num_envs_per_env_runner=num_envs, rollout_fragment_length=num_steps)
        .training(**{**PPO, "train_batch_size": num_envs * num_steps, **training})
        .rl_module(model_config=model)
    )


def ppo_on(task: _envs.Task) -> Any:
    """PPO on a MuJoCo or an Atari env."""
    nature = images(((32, 8, 4), (64, 4, 2), (64, 3, 1)), 512)
    numbers = {**TWO_NETS, "normalize_observations": True, "free_log_std": True}
    config = ppo(
        task.env,
        nature if task.images else numbers,
        num_steps=task.num_steps,
        minibatch_size=task.minibatch_size,
        num_epochs=task.num_epochs,
        lr=task.learning_rate,
        clip_param=task.clip,
        entropy_coeff=task.entropy_coeff,
        reward_scaling=not task.images,
    )
    return config.environment(wrappers=["atari"]) if task.images else config


def ppo_of_two_agents() -> Any:
    """PPO with two agents, a module each."""
    from rlkit_core.testing import MultiAgentCartPole

    agents = {"policies": list(_agents.MODULES), "policy_mapping_fn": _agents.module_of}
    config = ppo(MultiAgentCartPole, TWO_NETS).environment(env_config={"num_agents": _agents.NUM_AGENTS})
    return config.multi_agent(**agents).reporting(metrics_num_episodes_for_smoothing=20)


def ppo_with_memory() -> Any:
    """PPO whose two networks end in an LSTM each."""
    lstm = {"use_lstm": True, "lstm_cell_size": _stateless.CELL_SIZE}
    return ppo(_stateless.StatelessCartPole, {**TWO_NETS, "fcnet_hiddens": list(_stateless.HIDDENS), **lstm})


def dqn(updates: int = 1) -> Any:
    """DQN: 4 steps and then an update, or several times that and as many updates together."""
    return (
        get_algorithm_config("dqn")
        .environment(_dqn.ENV_ID)
        .env_runners(num_envs_per_env_runner=1, rollout_fragment_length=_dqn.TRAIN_EVERY * updates)
        .training(
            lr=_dqn.LEARNING_RATE,
            gamma=_dqn.GAMMA,
            train_batch_size=_dqn.BATCH_SIZE,
            training_intensity=_dqn.BATCH_SIZE / _dqn.TRAIN_EVERY,
            n_step=1,
            double_q=False,
            dueling=False,
            num_atoms=1,
            noisy=False,
            hiddens=[],
            td_error_loss_fn="mse",
            grad_clip=None,
            epsilon=[[0, _dqn.EPSILON[0]], [_dqn.EPSILON_STEPS, _dqn.EPSILON[1]]],
            target_network_update_freq=_dqn.TARGET_EVERY,
            num_steps_sampled_before_learning_starts=_dqn.LEARNING_STARTS,
            replay_buffer_config={"type": "ReplayBuffer", "capacity": _dqn.CAPACITY},
        )
        .rl_module(model_config={"fcnet_hiddens": list(_dqn.HIDDENS), "fcnet_activation": "relu"})
    )


def sac() -> Any:
    """SAC, an update after every step."""
    return (
        get_algorithm_config("sac")
        .environment(_sac.ENV_ID)
        .training(
            lr=_sac.LEARNING_RATE,
            gamma=_sac.GAMMA,
            tau=_sac.TAU,
            train_batch_size=_sac.BATCH_SIZE,
            num_steps_sampled_before_learning_starts=_sac.LEARNING_STARTS,
            replay_buffer_config={"type": "uniform", "capacity": _sac.CAPACITY},
        )
        .rl_module(model_config={"fcnet_hiddens": list(_sac.HIDDENS), "qf_head_fcnet_hiddens": list(_sac.HIDDENS)})
    )


def impala(name: str) -> Any:
    """IMPALA or APPO with two runner processes."""
    return (
        get_algorithm_config(name)
        .environment(_impala.ENV_ID)
        .env_runners(
            num_env_runners=_impala.NUM_ENV_RUNNERS,
            num_envs_per_env_runner=_impala.NUM_ENVS,
            rollout_fragment_length=_impala.FRAGMENT,
        )
        .training(train_batch_size=_impala.TRAIN_BATCH_SIZE)
        .rl_module(model_config={**TWO_NETS, "fcnet_hiddens": list(_impala.HIDDENS)})
        .reporting(min_time_s_per_iteration=1)
    )


#: Trainings by name. Those that end in "-eager" show what recording the update gives.
CONFIGS: dict[str, Callable[[], Any]] = {
    "ppo_cartpole": partial(ppo, ENV_ID, TWO_NETS),
    "ppo_vector": partial(
        ppo, ENV_ID, TWO_NETS, _vector.NUM_ENVS, _vector.NUM_STEPS, minibatch_size=_vector.MINIBATCH_SIZE
    ),
    "ppo_image": partial(ppo, _frames.Frames, images(_frames.FILTERS, _frames.FC)),
    "ppo_image-bf16": lambda: ppo(_frames.Frames, images(_frames.FILTERS, _frames.FC)).learners(mixed_precision="bf16"),
    "ppo_lstm": ppo_with_memory,
    "two_agents": ppo_of_two_agents,
    **{name: partial(ppo_on, task) for name, task in _envs.TASKS.items()},
    "dqn_cartpole": dqn,
    "dqn_cartpole-eager": lambda: dqn().learners(compile=None),
    "dqn_together": partial(dqn, 8),
    "sac_pendulum": sac,
    "impala": partial(impala, "impala"),
    "appo": partial(impala, "appo"),
    "impala-ray": lambda: impala("impala").execution(executor="ray", address="local"),
}
#: Where a peer's processes have to start, connect and compile first, the first results are awaited on all sides.
FROM_FIRST_RESULTS = ("two_agents", "impala", "appo", "impala-ray")


def training(algo: Any, work: Work) -> Callable[[], tuple[int, float]]:
    """All iterations of an algorithm."""

    def train() -> tuple[int, float]:
        result: dict[str, Any] = {LIFETIME: 0}
        while result[LIFETIME] < work.steps:
            result = algo.train()
        return int(result[LIFETIME]), float(result["env_runners"].get("episode_return_mean", math.nan))

    return train


def sampling(work: Work) -> Callable[[], tuple[int, float]]:
    """Rollouts of PPO on CartPole, from which nothing is learned."""
    algo = CONFIGS["ppo_cartpole"]().debugging(seed=work.seed).build_algo()

    def sample() -> tuple[int, float]:
        for _ in range(work.iterations):
            algo.env_runner_group.sample()
        return work.iterations * ROLLOUT, math.nan

    return sample


def updating(work: Work, *, eager: bool = False) -> Callable[[], tuple[int, float]]:
    """Minibatches of a PPO update alone."""
    config = get_algorithm_config("ppo").training(train_batch_size=bare.NUM_ROWS, entropy_coeff=0.01, lr=3e-4)
    config.rl_module(model_config=TWO_NETS).debugging(seed=work.seed)
    if eager:
        config.learners(compile=None)
    observations = gym.spaces.Box(-1.0, 1.0, (bare.NUM_INPUTS,), np.float32)
    spaces = {"default_policy": (observations, gym.spaces.Discrete(bare.NUM_ACTIONS))}
    learner = config.build_learner(spaces=spaces)
    learner.build()
    batch = {"default_policy": bare.build_batch()}
    sizes = {"num_epochs": bare.NUM_EPOCHS, "minibatch_size": bare.MINIBATCH_SIZE, "shuffle_batch_per_epoch": True}

    def update() -> None:
        learner.update(batch, **sizes)

    update()
    return repeated(update, work.steps // bare.NUM_MINIBATCHES, worth=bare.NUM_MINIBATCHES)


OTHERS: dict[str, Callable[[Work], Callable[[], tuple[int, float]]]] = {
    "sampling": sampling,
    "update": updating,
    "update-eager": partial(updating, eager=True),
}


def main() -> None:
    """Build, then do the whole work."""
    name, work = parse_order([*CONFIGS, *OTHERS])
    packages = ["rlkit-core", "torch", "gymnasium", "numpy"]
    if name in OTHERS:
        measure(OTHERS[name](work), packages)
        return
    config = CONFIGS[name]().debugging(seed=work.seed)
    packages.append(type(config).__module__.partition(".")[0].replace("_", "-"))
    algo = config.build_algo()
    try:
        if name in FROM_FIRST_RESULTS:
            measure(after_first(algo, work.steps), packages)
        else:
            measure(training(algo, work), packages)
    finally:
        algo.stop()


if __name__ == "__main__":
    main()
