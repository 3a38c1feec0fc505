"""The settings that say what happens when something fails or does not end; their sections are the core's."""

from __future__ import annotations

import attrs

from rlkit_core.algorithm.config.sections import CoreSettings
from rlkit_core.settings import boolean, integer, number, optional, section, setting


@attrs.define(slots=False)
class FaultSettings(CoreSettings):
    """The core's settings, with those for faults."""

    env_runners = section("How experience is collected.", also=("restart_failed_sub_environments",))

    evaluation_max_steps_per_episode: int | None = setting(
        30_000,  # a little more than games of ALE last at most
        section="evaluation",
        help="An evaluation's episode of more steps is cut; num_episodes_cut counts it.",
        converter=optional(integer(ge=1)),
    )
    evaluation_sample_timeout_s: float | None = setting(
        120.0,
        section="evaluation",
        help="After so many seconds without an episode's end the rest of an evaluation is cut, and counted.",
        converter=optional(number(gt=0)),
    )
    restart_failed_sub_environments: bool = setting(
        True,
        section="fault_tolerance",
        help="Make an env anew that raises or returns what does not fit, alone; its step is masked. False raises.",
        converter=boolean,
    )
    max_num_sub_environment_restarts: int = setting(
        1000, section="fault_tolerance", help="How often a runner makes envs anew.", converter=integer(ge=0)
    )
    sub_environment_timeout_s: float | None = setting(
        300.0,
        section="fault_tolerance",
        help="An env in a process of its own ('async') that takes longer is killed and made anew. None waits for ever.",
        converter=optional(number(gt=0)),
    )
    restart_failed_env_runners: bool = setting(
        True, section="fault_tolerance", help="Start a runner again whose process has died.", converter=boolean
    )
    max_num_env_runner_restarts: int = setting(
        1000, section="fault_tolerance", help="How often, over all runners.", converter=integer(ge=0)
    )
    ignore_env_runner_failures: bool = setting(
        False,
        section="fault_tolerance",
        help="Go on without a dead runner that is not started again, as long as there are others.",
        converter=boolean,
    )
    max_num_learner_restarts: int = setting(
        10,
        section="fault_tolerance",
        help="Learners that died may be started again so often, from the state of one that lives.",
        converter=integer(ge=0),
    )
