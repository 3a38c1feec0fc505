"""From a config to the specs of its modules: which modules there are, and what each is built from."""

from __future__ import annotations

from typing import Any

from rlkit_core.algorithm.config.declared import Declaring, check_specs
from rlkit_core.algorithm.config.derived import DerivedSettings, specs_by_id
from rlkit_core.algorithm.config.module_spaces import ModuleSpaces
from rlkit_core.errors import SpecError
from rlkit_core.models.default_config import model_config_dict as plain_model_config
from rlkit_core.rl_module.spec import MultiRLModuleSpec, RLModuleSpec


def merged_spec(config: DerivedSettings) -> RLModuleSpec | MultiRLModuleSpec:
    """The user's spec completed from the algorithm's default, still without the env's spaces.

    One spec (the user's or the default) gives an ``RLModuleSpec``; a ``MultiRLModuleSpec`` stays one, with a
    spec for every module id.
    """
    given = config.stored("rl_module_spec")
    if isinstance(given, MultiRLModuleSpec):
        return _merged_multi(config)
    return _merged_single(config, config.policy_ids[0], given, config)


def multi_spec(config: Declaring, *, env: object, spaces: Any, inference_only: bool | None) -> MultiRLModuleSpec:
    """See ``AlgorithmConfig.get_multi_rl_module_spec``."""
    multi = _merged_multi(config)
    found = ModuleSpaces(config, env, spaces)
    complete: dict[str, RLModuleSpec] = {}
    for module_id, spec in specs_by_id(multi).items():
        if inference_only and spec.learner_only:
            continue
        if spec.observation_space is None or spec.action_space is None:
            observation_space, action_space = found.of(module_id, multi)
            if spec.observation_space is None:
                spec.observation_space = observation_space
            if spec.action_space is None:
                spec.action_space = action_space
        if inference_only is not None:
            spec.inference_only = inference_only
        complete[module_id] = spec
    default = _default_spec(config, config.policy_ids[0], needed=False)
    check_specs(config, complete, default.module_class if default is not None else None)
    multi.rl_module_specs = complete
    if inference_only is not None:
        multi.inference_only = inference_only
    return multi


def _merged_multi(config: DerivedSettings) -> MultiRLModuleSpec:
    given = config.stored("rl_module_spec")
    default = None if isinstance(given, MultiRLModuleSpec) else _whole_default(config)
    whole = default if isinstance(default, MultiRLModuleSpec) else given
    multi: MultiRLModuleSpec = whole.copy() if isinstance(whole, MultiRLModuleSpec) else MultiRLModuleSpec()
    one = given.rl_module_specs if isinstance(given, MultiRLModuleSpec) else given
    one = one if isinstance(one, RLModuleSpec) else None
    named = specs_by_id(given)
    of_policies = config.policy_specs
    multi.rl_module_specs = {
        module_id: _merged_single(
            config,
            module_id,
            _layered(named.get(module_id), of_policies.get(module_id), one),
            config.get_config_for_module(module_id),
        )
        for module_id in dict.fromkeys([*config.policy_ids, *named])
    }
    return multi


def _layered(*given: RLModuleSpec | None) -> RLModuleSpec | None:
    """The first spec, with what it leaves out from those behind it; model configs are merged key by key."""
    layers = [spec for spec in given if spec is not None]
    if len(layers) < 2:
        return layers[0] if layers else None
    result: RLModuleSpec = layers[0].copy()
    for below in layers[1:]:
        written = plain_model_config(below.model_config) | plain_model_config(result.model_config)
        result.update(below, override=False)
        if written:
            result.model_config = written
    return result


def _merged_single(
    config: DerivedSettings, module_id: str, given: RLModuleSpec | None, own_config: DerivedSettings
) -> RLModuleSpec:
    """One module's spec: the given one's fields, and the algorithm's (which ``config`` knows) where they are missing.

    ``own_config`` is the config of this module, with its overrides; it knows the model config.
    """
    spec: RLModuleSpec = given.copy() if given is not None else RLModuleSpec()
    written = plain_model_config(spec.model_config)
    below: dict[str, Any] = {}
    own_class = spec.module_class is None
    if spec.module_class is None or spec.catalog_class is None:
        default = _default_spec(config, module_id, needed=spec.module_class is None)
        if default is not None:
            below = plain_model_config(default.model_config)
            if spec.module_class is None:
                spec.module_class = default.module_class
                if default.mixins and not spec.mixins:
                    spec.mixins = default.mixins
            if getattr(spec.module_class, "default_catalog_class", None) is None:
                spec.catalog_class = spec.catalog_class or default.catalog_class
    spec.model_config = below | own_config.model_config | written
    if own_class:
        spec = spec.knows_settings((*below, *own_config.settings_of_its_module))
    if own_config.mixins and not spec.mixins:
        spec.mixins = tuple(own_config.mixins)
    if own_config.catalogs and not spec.catalogs:
        spec.catalogs = tuple(own_config.catalogs)
    if own_config.components:
        spec.components = {**own_config.components, **dict(spec.components or {})}
    return spec


def _whole_default(config: DerivedSettings) -> RLModuleSpec | MultiRLModuleSpec | None:
    try:
        default: RLModuleSpec | MultiRLModuleSpec = config.own_rl_module_spec()
    except NotImplementedError:
        return None
    return default


def _default_spec(config: DerivedSettings, module_id: str, *, needed: bool) -> RLModuleSpec | None:
    """The algorithm's spec of a module; None where it has none and none is needed."""
    default = config.own_rl_module_spec() if needed else _whole_default(config)
    if not isinstance(default, MultiRLModuleSpec):
        return default
    if isinstance(default.rl_module_specs, RLModuleSpec):
        return default.rl_module_specs
    own: RLModuleSpec | None = (default.rl_module_specs or {}).get(module_id)
    if own is None and needed:
        raise SpecError(
            f"{type(config).__name__}.get_default_rl_module_spec() has specs of "
            f"{', '.join(map(repr, default.rl_module_specs or {})) or 'no module'}, and none of {module_id!r}"
        )
    return own
