"""The weights of a run that ended with an error, as far as they are numbers."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from attrs import frozen

from rlkit_core.checkpoint.locate import CRASH, quoted, run_of
from rlkit_core.checkpoint.saved_component import SavedComponent, write_snapshot
from rlkit_core.columns import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from rlkit_core.plugins.guard import add_note, describe
from rlkit_core.run.run_folder import TRACEBACK

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm
    from rlkit_core.run.keeper import CheckpointKeeper


@frozen
class CrashWeights:
    """What was kept of the modules: the folder with those whose weights are finite, and the ids of the others."""

    path: Path | None
    not_finite: tuple[str, ...] = ()

    def text(self) -> str:
        """In words; empty where there is nothing to say."""
        kept = f"the weights it ended with are in {self.path}" if self.path is not None else ""
        names = ", ".join(repr(name) for name in self.not_finite)
        left = f"those of {names} are not finite and were not written" if names else ""
        return "; ".join(text for text in (kept, left) if text)


def save_crash_weights(algorithm: object, run_dir: Path) -> CrashWeights:
    """Write the modules of an algorithm, each whose arrays are all finite, to ``run_dir/crash``.

    It is a checkpoint of a MultiRLModule and no state to go on from: training ended somewhere inside of an iteration.

    Raises:
        CheckpointError: it cannot be written.
        Exception: what an algorithm in an unknown state raises when it is asked for its weights.
    """
    group: Any = getattr(algorithm, "learner_group", None)  # an algorithm may do without
    if group is None:
        return CrashWeights(None)
    learner = dict(group.get_checkpointable_components())[COMPONENT_LEARNER]
    modules = learner.snapshot(components=COMPONENT_RL_MODULE).components[COMPONENT_RL_MODULE]
    finite = {name: part for name, part in modules.components.items() if is_finite(part)}
    others = tuple(name for name in modules.components if name not in finite)
    if not finite:
        return CrashWeights(None, others)
    metadata = {**modules.metadata, "left_out": [*modules.left_out, *others]}
    kept = attrs.evolve(modules, components=finite, metadata=metadata)
    return CrashWeights(write_snapshot(kept, run_dir / CRASH), others)


def say_what_was_kept(error: BaseException, algorithm: Algorithm, keeper: CheckpointKeeper) -> None:
    """Save weights and traceback of a run that ends with an error, and add to it what there is to go on with.

    Args:
        error: why it ends; weights are left where a signal ends it, as its checkpoints are enough.
        algorithm: in an unknown state.
        keeper: of its checkpoints.
    """
    if isinstance(error, Exception):
        with suppress(OSError):
            path = keeper.writable() / TRACEBACK
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            add_note(error, f"the traceback is in {path}")
        try:
            kept = save_crash_weights(algorithm, keeper.writable()).text()
            if kept:
                add_note(error, kept)
        except Exception as worse:
            add_note(error, f"the weights it ended with could not be saved: {describe(worse)}")
    newest = keeper.newest
    if newest is None:
        add_note(error, "no checkpoint was saved before")
    else:
        run = run_of(newest) or newest
        add_note(error, f"the newest checkpoint is {newest}; go on from it: rlkit resume {quoted(run)}")


def is_finite(part: SavedComponent) -> bool:
    """Whether all numbers in the arrays of a component and its parts are finite."""
    arrays = part.tree.tensors.values()
    own = all(bool(torch.isfinite(array).all()) for array in arrays if array.is_floating_point() or array.is_complex())
    return own and all(is_finite(inside) for inside in part.components.values())
