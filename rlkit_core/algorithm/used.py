"""What an algorithm and its config use, with the distributions it comes from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from rlkit_core.algorithm.config.derived import DerivedSettings
from rlkit_core.algorithm.config.used import names_in_full, used_by_config
from rlkit_core.checkpoint import SavedComponent, from_jsonable
from rlkit_core.errors import CheckpointError
from rlkit_core.plugins.used.lock import Lock


def used_by(algorithm: object) -> Lock:
    """What an algorithm's config names and what its modules here are made of; also while it is being built."""
    config: Any = getattr(algorithm, "config", None)
    lock = used_by_config(config)
    runners, learners = _groups(algorithm)
    if runners is not None:
        lock |= runners.module_as_it_was.what_is_used()
    return lock if learners is None else lock | learners.what_is_used()


def choices_of(algorithm: object) -> dict[str, list[dict[str, Any]]]:
    """Why each component of each module was chosen, by module id; see :meth:`RLModule.component_trace`."""
    runners, learners = _groups(algorithm)
    modules = {} if runners is None else dict(runners.module_as_it_was.items())
    if learners is not None and learners.is_local:
        modules |= dict(learners.learner.module.items())
    return {module_id: module.unwrapped().component_trace() for module_id, module in modules.items()}


def _groups(algorithm: object) -> tuple[Any, Any]:
    return getattr(algorithm, "env_runner_group", None), getattr(algorithm, "learner_group", None)


def with_restored_config(
    snapshot: SavedComponent, classes: Iterable[type], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Constructor arguments for a saved algorithm: settings among ``kwargs`` are put into the recorded config.

    A short name in it that another distribution has by now, too, is written in full, as it was meant.
    """
    kwargs = dict(kwargs)
    config, passed, saved = kwargs.get("config"), "config" in kwargs, None
    try:
        saved = from_jsonable(snapshot.ctor[1].get("config"), classes=classes, plugins=snapshot.plugins)
    except CheckpointError:
        if not passed:
            return kwargs  # which is said where all arguments are read
    config = config if passed else saved
    if not isinstance(config, DerivedSettings):
        return kwargs
    settings = names_in_full(config, snapshot.lock)
    if not passed:
        names = [name for name in kwargs if name in config.known_settings() and name != "env"]
        settings.update({name: kwargs.pop(name) for name in names})
    kwargs["config"] = config.copy(copy_frozen=False).update_from_dict(settings) if settings else config
    for note in changes(saved, kwargs["config"]):
        logger.warning("%s", note)
    return kwargs


def changes(saved: object, config: object) -> list[str]:
    """What is no longer as it was when a checkpoint was saved, of what results depend on to the last bit, and the cost.

    Args:
        saved: the config of the checkpoint.
        config: the one to go on with.
    """
    notes = []
    for name, cost in COSTS.items():
        before, now = getattr(saved, name, None), getattr(config, name, None)
        if saved is not None and before != now and {before, now} != {None, "auto"}:
            notes.append(f"{name}={before!r} in the checkpoint, {now!r} now: {cost}")
    return notes


#: Settings of which a run may go on with others, and what the run then does not have of the uninterrupted one.
COSTS = {
    "num_env_runners": "envs begin with fresh episodes, and draw other seeds",
    "num_envs_per_env_runner": "envs begin with fresh episodes, and draw other seeds",
    "executor": "rollouts are the same where runners are waited for; IMPALA and APPO learn from those that come first",
    "num_learners": "batches are divided in another way, and learners draw other random numbers",
    "compile": "with 'auto' and None nothing changes; other step engines are equal but for the last bits",
    "torch_threads": "sums may differ in their last bits",
}
logger = logging.getLogger(__name__)
