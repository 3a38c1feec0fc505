"""What ``multi_agent(policies=...)`` takes, and settings that are told apart by module id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from rlkit_core.algorithm.config.converters import check_overrides, space
from rlkit_core.algorithm.config.converters import some_settings as given_settings
from rlkit_core.algorithm.config.per_module import check_may_differ
from rlkit_core.checkpoint import register_json_type
from rlkit_core.columns import module_id_problem
from rlkit_core.errors import ConfigError
from rlkit_core.settings import SectionedSettings

if TYPE_CHECKING:
    import gymnasium as gym

    from rlkit_core.rl_module import RLModuleSpec


def _module_class(value: object) -> type[Any] | None:
    if value is None:
        return None
    if isinstance(value, type) and hasattr(value, "forward_exploration"):
        return value
    raise ConfigError(
        f"PolicySpec(policy_class={getattr(value, '__name__', value)!r}): there are modules here, and no policies; "
        "expected None (the algorithm's own module) or an RLModule class"
    )


def _space(value: gym.Space[Any] | None) -> gym.Space[Any] | None:
    return None if value is None else space(value)


@attrs.define
class PolicySpec:
    """One module of ``multi_agent(policies={id: PolicySpec(...)})``; RLlib's name and order of fields.

    Args:
        policy_class: an RLModule class; None is the algorithm's own.
        observation_space: space of the module's observations; None is that of the agents that are mapped to it.
        action_space: space of its actions; None likewise.
        config: settings that differ for it, as in ``algorithm_config_overrides_per_module`` (whose entries win).

    Raises:
        ConfigError: a class that is no module.
        ValueError: no space, or no settings.
    """

    policy_class: type[Any] | None = attrs.field(default=None, converter=_module_class)
    observation_space: gym.Space[Any] | None = attrs.field(default=None, converter=_space)
    action_space: gym.Space[Any] | None = attrs.field(default=None, converter=_space)
    config: dict[str, Any] = attrs.field(default=None, converter=given_settings)

    def as_rl_module_spec(self) -> RLModuleSpec:
        """Class and spaces as the spec of a module."""
        from rlkit_core.rl_module import RLModuleSpec

        return RLModuleSpec(self.policy_class, self.observation_space, self.action_space)


def _fields(spec: PolicySpec) -> dict[str, Any]:
    return {name: value for name, value in attrs.asdict(spec, recurse=False).items() if value}


register_json_type(PolicySpec, "policy_spec", _fields, lambda data: PolicySpec(**data))


def policies(value: Iterable[str] | Mapping[str, Any] | None) -> Any:
    """Module ids, or ``{id: RLModuleSpec | PolicySpec | None}``; sets are sorted, and a dict of Nones is its ids."""
    if value is None:
        return None
    ids = module_ids(value)
    if not isinstance(value, Mapping) or all(item is None for item in value.values()):
        return ids or None
    return {module_id: _one_policy(module_id, value[module_id]) for module_id in ids}


def _one_policy(module_id: str, value: object) -> Any:
    if value is None or isinstance(value, PolicySpec):
        return value
    if isinstance(value, tuple):  # RLlib's older form
        return PolicySpec(*value)
    if hasattr(value, "as_multi_rl_module_spec") and hasattr(value, "module_class"):
        return value
    raise ValueError(f"module {module_id!r} has {type(value).__name__}, expected an RLModuleSpec, a PolicySpec or None")


def check_policies(config: SectionedSettings, attribute: object, value: object) -> None:
    """Validator: settings that ``PolicySpec(config=...)`` has are known, and of the right kind."""
    specs = value if isinstance(value, Mapping) else {}
    settings = {module_id: spec.config for module_id, spec in specs.items() if isinstance(spec, PolicySpec)}
    check_overrides_per_module(config, attribute, settings)


def policies_to_train(value: Iterable[str] | Callable[..., bool] | None) -> list[str] | Callable[..., bool] | None:
    """None (all), module ids, or a function ``(module_id, batch) -> bool``."""
    return value if value is None or callable(value) else module_ids(value)


def module_ids(value: Iterable[str]) -> list[str]:
    """Module ids in order; sets are sorted."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError("expected module ids, such as ['p0', 'p1']")
    ids = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
    for module_id in ids:
        problem = module_id_problem(module_id)
        if problem:
            raise ValueError(problem)
    return list(dict.fromkeys(ids))


def settings_per_module(
    value: Mapping[str, Mapping[str, Any] | SectionedSettings] | None,
) -> dict[str, dict[str, Any]]:
    """``{module id: settings by name}``."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("expected {module id: settings}")
    return {module_ids([module_id])[0]: given_settings(item) for module_id, item in value.items()}


def check_overrides_per_module(config: SectionedSettings, attribute: object, value: dict[str, dict[str, Any]]) -> None:
    """Validator: :func:`~.converters.check_overrides` for each module."""
    for module_id, settings in value.items():
        try:
            check_overrides(config, attribute, settings)
        except ConfigError as error:
            raise type(error)(f"module {module_id!r}: {error}") from None
        check_may_differ(config, module_id, settings)
