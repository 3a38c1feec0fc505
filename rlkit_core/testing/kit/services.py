"""What writers, env wrappers and callbacks keep, as tests that anybody's can be run through."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch

from rlkit_core.algorithm.config.events import object_problem
from rlkit_core.algorithm.run_view import read_only
from rlkit_core.columns import Columns
from rlkit_core.envs.trial.check_env import check_env
from rlkit_core.errors import EnvError
from rlkit_core.execution.conformance import ExecutorContract
from rlkit_core.execution.protocol import Executor
from rlkit_core.learner import Learner, LearnerGroup
from rlkit_core.learner.step import StepEngine
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.quarantine import random_states_kept
from rlkit_core.plugins.records import Registered, load_target
from rlkit_core.run.writers import ResultWriter
from rlkit_core.testing.bc_algorithm import BCConfigTest
from rlkit_core.testing.kit.contract import BreachError, Contract, advise, doing, require, skip
from rlkit_core.testing.kit.envs import KitEnv
from rlkit_core.testing.step_engine import StepEngineContract

ROUNDS = 3


class ServiceContract(Contract):
    """What is asked of services of several kinds.

    Attributes:
        component: its id (``"acme/sqlite"``), its record, its class, or ``"package.module:Class"``.
    """

    service: ClassVar[str]
    component: Any = None

    @functools.cached_property
    def target(self) -> Any:
        """The class, or function."""
        given = self.component
        if isinstance(given, str) and ":" not in given:
            return default_host().get_service(self.service, given)
        return given.load() if isinstance(given, Registered) else load_target(given)

    @property
    def name(self) -> str:
        """As findings name it."""
        given = self.component
        named = given.id if isinstance(given, Registered) else getattr(given, "__qualname__", given)
        return f"{self.service.replace('_', ' ')} {named!r}"


class WriterContract(ServiceContract):
    """What every result writer keeps.

    Attributes:
        component: its id, its record, its class, or ``"package.module:Class"``.
    """

    about = service = "writer"

    def result(self, iteration: int) -> dict[str, Any]:
        """The result of an iteration: later ones have more in them, and not everything is a finite number."""
        nested = {"episode_return_mean": float("nan") if iteration == 1 else 1.5 * iteration, "num_episodes": iteration}
        more = {"evaluation": {"env_runners": {"episode_return_mean": float("inf")}}} if iteration > 1 else {}
        learners = {"default_policy": {"total_loss": -0.5, "a new, odd/name": float(iteration)}}
        counts = {"training_iteration": iteration, "num_env_steps_sampled_lifetime": 100 * iteration}
        return {"env_runners": nested, "learners": learners, "config": {"lr": 0.1, "env": None}, **counts, **more}

    def make(self, folder: str, resume_at: int | None = None) -> Any:
        """A writer, as a run makes it."""
        config = BCConfigTest(expert=np.zeros_like).copy()
        config.freeze()
        with doing(f"{self.name}: making it", "it is made as (run_dir, config, resume_at), and the folder exists"):
            return self.target(Path(folder), config, resume_at)

    def write(self, writer: ResultWriter, iterations: Iterable[int]) -> None:
        """Write results, and close it."""
        for iteration in iterations:
            result = self.result(iteration)
            before = copy.deepcopy(result)
            with doing(f"{self.name}: write() of result {iteration}", "take any result: NaN, text, and keys that come"):
                writer.write(read_only(result))
            require(
                repr(result) == repr(before),
                f"{self.name}: write() changes the result",
                "copy what is to be changed: dict(result)",
            )
        with doing(f"{self.name}: close()", "finish what is open"):
            writer.close()

    def test_it_takes_every_result(self) -> None:
        """Also such as have NaN, text, and keys that were not there before; and it changes none."""
        with tempfile.TemporaryDirectory() as folder:
            self.write(self.make(folder), range(1, ROUNDS + 1))

    def test_it_closes_without_a_result(self) -> None:
        """A run may end before its first iteration does."""
        with tempfile.TemporaryDirectory() as folder:
            self.write(self.make(folder), ())

    def test_a_resumed_run_goes_on(self) -> None:
        """Made with ``resume_at``, in the folder that it wrote before or in an empty one, it goes on."""
        for first in (range(1, ROUNDS + 1), None):
            with tempfile.TemporaryDirectory() as folder:
                if first is not None:
                    self.write(self.make(folder), first)
                self.write(self.make(folder, resume_at=1), (2, 3))
        says = getattr(self.target, "cuts_back", None)
        fix = "cuts_back = True in the class, where resume_at lets it drop what it has of later iterations; else False"
        advise(isinstance(says, bool), f"{self.name} does not say whether resumed runs are without repetitions", fix)

    def test_it_draws_nothing(self) -> None:
        """Writing leaves the random numbers of a run as they are."""
        with tempfile.TemporaryDirectory() as folder, random_states_kept():
            state = repr(np.random.get_state())
            self.write(self.make(folder), (1,))
            drawn = state != repr(np.random.get_state())
        require(not drawn, f"{self.name}: it draws from np.random", "use np.random.default_rng(), or uuid")


class EnvWrapperContract(ServiceContract):
    """What every env wrapper keeps.

    Attributes:
        component: its id, its record, its class, or ``"package.module:Class"``.
        env: an env that it fits, a class or function that makes one.
        arguments: what it is given beside the env.
    """

    about = "env wrapper"
    service = "env_wrapper"
    env: Callable[[], gym.Env[Any, Any]] = KitEnv
    arguments: Mapping[str, Any] = {}

    def wrapped(self) -> Any:
        """The env with the wrapper around it."""
        make = type(self).env
        fix = "take the env first, and what else there is by name; give the contract an `env` that it fits"
        with doing(f"{self.name}: wrapping an env", fix):
            return self.target(make(), **self.arguments)

    def test_a_trainer_trips_over_nothing(self) -> None:
        """With the wrapper an env shows no fault that it does not show without."""
        make = type(self).env
        bare = check_env(lambda: make(), steps=200, strict=False)
        if type(self).env is KitEnv and not self.arguments:
            try:
                self.target(make())
            except Exception as error:
                skip(f"{self.name}, which does not fit the kit's env: {type(error).__name__}: {error}")
        try:
            report = check_env(self.wrapped, steps=200, strict=False)
        except EnvError as error:
            raise BreachError(f"{self.name}: {error}", "return an env, gymnasium.Wrapper say") from error
        known = {finding.kind for finding in bare.findings}
        new = [finding for finding in report.findings if finding.kind not in known and finding.level != "note"]
        for finding in new:
            advise(finding.level == "error", f"{self.name}: {finding.what}", finding.fix)
        errors = [finding for finding in new if finding.level == "error"]
        require(not errors, "; ".join(f"{self.name}: {one.what}" for one in errors), errors[0].fix if errors else "")

    def test_closing_reaches_the_env(self) -> None:
        """``close()`` of the wrapper closes what is inside."""
        closed = []
        made: Any = type(self).env()
        made.close = lambda: closed.append(1)
        try:
            outside = self.target(made, **self.arguments)
        except Exception:
            return  # the other test says so
        with doing(f"{self.name}: close()", "leave close() to gymnasium.Wrapper"):
            outside.close()
        require(closed, f"{self.name}: close() does not close the env inside", "call super().close(), or env.close()")


class CallbacksContract(ServiceContract):
    """What callbacks that a plugin offers keep.

    Attributes:
        component: their id, their record, their class, or ``"package.module:Class"``.
    """

    about = service = "callbacks"

    def test_their_methods_are_events(self) -> None:
        """Each ``on_...`` method is an event, and takes arguments that it has."""
        problem = object_problem(self.target)
        require(not problem, f"{self.name}: {problem}", "see rlkit_core.algorithm.config.events for all of them")

    def test_a_run_goes_through(self) -> None:
        """Training, evaluating, saving and restoring with them raises nothing, and repeats with the seed."""
        first, again = (self._run() for _ in range(2))
        require(
            list(first) == list(again) and all(np.array_equal(first[name], again[name]) for name in first),
            f"{self.name}: with them two runs of one seed differ",
            "draw from a generator of their own that is seeded, and leave the global ones",
        )

    def _run(self) -> Mapping[str, Any]:
        target = self.target
        with doing(f"{self.name}: making them", "a class takes no arguments"):
            made = target() if isinstance(target, type) else target
        config = BCConfigTest(expert=_first, train_batch_size=24).environment(KitEnv)
        config.env_runners(num_envs_per_env_runner=2).learners(compile=None).debugging(seed=7)
        config.evaluation(evaluation_interval=1, evaluation_duration=1).callbacks(callbacks_class=made)
        fix = "take what the event has by name, and look at what is there before it is used"
        with (
            tempfile.TemporaryDirectory() as to,
            doing(f"{self.name}: a run with them", fix),
            config.build_algo() as algo,
        ):
            algo.train()
            path = algo.save_to_path(f"{to}/checkpoint")
            algo.restore_from_path(path)
            algo.train()
            weights: Mapping[str, Any] = algo.learner_group.get_weights(inference_only=False).state["default_policy"]
            return {name: np.array(value) for name, value in weights.items()}


def _first(observations: np.ndarray[Any, Any]) -> Any:
    return np.zeros(len(observations), np.int64)


class ExecutorServiceContract(ServiceContract, ExecutorContract):
    """:class:`ExecutorContract` of an executor that is registered."""

    about = service = "executor"

    def make_executor(self) -> Executor:
        """A new one."""
        made: Executor = self.target()
        return made


class StepEngineServiceContract(ServiceContract, StepEngineContract):
    """:class:`StepEngineContract` of a step engine that is registered."""

    about = service = "step_engine"

    def make_engine(self, learner: Learner) -> StepEngine:
        """One for a learner."""
        made: StepEngine = self.target(learner)
        return made


class LearnerGroupServiceContract(ServiceContract):
    """What every learner group keeps that is registered: looked at with one learner, which is in this process."""

    about = service = "learner_group"

    def test_it_learns_as_the_learner_of_this_process(self) -> None:
        """The same rows give the same weights, and a state that the learner of this process takes."""
        plain = LearnerGroup(config=_for_rows(0))
        with doing(
            f"{self.name}: making it", "it is made as LearnerGroup is, by config; see LearnerGroup.make_learners"
        ):
            group = self.target(config=_for_rows(1))
        try:
            with doing(f"{self.name}: update()", "it takes what LearnerGroup.update takes, and returns results"):
                for learners in (plain, group):
                    for seed in range(UPDATES):
                        learners.update({MODULE: _rows(seed)})
                expected, seen = _weights(plain), _weights(group)
            require(
                list(expected) == list(seen) and all(np.allclose(expected[n], seen[n], atol=1e-5) for n in expected),
                f"{self.name}: one learner in it comes to other weights than the learner of this process",
                "let each learner update on all of its rows, once, and get_weights() give what it then has",
            )
            with doing(f"{self.name}: get_state()", "give the state of one learner, which all of them share"):
                other = LearnerGroup(config=_for_rows(0, seed=3))
                other.set_state(group.get_state())
            taken = _weights(other)
            require(
                all(np.array_equal(seen[name], taken[name]) for name in seen),
                f"{self.name}: a learner of this process takes its state, and has other weights then",
                "give the state of one learner, which all of them share",
            )
        finally:
            group.shutdown()


MODULE, UPDATES = "default_policy", 2


def _for_rows(num_learners: int, seed: int = 2) -> BCConfigTest:
    config = BCConfigTest().environment(
        observation_space=KitEnv().observation_space, action_space=KitEnv().action_space
    )
    config.learners(num_learners=num_learners, compile=None).execution(executor="local").debugging(seed=seed)
    return config


def _rows(seed: int) -> dict[str, torch.Tensor]:
    obs = torch.randn(32, 3, generator=torch.Generator().manual_seed(seed))
    return {Columns.OBS: obs, Columns.ACTIONS: (obs[:, 0] > 0).long()}


def _weights(group: LearnerGroup) -> dict[str, Any]:
    state = group.get_weights(inference_only=False).state[MODULE]
    return {name: np.array(value) for name, value in state.items()}


class FrameworkServiceContract(ServiceContract):
    """Frameworks are kept and listed, and nothing uses them yet: this one can be imported."""

    about = service = "framework"

    def test_it_is_there(self) -> None:
        """What its record names is imported."""
        with doing(f"{self.name}: importing it", "name it as 'package.module:Attribute'"):
            _ = self.target
        skip(f"{self.name}, beyond its import: nothing uses frameworks yet")


def service_contract(kind: str, *, fast: bool) -> type[ServiceContract] | None:
    """The contract of a service; of executors and engines, which take their time, unless it has to be ``fast``."""
    contracts: dict[str, type[ServiceContract]] = {
        "writer": WriterContract,
        "env_wrapper": EnvWrapperContract,
        "callbacks": CallbacksContract,
        "learner_group": LearnerGroupServiceContract,
        "framework": FrameworkServiceContract,
    }
    if not fast:
        contracts |= {"executor": ExecutorServiceContract, "step_engine": StepEngineServiceContract}
    return contracts.get(kind)
