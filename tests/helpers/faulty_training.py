"""Training in processes whose envs fail and whose runners are killed: what must add up, and what must be learned."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

from faulty_envs import Faulty

from rlkit_core.algorithm.config.presets import apply_preset


def with_faults(config: Any, *, chance: float, seed: int = 1) -> Any:
    """The config with two runner processes and CartPoles that raise, lie and cannot be reset now and then."""
    return (
        config.environment(Faulty, env_config={"chance": chance, "bad_resets": 0.01})
        .env_runners(num_env_runners=2)
        .evaluation(evaluation_config={"env": "CartPole-v1", "env_config": {}})
        .debugging(seed=seed)
    )


def asynchronous(config: Any) -> Any:
    """An algorithm that learns from whatever is ready, in small: rollouts, batches, and iterations of one update."""
    return (
        config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=50)
        .training(train_batch_size=200)
        .reporting(min_time_s_per_iteration=0.0)
        .rl_module(model_config={"fcnet_hiddens": [16]})
    )


def train_under_fire(config: Any, *, iterations: int, kill_every: int, seed: int = 1) -> dict[str, Any]:
    """Train, kill a random runner every so many iterations, and check that nothing is lost or counted twice.

    Returns:
        The last result.
    """
    draw = random.Random(seed)
    counted = kills = 0
    with config.build_algo() as algo:
        for iteration in range(1, iterations + 1):
            if iteration % kill_every == 0:
                pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid())
                os.kill(draw.choice(pids), signal.SIGKILL)
                kills += 1
            result = algo.train()
            counted += result["env_runners"]["num_env_steps_sampled"]
            assert counted == result["num_env_steps_sampled_lifetime"]
        result = algo.train()  # whoever was killed last has been missed by now
        faults = result["fault_tolerance"]
        assert faults["num_healthy_env_runners"] == 2
        assert faults["num_env_runner_restarts"] == kills
        assert faults["num_env_restarts"] > 0
    return result


def reach_level(config: Any, *, level: float, within: int, kill_every: int, seed: int = 1) -> None:
    """Train with the preset of CartPole-v1 until the policy balances a pole that does not fail, as runners are killed.

    Raises:
        AssertionError: the level was missed, or steps do not add up.
    """
    apply_preset(config, "CartPole-v1")
    config = with_faults(config, chance=1 / 2000, seed=seed)
    draw = random.Random(seed)
    counted = kills = 0
    best = 0.0
    with config.build_algo() as algo:
        while best < level and algo.num_env_steps_sampled_lifetime < within:
            result = algo.train()
            counted += result["env_runners"]["num_env_steps_sampled"]
            assert counted == result["num_env_steps_sampled_lifetime"]
            if algo.iteration % kill_every == 0:
                pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid())
                os.kill(draw.choice(pids), signal.SIGKILL)
                kills += 1
            if result["env_runners"]["episode_return_mean"] > 0.6 * level and algo.iteration % 5 == 0:
                best = max(best, algo.evaluate(20)["env_runners"]["episode_return_mean"])
        faults = result["fault_tolerance"]
    assert best >= level, f"{best:.1f} after {counted} steps"
    assert kills
    assert faults["num_env_runner_restarts"] >= kills - 1
    assert faults["num_env_restarts"] > 0
