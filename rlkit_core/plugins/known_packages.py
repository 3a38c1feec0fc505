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
    ("command", "record"): "rlkit-tools",
    ("command", "report"): "rlkit-tools",
    ("command", "tune"): "rlkit-tools",
    ("command", "watch"): "rlkit-tools",
    ("executor", "process"): "rlkit-processes",
    ("executor", "ray"): "rlkit-ray",
    ("framework", "tf2"): "rlkit-tensorflow",
    ("step_engine", "capture"): "rlkit-capture",
    ("step_engine", "inductor"): "rlkit-capture",
}
"""``(kind, short name)`` to the distribution that supplies it."""


def known_names(kind: str) -> list[str]:
    """Short names of a kind that some known distribution supplies."""
    return [name for known_kind, name in KNOWN_PACKAGES if known_kind == kind]


def package_for(kind: str, name: str) -> str | None:
    """Return the distribution to install for what ``name`` (an id or a short name) means; None where none is known.

    A short name may be misspelt; a distribution may not.
    """
    distribution, slash, short = name.rpartition("/")
    if slash:
        return distribution if distribution in KNOWN_PACKAGES.values() else None
    near = difflib.get_close_matches(short.lower(), known_names(kind), n=1)
    return KNOWN_PACKAGES[kind, near[0]] if near else None
