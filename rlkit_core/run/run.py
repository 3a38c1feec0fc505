"""A run: train until a criterion is met, keep a folder with everything about it, and end cleanly whatever happens."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from rlkit_core.algorithm.config.to_json import to_data
from rlkit_core.algorithm.results import (
    EPISODE_RETURN_MEAN,
    EVALUATION_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    STOPPED_BY,
    evaluation_return_mean,
    look_up,
    return_mean,
    returns_of_each,
    success_rate,
    total_loss,
)
from rlkit_core.algorithm.run_view import in_run_folder, read_only
from rlkit_core.algorithm.used import choices_of, used_by
from rlkit_core.checkpoint.locate import locate
from rlkit_core.envs.make import make_env
from rlkit_core.envs.multi_agent.make import check_spaces
from rlkit_core.errors import ConfigError, PluginError
from rlkit_core.plugins.guard import safe_text
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.quarantine import learning_kept
from rlkit_core.run import run_folder as folder
from rlkit_core.run.plot import plot_learning_curve
from rlkit_core.run.progress import Progress, ProgressRow
from rlkit_core.run.writers import ResultWriter
from rlkit_core.seeding import SeedTree

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm
    from rlkit_core.algorithm.config.config import AlgorithmConfig
    from rlkit_core.plugins.records import Registered, Service

logger = logging.getLogger(__name__)

PROBE_EPISODES = 10
"""Episodes of the evaluation that decides whether the full one is worth its time."""


@frozen
class Stop:
    """When a run ends; whichever is met first.

    Mean return over the deterministic evaluation episodes; env steps and iterations over the life of the algorithm;
    seconds of this run.
    """

    return_mean: float | None = None
    steps: int | None = None
    iterations: int | None = None
    seconds: float | None = None

    def limit_reached(self, *, steps: int, iterations: int, seconds: float) -> str | None:
        """Which limit is reached, in words, or None."""
        if self.steps is not None and steps >= self.steps:
            return f"{steps:,} environment steps"
        if self.iterations is not None and iterations >= self.iterations:
            return f"{iterations:,} iterations"
        return f"{seconds:.0f} seconds" if self.seconds is not None and seconds >= self.seconds else None


@frozen
class RunSummary:
    """How a run ended.

    Attributes:
        reason: ``"solved"`` (the target return), ``"limit"``, ``"stopped"`` (by a callback) or ``"interrupted"``.
        detail: the reason in words.
        evaluation_return_mean: mean return over ``evaluation_episodes`` deterministic episodes; NaN if not evaluated.
        iterations: over the life of the algorithm, and so are env ``steps``.
        seconds: of this run, the last evaluation included.
        steps_per_s: env steps per second of training.
        checkpoint: None if nothing was trained.
        plot: the learning curve, or None.
        signal: that ended the run, or None.
    """

    reason: str
    detail: str
    evaluation_return_mean: float
    evaluation_episodes: int
    iterations: int
    steps: int
    seconds: float
    steps_per_s: float
    run_dir: Path
    checkpoint: Path | None
    plot: Path | None
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """0, or 128 + the signal's number."""
        return 0 if self.signal is None else 128 + self.signal


class Interrupted(KeyboardInterrupt):
    """A signal came at a moment when the run can stop at once."""


def check_to_train(config: AlgorithmConfig, stop: Stop) -> None:
    """Complete the config of a new run (seed, evaluation) and check all that can be checked before anything is built.

    Raises:
        ConfigError: settings that do not fit or cannot be stored.
        EnvError: the env cannot be made.
    """
    if config.seed is None:
        config.debugging(seed=SeedTree.from_seed(None).root)
    if stop.return_mean is not None and config.evaluation_interval is None:
        config.evaluation(evaluation_interval=10)
    config.validate()
    if config.env is None:
        raise ConfigError("there is no environment: config.environment('CartPole-v1')")
    env = make_env(config.env, config.env_config)
    check_spaces(env)
    env.close()
    to_data(config)


class Run:
    """Trains one algorithm and keeps its run folder.

    Args:
        config: the config to build; when resuming only its class counts.
        run_dir: the run folder; it must be new or empty unless resuming.
        stop: when to end. With a target return, evaluation happens every ``evaluation_interval`` iterations
            (10 unless the config says) and when the mean return of training reaches the target.
        evaluation_episodes: how many deterministic episodes decide about the target and make the final figure.
        resume: a checkpoint (or run folder) to go on from.
        progress: what shows the run.
        plot: draw the learning curve at the end.
    """

    def __init__(
        self,
        config: AlgorithmConfig,
        run_dir: str | Path,
        *,
        stop: Stop | None = None,
        evaluation_episodes: int = 100,
        resume: str | Path | None = None,
        progress: Progress | None = None,
        plot: bool = True,
    ) -> None:
        self.stop = stop or Stop()
        self.run_dir = Path(run_dir)
        self.progress = progress or Progress()
        self.evaluation_episodes = evaluation_episodes
        self._resume = locate(resume) if resume is not None else None
        self._plot = plot
        self._config = config.copy(copy_frozen=False)
        self._writers: list[tuple[Registered[Service], ResultWriter]] = []
        self._host = default_host()
        self._signal: int | None = None
        self._checked = False
        self._stop_at_once = True
        self._train_seconds = 0.0
        self._next_evaluation = 0

    def check(self) -> None:
        """Check everything that can be checked before training, and create the run folder. Done once.

        Raises:
            ConfigError: settings that do not fit, cannot be stored, or a run folder that cannot be used;
                another algorithm's or environment's checkpoint.
            CheckpointError: there is no checkpoint to resume from, or it is damaged.
            EnvError: the env cannot be made.
        """
        if self._checked:
            return
        if self._resume is not None:
            self._check_resumed(self._resume)
        else:
            check_to_train(self._config, self.stop)
        folder.make_run_dir(self.run_dir, resumed=self._resume is not None)
        self._checked = True

    def _check_resumed(self, checkpoint: Path) -> None:
        stored, config = folder.stored_config(checkpoint), self._config
        if type(stored) is not type(config):
            raise ConfigError(f"{checkpoint} was made with {type(stored).__name__}, not {type(config).__name__}")
        if isinstance(stored.env, str) and config.env is not None and stored.env != config.env:
            raise ConfigError(f"{checkpoint} was trained in {stored.env!r}, not {config.env!r}")

    def execute(self) -> RunSummary:
        """Train to the end.

        SIGINT and SIGTERM end the run after the iteration in progress, with a checkpoint; a second one ends it at once.

        Raises:
            Interrupted: a signal came before training began.
            Exception: whatever training raised; the folder holds what was written until then.
        """
        self.check()
        started = time.monotonic()
        with self._signals(), in_run_folder(self.run_dir):
            algorithm = self._built()
            try:
                self._keep_reports_of(algorithm)
                self._describe(algorithm)
                self._open_writers(algorithm)
                steps_before = self._steps(algorithm)
                self._stop_at_once = False
                reason, detail, evaluation = self._train(algorithm, started)
                checkpoint = self.run_dir / folder.CHECKPOINT
                algorithm.save_to_path(checkpoint)
                if evaluation is None and reason != "interrupted":
                    evaluation = self._evaluate(algorithm, self.evaluation_episodes)
                    if evaluation is None:
                        reason, detail = "interrupted", "interrupted in the last evaluation"
                    elif reason != "stopped" and self._reaches_target(evaluation):
                        reason = "solved"
                summary = RunSummary(
                    reason=reason,
                    detail=detail,
                    evaluation_return_mean=math.nan if evaluation is None else evaluation,
                    evaluation_episodes=self.evaluation_episodes,
                    iterations=algorithm.iteration,
                    steps=self._steps(algorithm),
                    seconds=time.monotonic() - started,
                    steps_per_s=(self._steps(algorithm) - steps_before) / max(self._train_seconds, 1e-9),
                    run_dir=self.run_dir,
                    checkpoint=checkpoint,
                    plot=None,
                    signal=self._signal,
                )
            finally:
                self._close_writers(algorithm)
                self.progress.close()
                algorithm.stop()
        return self._finish(summary)

    # The parts of execute(), in order

    def _built(self) -> Any:
        """Build the algorithm; where that fails, a new run folder does not stay behind."""
        if self._resume is not None:
            env = self._config.env
            functions = {} if env is None or isinstance(env, str) else {"env": env}
            return self._config.algo_class.from_checkpoint(self._resume, **functions)
        try:
            return self._config.build_algo()
        except BaseException:
            with suppress(OSError):
                self.run_dir.rmdir()
            raise

    def _keep_reports_of(self, algorithm: Algorithm) -> None:
        """A minibatch whose loss is not finite is saved in the run folder, unless the config says where."""
        group = getattr(algorithm, "learner_group", None)  # an algorithm may do without
        if group is not None and algorithm.config.nonfinite_dir is None:
            run_dir = self.run_dir
            group.foreach_learner(lambda learner: setattr(learner, "report_dir", run_dir))

    def _describe(self, algorithm: Algorithm) -> None:
        """Write the files that are known before training."""
        config = algorithm.config
        lock, data = used_by(algorithm), to_data(config)
        folder.write_json(self.run_dir / folder.CONFIG, data)
        folder.write_json(self.run_dir / folder.VERSIONS, folder.versions_of(lock))
        folder.write_json(self.run_dir / folder.LOCK, folder.lock_of(lock, data, choices_of(algorithm)))
        seed = getattr(getattr(algorithm, "seeds", None), "root", config.seed)
        folder.write_json(self.run_dir / folder.SEEDS, {"seed": seed})

    def _open_writers(self, algorithm: Algorithm) -> None:
        """Make the writers that the config names; one that cannot be made is left out, and said so."""
        resume_at = algorithm.iteration if self._resume is not None else None
        named = [self._host.find_service("writer", name) for name in algorithm.config.writers]
        for record in {one.id: one for one in named}.values():
            make = record.load()

            def open_writer(record: Registered[Service] = record, make: Callable[..., Any] = make) -> None:
                writer = make(self.run_dir, algorithm.config.copy(copy_frozen=True), resume_at)
                if not isinstance(writer, ResultWriter):
                    raise PluginError(f"it made {safe_text(writer, 80)}, expected an object with write() and close()")
                self._writers.append((record, writer))

            if not self._watched(algorithm, record, "when it was made", open_writer):
                self._say_left_out(record, "could not be made")

    def _train(self, algorithm: Any, started: float) -> tuple[str, str, float | None]:
        """Iterate until done: reason, reason in words, the mean return if the last weights were evaluated in full."""
        evaluation = math.nan
        begun = self._steps(algorithm)
        while True:
            before = time.monotonic()
            result = algorithm.train()
            wall = time.monotonic() - before
            in_training = look_up(result, "timers", "iteration")
            self._train_seconds += wall if math.isnan(in_training) else in_training
            latest = evaluation_return_mean(result)
            decided: float | None = None
            if self._signal is None and self._worth_evaluating(algorithm, result):
                decided = self._decide(algorithm, result)
                latest = decided if decided is not None else evaluation_return_mean(result)
            evaluation = latest if not math.isnan(latest) else evaluation
            self._write(algorithm, result)
            steps, seconds = self._steps(algorithm), time.monotonic() - started
            self.progress.update(
                ProgressRow(
                    iteration=algorithm.iteration,
                    steps=steps,
                    steps_per_s=(steps - begun) / max(self._train_seconds, 1e-9),
                    return_mean=return_mean(result),
                    evaluation=evaluation,
                    loss=total_loss(result),
                    seconds=seconds,
                    success=success_rate(result),
                    returns=returns_of_each(result),
                )
            )
            if decided is not None and self._reaches_target(decided):
                return "solved", f"mean return {decided:.1f} reached {self.stop.return_mean:g}", decided
            if self._signal is not None:
                return "interrupted", f"interrupted by {signal.Signals(self._signal).name}", None
            if STOPPED_BY in result:
                return "stopped", f"the callback {result[STOPPED_BY]}", decided
            limit = self.stop.limit_reached(steps=steps, iterations=algorithm.iteration, seconds=seconds)
            if limit is not None:
                return "limit", limit, decided

    def _reaches_target(self, value: float) -> bool:
        return self.stop.return_mean is not None and value >= self.stop.return_mean

    def _worth_evaluating(self, algorithm: Algorithm, result: Mapping[str, Any]) -> bool:
        """Whether the full evaluation may reach the target: the short one did, or training did."""
        target = self.stop.return_mean
        if target is None or evaluation_return_mean(result) >= target:
            return target is not None
        return return_mean(result) >= target and algorithm.iteration >= self._next_evaluation

    def _decide(self, algorithm: Algorithm, result: dict[str, Any]) -> float | None:
        """Evaluate for the target: a few episodes, and all of them if those reach it. None if it was not decided."""
        target = self.stop.return_mean
        assert target is not None
        if EVALUATION_RESULTS not in result and self.evaluation_episodes > PROBE_EPISODES:
            probe = self._evaluate(algorithm, PROBE_EPISODES, result)
            if probe is None or probe < target:
                self._next_evaluation = algorithm.iteration + (algorithm.config.evaluation_interval or 1)
                return None
        full = self._evaluate(algorithm, self.evaluation_episodes, result)
        if full is not None and full < target:
            self._next_evaluation = algorithm.iteration + (algorithm.config.evaluation_interval or 1)
        return full

    def _evaluate(self, algorithm: Algorithm, episodes: int, result: dict[str, Any] | None = None) -> float | None:
        """Mean return of deterministic episodes, put into ``result``; None if a signal ended it."""
        self._stop_at_once = True
        try:
            if self._signal is not None:
                return None
            metrics = algorithm.evaluate(episodes)
        except Interrupted:
            return None
        finally:
            self._stop_at_once = False
        if result is not None:
            result[EVALUATION_RESULTS] = metrics
        return look_up(metrics, "env_runners", EPISODE_RETURN_MEAN)

    def _finish(self, summary: RunSummary) -> RunSummary:
        """Draw the curve and write the summary."""
        if self._plot:
            picture = self.run_dir / folder.CURVE
            title = f"{type(self._config).__name__.removesuffix('Config')} on {self._config.env}"
            try:
                plot_learning_curve(self.run_dir / folder.PROGRESS, picture, title=title, target=self.stop.return_mean)
                summary = attrs.evolve(summary, plot=picture)
            except ImportError:
                self.progress.line(
                    "no learning curve was drawn: matplotlib is not installed (pip install 'rlkit-core[plots]')"
                )
            except (OSError, ValueError) as error:
                self.progress.line(f"no learning curve was drawn: {error}")
        data = attrs.asdict(summary)
        for name in ("run_dir", "checkpoint", "plot"):
            data[name] = str(data[name]) if data[name] is not None else None
        folder.write_json(self.run_dir / folder.SUMMARY, data)
        return summary

    # Helpers

    @staticmethod
    def _steps(algorithm: Algorithm) -> int:
        return int(getattr(algorithm, NUM_ENV_STEPS_SAMPLED_LIFETIME))

    def _write(self, algorithm: Algorithm, result: Mapping[str, Any]) -> None:
        """Hand a result to every writer; one that raises is left out from then on, and said so once."""
        shown = read_only(result)
        for entry in list(self._writers):
            record, writer = entry
            if not self._watched(algorithm, record, "write()", writer.write, shown):
                self._writers.remove(entry)
                self._say_left_out(record, "failed")

    def _close_writers(self, algorithm: Algorithm) -> None:
        for record, writer in self._writers:
            self._watched(algorithm, record, "close()", writer.close)
        self._writers = []

    def _watched(
        self,
        algorithm: Algorithm,
        record: Registered[Service],
        what: str,
        function: Callable[..., object],
        *args: object,
    ) -> bool:
        """Call a writer: what it raises or does to generators changes nothing, its time is the plugin's."""
        callbacks = getattr(algorithm, "callbacks", None)  # an algorithm may do without
        seconds = {} if callbacks is None else callbacks.plugin_seconds
        with learning_kept(), self._host.watchers.counting(seconds):
            return self._host.watchers.call(record.origin, f"writer {record.name!r}, {what}", function, *args)

    def _say_left_out(self, record: Registered[Service], how: str) -> None:
        owner = f"of {record.origin.distribution}"
        self.progress.line(f"the result writer {record.name!r} {owner} {how} and is left out; the log says why")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM: remember the first, or stop at once where that harms nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def take(number: int, frame: object) -> None:
            if self._signal is not None:
                raise KeyboardInterrupt
            self._signal = number
            if self._stop_at_once:
                raise Interrupted(number)
            with suppress(Exception):  # the stream may be in the middle of a write
                self.progress.line("stopping after this iteration (once more to stop at once)")

        before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
