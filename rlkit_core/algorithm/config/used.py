"""What a config names, with the distributions it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gymnasium as gym

from rlkit_core.algorithm.config import converters as to
from rlkit_core.algorithm.config.derived import DerivedSettings
from rlkit_core.envs.naming.known import agent_families
from rlkit_core.envs.wrapping.entries import name_of
from rlkit_core.errors import AmbiguousComponentError, PluginError, RLKitError
from rlkit_core.execution.by_name import service_name
from rlkit_core.frameworks import TORCH
from rlkit_core.learner.group.config import SEVERAL
from rlkit_core.learner.step import AUTO
from rlkit_core.plugins import lookup
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS, GROUP_CATALOGS, canonical
from rlkit_core.plugins.host import PluginHost, default_host
from rlkit_core.plugins.records import LOCAL, Origin
from rlkit_core.plugins.used.lock import Lock, Used, foundation, used_catalogs

SERVICES = {
    "framework": "framework",
    "executor": "executor",
    "compile": "step_engine",
    "plugins": "callbacks",
    "writers": "writer",
}
"""Settings that name services, and the kind that each names."""
_ROLES = {"learner_group": "learners", "step_engine": "step engine", "env_wrapper": "wrapper"}
_NAMED_ROLES = ("executor", "step engine", "callbacks", "writer", "catalog", "mixin", "wrapper")


def used_by_config(config: DerivedSettings, host: PluginHost | None = None) -> Lock:
    """The core, the libraries, and all that a config names; what its modules are made of is not known yet.

    What is named and not installed is left out: ``validate()`` reports it.
    """
    host = host or default_host()
    lock = foundation() | Lock(_algorithm(type(config), host))
    classes = [("algorithm", type(config)), ("algorithm", config.algo_class), ("learner", _learner_class(config))]
    classes.append(("env runner", config.env_runner_cls))
    classes += [("callbacks", one if isinstance(one, type) else type(one)) for one in config.stored("callbacks_class")]
    for role, cls in classes:
        if isinstance(cls, type):
            lock |= Used.class_and_bases(role, cls, host.origin_of)
    installed = [d for d in host.snapshot.distributions if d.name in config.plugin_config]
    lock |= Lock(Used.of("settings", "plugin_config", Origin(d.name, d.version)) for d in installed)
    lock |= Lock(used_catalogs(config.catalogs, host.snapshot, host.origin_of))
    wrappers = _wrappers(config, host)
    return lock | Lock([*_env(config.env, host), *wrappers, *_services(config, host), *_mixins(config, host)])


def distributions_named(config: DerivedSettings, host: PluginHost) -> set[str]:
    """The distributions that a config uses by what is written in it: components and module classes too."""
    lock, find = used_by_config(config, host), host.origin_of
    found = {one.distribution for one in lock.entries}
    for key, value in config.components.items():
        with suppress(RLKitError):  # said where it is built
            found.add(host.registry.adopt(value, key.partition(":")[0]).origin.distribution)
    spec = config.stored("rl_module_spec")
    specs = [spec, *config.specs_of_modules.values()]
    for one in specs:
        for name in ("module_class", "catalog_class", "multi_rl_module_class"):
            cls = getattr(one, name, None)
            if isinstance(cls, type):
                found.update(find(base).distribution for base in cls.__mro__[:-1])
    return found


def names_in_full(config: DerivedSettings, lock: Lock, host: PluginHost | None = None) -> dict[str, Any]:
    """Settings whose short names several distributions have here, with the full ids that they meant in ``lock``."""
    host = host or default_host()
    meant = {canonical(entry.id.rpartition("/")[2]): entry.id for entry in lock.entries if entry.role in _NAMED_ROLES}
    owners: dict[str, set[str]] = {}
    for found in host.services():
        owners.setdefault(canonical(found.name), set()).add(found.origin.distribution)
    for api in host.module_apis if config.mixins else ():
        owners.setdefault(canonical(api.name), set()).add(api.origin.distribution)
    for entry in host.snapshot.entry_points(GROUP_CATALOGS):
        owners.setdefault(canonical(entry.name), set()).add(entry.distribution)

    def full(name: object) -> object:
        if isinstance(name, dict):  # a wrapper with its arguments
            return {**name, "name": full(name["name"])} if "name" in name else name
        short = canonical(name) if isinstance(name, str) else ""
        claimed = len(owners.get(short, ())) > 1
        return meant.get(short, name) if claimed else name

    changed: dict[str, Any] = {}
    for setting in (*SERVICES, "catalogs", "mixins", "wrappers"):
        value = config.stored(setting) if setting in config.known_settings() else None
        new = [full(one) for one in value] if isinstance(value, list | tuple) else full(value)
        if new != (list(value) if isinstance(value, tuple) else value):
            changed[setting] = new
    return changed


def _learner_class(config: DerivedSettings) -> Any:
    try:
        return config.learner_class
    except (NotImplementedError, PluginError):
        return None


def _algorithm(config_class: type, host: PluginHost) -> Iterator[Used]:
    origin = host.origin_of(config_class)
    for entry in host.snapshot.entry_points(GROUP_ALGORITHMS):
        if entry.distribution == origin.distribution and entry.value.partition(":")[2] == config_class.__qualname__:
            yield Used.of("algorithm", entry.name, origin)


def _env(env: object, host: PluginHost) -> Iterator[Used]:
    if isinstance(env, str):
        found = next((o for o in map(host.origin_of, _modules_of(env)) if o != LOCAL), LOCAL)
        yield Used.of("env", env, found)
    elif env is not None:
        yield Used.of("env", getattr(env, "__qualname__", type(env).__qualname__), host.origin_of(env))


def _wrappers(config: DerivedSettings, host: PluginHost) -> Iterator[Used]:
    for entry in config.wrappers:
        name = entry.get("name")
        if isinstance(name, str) and ":" not in name:
            with suppress(RLKitError):
                found = host.find_service("env_wrapper", name)
                yield Used("wrapper", found.id, found.origin.distribution, found.origin.version)
        elif name is not None:
            yield Used.of("wrapper", name_of(entry).partition(":")[2], host.origin_of(name))


def _modules_of(env_id: str) -> Iterator[object]:
    """What may supply the env of a name, the nearest first."""
    module, colon, name = env_id.rpartition(":")
    spec = gym.registry.get(name)
    if spec is not None:
        yield spec.entry_point or spec.vector_entry_point or ""
    if colon:
        yield module
    family = name.partition("/")[0]
    if "/" in name:
        known = agent_families().get(family)
        yield family if known is None else known.module


def mixins_named(config: DerivedSettings) -> list[str]:
    """API mixins that a config or a spec in it puts onto a module, as they are written."""
    names = list(config.mixins)
    for settings in config.algorithm_config_overrides_per_module.values():
        names += to.names(settings.get("mixins"))
    for spec in [config.stored("rl_module_spec"), *config.specs_of_modules.values()]:
        names += getattr(spec, "mixins", None) or ()
    return list(dict.fromkeys(names))


def _mixins(config: DerivedSettings, host: PluginHost) -> Iterator[Used]:
    for name in mixins_named(config):
        with suppress(RLKitError):
            found = host.find_module_api(name)
            yield Used("mixin", found.id, found.origin.distribution, found.origin.version)


def _services(config: DerivedSettings, host: PluginHost) -> Iterator[Used]:
    actors = config.num_env_runners or config.num_learners or config.evaluation_num_env_runners
    named = [("learner_group", SEVERAL)] if config.num_learners else []
    for setting, kind in SERVICES.items():
        value = config.stored(setting) if setting in config.known_settings() else ("csv", "jsonl", "tensorboard")
        for name in [value] if isinstance(value, str) or value is None else value:
            if not isinstance(name, str) or (kind, name) == ("framework", TORCH):
                continue
            if kind == "executor":
                name = service_name(name) if actors else "local"
            elif kind == "step_engine" and name == "auto":
                name = AUTO
            named.append((kind, name))
    for kind, name in named:
        with suppress(PluginError, AmbiguousComponentError):
            found = lookup.find_record(host.services(kind), kind, name, host.registry.unavailable)
            yield Used(_ROLES.get(kind, kind), found.id, found.origin.distribution, found.origin.version)
