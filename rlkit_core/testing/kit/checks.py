"""The kit's functions: contracts run over a record, a module, a catalog, an algorithm, and what they find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core import contracts
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.catalog import ActorCriticCatalog, Catalog
from rlkit_core.findings import Finding
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import Record, Registered, Service
from rlkit_core.rl_module import ActorCriticTorchRLModule, RLModuleSpec
from rlkit_core.testing.kit.contract import Contract, KitReport, findings_of, report_of
from rlkit_core.testing.kit.distribution import DistributionContract
from rlkit_core.testing.kit.encoder import EncoderContract
from rlkit_core.testing.kit.examples import Space
from rlkit_core.testing.kit.head import HeadContract
from rlkit_core.testing.kit.mixin import MixinContract
from rlkit_core.testing.kit.module import RLModuleContract
from rlkit_core.testing.kit.services import service_contract
from rlkit_core.testing.kit.training import AlgorithmContract, LearnerContract

OF_KIND: Mapping[str, type[Contract]] = {
    "encoder": EncoderContract,
    "head": HeadContract,
    "distribution": DistributionContract,
    "module API": MixinContract,
}
"""The contract of a record, by its kind."""
_SPACES: tuple[tuple[Space, Space], ...] = (
    (gym.spaces.Box(-1.0, 1.0, (3,), np.float32), gym.spaces.Discrete(3)),
    (gym.spaces.Dict({"a": gym.spaces.Box(-1.0, 1.0, (2,)), "b": gym.spaces.Discrete(3)}), gym.spaces.Box(-2, 2, (2,))),
)
"""Observation and action spaces that catalogs are looked at with."""


def record_findings(record: Registered[Record], *, fast: bool) -> Iterator[Finding]:
    """What the contract of its kind finds of a record; if ``fast``, of executors and step engines nothing."""
    contract = OF_KIND.get(record.kind)
    if isinstance(record.record, Service):
        contract = service_contract(record.kind, fast=fast)
    if contract is not None:
        label = f"{record.kind.replace('_', ' ')} {record.id!r}: "
        yield from findings_of(_about(contract, component=record), label=label)


def check_rl_module(
    module: type[Any] | RLModuleSpec | str,
    *,
    observation_space: Space | None = None,
    action_space: Space | None = None,
    model_config: Mapping[str, Any] | None = None,
    mixins: Sequence[str] = (),
    untrained: Sequence[str] = (),
    strict: bool = True,
) -> KitReport:
    """Build a module, act with it, train it, save and restore it, and say what breaks its contract, with the fix.

    Args:
        module: its class, ``"package.module:Class"``, or a spec, whose own fields count first.
        observation_space, action_space: a flat Box and a Discrete space unless given.
        model_config: settings above small defaults.
        mixins: ids of API mixins that are put onto it.
        untrained: names (or their beginnings) of parameters that ``forward_train`` leaves to another loss.
        strict: raise errors, and warn of the rest; otherwise only return them.

    Raises:
        ContractError: there are errors, and it is ``strict``.
    """
    about = {"observation_space": observation_space, "action_space": action_space, "model_config": model_config}
    about |= {"mixins": tuple(mixins), "untrained": tuple(untrained)}  # type: ignore[dict-item]
    contract = _about(RLModuleContract, module=module, **about)
    return report_of(f"module {_name_of(module)}", lambda: findings_of(contract), strict=strict)


def check_catalog(
    catalog: type[Catalog] | str,
    *,
    spaces: Sequence[tuple[Space, Space]] = _SPACES,
    model_config: Mapping[str, Any] | None = None,
    strict: bool = True,
) -> KitReport:
    """Hold a catalog's components against their contracts, and a module that it assembles against that of modules.

    Args:
        catalog: its class, or its registered name.
        spaces: pairs of an observation and an action space that it assembles modules for.
        model_config: settings above small defaults.
        strict: raise errors, and warn of the rest; otherwise only return them.

    Raises:
        PluginNotFoundError: nothing installed has a catalog of that name.
        ContractError: there are errors, and it is ``strict``.
    """
    cls = default_host().get_catalog(catalog) if isinstance(catalog, str) else catalog
    find = lambda: catalog_findings(cls, spaces=spaces, model_config=model_config)  # noqa: E731
    return report_of(f"catalog {_name_of(cls)}", find, strict=strict)


def catalog_findings(
    catalog: type[Catalog],
    *,
    spaces: Sequence[tuple[Space, Space]] = _SPACES,
    model_config: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """What :func:`check_catalog` finds."""
    name = f"catalog {_name_of(catalog)}"
    problems = list(contracts.catalog_problems(catalog))
    yield from (Finding("catalog", "error", f"{name}: {one}", "see docs/reference/catalog.md") for one in problems)
    if problems:
        return
    origin = default_host().origin_of(catalog)
    for component in catalog.components:
        yield from record_findings(Registered(component, origin), fast=True)
    if not issubclass(catalog, ActorCriticCatalog):
        return  # what its algorithm assembles of it is the algorithm's contract
    for observations, actions in spaces:
        spec = RLModuleSpec(
            module_class=ActorCriticTorchRLModule,
            catalog_class=catalog,
            observation_space=observations,
            action_space=actions,
        )
        yield from findings_of(_about(RLModuleContract, module=spec, model_config=model_config), label=f"{name}: ")


def check_algorithm(
    config: AlgorithmConfig | type[AlgorithmConfig] | str, *, iterations: int = 2, strict: bool = True
) -> KitReport:
    """Train an algorithm a little, several times over, and say what breaks its contract, with the fix.

    Its config is data; the seed decides; a restored run goes on exactly; captured steps equal eager ones; runners may
    be elsewhere, and there may be two learners; what it says of recurrent modules is so; masks are kept.

    Args:
        config: a config, which may have an env and settings of its own, its class, or its registered name.
        iterations: ``train()`` calls of each run.
        strict: raise errors, and warn of the rest; otherwise only return them.

    Raises:
        PluginNotFoundError: nothing installed has an algorithm of that name.
        ContractError: there are errors, and it is ``strict``.
    """
    name = config if isinstance(config, str) else getattr(config, "__name__", type(config).__name__)
    find = lambda: algorithm_findings(config, iterations=iterations)  # noqa: E731
    return report_of(f"algorithm {name}", find, strict=strict)


def algorithm_findings(
    config: AlgorithmConfig | type[AlgorithmConfig] | str, *, iterations: int = 2
) -> Iterator[Finding]:
    """What :func:`check_algorithm` finds."""
    for contract in (LearnerContract, AlgorithmContract):
        yield from findings_of(_about(contract, config=config, iterations=iterations))


def _about(contract: type[Contract], **about: object) -> type[Contract]:
    """A contract about something; what is None is left as it is."""
    return type(contract.__name__, (contract,), {name: value for name, value in about.items() if value is not None})


def _name_of(thing: object) -> str:
    cls = thing.module_class if isinstance(thing, RLModuleSpec) else thing
    return str(getattr(cls, "__qualname__", cls))
