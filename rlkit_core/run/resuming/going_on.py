"""What a run goes on from: its checkpoint, what it was asked to do, and what is to be different from now on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from rlkit_core.checkpoint import PassAtLoad, files
from rlkit_core.checkpoint.locate import KeptCheckpoint, Which, checkpoint_name, locate, quoted, read_index, run_of
from rlkit_core.checkpoint.saved_component import check_snapshot, read_metadata
from rlkit_core.envs.wrapping.entries import passed_again
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.run import run_folder as folder
from rlkit_core.run.record import RunRecord, read_record, stop_changes
from rlkit_core.run.resuming.changes import notes_of, settings_changed
from rlkit_core.run.stop import Stop, evaluate_for

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

Change = Callable[["AlgorithmConfig"], object]


class RunEndedError(ConfigError):
    """A run has reached its end; the message says which, and how to go on."""


@frozen
class GoingOn:
    """A checkpoint to go on from, with all that is known of its run.

    Attributes:
        checkpoint: its directory.
        run: the run folder that it lies in, or None.
        position: its iteration, and what the run's index says of it.
        seconds: of the run's life until then: of training, and where the run ended there with its evaluations.
        config: of the run, with what is changed.
        settings: what is passed to ``from_checkpoint``, by name.
        record: what the run is asked to do from now on, the change included.
        notes: what is different from now on, in words.
    """

    checkpoint: Path
    run: Path | None
    position: KeptCheckpoint
    seconds: float
    config: AlgorithmConfig
    settings: Mapping[str, Any]
    record: RunRecord
    notes: tuple[str, ...] = field(default=())

    @property
    def stop(self) -> Stop:
        """When the run ends."""
        return self.record.stop

    def is_own(self, run_dir: Path) -> bool:
        """Whether a folder is the run's own."""
        return self.run is not None and run_dir.exists() and run_dir.resolve() == self.run.resolve()

    def check_newest(self, run_dir: Path) -> None:
        """Refuse to go on in the run's own folder where later checkpoints lie in it, which would go.

        Raises:
            ConfigError: there are later ones that are complete.
        """
        if not self.is_own(run_dir):
            return
        later = [one for one in read_index(run_dir).checkpoints if one.iteration > self.position.iteration]
        later = [one for one in later if _is_complete(run_dir / one.path)]
        if later:
            names = ", ".join(one.path for one in later)
            raise ConfigError(
                f"{run_dir} has later checkpoints than {self.checkpoint.name} ({names}), which would be lost if it "
                f"went on from there: go on from the newest (rlkit resume {quoted(run_dir)}), or elsewhere (--run-dir)"
            )

    def begin_in(self, run_dir: Path) -> None:
        """Prepare the folder: what says that the run has ended goes; another folder than the run's gets its logs."""
        for name in (folder.SUMMARY, folder.CURVE, folder.TRACEBACK):
            (run_dir / name).unlink(missing_ok=True)
        if self.run is None or self.is_own(run_dir):
            return
        for name in (folder.PROGRESS, folder.RESULTS):
            if (self.run / name).is_file() and not (run_dir / name).exists():
                shutil.copyfile(self.run / name, run_dir / name)
        events = self.run / "tensorboard"
        if events.is_dir() and not (run_dir / "tensorboard").exists():
            shutil.copytree(events, run_dir / "tensorboard")


def going_on(
    path: str | Path,
    *,
    which: Which = "last",
    like: AlgorithmConfig | None = None,
    env: object = None,
    change: Change | None = None,
    stop: Stop | None = None,
    more_steps: int | None = None,
    evaluation_episodes: int | None = None,
    plot: bool | None = None,
) -> GoingOn:
    """Find out what a run goes on from, and check what is to change.

    Args:
        path: a run folder, or a checkpoint.
        which: of a run folder, ``"last"`` or ``"best"``.
        like: the run is to be of this config's class, and in its env, where it has one.
        env: to be given where it was a function, which no checkpoint holds: ``"module:name"``, or the function.
        change: is given the run's config, to change it.
        stop: limits that take the place of the run's (all of them, if there is one), and another target.
        more_steps: moves the run's limit of env steps; limits that are reached, and a target that is, end it no more.
        evaluation_episodes, plot: what the run's own record says unless given.

    Raises:
        RunEndedError: the run has reached its end.
        ConfigError: a setting that may not change; an env that is missing, or another one.
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    checkpoint = locate(path, which)
    run = run_of(checkpoint)
    position = position_of(checkpoint, run)
    stored = folder.stored_config(checkpoint)
    if like is not None and type(stored) is not type(like):
        raise ConfigError(f"{checkpoint} was made with {type(stored).__name__}, not {type(like).__name__}")
    env = like.env if env is None and like is not None else env
    arguments = env_argument(stored, env, checkpoint)
    config = stored.copy(copy_frozen=False)
    if change is not None:
        change(config)
    if stop is not None:
        evaluate_for(stop, config)
    if passed_again(stored.wrappers, config.wrappers):
        arguments["wrappers"] = config.wrappers
        stored = stored.copy(copy_frozen=False).change({"wrappers": config.wrappers})
    changed = settings_changed(stored, config)
    settings = {name: after for name, (_, after) in changed.items()}
    if "env" in arguments:
        config.environment(arguments["env"])
    before = (read_record(run) if run is not None else None) or RunRecord(Stop.usual(config.env))
    ended = _ended(run, position)
    after, notes = _new_stop(before.stop, stop, more_steps, position, ended)
    _check_goes_on(after, position, ended, run or checkpoint)
    record = attrs.evolve(
        before,
        stop=after,
        evaluation_episodes=evaluation_episodes or before.evaluation_episodes,
        plot=before.plot if plot is None else plot,
    )
    record = record.changed(position.iteration, {**changed, **stop_changes(before.stop, after)})
    told = [*notes_of(changed), *notes]
    settings.update(arguments)
    return GoingOn(checkpoint, run, position, ended.seconds, config, settings, record, tuple(told))


def position_of(checkpoint: Path, run: Path | None) -> KeptCheckpoint:
    """Where the run stood: the iteration as the checkpoint has it, the rest as the index does."""
    state = checkpoint / f"{read_metadata(checkpoint).get('state_file')}.json"
    try:
        iteration = json.loads(files.read_bytes(state, files.JSON_LIMIT))["iteration"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint} is no checkpoint of an algorithm: it has no iteration") from error
    index = read_index(run) if run is not None else None
    for one in index.checkpoints if index is not None else ():
        if one.iteration == iteration:
            return one
    best = index.best if index is not None else None
    if best is None or best.iteration != iteration:
        return KeptCheckpoint(checkpoint_name(iteration), iteration)
    return KeptCheckpoint(checkpoint_name(iteration), iteration, best.steps, best_return=best.return_mean)


def env_argument(stored: AlgorithmConfig, env: object, checkpoint: Path) -> dict[str, Any]:
    """The env as an argument of ``from_checkpoint``: only where the checkpoint does not hold it."""
    if isinstance(stored.env, PassAtLoad):
        if env is None:
            raise ConfigError(
                f"the environment of {checkpoint} was the function {stored.env.ref}, and checkpoints hold no code: "
                "name it with --env module:name"
            )
        return {"env": env}
    if env is not None and env != stored.env:
        raise ConfigError(f"{checkpoint} was trained in {stored.env!r}, not {env!r}")
    return {}


@frozen
class _Ended:
    """How a run ended whose last checkpoint is the one to go on from; ``return_mean`` where it was solved."""

    seconds: float
    return_mean: float | None

    def reaches(self, target: float | None) -> bool:
        return target is not None and self.return_mean is not None and self.return_mean >= target


def _ended(run: Path | None, position: KeptCheckpoint) -> _Ended:
    seconds, solved = position.seconds or 0.0, None
    try:
        summary = json.loads(files.read_bytes((run or Path()) / folder.SUMMARY, files.METADATA_LIMIT))
        if run is not None and summary["iterations"] == position.iteration:
            seconds = max(seconds, float(summary["seconds"]))  # with its evaluations
            solved = float(summary["evaluation_return_mean"]) if summary["reason"] == "solved" else None
    except (CheckpointError, ValueError, KeyError, TypeError):
        pass
    return _Ended(seconds, solved)


def _new_stop(
    before: Stop, given: Stop | None, more_steps: int | None, position: KeptCheckpoint, ended: _Ended
) -> tuple[Stop, list[str]]:
    after, notes = before, list[str]()
    if given is not None:
        if given.limits != (None, None, None):
            after = attrs.evolve(given, return_mean=before.return_mean, patience=before.patience)
        if given.return_mean is not None:
            after = attrs.evolve(after, return_mean=given.return_mean)
        if given.patience is not None:
            after = attrs.evolve(after, patience=given.patience)
    if more_steps is None:
        return after, notes
    if after.steps is None and position.steps is None:
        raise ConfigError("--more-steps: the run folder does not say how many env steps there were; use --stop-steps")
    base = position.steps if after.steps is None else after.steps
    after = attrs.evolve(after, steps=max(base or 0, position.steps or 0) + more_steps)
    if after.iterations is not None and position.iteration >= after.iterations:
        notes.append(f"the limit of {after.iterations:,} iterations is reached and ends it no more")
        after = attrs.evolve(after, iterations=None)
    if after.seconds is not None and ended.seconds >= after.seconds:
        notes.append(f"the limit of {after.seconds:g} seconds is reached and ends it no more")
        after = attrs.evolve(after, seconds=None)
    if after.patience is not None and (position.no_better or 0) >= after.patience:
        notes.append(f"the patience of {after.patience:,} evaluations is at its end and ends it no more")
        after = attrs.evolve(after, patience=None)
    if ended.reaches(after.return_mean):
        notes.append(f"the target {after.return_mean:g} is reached and ends it no more")
        after = attrs.evolve(after, return_mean=None)
    return after, notes


def _check_goes_on(stop: Stop, position: KeptCheckpoint, ended: _Ended, path: Path) -> None:
    """Refuse a run that would end after an iteration more, for no reason.

    Raises:
        RunEndedError: a limit is reached, or the target is.
    """
    counts = {"steps": position.steps or 0, "iterations": position.iteration, "no_better": position.no_better or 0}
    limit = stop.limit_reached(**counts, seconds=ended.seconds)
    if limit is None and ended.reaches(stop.return_mean):
        limit = f"mean return {ended.return_mean:.1f} reached {stop.return_mean:g}"
    if limit is not None:
        raise RunEndedError(
            f"{path} has reached its end: {limit}. To go on: rlkit resume {quoted(path)} --more-steps N"
        )


def _is_complete(checkpoint: Path) -> bool:
    try:
        check_snapshot(files.locate(checkpoint)[0])
    except CheckpointError:
        return False
    return True
