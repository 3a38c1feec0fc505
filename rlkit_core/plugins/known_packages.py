"""Which distribution brings what, for the line to install in an error. Naming one here gives it no rights."""

from __future__ import annotations

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


def package_for(kind: str, name: str) -> str:
    """Return the distribution to install for what ``name`` (an id or a short name) means.

    An id names its distribution itself; a short name that nobody here knows is looked for under ``rlkit-NAME``.
    """
    distribution, _, short = name.rpartition("/")
    return distribution or KNOWN_PACKAGES.get((kind, short.lower()), f"rlkit-{short}")
