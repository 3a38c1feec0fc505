"""Which module an agent uses: what a mapping function is told, the one where none is written, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from rlkit_core.columns import DEFAULT_MODULE_ID
from rlkit_core.errors import ConfigError, RLKitError, SpecError

if TYPE_CHECKING:
    import gymnasium as gym

AgentID = Hashable
"""What an env calls an agent."""
MappingFn = Callable[..., str]
"""``(agent_id, episode, **kwargs) -> module id``."""
SpacePair = tuple["gym.Space[Any]", "gym.Space[Any]"]
"""Observation and action space."""
MaybeSpaces = tuple["gym.Space[Any] | None", "gym.Space[Any] | None"]
"""The same, where one may be unknown."""

ALL_AGENTS = "__env__"
"""Key of spaces that serve every module, beside module ids."""


@define(eq=False)
class AgentEpisode:
    """An open episode, as ``policy_mapping_fn(agent_id, episode)`` sees it.

    Before there is one, to find spaces, the function is asked with ``AgentEpisode("", 0)``.

    Attributes:
        id_: its name: of runner, env and number, the same in every run of a seed.
        env_index: which env of its runner it is played in.
        agents: the agents that have turned up so far, in that order.
    """

    id_: str
    env_index: int
    agents: list[AgentID] = field(factory=list)


@frozen
class DefaultMapping:
    """The mapping of a config without ``policy_mapping_fn``.

    A sole module takes all agents. Among several, an agent uses the one of its own id, or else ``default_policy``.

    Attributes:
        module_ids: of the modules that can act.
    """

    module_ids: tuple[str, ...]

    def __call__(self, agent_id: AgentID, episode: AgentEpisode | None = None, **kwargs: object) -> str:
        """The id of an agent's module.

        Raises:
            ConfigError: there are several, and none of them is this agent's.
        """
        if len(self.module_ids) == 1:
            return self.module_ids[0]
        own = str(agent_id)
        if own in self.module_ids:
            return own
        if DEFAULT_MODULE_ID in self.module_ids:
            return DEFAULT_MODULE_ID
        raise self.no_module([agent_id])

    def check(self, agents: Iterable[AgentID]) -> None:
        """Find agents without a module, all at once.

        Raises:
            ConfigError: there are some; the message has the line to write.
        """
        known = list(agents)
        lost = [
            agent
            for agent in known
            if len(self.module_ids) != 1 and not {str(agent), DEFAULT_MODULE_ID} & set(self.module_ids)
        ]
        if lost:
            raise self.no_module(lost, known)

    def no_module(self, lost: list[AgentID], agents: list[AgentID] | None = None) -> ConfigError:
        """The error of agents that use no module.

        Args:
            lost: those agents.
            agents: all agents, for the line to write; the same unless given.
        """
        ids = self.module_ids
        if not ids:
            return ConfigError(f"agents {_listed(lost)} need a module, and there is none that can act")
        table = {agent: ids[k % len(ids)] for k, agent in enumerate(agents or lost)}
        return ConfigError(
            f"agents {_listed(lost)} have no module: there are {_listed(ids)}, and none has an agent's id. Write, say, "
            f"multi_agent(policy_mapping_fn=lambda agent_id, episode: {table!r}[agent_id])"
        )


def ask(mapping: MappingFn, agent_id: AgentID, episode: AgentEpisode, module_ids: Collection[str]) -> str:
    """The module of an agent.

    Args:
        mapping: the function.
        agent_id: the agent.
        episode: the episode it is in; :class:`AgentEpisode` ``("", 0)`` before there is one.
        module_ids: of the modules that can act.

    Raises:
        ConfigError: the function raised, or returned something else than one of these ids.
    """
    asked = f"policy_mapping_fn({agent_id!r}, episode {episode.id_!r})"
    try:
        module_id = mapping(agent_id, episode)
    except RLKitError:
        raise
    except Exception as error:
        early = "" if episode.id_ else " It is asked so, with an episode of no id and no agents, before there is one."
        raise ConfigError(
            f"{asked} raised {type(error).__name__}: {error}.{early} It must return the id of a module: "
            f"{_listed(module_ids)}"
        ) from error
    if module_id not in module_ids:
        got = f"module {module_id!r}" if isinstance(module_id, str) else repr(module_id)
        raise ConfigError(
            f"agents are mapped to {got}, but those that can act are {', '.join(module_ids) or 'none'}: {asked}; "
            "pass a mapping to one of them (policy_mapping_fn=, new_agent_to_module_mapping_fn=)"
        )
    return module_id


def spaces_by_module(
    agents: Mapping[AgentID, SpacePair],
    module_of: Callable[[AgentID], str],
    made_for: Mapping[str, MaybeSpaces] | None = None,
) -> dict[str, SpacePair]:
    """The spaces of the modules that agents are mapped to.

    Args:
        agents: observation and action space of each agent.
        module_of: an agent's module.
        made_for: spaces that modules have been given.

    Returns:
        ``{module id: spaces}``, and those of all agents under ``"__env__"`` where all have the same.

    Raises:
        SpecError: two agents share a module and differ in spaces, or one does not fit the module.
    """
    found: dict[str, SpacePair] = {}
    users: dict[str, AgentID] = {}
    for agent, pair in agents.items():
        module_id = module_of(agent)
        if made_for is not None and module_id in made_for:
            check_fit(module_id, made_for[module_id], agent, pair)
        if found.setdefault(module_id, pair) != pair:
            raise SpecError(
                f"agents {users[module_id]!r} and {agent!r} share module {module_id!r} but have different spaces: "
                f"{found[module_id]} and {pair}; map them to modules of their own"
            )
        users.setdefault(module_id, agent)
    pairs = list(found.values())
    if pairs and all(pair == pairs[0] for pair in pairs):
        found[ALL_AGENTS] = pairs[0]
    return found


def check_fit(module_id: str, spaces: MaybeSpaces, agent_id: AgentID, own: SpacePair) -> None:
    """Refuse an agent whose module is made for arrays of another shape, or for another number of actions.

    Args:
        module_id: the module.
        spaces: what it is made for; None where its spec leaves a space open.
        agent_id: the agent.
        own: its spaces.

    Raises:
        SpecError: they differ so.
    """
    for what, wanted, found in zip(("observation", "action"), spaces, own, strict=True):
        if wanted is None or (_size(wanted) == _size(found) and type(wanted) is type(found)):
            continue
        raise SpecError(
            f"agent {agent_id!r} is mapped to module {module_id!r}, which is made for {what}s in {wanted}, but its own "
            f"are in {found}; map it to another module, or leave {what}_space out of that module's spec"
        )


def _size(space: gym.Space[Any]) -> object:
    """What has to be the same of two spaces of a kind."""
    return getattr(space, "n", None), space.shape


def _listed(names: Iterable[object]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown) if len(shown) <= 8 else f"{', '.join(shown[:8])} and {len(shown) - 8} more"
