"""Which settings of a run may change when it is resumed, and what a change costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rlkit_core.errors import ConfigError
from rlkit_core.settings.base import equal

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

FIXED_SECTIONS: dict[str, str] = {
    "api_stack": "there is one only",
    "framework": "weights are of one framework",
    "environment": "what was learned is of that environment",
    "rl_module": "the networks and their weights are there already",
    "multi_agent": "the modules and who uses them are there already",
}
"""Sections whose settings stay as they are, and why; :data:`FREE` ones excepted."""

FIXED: dict[str, str] = {
    "seed": "its random numbers go on",
    "env_runner_cls": "what was learned is of its data",
    "learner_class": "its learner's state goes on",
}
"""Settings of other sections that stay as they are, and why."""

FREE = frozenset({"disable_env_checking", "replay", "replay_limit"})
"""Settings of fixed sections that are about how a run is carried out, not what it is."""

NOTES: dict[str, str] = {
    "num_env_runners": "episodes that are open begin anew",
    "num_envs_per_env_runner": "episodes that are open begin anew",
    "gym_env_vectorize_mode": "episodes that are open may begin anew",
    "num_learners": "gradients are summed in another order",
    "compile": "the last bits of a step may be others",
    "num_gpus_per_learner": "another device computes other last bits",
    "torch_threads": "another number of threads computes other last bits",
}
"""What a change of these costs beside the change itself."""


def settings_changed(stored: AlgorithmConfig, changed: AlgorithmConfig) -> dict[str, tuple[Any, Any]]:
    """What differs between the config of a run and the one that it is to go on with: ``{name: (before, after)}``.

    Raises:
        ConfigError: something that may not change does; the message has all of it.
    """
    found = {name: (before, after) for name, (after, before) in changed.diff(stored).items()}
    refused = {name: why for name in found if (why := _why_fixed(changed, name)) is not None}
    shapes = _model_settings(stored, changed)
    if shapes and not any(changed.known_settings()[name].section == "rl_module" for name in refused):
        by = ", ".join(name for name in found if name in shapes) or ", ".join(sorted(shapes))
        refused[by] = "it shapes the module, whose weights are there already"
    if refused:
        lines = "\n".join(f"  {name}: {why}" for name, why in refused.items())
        raise ConfigError(
            f"a run that is resumed keeps these settings:\n{lines}\nTo train its weights further with others, begin a "
            "new run from them: rlkit train ALGO ENV --from RUN"
        )
    return found


def notes_of(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """The changes in words, with what each costs."""
    return [
        f"{name}: {before!r} becomes {after!r}" + (f"; {NOTES[name]}" if name in NOTES else "")
        for name, (before, after) in found.items()
    ]


def _why_fixed(config: AlgorithmConfig, name: str) -> str | None:
    if name in FREE:
        return None
    return FIXED.get(name) or FIXED_SECTIONS.get(config.known_settings()[name].section)


def _model_settings(stored: AlgorithmConfig, changed: AlgorithmConfig) -> set[str]:
    """Names of what the networks are built from that differ: an algorithm adds settings of its own to those."""
    before, after = stored.model_config, changed.model_config
    return {name for name in {*before, *after} if not equal(before.get(name), after.get(name))}
