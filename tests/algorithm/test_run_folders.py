"""What a run folder gives to each kind of component, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actor_critic import AC, ACConfig, ACModule
from rlkit_core import Algorithm, Learner, LearnerGroup, MultiRLModule, RLModule
from rlkit_core.errors import CheckpointError
from rlkit_core.testing import MultiAgentCartPole


def small() -> ACConfig:
    return (
        ACConfig()
        .environment("CartPole-v1")
        .training(train_batch_size=64, minibatch_size=32, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=3)
    )


def weights(algo: Algorithm) -> dict[str, Any]:
    found: dict[str, Any] = algo.learner_group.get_weights(inference_only=False).state["default_policy"]
    return found


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def to_sides(agent_id: int, episode: object) -> str:
    return ["left", "right"][agent_id]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the checkpoints of two iterations, the first one the best."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with small().build_algo() as algo:
        for iteration in (1, 2):
            algo.train()
            algo.save_to_path(folder / "checkpoints" / f"{iteration:06d}")
            if iteration == 1:
                algo.save_to_path(folder / "best")
    return folder


def test_every_kind_of_component_is_found_in_a_run(run: Path) -> None:
    with Algorithm.from_checkpoint(run) as algo, AC.from_checkpoint(run, which="best") as best:
        assert (type(algo), algo.iteration, best.iteration) == (AC, 2, 1)
        expected, at_best = weights(algo), weights(best)
    assert not same(expected, at_best)
    module = RLModule.from_checkpoint(run)
    assert type(module) is ACModule
    assert same(module.get_state(), expected)
    assert same(ACModule.from_checkpoint(run, which="best").get_state(), at_best)
    multi = MultiRLModule.from_checkpoint(run)
    assert list(multi.keys()) == ["default_policy"]
    assert same(multi["default_policy"].get_state(), expected)
    learner = Learner.from_checkpoint(run)
    assert same(learner.module["default_policy"].get_state(), expected)
    with_learner = run / "checkpoints" / "000001" / "learner_group" / "learner"
    assert same(RLModule.from_checkpoint(with_learner).get_state(), at_best)
    group = LearnerGroup.from_checkpoint(run)
    assert same(group.get_weights(inference_only=False).state["default_policy"], expected)
    group.shutdown()


def test_parts_of_a_run_go_into_what_is_there(run: Path) -> None:
    with small().debugging(seed=9).build_algo() as algo:
        algo.restore_from_path(run, component="learner_group/learner/rl_module", which="best")
        assert algo.iteration == 0
        best = RLModule.from_checkpoint(run, which="best")
        assert same(weights(algo), best.get_state())
        algo.get_module()
        best.restore_from_path(run)
        algo.restore_from_path(run)
        assert algo.iteration == 2
        assert same(weights(algo), best.get_state())


def test_of_several_modules_one_is_to_be_named(tmp_path: Path) -> None:
    config = small().environment(MultiAgentCartPole, env_config={"num_agents": 2})
    config.multi_agent(policies=["left", "right"], policy_mapping_fn=to_sides)
    with config.build_algo() as algo:
        algo.save_to_path(tmp_path / "run" / "checkpoints" / "000000")
    with pytest.raises(CheckpointError, match=r"(?s)for one RLModule.*rl_module/left\n.*rl_module/right"):
        RLModule.from_checkpoint(tmp_path / "run")
    inside = tmp_path / "run" / "checkpoints" / "000000" / "learner_group" / "learner" / "rl_module"
    assert list(MultiRLModule.from_checkpoint(tmp_path / "run").keys()) == ["left", "right"]
    assert isinstance(RLModule.from_checkpoint(inside / "left"), ACModule)
