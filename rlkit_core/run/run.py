"""A run: train until a criterion is met, keep a folder with everything about it, and end cleanly whatever happens."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from rlkit_core.algorithm.profile import Profile
from rlkit_core.algorithm.results import (
    evaluation_return_mean,
    look_up,
    phase_seconds,
    return_mean,
    returns_of_each,
    success_rate,
    total_loss,
)
from rlkit_core.algorithm.run_view import in_run_folder
from rlkit_core.checkpoint.locate import Which, locate
from rlkit_core.errors import ConfigError
from rlkit_core.result_keys import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME, STOPPED_BY
from rlkit_core.run import run_folder as folder
from rlkit_core.run.beginning import check_to_train, describe_run, keep_reports_of
from rlkit_core.run.crash import say_what_was_kept
from rlkit_core.run.judge import Evaluated, Judge
from rlkit_core.run.keeper import CheckpointKeeper, Position
from rlkit_core.run.lock import RunLock
from rlkit_core.run.progress import Progress, ProgressRow
from rlkit_core.run.record import DEFAULT_EPISODES, RunRecord
from rlkit_core.run.result_log import ResultLog
from rlkit_core.run.resuming.going_on import Change, GoingOn, going_on
from rlkit_core.run.resuming.weights import take_weights
from rlkit_core.run.signals import Signals
from rlkit_core.run.stop import BestSoFar, Stop
from rlkit_core.run.summary import RunSummary, write_somewhere

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm
    from rlkit_core.algorithm.config.config import AlgorithmConfig


@frozen
class _Ending:
    """Why training ended, and the mean return of the last weights, if these were evaluated in full."""

    reason: str
    detail: str
    evaluation: float | None = None


class Run:
    """Trains one algorithm and keeps its run folder, as ``rlkit train`` does.

    Args:
        config: the config to build; when resuming only its class counts. Its section ``checkpointing`` says when
            checkpoints are saved and which are kept.
        run_dir: the run folder; it must be new or empty unless resuming. A new one in ``runs/`` unless given, or that
            of the run which is resumed.
        stop: when to end; :meth:`Stop.usual` of the env unless given. With a target return, evaluation happens every
            ``evaluation_interval`` iterations (10 unless the config says) and when the mean return of training reaches
            the target; with a patience too.
        evaluation_episodes: how many deterministic episodes decide about the target and make the final figure; 100
            unless given.
        resume: a checkpoint (or run folder) to go on from; its run says when to end, how it is evaluated and so on, as
            far as nothing else is given. :meth:`resume` needs no config.
        weights_from: a run folder or checkpoint whose module weights a new run begins with; all else is new.
        progress: what shows the run; nothing unless given.
        plot: draw the learning curve at the end; True unless given.
        origins: where settings are from, for ``rlkit config show``; see :class:`RunRecord`.
        profile: measure where the time goes.

    Attributes:
        profile: where it went, once :meth:`fit` has returned, and in ``profile.json``; None unless asked for.

    Raises:
        CheckpointError: there is no checkpoint to resume from, or it is damaged.
        ConfigError: the checkpoint is another algorithm's or environment's; :class:`RunEndedError`: it is the last one.
    """

    def __init__(
        self,
        config: AlgorithmConfig,
        run_dir: str | Path | None = None,
        *,
        stop: Stop | None = None,
        evaluation_episodes: int | None = None,
        resume: str | Path | GoingOn | None = None,
        weights_from: str | Path | None = None,
        progress: Progress | None = None,
        plot: bool | None = None,
        origins: Mapping[str, str] | None = None,
        profile: bool = False,
    ) -> None:
        self.profile = Profile("building") if profile else None
        self._from: GoingOn | None = None
        if resume is not None and weights_from is not None:
            raise ConfigError("Run(resume=...) has its weights already; leave out weights_from")
        if resume is not None:
            if not isinstance(resume, GoingOn):
                resume = going_on(resume, like=config, stop=stop, evaluation_episodes=evaluation_episodes, plot=plot)
            self._from = resume
            config, self._record = self._from.config, self._from.record
            run_dir = run_dir or self._from.run
        else:
            usual = stop or Stop.usual(config.env)
            source = None if weights_from is None else locate(weights_from)
            episodes = evaluation_episodes or DEFAULT_EPISODES
            self._record = RunRecord(usual, episodes, plot is not False, source, origins=origins or {})
        self._config = config.copy(copy_frozen=False)
        self.run_dir = Path(run_dir or folder.default_run_dir(self._name.lower(), config.env))
        self.stop, self.evaluation_episodes = self._record.stop, self._record.evaluation_episodes
        self.progress = progress or Progress()
        self._checked = False
        self._signals = Signals(self._say)
        self._lock = RunLock(self.run_dir, self._say)
        self._log = ResultLog(self.run_dir, self._say)
        waits = None if self._from is None else self._from.position.judged_from
        self._judge = Judge(self.stop.return_mean, self.evaluation_episodes, self._signals, begins_at=waits)
        before = None if self._from is None else self._from.position
        self._best = BestSoFar() if before is None else BestSoFar(before.best_return, before.no_better)
        self._keeper: CheckpointKeeper | None = None
        self._train_seconds = 0.0
        self._seconds_before = 0.0 if self._from is None else self._from.seconds
        self._train_seconds_before = 0.0 if self._from is None else self._from.position.seconds or 0.0
        self._has_begun = False

    @classmethod
    def resume(
        cls,
        path: str | Path,
        run_dir: str | Path | None = None,
        *,
        which: Which = "last",
        more_steps: int | None = None,
        stop: Stop | None = None,
        change: Change | None = None,
        env: object = None,
        progress: Progress | None = None,
    ) -> Run:
        """The run that goes on from a run folder's newest checkpoint, or from a checkpoint.

        Args:
            path: the run folder or checkpoint.
            run_dir: where it goes on; the run's own folder unless given.
            which, more_steps, stop, change, env: what is different from now on; see
                :func:`~rlkit_core.run.resuming.going_on.going_on`.
            progress: what shows it.

        Raises:
            RunEndedError: it has reached its end; ``more_steps`` moves that.
            ConfigError, CheckpointError: as for :class:`Run`, or a setting that may not change.
        """
        one = going_on(path, which=which, env=env, change=change, stop=stop, more_steps=more_steps)
        return cls(one.config, run_dir, resume=one, progress=progress)

    @property
    def newest_checkpoint(self) -> Path | None:
        """The newest complete checkpoint of this run; None before the first."""
        return None if self._keeper is None else self._keeper.newest

    def check(self) -> None:
        """Check everything that can be checked before training, and take the run folder, made if need be. Done once.

        Raises:
            ConfigError: settings that do not fit, cannot be stored, or a run folder that cannot be used, or that
                another process uses, or has checkpoints later than the one to go on from.
            EnvError: the env cannot be made.
        """
        if self._checked:
            return
        if self._from is None:
            check_to_train(self._config, self.stop)
        else:
            self._config.validate()
        folder.make_run_dir(self.run_dir, resumed=self._from is not None and self._from.is_own(self.run_dir))
        self._lock.take()
        if self._from is not None:
            try:
                self._from.check_newest(self.run_dir)
            except ConfigError:
                self._lock.release()
                raise
        self._checked = True

    def fit(self) -> RunSummary:
        """Train to the end.

        SIGINT, SIGTERM and SIGHUP end the run after the iteration in progress, with a checkpoint and a summary that
        names the signal; a second one, or 20 seconds, end it at once.

        Raises:
            Interrupted: a signal ended it at once; the newest checkpoint stays.
            Exception: whatever training raised, with lines that say what was kept, where, and how to go on.
        """
        self.check()
        try:
            with self._signals, in_run_folder(self.run_dir):
                return self._fit(time.monotonic())
        finally:
            self._lock.release()

    # The parts of fit(), in order

    def _fit(self, started: float) -> RunSummary:
        with self._signals.at_once():
            algorithm = self._built()
        try:
            with self._signals.at_once():
                keeper = self._begin(algorithm)
            steps_before = self._steps(algorithm)
            with self._measured(algorithm, keeper):
                ending, position = self._train(algorithm, keeper, started)
                self._signals.in_time()
                if ending.evaluation is None and ending.reason != "interrupted":
                    ending = self._evaluated(algorithm, keeper, ending, position)
            played = Evaluated() if ending.evaluation is None else self._judge.last
            summary = RunSummary(
                reason=ending.reason,
                detail=ending.detail,
                evaluation_return_mean=played.return_mean,
                evaluation_episodes=played.episodes,
                evaluation_episodes_cut=played.cut,
                evaluation_episodes_failed=played.failed,
                iterations=position.iteration,
                steps=position.steps,
                seconds=self._seconds_before + time.monotonic() - started,
                steps_per_s=(position.steps - steps_before) / max(self._train_seconds, 1e-9),
                run_dir=self.run_dir,
                checkpoint=keeper.newest,
                plot=None,
                signal=self._signals.number,
            )
        except BaseException as error:
            if self._keeper is not None and self._has_begun:
                say_what_was_kept(error, algorithm, self._keeper)
            raise
        finally:
            if self._keeper is not None:
                self._log.close(algorithm, self._keeper.place)
            self.progress.close()
            algorithm.stop()
        if self._record.plot:
            summary = summary.with_curve(f"{self._name} on {self._config.env}", self.stop.return_mean, self._say)
        summary.write(self._say, keeper.place)
        if self.profile is not None:
            write_somewhere(self.run_dir, folder.PROFILE, self.profile.to_dict(), self._say, keeper.place)
        return summary

    @contextmanager
    def _measured(self, algorithm: Algorithm, keeper: CheckpointKeeper) -> Iterator[None]:
        """Measure where the time of a block goes, if that is asked for."""
        if self.profile is None:
            yield
            return
        with self.profile.of(algorithm):
            for method in ("iteration_ended", "evaluated", "save"):
                self.profile.timed(keeper, method, "checkpoints")
            self.profile.timed(self._log, "write", "logs")
            self.profile.timed(self.progress, "update", "logs")
            yield

    def _built(self) -> Any:
        """Build the algorithm; where that fails, a new run folder does not stay behind."""
        if self._from is not None:
            return self._config.algo_class.from_checkpoint(self._from.checkpoint, **self._from.settings)
        try:
            algorithm = self._config.build_algo()
            if self._record.weights_from is not None:
                self._take_weights(algorithm, self._record.weights_from)
            return algorithm
        except BaseException:
            self._lock.release()
            with suppress(OSError):
                self.run_dir.rmdir()
            raise

    @staticmethod
    def _take_weights(algorithm: Algorithm, source: Path) -> None:
        try:
            take_weights(algorithm, source)
        except BaseException:
            algorithm.stop()
            raise

    def _describe(self, algorithm: Algorithm, place: Path) -> None:
        describe_run(algorithm, place)
        self._record.write(place)

    def _describe_again(self, algorithm: Algorithm, place: Path) -> None:
        self._lock.renew()  # which is gone with a folder that is gone
        self._describe(algorithm, place)

    def _begin(self, algorithm: Algorithm) -> CheckpointKeeper:
        """Write what is known before training, and make what accompanies it."""
        keep_reports_of(algorithm, self.run_dir)
        try:
            if self._from is not None:
                self._from.begin_in(self.run_dir)
            self._describe(algorithm, self.run_dir)
        except OSError as error:
            reason = error.strerror or error
            problem = f"the run folder {self.run_dir} cannot be written ({reason})"
            raise ConfigError(f"{problem}; make room, or choose another with --run-dir") from error
        keeper = CheckpointKeeper(
            self.run_dir,
            algorithm.config,
            signals=self._signals,
            say=self._say,
            describe=lambda place: self._describe_again(algorithm, place),
        )
        if self._from is not None:
            keeper.go_on_from(self._from.checkpoint, algorithm.iteration)
        self._keeper = keeper
        self._log.open(algorithm, algorithm.iteration if self._from is not None else None)
        return keeper

    def _train(self, algorithm: Algorithm, keeper: CheckpointKeeper, started: float) -> tuple[_Ending, Position]:
        """Iterate until done."""
        self._has_begun = True
        evaluation = math.nan
        begun = self._steps(algorithm)
        while True:
            before = time.monotonic()
            result = cast(dict[str, Any], algorithm.train())
            wall = time.monotonic() - before
            in_training = look_up(result, "timers", "iteration")
            self._train_seconds += wall if math.isnan(in_training) else in_training
            decided = self._judge.decide(algorithm, result) if self._signals.number is None else None
            latest = evaluation_return_mean(result)
            evaluation = latest if not math.isnan(latest) else evaluation
            self._best.hear(latest)
            self._log.write(algorithm, result)
            position = self._position(algorithm, result)
            seconds = self._seconds_before + time.monotonic() - started
            self.progress.update(
                ProgressRow(
                    iteration=position.iteration,
                    steps=position.steps,
                    steps_per_s=(position.steps - begun) / max(self._train_seconds, 1e-9),
                    return_mean=return_mean(result),
                    evaluation=evaluation,
                    loss=total_loss(result),
                    seconds=seconds,
                    success=success_rate(result),
                    returns=returns_of_each(result),
                    phases=phase_seconds(result),
                    checkpoint="" if keeper.newest is None else keeper.newest.name,
                )
            )
            ending = self._ending(result, decided, position, seconds)
            keeper.iteration_ended(algorithm, position, evaluation=latest, last=ending is not None)
            if ending is None and self._signals.number is not None:  # it came during the save
                ending = self._interrupted()
                keeper.save(algorithm, position)
            if ending is not None:
                return ending, position

    def _ending(
        self, result: Mapping[str, Any], decided: float | None, position: Position, seconds: float
    ) -> _Ending | None:
        if self._judge.reached(decided):
            return _Ending("solved", f"mean return {decided:.1f} reached {self.stop.return_mean:g}", decided)
        if self._signals.number is not None:
            return self._interrupted()
        if STOPPED_BY in result:
            return _Ending("stopped", f"the callback {result[STOPPED_BY]}", decided)
        counts = {"steps": position.steps, "iterations": position.iteration, "no_better": self._best.no_better}
        limit = self.stop.limit_reached(**counts, seconds=seconds)
        return None if limit is None else _Ending("limit", limit, decided)

    def _interrupted(self) -> _Ending:
        return _Ending("interrupted", f"interrupted by {self._signals.name}")

    def _evaluated(
        self, algorithm: Algorithm, keeper: CheckpointKeeper, ending: _Ending, position: Position
    ) -> _Ending:
        """The last evaluation, of weights that are saved already."""
        self.progress.doing(f"the last evaluation, {self.evaluation_episodes} episodes")
        value = self._judge.evaluate(algorithm)
        if value is None:
            return _Ending("interrupted", "interrupted in the last evaluation")
        keeper.evaluated(algorithm, position, value)
        solved = ending.reason != "stopped" and self._judge.reached(value)
        return _Ending("solved" if solved else ending.reason, ending.detail, value)

    # Helpers

    @property
    def _name(self) -> str:
        return type(self._config).__name__.removesuffix("Config")

    def _say(self, text: str) -> None:
        self.progress.line(text)

    @staticmethod
    def _steps(algorithm: Algorithm) -> int:
        return int(getattr(algorithm, NUM_ENV_STEPS_SAMPLED_LIFETIME))

    def _position(self, algorithm: Algorithm, result: Mapping[str, Any]) -> Position:
        episodes = look_up(result, ENV_RUNNER_RESULTS, "num_episodes_lifetime")
        return Position(
            algorithm.iteration,
            self._steps(algorithm),
            self._train_seconds_before + self._train_seconds,
            None if math.isnan(episodes) else int(episodes),
            self._judge.begins_at,
            self._best.return_mean,
            self._best.no_better,
        )
