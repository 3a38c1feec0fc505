"""Episodes as they come from elsewhere (a file, a simulator, a log), made into a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from attrs import frozen

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, first_leaf, flatten_time, leaves, map_leaves
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError

#: What a column may be called in an episode or a step.
_NAMES = {
    Columns.OBS: ("obs", "observations", "observation"),
    Columns.NEXT_OBS: ("new_obs", "next_obs", "next_observation"),
    Columns.ACTIONS: ("actions", "action"),
    Columns.REWARDS: ("rewards", "reward"),
    Columns.TERMINATEDS: ("terminated", "terminateds", "is_terminated"),
    Columns.TRUNCATEDS: ("truncated", "truncateds", "is_truncated"),
}
_META = ("infos", "info", "extra_model_outputs", "id_", "eps_id", "agent_id", "module_id", "t", "weights_version")


@frozen
class _Episode:
    obs: Nested
    columns: dict[str, Nested]
    length: int
    terminated: bool
    version: int | None


def rollout_from_episodes(episodes: Sequence[Any], observation_space: gym.Space[Any] | None = None) -> Rollout:
    """One rollout ``[T, 1]`` from whole or partial episodes, one after the other.

    An episode is one of:

    - a dict, or an object with attributes, of arrays: ``obs`` with one entry more than ``actions`` and ``rewards``, and
      the flags ``terminated`` and ``truncated`` of its end. Further arrays of the length of ``actions`` (or a dict of
      them, ``extra_model_outputs``) become columns: ``action_logp``, ``action_dist_inputs``, ...;
    - a list of step dicts with ``obs``, ``action``, ``reward``, ``terminated`` and ``truncated`` (``actions`` etc. are
      fine too); the last observation is ``next_obs`` of the last step, or a step of its own with nothing else.

    Actions are as the module's distribution gave them (before scaling to the env's bounds). An episode that neither
    terminated nor was truncated goes on elsewhere; like a truncated one, its value is bootstrapped from its last
    observation.

    Args:
        episodes: at least one.
        observation_space: tells a dict of arrays from a list of dicts, and gives dtypes.

    Raises:
        ConfigError: an episode lacks something, or lengths do not fit; the message has the episode's index.
    """
    if not len(episodes):
        raise ConfigError("rollout_from_episodes: there are no episodes")
    read = [_read(f"episode {k}", episode, observation_space) for k, episode in enumerate(episodes)]
    names = set(read[0].columns)
    for k, episode in enumerate(read):
        if set(episode.columns) != names:
            raise ConfigError(
                f"episode {k} has columns {sorted(episode.columns)}, episode 0 has {sorted(names)}; all need the same"
            )
    total = sum(episode.length for episode in read)
    terminateds, truncateds = torch.zeros(total, 1, dtype=torch.bool), torch.zeros(total, 1, dtype=torch.bool)
    starts = torch.zeros(total, 1, dtype=torch.bool)
    finals, final_index, position = [], [], 0
    for k, episode in enumerate(read):
        starts[position] = k > 0
        position += episode.length
        if episode.terminated:
            terminateds[position - 1] = True
        else:
            truncateds[position - 1] = True
            finals.append(map_leaves(lambda x: x[-1:], episode.obs))
            final_index.append(position - 1)

    def joined(parts: list[Nested]) -> Nested:
        return map_leaves(lambda *xs: torch.from_numpy(np.concatenate(xs)).unsqueeze(1), parts[0], *parts[1:])

    columns = {name: joined([episode.columns[name] for episode in read]) for name in read[0].columns}
    obs = joined([map_leaves(lambda x: x[:-1], episode.obs) for episode in read])
    versions = [episode.version for episode in read if episode.version is not None]
    return Rollout(
        columns={Columns.OBS: obs, **columns, Columns.TERMINATEDS: terminateds, Columns.TRUNCATEDS: truncateds},
        bootstrap_obs=map_leaves(lambda x: torch.from_numpy(x[-1:].copy()), read[-1].obs),
        final_obs=map_leaves(lambda x: x.squeeze(1), joined(finals)) if finals else None,
        final_index=torch.tensor(final_index, dtype=torch.int64) if finals else None,
        weights_version=min(versions) if versions else None,
        fresh_start=True,
        episode_starts=starts,
    )


def split_episodes(episodes: Sequence[Any], count: int) -> list[list[dict[str, Any]]]:
    """The same steps in ``count`` parts of as many steps as can be, in order; an episode may be cut between two.

    A cut episode goes on in the next part: the value after its last step here is bootstrapped, and a recurrent module
    begins the rest from its initial state.

    Args:
        episodes: as for :func:`rollout_from_episodes`.
        count: how many parts; at most as many as there are steps.

    Raises:
        ConfigError: an episode lacks something, or lengths do not fit.
    """
    read = [_read(f"episode {k}", episode, None) for k, episode in enumerate(episodes)]
    total = sum(episode.length for episode in read)
    parts: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    begin = 0
    for episode in read:
        end = begin + episode.length
        for k, part in enumerate(parts):
            start, stop = (max(begin, k * total // count) - begin, min(end, (k + 1) * total // count) - begin)
            if start < stop:
                part.append(_piece(episode, start, stop))
        begin = end
    return parts


def _piece(episode: _Episode, start: int, stop: int) -> dict[str, Any]:
    columns = {name: map_leaves(lambda x: x[start:stop], column) for name, column in episode.columns.items()}
    return {
        **columns,
        Columns.OBS: map_leaves(lambda x: x[start : stop + 1], episode.obs),
        "terminated": episode.terminated and stop == episode.length,
        "weights_version": episode.version,
    }


def complete_rollout(module: Any, rollout: Rollout) -> Rollout:
    """Add what acting would have noted down, where it is missing.

    Without ``action_logp`` the episodes count as played by the module as it is: log-probabilities (and
    ``action_dist_inputs``) are computed with its present weights, for modules that return distribution inputs. A
    recurrent module starts each episode from its initial state.
    """
    module = module.unwrapped()
    columns = rollout.columns
    if module.is_stateful():
        from rlkit_core.data.sequences import max_seq_len

        # Chunks begin where episodes do: no state has to be known but the initial one.
        rollout.seq_len = rollout.num_steps
        max_seq_len(module)
        rollout.state_in = map_leaves(
            lambda x: torch.as_tensor(x, device=module.device)[None, None], module.get_initial_state()
        )
        return rollout
    rollout.episode_starts = None
    if Columns.ACTION_LOGP in columns:
        return rollout
    with torch.no_grad():
        inputs = columns.get(Columns.ACTION_DIST_INPUTS)
        if inputs is None:
            flat = module.forward_exploration({Columns.OBS: flatten_time(columns[Columns.OBS])})
            if Columns.ACTION_DIST_INPUTS not in flat:
                return rollout
            lead = (rollout.num_steps, rollout.num_envs)
            inputs = flat[Columns.ACTION_DIST_INPUTS].view(*lead, -1)
            columns[Columns.ACTION_DIST_INPUTS] = inputs
        dist = module.get_exploration_action_dist_cls().from_logits(inputs)
        columns[Columns.ACTION_LOGP] = dist.logp(columns[Columns.ACTIONS])
    return rollout


# -- reading one episode --------------------------------------------------------------------------------------------


def _read(where: str, episode: Any, space: gym.Space[Any] | None) -> _Episode:
    if isinstance(episode, (list, tuple)):
        episode = _from_steps(where, episode)
    fields = dict(episode) if isinstance(episode, Mapping) else _attributes(episode)
    fields.update(fields.pop("extra_model_outputs", None) or {})
    obs = _arrays(_required(where, fields, Columns.OBS), space)
    columns: dict[str, Nested] = {
        Columns.ACTIONS: _arrays(_required(where, fields, Columns.ACTIONS), None),
        Columns.REWARDS: np.asarray(_required(where, fields, Columns.REWARDS), np.float32).reshape(-1),
    }
    terminated = _flag(_optional(fields, Columns.TERMINATEDS))
    _flag(_optional(fields, Columns.TRUNCATEDS))  # an episode that goes on elsewhere is bootstrapped alike
    version = fields.pop("weights_version", None)
    length = int(first_leaf(columns[Columns.ACTIONS]).shape[0])
    num_obs = int(first_leaf(obs).shape[0])
    rewards = int(columns[Columns.REWARDS].shape[0])
    if length == 0 or num_obs != length + 1 or rewards != length:
        raise ConfigError(
            f"{where}: {num_obs} observations, {length} actions and {rewards} rewards; expected T + 1, T and T, with "
            "the observation after the last action at the end"
        )
    for name, value in fields.items():
        if name not in _META and value is not None and not callable(value):
            column = _arrays(value, None)
            if all(np.ndim(leaf) and len(leaf) == length for leaf in leaves(column)):
                columns[name] = column
    return _Episode(obs, columns, length, terminated, None if version is None else int(version))


def _from_steps(where: str, steps: Sequence[Any]) -> dict[str, Any]:
    rows = [dict(step) for step in steps]
    if not rows:
        raise ConfigError(f"{where} has no steps")
    obs = [_required(where, row, Columns.OBS) for row in rows]
    acted = [row for row in rows if any(name in row for name in _NAMES[Columns.ACTIONS])]
    if len(acted) not in (len(rows), len(rows) - 1) or (len(acted) < len(rows) and acted != rows[:-1]):
        raise ConfigError(f"{where}: only its last step may be without an action")
    following = [_optional(row, Columns.NEXT_OBS) for row in rows]
    if len(acted) == len(rows):
        if following[-1] is None:
            raise ConfigError(
                f"{where}: the observation after the last action is missing; give the last step 'next_obs', or add a "
                "step that has only 'obs'"
            )
        obs.append(following[-1])
    if not acted:
        raise ConfigError(f"{where} has no step with an action")
    episode: dict[str, Any] = {Columns.OBS: obs}
    for name in (Columns.ACTIONS, Columns.REWARDS):
        episode[name] = [_required(where, row, name) for row in acted]
    for name in (Columns.TERMINATEDS, Columns.TRUNCATEDS):
        flags = [_flag(_optional(row, name)) for row in rows]
        if any(flags[: len(acted) - 1]):
            raise ConfigError(f"{where}: a step before the last one ends it; start a new episode there")
        episode[name] = any(flags)
    for name in acted[0]:
        if name not in _META and all(name in row for row in acted):
            episode[name] = [row[name] for row in acted]
    return episode


def _attributes(episode: Any) -> dict[str, Any]:
    names = vars(episode) if hasattr(episode, "__dict__") else getattr(episode, "__slots__", ())
    fields = {name: getattr(episode, name, None) for name in names if not name.startswith("_")}
    for known in (name for group in _NAMES.values() for name in group):
        if known not in fields and hasattr(episode, known):
            fields[known] = getattr(episode, known)
    return fields


def _optional(fields: dict[str, Any], column: str) -> Any:
    """Take a column out of ``fields``, whatever it is called there."""
    found = [fields.pop(name) for name in _NAMES[column] if name in fields]
    return found[0] if found else None


def _required(where: str, fields: dict[str, Any], column: str) -> Any:
    value = _optional(fields, column)
    if value is None:
        raise ConfigError(f"{where} has no {column!r} (or {' or '.join(map(repr, _NAMES[column][1:]))})")
    return value


def _flag(value: object) -> bool:
    """Whether an end is marked: a flag, or one per step of which the last counts."""
    if value is None:
        return False
    array = np.asarray(value)
    return bool(array.reshape(-1)[-1]) if array.size else False


def _arrays(value: Any, space: gym.Space[Any] | None) -> Nested:
    """Columns ``[T, ...]`` from arrays, or from a list with one (nested) value per step."""
    composed = isinstance(space, gym.spaces.Dict)
    inner: Mapping[str, Any] = space.spaces if isinstance(space, gym.spaces.Dict) else {}
    if isinstance(value, Mapping) and (space is None or composed):
        return {key: _arrays(value[key], inner.get(key)) for key in (inner or value)}
    steps = isinstance(value, (list, tuple)) and len(value) > 0
    if composed or (space is None and steps and isinstance(value[0], Mapping)):
        return {key: _arrays([step[key] for step in value], inner.get(key)) for key in (inner or value[0])}
    if isinstance(space, gym.spaces.Tuple):
        if isinstance(value, tuple) and len(value) == len(space.spaces):
            return tuple(_arrays(item, part) for item, part in zip(value, space.spaces, strict=True))
        return tuple(_arrays([step[k] for step in value], part) for k, part in enumerate(space.spaces))
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    array = np.asarray([np.asarray(item) for item in value]) if isinstance(value, list) else np.asarray(value)
    dtype = getattr(space, "dtype", None)
    if dtype is not None and array.dtype != dtype:
        array = array.astype(dtype)
    return array.astype(np.float32) if array.dtype == np.float64 else array
