"""What a config means for a group of learners: who supplies several, and what several cannot have."""

from __future__ import annotations

from collections.abc import Iterator

from rlkit_core.learner.learner_settings import LearnerSettings

SEVERAL = "rlkit-processes/averaging"
"""The service that ``num_learners`` above 0 means: learners behind an executor, which average their gradients."""


def learner_problems(config: LearnerSettings) -> Iterator[str]:
    """Settings that several learners cannot have, each with what to set instead."""
    count = config.num_learners
    if count > 1 and config.executor == "local":
        yield (
            f"num_learners={count} with execution(executor='local'): learners average gradients while they run, and in "
            "one process they would run one after the other; use execution(executor='auto'), or num_learners=0"
        )
    if count > 1 and config.compile in ("capture", "inductor"):
        yield (
            f"learners(compile={config.compile!r}) with num_learners={count}: learners average their gradients in the "
            "middle of a step, which a recording would leave out; use compile=None or 'auto', or one learner"
        )
