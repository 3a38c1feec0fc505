"""What learners and algorithms keep, as tests that train a little, in a small env unless another is given."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from attrs import define

from rlkit_core.algorithm import Algorithm, AlgorithmConfig
from rlkit_core.algorithm.config.declared import names_of
from rlkit_core.algorithm.results import flatten_result
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import load_target
from rlkit_core.testing.kit.contract import Contract, advise, doing, require, skip
from rlkit_core.testing.kit.envs import KitAgents, KitEnv
from rlkit_core.testing.kit.examples import SMALL
from rlkit_core.testing.kit.networks import equal_states

SHORT: Mapping[str, object] = {
    "num_envs_per_env_runner": 2,
    "train_batch_size": 32,
    "minibatch_size": 16,
    "num_epochs": 1,
    "min_sample_timesteps_per_iteration": 32,
    "num_steps_sampled_before_learning_starts": 16,
}
"""Settings of short iterations, as far as an algorithm has them; for the kit's own env."""
PROCESSES = "rlkit-processes/process"
"""The executor of runners elsewhere, where it is installed."""


@define
class Trained:
    """What some iterations have come to."""

    weights: dict[str, Any]
    result: Mapping[str, Any]


class TrainingContract(Contract):
    """What contracts share that train.

    Attributes:
        config: an ``AlgorithmConfig``, its class, or its registered name. Where it has no env, it gets a small one, and
            settings of short iterations.
        iterations: ``train()`` calls.
    """

    config: Any = None
    iterations = 2

    @functools.cached_property
    def _given(self) -> AlgorithmConfig:
        given = load_target(self.config) if not isinstance(self.config, str) or ":" in self.config else self.config
        if isinstance(given, str):
            given = default_host().get_algorithm_config_class(given)
        with doing(f"{self.name}: making its config", "a config class takes no arguments"):
            config: AlgorithmConfig = given() if isinstance(given, type) else given.copy(copy_frozen=False)
        return config

    @property
    def name(self) -> str:
        """The algorithm as findings name it."""
        given = self.config
        return f"algorithm {given if isinstance(given, str) else getattr(given, '__name__', type(given).__name__)}"

    def make_config(self, **changes: object) -> AlgorithmConfig:
        """A new config, with other settings where they are given."""
        config: AlgorithmConfig = self._given.copy(copy_frozen=False)
        if config.env is None:
            kinds = names_of(type(config).action_spaces)
            actions = gym.spaces.Discrete(3) if "Discrete" in kinds else gym.spaces.Box(-1.0, 1.0, (2,))
            config.environment(KitEnv, env_config={"action_space": actions})
            for name, value in SHORT.items():
                if name in type(config).known_settings() and getattr(config, name) not in (None, value):
                    config.change({name: value})
            config.rl_module(model_config={**SMALL, **self._given.stored("model_config")})
        config.debugging(seed=7)
        return config.change(changes)

    @contextmanager
    def running(self, what: str, **changes: object) -> Iterator[Algorithm]:
        """An algorithm that is built, and stopped at the end; what it raises names what was done."""
        with doing(f"{self.name}, {what}", "run it by hand, with RLKIT_DEBUG=1 for the traceback"):
            algo: Algorithm = self.make_config(**changes).build_algo()
            with algo:
                yield algo

    def train(self, what: str, **changes: object) -> Trained:
        """Train for :attr:`iterations`."""
        with self.running(what, **changes) as algo:
            for _ in range(self.iterations):
                result = algo.train()
            return Trained(weights_of(algo), result)

    @functools.cached_property
    def plain(self) -> Trained:
        """What training comes to, eagerly, in this process."""
        return self.train("training", compile=None)

    def require_moved(self, before: Mapping[str, Any], after: Mapping[str, Any], what: str = "") -> None:
        """Require that training has changed every module."""
        moved = {name.partition("/")[0] for name in after if not np.array_equal(before[name], after[name])}
        still = {name.partition("/")[0] for name in after} - moved
        require(
            not still,
            f"{self.name}{what}: {self.iterations} iterations change no weight of {', '.join(sorted(still))}",
            "see that the loss reaches the module, or give the contract a config that learns in so many iterations",
        )

    def has(self, kind: str) -> bool:
        """Whether something installed offers a kind of service."""
        return any(one.origin.distribution != "rlkit-core" for one in default_host().services(kind))


class LearnerContract(TrainingContract):
    """What every Learner keeps, trained by its algorithm.

    Attributes:
        config: an ``AlgorithmConfig``, its class, or its registered name.
        iterations: ``train()`` calls.
    """

    about = "learner"

    def test_weights_move_and_stay_finite(self) -> None:
        """After some iterations every module has learned something, and nothing is NaN or infinite."""
        with self.running("building it", compile=None) as algo:
            before = weights_of(algo)
        after = self.plain.weights
        bad = [name for name, value in after.items() if not np.isfinite(value).all()]
        require(not bad, f"{self.name}: after training {', '.join(bad[:5])} is not finite", "look at the loss")
        self.require_moved(before, after)

    def test_results_are_numbers(self) -> None:
        """What learners report is finite."""
        flat = flatten_result(self.plain.result.get("learners", {}))
        bad = [name for name, value in flat.items() if isinstance(value, float) and not math.isfinite(value)]
        advise(not bad, f"{self.name}: the learner reports {', '.join(bad[:5])}, not finite", "look at divisions by 0")

    def test_captured_steps_equal_eager_ones(self) -> None:
        """Recorded and replayed, the gradient step gives the same weights, up to rounding."""
        if not self.has("step_engine"):
            skip("captured steps: no step engine is installed (pip install rlkit-capture)")
        learner = self._given.learner_class or self._given.get_default_learner_class()
        if not getattr(learner, "capturable", True):
            return
        captured = self.train("with captured steps, compile='capture'", compile="capture").weights
        far = [n for n, v in self.plain.weights.items() if not np.allclose(captured[n], v, rtol=1e-3, atol=1e-4)]
        require(
            not far,
            f"{self.name}: captured steps give other weights than eager ones: {', '.join(far[:5])}",
            "in the loss: no branch on values, no numbers of Python that change, coefficients in tensor_variable(); or "
            "capturable = False",
        )

    def test_a_state_goes_to_another_learner(self) -> None:
        """A new learner takes a learner's state, and then has that state."""
        with self.running("taking the state of a learner", compile=None) as algo:
            algo.train()
            state = algo.learner_group.get_state()
            with self.running("with the state of another learner", compile=None) as other:
                other.learner_group.set_state(state)
                same = equal_states(weights_of(algo), weights_of(other))
        require(same, f"{self.name}: a learner with another one's state has other weights", "see Learner.set_state()")


class AlgorithmContract(TrainingContract):
    """What every algorithm keeps.

    Attributes:
        config: an ``AlgorithmConfig``, its class, or its registered name.
        iterations: ``train()`` calls.
    """

    about = "algorithm"

    def test_its_config_is_data(self) -> None:
        """Written as JSON and read again, it is the same config."""
        config = self.make_config()
        with doing(f"{self.name}: to_json() and from_json()", "let settings be numbers, texts, lists and dicts"):
            again = type(config).from_json(config.to_json(), env=config.env, env_config=config.env_config)
        require(
            again.to_dict() == config.to_dict(),
            f"{self.name}: its config changes on the way through JSON",
            "declare settings with setting(default, help=..., converter=...)",
        )

    def test_the_seed_decides_and_saving_changes_nothing(self) -> None:
        """Trained twice, once with a checkpoint in between, the weights are equal to the last bit."""
        require(
            equal_states(self.plain.weights, self._saved_in_between[0]),
            f"{self.name}: with the same seed, and a checkpoint saved in between, other weights come out",
            "draw from self.seeds and learner.rng, keep nothing global, and let get_state() change nothing",
        )

    def test_a_restored_run_goes_on_exactly(self) -> None:
        """From a checkpoint it goes on as if it had never been stopped, to the last bit."""
        _, restored, excuse = self._saved_in_between
        if excuse:
            skip(f"exact restore of {self.name}: {excuse}")
        require(
            equal_states(self.plain.weights, restored),
            f"{self.name}: restored from a checkpoint it goes on with other weights",
            "let get_state() and set_state() hold all that training_step() reads: buffers, counters, generators",
        )

    @functools.cached_property
    def _saved_in_between(self) -> tuple[dict[str, Any], dict[str, Any], str]:
        """Weights with a save before the last iteration, those of who was restored there, and why that is not exact."""
        with tempfile.TemporaryDirectory() as folder, self.running("saving a checkpoint", compile=None) as algo:
            for _ in range(self.iterations - 1):
                algo.train()
            path = algo.save_to_path(f"{folder}/checkpoint")
            excuse = "; ".join(algo.not_exact())
            algo.train()
            with doing(f"{self.name}, restored from a checkpoint", "see Checkpointable in docs/reference"):
                config = self.make_config(compile=None)
                with config.build_algo() as restored:
                    restored.restore_from_path(path)
                    restored.train()
                    return weights_of(algo), weights_of(restored), excuse

    def test_runners_may_be_elsewhere(self) -> None:
        """Two runners, through an executor: training goes on, and stays finite."""
        installed = [one.id for one in default_host().services("executor")]
        executor = PROCESSES if PROCESSES in installed else "local"
        self._goes_on(f"with two runners, executor={executor!r}", num_env_runners=2, executor=executor)

    def test_there_may_be_two_learners(self) -> None:
        """Gradients are averaged: training goes on, and stays finite."""
        if not self.has("learner_group"):
            skip("two learners: nothing that runs them is installed (pip install rlkit-processes)")
        larger = {"train_batch_size": 200} if self.make_config().env is KitEnv else {}  # enough envs for each of them
        self._goes_on("with two learners", num_learners=2, **larger)

    def test_recurrent_modules(self) -> None:
        """Where it says that it trains them, it does."""
        if type(self._given).supports_recurrent is False or self.make_config().env is not KitEnv:
            return
        model_config = {**self.make_config().stored("model_config"), "use_lstm": True}
        self._goes_on("with use_lstm=True", model_config=model_config)

    def test_several_agents(self) -> None:
        """Where it says that it trains several modules, each of two agents' own learns something."""
        if type(self._given).supports_multi_agent is not True or self.make_config().env is not KitEnv:
            return
        agents: dict[str, object] = {
            "env": KitAgents,
            "env_config": {**self.make_config().env_config, "num_agents": 2},
            "policies": ("first", "second"),
            "policy_mapping_fn": lambda agent_id, episode: ("first", "second")[agent_id],
        }
        what = "with two agents, each with a module of its own"
        with self.running(what, compile=None, **agents) as algo:
            before = weights_of(algo)
        self.require_moved(before, self._goes_on(what, **agents), f", {what}")

    def test_masked_actions_are_never_taken(self) -> None:
        """What an ``action_mask`` forbids is not done, and not learned from."""
        config = self.make_config()
        if config.env is KitEnv and isinstance(config.env_config["action_space"], gym.spaces.Discrete):
            masked = {**config.env_config, "masked": True}
            self._goes_on("with an action_mask in observations", env_config=masked)

    def _goes_on(self, what: str, **changes: object) -> dict[str, Any]:
        weights = self.train(what, compile=None, restart_failed_sub_environments=False, **changes).weights
        bad = [name for name, value in weights.items() if not np.isfinite(value).all()]
        require(not bad, f"{self.name}, {what}: {', '.join(bad[:5])} is not finite", "look at the loss")
        return weights


def weights_of(algo: Algorithm) -> dict[str, Any]:
    """Copies of all weights, flat: ``"module id/name"``."""
    weights = algo.learner_group.get_weights(inference_only=False).state
    return {f"{mid}/{name}": np.array(value) for mid, state in weights.items() for name, value in state.items()}
