"""What an algorithm declares that it can take, held against the modules, spaces and agents that it is to train."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rlkit_core.algorithm.config.derived import DerivedSettings
from rlkit_core.errors import ConfigError
from rlkit_core.plugins.discovery import FOUND, GROUP_ALGORITHMS
from rlkit_core.plugins.guard import describe
from rlkit_core.plugins.host import default_host

if TYPE_CHECKING:
    from rlkit_core.rl_module import RLModuleSpec

BUILT_IN_SPACES = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple")
"""Spaces that the core has components for. Others are served by whoever fills the gap, so nobody declares them."""

Kinds = tuple[str | type, ...] | None


class Declarations:
    """What a config's class says of its algorithm. It is checked where spaces and agents are known.

    Attributes:
        observation_spaces: the classes of ``gymnasium.spaces``, or their names, that the algorithm's modules read; None
            where it does not say. It may leave out built-in ones only: who serves others is decided by components.
        action_spaces: the same of actions.
        supports_recurrent: whether it trains recurrent modules; None where it does not say.
        supports_multi_agent: whether it trains several modules, or one for several agents; None where it does not say.
    """

    observation_spaces: ClassVar[Kinds] = BUILT_IN_SPACES
    action_spaces: ClassVar[Kinds] = None
    supports_recurrent: ClassVar[bool | None] = None
    supports_multi_agent: ClassVar[bool | None] = None


class Declaring(Declarations, DerivedSettings):
    """A config that declares."""


def names_of(kinds: Kinds) -> tuple[str, ...]:
    """Names of the space classes of a declaration; those built in where nothing is declared."""
    return tuple(one if isinstance(one, str) else one.__name__ for one in kinds or BUILT_IN_SPACES)


def declared_problems(config: Declaring) -> Iterator[str]:
    """What contradicts the declarations as far as the settings tell, before an env is made."""
    name = type(config).__name__
    if config.supports_recurrent is False and config.model_config.get("use_lstm"):
        yield f"rl_module(model_config={{'use_lstm': True}}): {_recurrent(name)}"
    if config.supports_multi_agent is False and config.is_multi_agent:
        yield _several(name, f"modules {', '.join(map(repr, config.policy_ids))}")
    if config.stored("rl_module_spec") is None:
        yield from space_problems(config, "environment(...)", config.observation_space, config.action_space)


def space_problems(config: Declaring, where: str, observation_space: object, action_space: object) -> Iterator[str]:
    """Why an algorithm cannot train a module of these spaces (None: unknown) by its own account."""
    for what, attribute, space in (
        ("acts in", "action_spaces", action_space),
        ("observes", "observation_spaces", observation_space),
    ):
        kinds = getattr(config, attribute)
        kind = _kind(space)
        if not kinds or kind is None or kind in names_of(kinds):
            continue
        others = [one for one in _others(config) if kind in names_of(getattr(one[1], attribute))]
        instead = ", ".join(f"rlkit train {algorithm}" for algorithm, _ in others) or "none that is installed"
        yield (
            f"{where}: {type(config).__name__} {what} {', '.join(names_of(kinds))}, and this is {str(space)[:80]}. "
            f"Wrap the env, or use an algorithm that {what} {kind}: {instead}"
        )


def check_specs(config: Declaring, specs: Mapping[str, RLModuleSpec], default_class: type | None) -> None:
    """Refuse spaces that the algorithm's own modules are not for; a module class of the user's is the user's business.

    Args:
        config: declares.
        specs: of all modules, by id, with their spaces.
        default_class: the algorithm's own module class.

    Raises:
        ConfigError: with all problems found.
    """
    if default_class is None:
        return
    found: list[str] = []
    to_train = config.policies_to_train
    for module_id, spec in specs.items():
        own = isinstance(spec.module_class, type) and issubclass(spec.module_class, default_class)
        if own and (to_train is None or callable(to_train) or module_id in to_train):
            found += space_problems(config, f"module {module_id!r}", spec.observation_space, spec.action_space)
    if found:
        raise ConfigError("\n  - ".join(found))


def check_agents(config: Declaring, agents: Collection[object]) -> None:
    """Refuse an env of several agents where the algorithm says that it does not train with them.

    Raises:
        ConfigError: there are agents.
    """
    if agents and config.supports_multi_agent is False:
        raise ConfigError(_several(type(config).__name__, f"an env of agents {', '.join(map(repr, list(agents)[:4]))}"))


def sample_space(name: str) -> Any:
    """A small space of one of the :data:`BUILT_IN_SPACES`."""
    import gymnasium as gym
    import numpy as np

    box = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    spaces: dict[str, gym.Space[Any]] = {
        "Box": box,
        "Discrete": gym.spaces.Discrete(3),
        "MultiDiscrete": gym.spaces.MultiDiscrete([2, 3]),
        "MultiBinary": gym.spaces.MultiBinary(2),
        "Dict": gym.spaces.Dict({"a": box, "b": gym.spaces.Discrete(2)}),
        "Tuple": gym.spaces.Tuple((box, gym.spaces.Discrete(2))),
    }
    return spaces[name]


def default_module_problems(config_class: type[Declaring]) -> Iterator[str]:
    """Build the algorithm's default module for every action space that it declares, and say what fails."""
    observed = [name for name in names_of(config_class.observation_spaces) if name in BUILT_IN_SPACES]
    if not config_class.has_default("module") or not observed:
        return
    actions = names_of(config_class.action_spaces or ("Discrete", "Box"))
    for name in actions:
        if name in BUILT_IN_SPACES:
            spaces: Any = (sample_space(observed[0]), sample_space(name))
            try:
                config_class().get_rl_module_spec(spaces=spaces).build()  # type: ignore[attr-defined]
            except Exception as error:
                yield f"its module for {observed[0]} observations and {name} actions cannot be built: {describe(error)}"


def _kind(space: object) -> str | None:
    """The built-in class that a space is of; None for others, and where there is no space."""
    return next((base.__name__ for base in type(space).__mro__ if base.__name__ in BUILT_IN_SPACES), None)


def _recurrent(name: str) -> str:
    return f"{name} does not train recurrent modules; leave recurrence out, or stack frames (gymnasium's wrapper)"


def _several(name: str, seen: str) -> str:
    others = ", ".join(algorithm for algorithm, one in _installed() if one.supports_multi_agent)
    return (
        f"{name} trains one module for one agent, and there is {seen}; use an algorithm that trains several: "
        f"{others or 'none is installed'}"
    )


def _others(config: Declaring) -> Iterable[tuple[str, type[Declaring]]]:
    return (one for one in _installed() if one[1] is not type(config))


def _installed() -> Iterator[tuple[str, type[Declaring]]]:
    """Names and config classes of the algorithms that are installed and can be imported, for messages."""
    host = default_host()
    for info in host.snapshot.distributions:
        for entry in info.entry_points:
            if entry.group == GROUP_ALGORITHMS and entry.state == FOUND:
                try:
                    found = host.load_entry_point(entry)
                except Exception:
                    continue
                if isinstance(found, type) and issubclass(found, Declarations):
                    yield entry.name, found  # type: ignore[misc]
