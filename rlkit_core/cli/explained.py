"""What ``rlkit explain`` tells, as JSON values: the modules of a config, and all else that a run of it would use."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rlkit_core.errors import ConfigError
from rlkit_core.plugins.discovery import GROUP_CATALOGS
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.lookup import find
from rlkit_core.plugins.records import ModuleAPI, Origin, Registered

if TYPE_CHECKING:
    from rlkit_core.algorithm import AlgorithmConfig
    from rlkit_core.catalog import Catalog
    from rlkit_core.rl_module import MultiRLModule, RLModule

Explained = dict[str, Any]


def explain_modules(config: AlgorithmConfig) -> dict[str, Explained]:
    """Build the modules of a config and say what each is made of, by module id."""
    return explain_run(config)["modules"]  # type: ignore[no-any-return]


def explain_run(config: AlgorithmConfig) -> Explained:
    """Build what a run of a config would train, short of runners and files, and say what it is made of.

    Returns:
        ``modules`` by id (class, catalog, spaces, parameter count, component trace, APIs with their drivers);
        ``agents`` (the module of each that the env knows beforehand); ``catalogs`` (those listed, and what each is used
        for); ``wrappers`` (in words, the innermost first); ``learner``; ``not_exact`` (what keeps a resumed run from
        being equal, as far as it is known); ``plugin_config`` (settings of plugins that were given); ``used``
        (everything with its distribution and version, roles as in run folders).

    Raises:
        RLKitError: what training would raise before its first step.
    """
    from rlkit_core.algorithm.config.declared import check_agents
    from rlkit_core.algorithm.config.module_spaces import agent_spaces
    from rlkit_core.algorithm.config.used import used_by_config
    from rlkit_core.envs.gym_vectors.make import make_example
    from rlkit_core.envs.gym_vectors.own import takes_own_vectors
    from rlkit_core.envs.resume.promise import OWN_VECTOR, not_exact_by_config, not_exact_by_env
    from rlkit_core.envs.wrapping.entries import described

    if config.env is None:
        raise ConfigError("there is no environment: config.environment('CartPole-v1')")
    mode = config.gym_env_vectorize_mode
    with contextlib.closing(make_example(config.env, config.env_config, mode, config.wrappers)) as env:
        not_exact = not_exact_by_config(config)
        not_exact += [reason for reason in not_exact_by_env(env) if not any(reason in said for said in not_exact)]
        auto = config.gym_env_vectorize_mode == "auto" and not config.wrappers
        if auto and takes_own_vectors(config.env, config.num_envs_per_env_runner):
            not_exact.append(f"env_runners(num_envs_per_env_runner={config.num_envs_per_env_runner}): {OWN_VECTOR}")
        agents = list(agent_spaces(env, instead=(config.observation_space, config.action_space)))
        check_agents(config, agents)
        multi = config.get_multi_rl_module_spec(env=env).build()
    modules = {module_id: _module(module) for module_id, module in multi.items()}
    lock = used_by_config(config) | multi.what_is_used()
    return {
        "modules": modules,
        "agents": _mapping(config, agents),
        "catalogs": _catalogs(config, multi, modules),
        "learner": _learner(config, multi),
        "wrappers": [described(entry) for entry in config.wrappers],
        "not_exact": not_exact,
        "plugin_config": config.to_dict()["plugin_config"],
        "used": [{"role": e.role, "id": e.id, "version": e.version} for e in lock.entries],
    }


def _module(module: RLModule) -> Explained:
    from rlkit_core.rl_module.apis import drivers_for
    from rlkit_core.spaces import describe

    catalog = module.__dict__.get("_catalog")
    return {
        "module": _part(type(module.unwrapped())),
        **({"catalog": _part(type(catalog))} if catalog is not None else {}),
        **{
            name: "unknown" if space is None else describe(space)
            for name, space in (("observation_space", module.observation_space), ("action_space", module.action_space))
        },
        "parameters": sum(parameter.numel() for parameter in getattr(module, "parameters", tuple)()),
        "components": module.component_trace(),
        "apis": [_api(record) for record in drivers_for(module)],
    }


def _api(record: Registered[ModuleAPI]) -> Explained:
    from rlkit_core.rl_module.apis import driver_class
    from rlkit_core.rl_module.apis.driver_contract import EVENTS

    driver = driver_class(record)
    calls = [] if driver is None else [event for event in EVENTS if hasattr(driver, event)]
    return {
        "id": record.id,
        "version": record.origin.version,
        "driver": None if driver is None else _part(driver)["class"],
        "calls": [event for event in calls if event not in ("get_state", "set_state")],
    }


def _mapping(config: AlgorithmConfig, agents: list[Any]) -> dict[str, str]:
    from rlkit_core.rl_module.agent_mapping import AgentEpisode, ask

    mapping = config.policy_mapping_fn
    return {str(agent): ask(mapping, agent, AgentEpisode("", 0), config.acting_ids) for agent in agents}


def _catalogs(config: AlgorithmConfig, multi: MultiRLModule, modules: Mapping[str, Explained]) -> list[Explained]:
    """The catalogs that the config lists: what each assembles and contributes, and what keeps it from being used."""
    explained = []
    for entry in config.catalogs:
        name, cls, origin = _catalog(entry)
        assembles = [mid for mid, module in multi.items() if type(module.__dict__.get("_catalog")) is cls]
        chosen = [c["id"] for m in modules.values() for c in m["components"] if c["rule"] == f"catalog {name}"]
        offered = [f"{origin.distribution}/{component.name}" for component in cls.components]
        unused = None
        if not assembles and not chosen:
            unused = "it assembles no module, and "
            unused += "none of its components was chosen" if offered else "it carries no components"
        explained.append(
            {
                "name": name,
                **_part(cls),
                "assembles": assembles,
                "components": offered,
                "chosen": sorted(set(chosen)),
                "unused": unused,
            }
        )
    return explained


def _catalog(entry: str | type[Catalog]) -> tuple[str, type[Catalog], Origin]:
    host = default_host()
    if not isinstance(entry, str):
        return entry.__name__, entry, host.origin_of(entry)
    found = find(host.snapshot, GROUP_CATALOGS, entry)
    return entry, host.get_catalog(entry), Origin(found.distribution, found.version)


def _learner(config: AlgorithmConfig, multi: MultiRLModule) -> Explained | None:
    """Build the learner, which is where modules, drivers and the step engine meet; None where there is none."""
    try:
        cls = config.learner_class
    except NotImplementedError:  # an algorithm may do without
        return None
    learner = cls(config=config, module=multi)
    learner.build()
    return {**_part(cls), "engine": _part(type(learner.engine))}


def _part(cls: type) -> dict[str, str]:
    from rlkit_core.checkpoint import class_ref  # which imports torch

    origin = default_host().origin_of(cls)
    return {"class": class_ref(cls), "distribution": origin.distribution, "version": origin.version}
