"""Which distribution brings what, for the line to install in an error. Naming one here gives it no rights."""

from __future__ import annotations

import difflib

KNOWN_PACKAGES: dict[tuple[str, str], str] = {
    ("algorithm", "appo"): "rlkit-appo",
    ("algorithm", "dqn"): "rlkit-dqn",
    ("algorithm", "impala"): "rlkit-impala",
    ("algorithm", "ppo"): "rlkit-ppo",
    ("algorithm", "sac"): "rlkit-sac",
    ("command", "compare"): "rlkit-tools",
    ("command", "export"): "rlkit-tools",
    ("command", "new-plugin"): "rlkit-scaffold",
    ("command", "record"): "rlkit-tools",
    ("command", "report"): "rlkit-tools",
    ("command", "tune"): "rlkit-tools",
    ("command", "watch"): "rlkit-tools",
    ("executor", "process"): "rlkit-processes",
    ("executor", "ray"): "rlkit-ray",
    ("framework", "tf2"): "rlkit-tensorflow",
    ("learner_group", "averaging"): "rlkit-processes",
    ("step_engine", "capture"): "rlkit-capture",
    ("step_engine", "inductor"): "rlkit-capture",
}
"""``(kind, short name)`` to the distribution that supplies it."""

MOVED_NAMES: dict[str, str] = dict.fromkeys(
    (
        "DISCOUNT",
        "NStepReturns",
        "N_STEP",
        "PrioritizedReplayBuffer",
        "ReplayBuffer",
        "WEIGHTS",
        "n_step_returns",
        "sequence_priorities",
        "with_successor",
    ),
    "rlkit-offpolicy",
)
"""What ``rlkit_core.data`` had once, to the distribution that has it now."""


def known_names(kind: str) -> list[str]:
    """Short names of a kind that some known distribution supplies."""
    return [name for known_kind, name in KNOWN_PACKAGES if known_kind == kind]


def package_for(kind: str, name: str) -> str | None:
    """Return the distribution to install for what ``name`` (an id or a short name) means; None where none is known.

    A short name may be misspelt; a distribution may not.
    """
    distribution, slash, short = name.rpartition("/")
    if slash:
        known = {*KNOWN_PACKAGES.values(), *MOVED_NAMES.values()}
        return distribution if distribution in known else None
    near = difflib.get_close_matches(short.lower(), known_names(kind), n=1)
    return KNOWN_PACKAGES[kind, near[0]] if near else None
