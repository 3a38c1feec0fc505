"""What an update of a learner is given, told apart by module, and what is counted of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rlkit_core.columns import ALL_MODULES
from rlkit_core.data.foreign_episodes import complete_rollout, rollout_from_episodes
from rlkit_core.data.rollout import Rollout
from rlkit_core.data.sequences import num_env_steps
from rlkit_core.errors import ConfigError, MissingColumnError, RLKitError
from rlkit_core.learner.metrics import BlockKeys, Metrics, count_keys
from rlkit_core.learner.minibatch import Minibatch, ModuleBatch, num_rows
from rlkit_core.rl_module import MultiRLModule

if TYPE_CHECKING:
    import torch

DIFF_NUM_GRAD_UPDATES: Final = "diff_num_grad_updates_vs_sampler_policy"
SAMPLED: Final = "num_env_steps_sampled_lifetime"
TRAINED: Final = "num_env_steps_trained_lifetime"

Columns = Mapping[str, Any]
Episodes = Sequence[Any]
ModuleData = Columns | Rollout | Sequence[Rollout] | Episodes
"""Columns ready for the loss, rollouts, or episodes of one module."""


def only_source(
    batch: Mapping[str, Columns] | None,
    rollouts: Mapping[str, Rollout | Sequence[Rollout]] | None,
    episodes: Mapping[str, Episodes] | Episodes | None,
) -> Mapping[str, ModuleData] | Episodes:
    """The one that is given.

    Raises:
        ConfigError: none is, or several are.
    """
    sources = [source for source in (batch, rollouts, episodes) if source is not None]
    if len(sources) != 1:
        raise ConfigError("Learner.update: give exactly one of batch=, rollouts= and episodes=")
    return sources[0]


def by_module(data: Mapping[str, ModuleData] | Episodes, module: MultiRLModule) -> dict[str, Any]:
    """Data by module id; episodes without one are the only module's.

    Raises:
        ConfigError: a module is not here, or episodes are of nobody knows which.
    """
    if not isinstance(data, Mapping):
        ids = list(module.keys())
        if len(ids) != 1:
            raise ConfigError(
                f"Learner.update: there are modules {ids}; give the episodes as {{module id: [episode, ...]}}"
            )
        data = {ids[0]: data}
    unknown = [mid for mid in data if mid not in module]
    if unknown:
        raise ConfigError(f"batch has data of unknown modules {unknown}; this learner has {list(module.keys())}")
    return dict(data)


def has_rows(data: ModuleData) -> bool:
    """Whether there is anything to learn from."""
    if type(data) is dict or isinstance(data, Mapping):
        return num_rows(data) > 0
    if isinstance(data, Rollout):
        return data.num_env_steps > 0
    rollouts = as_rollouts(data)
    return any(rollout.num_env_steps > 0 for rollout in rollouts) if rollouts else len(data) > 0


def as_rollouts(data: ModuleData) -> list[Rollout]:
    """One or several rollouts as a list; anything else is none."""
    if isinstance(data, Rollout):
        return [data]
    if isinstance(data, Sequence) and data and isinstance(data[0], Rollout):
        return list(data)
    return []


def joined_rollout(data: ModuleData) -> Rollout:
    """Rollouts of one module as one, side by side along their envs, each as long as the longest."""
    rollouts = as_rollouts(data)
    return rollouts[0] if len(rollouts) == 1 else Rollout.concat(rollouts, extend=True)


def rollout_of(module: Any, episodes: Episodes, device: torch.device | str) -> Rollout:
    """Episodes of one module as a rollout on ``device``, with what the module would have said of its actions."""
    return complete_rollout(module, rollout_from_episodes(episodes, module.observation_space).to(device))


def log_off_policyness(metrics: Metrics, weights_seq_no: int, data: Mapping[str, ModuleData]) -> None:
    """Log how many updates lie between the weights that acted and those here: mean and largest of the rollouts."""
    for module_id, part in data.items():
        for rollout in as_rollouts(part):
            if rollout.weights_version is not None:
                behind = weights_seq_no - rollout.weights_version
                metrics.log_value((module_id, DIFF_NUM_GRAD_UPDATES), behind)
                metrics.log_value((module_id, f"{DIFF_NUM_GRAD_UPDATES}_max"), behind, reduce="max")


def with_own_count(
    timesteps: Mapping[str, int], metrics: Metrics, ready: Mapping[str, ModuleBatch]
) -> Mapping[str, int]:
    """Lifetime counts of steps as drivers take them: where an update was given none, those that it trained on."""
    if SAMPLED in timesteps or TRAINED in timesteps:
        return timesteps
    before = metrics.peek((ALL_MODULES, "num_module_steps_trained_lifetime"), default=0.0)
    return {**timesteps, TRAINED: int(before) + sum(num_env_steps(rows) for rows in ready.values())}


def say_what_lacks(error: KeyError, minibatch: Minibatch, learner: str) -> None:
    """Raise, from an error of a step, one in words where it is about a column that no batch of the step has.

    Args:
        error: of a module's forward, or of a loss.
        minibatch: of the step.
        learner: name of its class.

    Raises:
        MissingColumnError: so it is.
    """
    name, frame = error.args[0] if error.args else None, error.__traceback__
    if isinstance(error, RLKitError) or not isinstance(name, str) or frame is None:
        return
    while frame.tb_next is not None:
        frame = frame.tb_next
    there = [value for value in frame.tb_frame.f_locals.values() if isinstance(value, Mapping) and value]
    if not any(name not in value and any(set(rows) <= set(value) for rows in minibatch.values()) for value in there):
        return  # nobody looked into a batch there
    batches = "; ".join(f"of {module_id!r}: {', '.join(sorted(rows))}" for module_id, rows in minibatch.items())
    raise MissingColumnError(
        f"{learner}: a loss or a module reads {name!r}, which is no column of its batch ({batches}) and no module "
        "gave. build_train_batch() makes the columns of a loss from rollouts and episodes: update(rollouts=...), "
        "update(episodes=...); what is given as update(batch=...) has to have them"
    ) from error


class UpdateCounts:
    """Logs what an update trained on."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, ...], BlockKeys] = {}

    def log(
        self, metrics: Metrics, ready: Mapping[str, ModuleBatch], weights_seq_no: int, totals: Mapping[str, int]
    ) -> None:
        """Log steps trained per module and together, the version of the weights, and ``totals`` of all modules."""
        ids = tuple(ready)
        if ids not in self._keys:
            self._keys[ids] = count_keys(ids, totals)
        values: list[float] = []
        for rows in ready.values():
            count = num_env_steps(rows)
            values += (count, count, weights_seq_no)
        total = sum(values[::3])
        metrics.log_block(self._keys[ids], [*values, total, total, *totals.values()])
