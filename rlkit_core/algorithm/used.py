"""What an algorithm and its config use, with the distributions it comes from."""

from __future__ import annotations

from typing import Any

from rlkit_core.algorithm.config.used import used_by_config
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
