"""What a config means for a group of learners: where they run, and what several cannot have."""

from __future__ import annotations

from collections.abc import Iterator

from rlkit_core.errors import ConfigError
from rlkit_core.execution import Executor, LocalExecutor, make_executor
from rlkit_core.learner.learner_settings import GroupSettings, LearnerSettings


def executor_for(config: GroupSettings) -> Executor:
    """The executor that ``config.execution(executor=...)`` asks for.

    Raises:
        PluginNotFoundError: nothing installed supplies it; says the line to install.
    """
    if config.num_learners == 0:
        return LocalExecutor()
    executor = make_executor(config.executor)
    executor.threads = None  # learners choose the number when they know their networks
    return executor


def check(config: GroupSettings, executor: Executor) -> None:
    """Raise ConfigError unless ``executor`` can run the config's learners beside each other, as the config wants it."""
    for problem in learner_problems(config):
        raise ConfigError(problem)
    if config.num_learners > 1 and not executor.concurrent:
        raise ConfigError(
            f"num_learners={config.num_learners}: a {type(executor).__name__} runs learners one after the other, but "
            "they average gradients while they run; give another executor, or use num_learners=0"
        )


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
