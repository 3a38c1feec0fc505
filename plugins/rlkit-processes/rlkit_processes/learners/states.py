"""The state of several learners: one stands for all, beside the little that differs from learner to learner."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rlkit_core.checkpoint.locate import Which, read_located
from rlkit_core.checkpoint.saved_component import SavedComponent
from rlkit_core.columns import COMPONENT_METRICS_LOGGER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE
from rlkit_core.learner import Learner
from rlkit_core.learner.group.learner_group import add_counts
from rlkit_processes.learners.team import Team

Filter = str | Collection[str] | None


def own_part(learner: Learner) -> dict[str, Any]:
    """The state of a learner without what is the same on all."""
    state: dict[str, Any] = learner.get_state(not_components=[COMPONENT_RL_MODULE, COMPONENT_OPTIMIZER])
    state.pop("modules", None)
    state.pop("should_module_be_updated", None)
    return state


def divide(team: Team, others: Sequence[Mapping[str, Any]]) -> None:
    """Give learners that all have the first one's state their own parts of it.

    With as many parts as there are other learners each gets its own. Otherwise random state and statistics are the
    first one's, and lifetime counts, which are summed over learners, are all given to the first.
    """
    if len(others) == team.size - 1:
        team.each(_set_own_part, [(None,), *((part,) for part in others)])
        return
    counts = [{COMPONENT_METRICS_LOGGER: dict(part.get(COMPONENT_METRICS_LOGGER, {}))} for part in others]
    team.each(_set_counts, [(counts if index == 0 else None,) for index in range(team.size)])


def _set_own_part(learner: Learner, part: Mapping[str, Any] | None) -> None:
    if part is not None:
        learner.set_state(part)


def _set_counts(learner: Learner, more: list[dict[str, Any]] | None) -> None:
    if more is None:
        learner.metrics.set_state({})
    else:
        add_counts(learner, more)


class RemoteLearner:
    """Stands for learners that are elsewhere where a checkpoint is written or loaded.

    Args:
        team: the learners.
        changed: called after their set of modules may have changed.
    """

    def __init__(self, team: Team, changed: Callable[[], None]) -> None:
        self._team, self._changed = team, changed

    def get_state(
        self, components: Filter = None, *, not_components: Filter = None, **kwargs: object
    ) -> dict[str, Any]:
        """The first learner's state."""
        state: dict[str, Any] = self._team.first("get_state", components, not_components=not_components, **kwargs)
        return state

    def snapshot(self, **kwargs: object) -> SavedComponent:
        """The first learner's snapshot."""
        snapshot: SavedComponent = self._team.first("snapshot", **kwargs)
        return snapshot

    def restore_snapshot(self, snapshot: SavedComponent, *, strict: bool = True) -> None:
        """Let every learner take over a snapshot."""
        self._team.all_alike("restore_snapshot", snapshot, strict=strict)
        self._changed()

    def restore_from_path(
        self,
        path: str | os.PathLike[str],
        *,
        component: str | None = None,
        strict: bool = True,
        which: Which = "last",
        allow_component_change: bool = False,
    ) -> None:
        """Load a checkpoint, or one of a component into that component, in every learner; it is read once, here."""
        snapshot, directory = read_located(path, which)
        snapshot = snapshot.allowing_component_change(allow_component_change)
        if not component:
            snapshot = Learner.own_part(snapshot, directory)
            self.restore_snapshot(snapshot, strict=strict)
            return
        self._team.all_alike(_restore_component, component, snapshot, strict)
        self._changed()


def _restore_component(learner: Learner, component: str, snapshot: SavedComponent, strict: bool) -> None:
    learner.get_component(component).restore_snapshot(snapshot, strict=strict)
