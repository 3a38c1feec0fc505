"""What plugins hand over, held against what the core asks of it: ``rlkit doctor`` says the sentences that come out.

Nothing here trains, and of a plugin's code only imports, an algorithm config's constructor and its defaults run.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import cast

from rlkit_core.algorithm import Algorithm, AlgorithmConfig
from rlkit_core.algorithm.config.events import object_problem
from rlkit_core.catalog import Catalog
from rlkit_core.catalog.scope import takes_child
from rlkit_core.distributions import Distribution
from rlkit_core.errors import PluginError, did_you_mean
from rlkit_core.execution.protocol import Executor
from rlkit_core.learner import Learner, LearnerGroup
from rlkit_core.learner.step import StepEngine
from rlkit_core.models import ModelConfig, SpaceEncoder
from rlkit_core.plugins.contract.signatures import (
    Call,
    is_declared_only,
    making_problem,
    method_problem,
    method_problems,
    public_names,
)
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.records import Component, ModuleAPI, Record, Registered, Service, load_target
from rlkit_core.rl_module.apis import driver_class
from rlkit_core.rl_module.apis.driver_contract import EVENTS
from rlkit_core.rl_module.apis.mixin_class import mixin_of
from rlkit_core.run.writers import ResultWriter

_FROM = {"encoder": "from_space", "head": "from_dims"}
_FROM_SPACE = Call(("space", "model_config"))
_FROM_DIMS = Call(("input_dims", "output_dim", "model_config"))
_SETUP = Call(("space", "model_config"))
_BUILD = Call(named=("framework",))
_DISTRIBUTION: dict[str, tuple[Call, bool]] = {
    "from_logits": (Call(("logits",)), True),
    "required_input_dim": (Call(("space", "model_config")), True),
    "for_space": (Call(("space", "model_config", "child")), True),
    "to_env": (Call(("actions", "space")), True),
    "action_shape_dtype": (Call(("space",)), True),
    "mask_logits": (Call(("logits", "mask")), True),
    "logp": (Call(("value",)), False),
    "to_deterministic": (Call(), False),
}
"""How the methods of a distribution are called, and whether on the class."""

_CATALOG = Call(named=("observation_space", "action_space", "model_config_dict"))
_SERVICES: dict[str, tuple[Call, type | None]] = {
    "executor": (Call(), Executor),
    "step_engine": (Call(("learner",)), StepEngine),
    "writer": (Call(("run_dir", "config", "resume_at")), ResultWriter),
    "env_wrapper": (Call(("env",)), None),
}
"""How the target of a service is called, and what an object of it has to have."""


def algorithm_problems(value: object) -> Iterator[str]:
    """Yield why what an entry point of ``rlkit.algorithms`` names cannot be built."""
    if not isinstance(value, type) or not issubclass(value, AlgorithmConfig):
        yield f"{value!r} is no AlgorithmConfig: make it a subclass of rlkit_core.AlgorithmConfig"
        return
    unmade = making_problem(value, Call())
    if unmade:
        yield unmade
        return
    config = value()
    name = value.__qualname__
    algorithm = config.algo_class
    if algorithm is None:
        yield f'{name} has no algo_class: write algo_class = MyAlgorithm (or "package.module:MyAlgorithm") in it'
    elif not isinstance(algorithm, type) or not issubclass(algorithm, Algorithm):
        yield f"{name}.algo_class is {algorithm!r}, expected a subclass of rlkit_core.Algorithm"
    elif value.has_default("learner"):
        learner = config.get_default_learner_class()
        if not isinstance(learner, type) or not issubclass(learner, Learner):
            yield f"{name}.get_default_learner_class() gives {learner!r}, expected a subclass of rlkit_core.Learner"


def catalog_problems(value: object) -> Iterator[str]:
    """Yield why what an entry point of ``rlkit.catalogs`` names cannot assemble or contribute."""
    if not isinstance(value, type) or not issubclass(value, Catalog):
        yield f"{value!r} is no catalog: make it a subclass of rlkit_core.Catalog"
        return
    unmade = making_problem(value, _CATALOG)
    if unmade:
        yield unmade
    own = [name for name in public_names(Catalog) if getattr(value, name) is not getattr(Catalog, name)]
    yield from method_problems(value, Catalog, own)
    for record in value.components:
        if not isinstance(record, Component):
            yield f"{value.__qualname__}.components holds {record!r}, expected Component records"
            continue
        target = load_target(record.target)
        yield from (f"component {record.name!r}: {problem}" for problem in component_problems(record, target))


def record_problems(registered: Registered[Record], host: PluginHost) -> Iterator[str]:
    """Yield what is wrong with a record of a plugin, whose parts can be imported."""
    record = registered.record
    if isinstance(record, Component):
        yield from component_problems(record, registered.load())
    elif isinstance(record, ModuleAPI):
        yield from api_problems(cast("Registered[ModuleAPI]", registered), host)
    elif isinstance(record, Service):
        yield from service_problems(record.kind, registered.load())


def api_problems(registered: Registered[ModuleAPI], host: PluginHost) -> Iterator[str]:
    """Yield why the mixin of a module API would count for no module, or its driver could not be bound."""
    try:
        mixin_of(registered, host)
        driver = driver_class(registered)
    except PluginError as error:
        yield str(error)
        return
    if registered.record.implementation is not None:
        mixin, implementation = mixin_of(registered, host), registered.load("implementation")
        if not issubclass(implementation, mixin):
            yield f"its implementation {implementation.__qualname__} does not inherit {mixin.__qualname__}"
    if driver is not None:
        yield from _filtered(making_problem(driver, Call()))
        for event in EVENTS:
            if inspect.iscoroutinefunction(getattr(driver, event, None)):
                yield f"{driver.__qualname__}.{event} is 'async def', and nothing awaits it: use 'def'"
            elif hasattr(driver, event) and is_declared_only(driver, event):
                yield f"{driver.__qualname__}.{event} is declared by a Protocol, and not written"


def component_problems(record: Component, target: object) -> Iterator[str]:
    """Yield why a component cannot be chosen, built and used."""
    if record.kind == "distribution":
        yield from _distribution_problems(target, record.framework)
    elif record.kind == "encoder" and isinstance(target, type) and issubclass(target, SpaceEncoder):
        yield from _space_encoder_problems(target)
    elif not isinstance(target, type) or not issubclass(target, ModelConfig):
        other = ", or of rlkit_core.models.SpaceEncoder" if record.kind == "encoder" else ""
        yield (
            f"its target is {target!r}, expected a subclass of rlkit_core.models.ModelConfig with build(), "
            f"output_dims and {_FROM[record.kind]}(){other}"
        )
    else:
        yield from _model_config_problems(target, _FROM[record.kind])


def _space_encoder_problems(target: type[SpaceEncoder]) -> Iterator[str]:
    if target.setup is SpaceEncoder.setup:
        yield f"{target.__qualname__} has no setup{_SETUP}, which makes its layers"
    yield from _filtered(method_problem(target, "setup", _SETUP))


def _model_config_problems(target: type, maker: str) -> Iterator[str]:
    name, call = target.__qualname__, _FROM_SPACE if maker == "from_space" else _FROM_DIMS
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if missing:
        yield f"{name} is abstract: write {', '.join(missing)}"
    if "build" not in missing:
        yield from _filtered(method_problem(target, "build", _BUILD))
    if not hasattr(target, maker):
        near = did_you_mean(maker, [n for n in public_names(target) if n != maker], cutoff=0.75)
        yield f"{name} has no class method {maker}{call}, by which it is made.{near}"
        return
    make = getattr(target, maker)
    if maker == "from_space" and callable(make) and takes_child(make):
        call = Call((*call.positional, "child"))
    yield from _filtered(method_problem(target, maker, call, of_class=True))


def _distribution_problems(target: object, framework: str) -> Iterator[str]:
    if not isinstance(target, type) or (framework == "torch" and not issubclass(target, Distribution)):
        yield f"its target is {target!r}, expected a subclass of rlkit_core.Distribution"
        return
    missing = sorted(getattr(target, "__abstractmethods__", ()))
    if missing:
        yield f"{target.__qualname__} is abstract: write {', '.join(missing)}"
    if issubclass(target, Distribution) and target.draw is Distribution.draw and target.sample is Distribution.sample:
        yield f"{target.__qualname__} cannot be drawn from: write draw(sample_shape, noise) or sample()"
    for method, (call, of_class) in _DISTRIBUTION.items():
        if method in missing:
            continue
        if hasattr(target, method):
            yield from _filtered(method_problem(target, method, call, of_class=of_class))
        elif method != "for_space":
            near = did_you_mean(method, public_names(target), cutoff=0.75)
            yield f"{target.__qualname__} has no {method}{call}.{near}"


def service_problems(kind: str, target: object) -> Iterator[str]:
    """Yield why a service cannot be made, or lacks what its kind has."""
    if kind == "learner_group" and not (isinstance(target, type) and issubclass(target, LearnerGroup)):
        yield f"its target is {target!r}, expected a subclass of rlkit_core.LearnerGroup"
    if kind == "callbacks":
        yield from _filtered(object_problem(target))
        if isinstance(target, type):
            yield from _filtered(making_problem(target, Call()))
    if kind not in _SERVICES:
        return
    call, protocol = _SERVICES[kind]
    if not callable(target):
        yield f"its target is {target!r}, expected a class, or a function, that is called as {kind}{call}"
        return
    yield from _filtered(making_problem(target, call))
    if protocol is not None and inspect.isclass(target):
        yield from method_problems(target, protocol)


def _filtered(*problems: str | None) -> Iterable[str]:
    return [problem for problem in problems if problem]
