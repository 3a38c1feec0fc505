"""rlkit's PPO with the settings that it chooses by an env's spaces, as ``rlkit train`` does without a preset."""

from __future__ import annotations

from collections.abc import Callable

from _untuned import EPISODES, env_of, measured

from rlkit_core import get_algorithm_config


def train(env: str, steps: int, seed: int) -> tuple[int, Callable[[], tuple[float, float]]]:
    """Train to the end of the budget."""
    config = get_algorithm_config("ppo").environment(env_of(env)).debugging(seed=seed)
    config.apply_generic()
    algo = config.build_algo()
    taken = 0
    while taken < steps:
        taken = algo.train()["num_env_steps_sampled_lifetime"]

    def play() -> tuple[float, float]:
        played = algo.evaluate(EPISODES, seed=seed + 1000)["env_runners"]
        algo.stop()
        return played["episode_return_mean"], played["episode_return_stderr"]

    return taken, play


if __name__ == "__main__":
    measured(train)
