"""What a subclass of Algorithm makes and does by itself: its parts, and a training step of its own."""

from __future__ import annotations

from typing import Any

import pytest

from actor_critic import ACConfig
from rlkit_core import Algorithm


def small(algo_class: type[Algorithm]) -> Any:
    config = ACConfig(algo_class=algo_class).environment("CartPole-v1").rl_module(model_config={"fcnet_hiddens": [4]})
    return config.training(train_batch_size=64, minibatch_size=32, num_epochs=1).debugging(seed=3)


class Own(Algorithm):
    """Counts its updates, and makes two in a step."""

    heard: list[str] = []

    def setup(self) -> None:
        self.heard.append("setup")
        assert self.learner_group.module_ids == ["default_policy"]
        assert self.env_runner_group.module is not None
        assert self.config.num_epochs == 1
        self.num_updates = 0

    def sync_weights(self) -> None:
        self.heard.append(f"sync after {self.num_updates}")
        super().sync_weights()

    def training_step(self) -> None:
        rollouts = self.env_runner_group.sample()
        for _ in range(2):
            self.learner_group.update(rollouts=rollouts, timesteps=self.timesteps)
            self.num_updates += 1
        self.sync_weights()


def test_parts_are_there_before_anyone_looks_and_updates_record_themselves() -> None:
    Own.heard = []
    config = small(Own).callbacks(on_algorithm_init=lambda algorithm: Own.heard.append(f"init {algorithm.num_updates}"))
    with config.build_algo() as algo:
        assert Own.heard == ["setup", "sync after 0", "init 0"]
        assert algo.last_learner_results == {}
        result = algo.train()
        assert result["learners"]["default_policy"]["weights_seq_no"] == 2
        assert result["learners"] == algo.last_learner_results == algo.learner_group.last_results


class Deferred(Own):
    """Reads metrics of both updates together."""

    def training_step(self) -> None:
        rollouts = self.env_runner_group.sample()
        for _ in range(2):
            self.learner_group.update(rollouts=rollouts, reduce_metrics=False)
        assert self.last_learner_results == {}
        self.learner_group.reduce_metrics()


def test_results_that_are_reduced_later_are_recorded_then() -> None:
    with small(Deferred).build_algo() as algo:
        steps = algo.train()["learners"]["default_policy"]["num_module_steps_trained"]
        assert steps == 2 * 64


def test_a_setup_that_fails_leaves_nothing_behind() -> None:
    seen: list[Algorithm] = []

    class Fails(Algorithm):
        def setup(self) -> None:
            seen.append(self)
            raise RuntimeError("no buffer")

        def stop(self) -> None:
            super().stop()
            self.stopped = True

    with pytest.raises(RuntimeError, match="no buffer"):
        small(Fails).build_algo()
    assert seen[0].stopped
