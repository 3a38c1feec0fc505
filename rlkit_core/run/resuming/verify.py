"""Whether a run is repeatable: train from its last but one checkpoint to its last, and compare the two bit for bit."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attrs import frozen

from rlkit_core.checkpoint import files, read_snapshot
from rlkit_core.checkpoint.compare import (
    Difference,
    components_of,
    count_arrays,
    differences,
    differences_of_trees,
)
from rlkit_core.checkpoint.locate import is_run, quoted, read_index
from rlkit_core.checkpoint.saved_component import SavedComponent, check_snapshot, read_metadata
from rlkit_core.checkpoint.tree import encode_tree
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.models.machine import torch_threads
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.used.lock import Lock, installed_version
from rlkit_core.run import run_folder as folder
from rlkit_core.run.resuming.going_on import env_argument, position_of
from rlkit_core.settings.declare import UNSET

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm
    from rlkit_core.algorithm.config.config import AlgorithmConfig


@frozen
class Verification:
    """What training again from one checkpoint of a run to the next one gave.

    Attributes:
        first, second: the checkpoints, and iterations ``begin`` and ``end`` that they are of.
        differences: between the second and what was trained again, in this order; none: they are equal bit for bit.
        outside: why equality was not promised here, in words; empty where it is.
        notes: what was warned of and logged as a warning meanwhile.
        arrays: how many arrays each component of the second has.
        threads: of torch.
    """

    first: Path
    second: Path
    begin: int
    end: int
    differences: tuple[Difference, ...]
    outside: tuple[str, ...]
    notes: tuple[str, ...]
    arrays: dict[str, int]
    threads: int

    @property
    def is_equal(self) -> bool:
        """Whether every component is equal, bit for bit."""
        return not self.differences


def verify(run: Path, *, env: object = None, tell: Callable[[str], object] = lambda text: None) -> Verification:
    """Train from the last but one checkpoint of a run to the last one in a temporary folder, and compare.

    Nothing of the run is changed or copied. Torch has as many threads as the run had.

    Args:
        run: the run folder.
        env: to be given where it was a function: ``"module:name"``, or the function.
        tell: is told what goes on.

    Raises:
        CheckpointError: it is no run folder, or has not two complete checkpoints.
        ConfigError: the env is missing, or training goes past the second checkpoint's iteration.
    """
    first, second = _last_two(run)
    one, other = folder.stored_config(first), folder.stored_config(second)
    begin, end = position_of(first, None).iteration, position_of(second, None).iteration
    settings = {name: after for name, (after, _) in other.diff(one).items() if name != "env" and after is not UNSET}
    threads = _threads_of(run) or torch.get_num_threads()
    expected, _ = read_snapshot(second)
    tell(f"training from iteration {begin} to {end} in a temporary folder, with {threads} torch threads")
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rlkit-verify-") as place, torch_threads(threads), _listening(said):
        arguments = {**settings, **env_argument(one, env, first)}
        algorithm = one.algo_class.from_checkpoint(first, **arguments)
        try:
            while algorithm.iteration < end:
                algorithm.train()
                tell(f"iteration {algorithm.iteration}")
            if algorithm.iteration != end:
                raise ConfigError(f"training went on to iteration {algorithm.iteration}, {second} is of {end}")
            outside = list(dict.fromkeys(_outside(algorithm, first, expected.lock)))
            trained, _ = read_snapshot(algorithm.save_to_path(Path(place) / "checkpoint"))
            found = tuple(_differences(algorithm, expected, trained))
        finally:
            algorithm.stop()
    notes = tuple(text for text in dict.fromkeys(said) if not _is_among(outside, text))
    return Verification(first, second, begin, end, found, tuple(outside), notes, count_arrays(expected), threads)


def _differences(algorithm: Algorithm, expected: SavedComponent, trained: SavedComponent) -> Iterator[Difference]:
    """What differs. Segments that do may hold the same in other portions, which are a matter of when there were saves:
    then states in memory are compared.

    Args:
        algorithm: as it was saved for ``trained``; it goes on with what ``expected`` has of such components.
    """
    found = list(differences(expected, trained))
    before, after = dict(components_of(expected)), dict(components_of(trained))
    has_segments = {path for path in before if path in after for it in (before, after) if it[path].tree.segments}
    apart = has_segments & {one.component for one in found}
    yield from (one for one in found if one.component not in apart)
    for path in sorted(apart):
        part = algorithm.get_component(path)
        tree = encode_tree(part.get_state())
        part.restore_snapshot(before[path])
        yield from differences_of_trees(encode_tree(part.get_state()), tree, path)


def _is_among(reasons: list[str], note: str) -> bool:
    """Whether a note says what a reason says, perhaps after other words on where."""
    what = note.partition(": ")[2] or note
    return any(reason in note or what in reason for reason in reasons)


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Collect what is warned of and logged as a warning meanwhile, instead of showing it."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, root = Collect(logging.WARNING), logging.getLogger()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *more: said.append(str(message))
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)


def _last_two(run: Path) -> tuple[Path, Path]:
    if not is_run(run):
        raise CheckpointError(f"{run} is no run folder; verifying takes one, with two checkpoints")
    complete: list[Path] = []
    for one in reversed(read_index(run).checkpoints):
        path = files.absolute(run) / one.path
        try:
            directory, _ = files.locate(path)
            check_snapshot(directory)
        except CheckpointError as error:
            warnings.warn(f"{path} is passed over: {error}", UserWarning, stacklevel=3)
            continue
        complete.append(directory)
        if len(complete) == 2:
            return complete[1], complete[0]
    raise CheckpointError(
        f"{run} has {len(complete) or 'no'} complete checkpoint{'' if len(complete) == 1 else 's'}, and verifying "
        f"takes two: rlkit resume {quoted(run)} --more-steps N --set checkpoint_every='1 iterations' saves more of them"
    )


def _threads_of(run: Path) -> int | None:
    """Torch threads of the process that trained, as the run folder has it."""
    try:
        threads = json.loads(files.read_bytes(run / folder.VERSIONS, files.METADATA_LIMIT))["torch_threads"]
    except (CheckpointError, ValueError, KeyError, TypeError):
        return None
    return threads if isinstance(threads, int) and threads > 0 else None


def _outside(algorithm: Algorithm, first: Path, lock: Lock) -> Iterator[str]:
    """Why equality is not promised: what the algorithm, its config, the checkpoint and this installation say."""
    config: AlgorithmConfig = algorithm.config
    if config.compile not in (None, "auto"):
        yield f"learners(compile={config.compile!r}) keeps a tolerance, not every bit"
    if config.num_gpus_per_learner:
        yield "it learns on a GPU"
    yield from getattr(config, "matters_of_time", ())
    yield from algorithm.not_exact()
    left_out = read_metadata(first).get("left_out")
    if isinstance(left_out, list) and left_out:
        yield f"{first.name} was saved without {', '.join(map(str, left_out))}"
    snapshot = default_host().snapshot
    yield from (f"another version: {text}" for text in lock.compare(lambda name: installed_version(snapshot, name)))
