"""The weights that a new run begins with, where they are another run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlkit_core.checkpoint.locate import read_located
from rlkit_core.columns import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE
from rlkit_core.errors import CheckpointError
from rlkit_core.rl_module import MultiRLModule

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm

MODULES = f"{COMPONENT_LEARNER_GROUP}/{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
MOST_LISTED = 40
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Shapes of arrays by module id and name."""


def take_weights(algorithm: Algorithm, path: str | Path) -> None:
    """Give the modules of an algorithm the weights of a run or checkpoint; counters, optimizers and seeds stay its own.

    Args:
        algorithm: a new one.
        path: a run folder (its newest checkpoint counts), or a checkpoint: an algorithm's, or of modules alone. One
            module alone goes to the only one that is here.

    Raises:
        CheckpointError: there is none, it is damaged, or weights do not fit; the message lists which.
    """
    snapshot, directory = read_located(path)
    modules = MultiRLModule.own_part(snapshot, directory)
    weights = algorithm.learner_group.get_weights(inference_only=False).state
    here = {mid: {name: tuple(value.shape) for name, value in arrays.items()} for mid, arrays in weights.items()}
    members, component = modules.components, MODULES
    if not members and len(here) == 1:
        (only,) = here
        members, component = {only: modules}, f"{MODULES}/{only}"
    there = {mid: {k: tuple(v.shape) for k, v in part.tree.tensors.items()} for mid, part in members.items()}
    misfits = list(_misfits(here, there))
    if misfits:
        more = [f"and {len(misfits) - MOST_LISTED} more"] if len(misfits) > MOST_LISTED else []
        lines = "\n".join(f"  {text}" for text in [*misfits[:MOST_LISTED], *more])
        raise CheckpointError(f"the weights in {directory} do not fit what is built here:\n{lines}")
    algorithm.restore_from_path(directory, component=component)


def _misfits(here: Shapes, there: Shapes) -> Iterator[str]:
    for mid in [*here, *(mid for mid in there if mid not in here)]:
        if mid not in here or mid not in there:
            yield f"module {mid!r}: only {'built here' if mid in here else 'in the checkpoint'}"
            continue
        one, other = here[mid], there[mid]
        for name in [*one, *(name for name in other if name not in one)]:
            if name not in other:
                yield f"{mid}: {name} {one[name]} is not in the checkpoint"
            elif name not in one:
                yield f"{mid}: {name} {other[name]} is only in the checkpoint"
            elif one[name] != other[name]:
                yield f"{mid}: {name} is {one[name]} here and {other[name]} in the checkpoint"
