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
from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.distributions import Categorical
from rlkit_core.envs.trial.check_env import check_env
from rlkit_core.errors import EnvError
from rlkit_core.execution.conformance import ExecutorContract
from rlkit_core.execution.protocol import Executor
from rlkit_core.frameworks import Framework
from rlkit_core.learner import Learner, LearnerGroup
from rlkit_core.learner.step import StepEngine
from rlkit_core.models import MLPEncoderConfig
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.quarantine import random_states_kept
from rlkit_core.plugins.records import Registered, load_target
from rlkit_core.rl_module import RLModule
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
    """What every tensor framework keeps.

    Attributes:
        component: its id, its record, or ``"package.module:Attribute"``; the target is a ``Framework``.
    """

    about = service = "framework"

    @functools.cached_property
    def framework(self) -> Framework:
        """The target."""
        with doing(f"{self.name}: importing it", "name it as 'package.module:Attribute'"):
            found = self.target
        require(
            isinstance(found, Framework),
            f"{self.name}: the target is {type(found).__name__}, expected a rlkit_core.frameworks.Framework",
            "make one: Framework(name=..., module_base=..., ...)",
        )
        made: Framework = found
        return made

    def test_its_classes_say_whose_they_are(self) -> None:
        """Bases of modules and learners derive from the core's, and their ``framework`` is its name."""
        made = self.framework
        for part, base in (("module_base", RLModule), ("learner_base", Learner)):
            cls = getattr(made, part)
            require(
                isinstance(cls, type) and issubclass(cls, base) and cls.framework == made.name,
                f"{self.name}: {part} is {cls!r}, expected a {base.__name__} with framework = {made.name!r}",
                f"class Base({base.__name__}): framework = {made.name!r}",
            )

    def test_arrays_come_back(self) -> None:
        """From numpy and to numpy again, each dtype as it was."""
        for dtype in (np.float32, np.int64, np.bool_):
            array = np.array([[1, 0, 3], [0, 1, 1]], dtype)
            with doing(f"{self.name}: from_numpy and to_numpy of {array.dtype}", "keep values, shape and dtype"):
                back = self.framework.to_numpy(self.framework.from_numpy(array))
            same = isinstance(back, np.ndarray) and back.dtype == array.dtype and np.array_equal(back, array)
            require(same, f"{self.name}: {array.dtype} does not come back as it was", "keep values, shape and dtype")

    def test_distributions_score_as_torchs(self) -> None:
        """Log-probability, entropy and mode of equal inputs are equal."""
        logits, actions = np.array([[0.5, -1.0, 2.0], [3.0, 0.0, 0.0]], np.float32), np.array([2, 1])
        made = self.framework
        with doing(f"{self.name}: distribution(Categorical)", "give the class of the same meaning"):
            dist: Any = made.distribution(Categorical)
            mine = dist.from_logits(made.from_numpy(logits))
            found = [mine.logp(made.from_numpy(actions)), mine.entropy(), mine.to_deterministic().sample()]
        theirs = Categorical.from_logits(torch.tensor(logits))
        expected = [theirs.logp(torch.tensor(actions)), theirs.entropy(), theirs.to_deterministic().sample()]
        for name, one, other in zip(("logp", "entropy", "mode"), found, expected, strict=True):
            close = np.allclose(made.to_numpy(one), other.numpy(), atol=1e-5)
            require(close, f"{self.name}: {name} of a Categorical differs from torch's", "compute it from the logits")

    def test_it_builds_an_encoder(self) -> None:
        """An MLP of a model config gives features of the shape that the config says."""
        config = MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=(5,))
        obs = self.framework.from_numpy(np.ones((4, 3), np.float32))
        with doing(f"{self.name}: build(MLPEncoderConfig(...))", "return what maps {'obs'} to {'encoder_out'}"):
            out = self.framework.to_numpy(self.framework.build(config)({Columns.OBS: obs})[ENCODER_OUT])
        require(
            out.shape == (4, 5), f"{self.name}: the encoder gives {out.shape}, expected (4, 5)", "as output_dims says"
        )

    def test_what_it_has_for_algorithms_is_its_own(self) -> None:
        """Modules and learners of algorithms derive from its bases; behaviour cloning, if there, learns and acts."""
        made = self.framework
        for name, parts in made.algorithms.items():
            with doing(f"{self.name}: rl_module_spec of {name}", "return an RLModuleSpec with a module_class"):
                module_class = parts.rl_module_spec().module_class
            require(
                issubclass(module_class, made.module_base) and issubclass(parts.learner_class, made.learner_base),
                f"{self.name}: {name} has {module_class.__name__} and {parts.learner_class.__name__}",
                "derive them from module_base and learner_base",
            )
        if made.parts_for(BCConfigTest) is None:
            skip(f"{self.name} in training: it has nothing for BCConfigTest")
        parts_of_bc = made.parts_for(BCConfigTest)
        assert parts_of_bc is not None
        config = _for_rows(0).learners(learner_class=parts_of_bc.learner_class)
        config.rl_module(rl_module_spec=parts_of_bc.rl_module_spec()).training(lr=0.02)
        with doing(f"{self.name}: behaviour cloning", "its learner's update() takes torch tensors"):
            learner = config.build_learner()
            learner.build()
            losses = [learner.update({MODULE: _rows(0)})[MODULE]["total_loss"] for _ in range(30)]
        require(losses[-1] < losses[0], f"{self.name}: 30 updates do not lower the loss", "step down the gradient")
        self._acts(learner.module[MODULE])

    def _acts(self, module: RLModule) -> None:
        sampler = self.framework.sampler(module, explore=False)
        obs = _rows(1)[Columns.OBS]
        with doing(f"{self.name}: sampler", "take and return torch tensors, as ActionSampler does"):
            actions = sampler({Columns.OBS: obs})[Columns.ACTIONS]
        expected = ((32,), torch.int64)
        seen = (tuple(actions.shape), actions.dtype) if isinstance(actions, torch.Tensor) else type(actions).__name__
        require(
            seen == expected, f"{self.name}: sampled actions are {seen}, expected {expected}", "return torch tensors"
        )


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
