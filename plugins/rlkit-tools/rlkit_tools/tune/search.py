"""A study of Optuna's whose trials train, in a folder that it goes on with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, field, frozen

from rlkit_core import AlgorithmConfig
from rlkit_core.errors import ConfigError, RLKitError
from rlkit_core.run.lock import RunLock
from rlkit_core.run.run_folder import CONFIG, write_json
from rlkit_tools.tune.ranges import Ranges, apply, as_preset, suggested

if TYPE_CHECKING:
    import optuna

STUDY, BEST = "study.db", "best.json"
ERROR, AGAIN = "error", "again"


class TuneError(RLKitError):
    """Why nothing was found."""


@frozen
class Asked:
    """What all trials of a study have in common.

    Attributes:
        algo, env: their names.
        ranges: what is searched.
        settings: all others that are no defaults, by name.
        steps: env steps of a trial.
        evaluations: how many there are in a trial, at equal distances; a trial may end after each.
        episodes: of an evaluation.
        seed: of the first trial; the next ones have the numbers after it.
        stop: what the preset that is found says of when to end; after ``steps`` unless given.
    """

    algo: str
    env: str
    ranges: Ranges
    settings: Mapping[str, Any]
    steps: int
    evaluations: int
    episodes: int
    seed: int
    stop: Mapping[str, Any] = field(factory=dict)


def search(config: AlgorithmConfig, asked: Asked, folder: Path, trials: int, say: Callable[[str], object]) -> Path:
    """Try until ``trials`` have ended, those of before among them; what was interrupted is tried again.

    Args:
        config: what trials begin with.
        asked: the rest.
        folder: of the study, which is made, or gone on with; after each trial the best settings are there as a preset.
        trials: how many.
        say: takes a line for each trial.

    Returns:
        The preset's file.

    Raises:
        ConfigError: optuna is missing, the folder cannot be made, is a run's, or its study is another one.
        TuneError: no trial got to its end.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tuning needs optuna: pip install 'rlkit-tools[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if (folder / CONFIG).exists():
        raise ConfigError(f"{folder} is a run folder: a study has a folder of its own, such as --folder tune/mine")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}; name another --folder") from error
    lock = RunLock(folder, say)
    lock.take()
    try:
        study = _study(asked, folder)
        done = [t for t in study.trials if t.state.name in ("COMPLETE", "PRUNED") or ERROR in t.user_attrs]
        left = trials - len(done)

        def ended(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            say(f"trial {trial.number}: {_in_words(trial)}")
            _write_best(study, config, asked, folder)

        def objective(trial: optuna.Trial) -> float:
            try:
                return _trained(trial, config, asked)
            except (optuna.TrialPruned, KeyboardInterrupt):
                raise
            except Exception as error:
                trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}")
                raise

        if left > 0:
            study.optimize(objective, n_trials=left, catch=(Exception,), callbacks=[ended])
        if not _write_best(study, config, asked, folder):
            why = [trial.user_attrs[ERROR] for trial in study.trials if ERROR in trial.user_attrs]
            raise TuneError(f"no trial got to its end; the last one: {why[-1] if why else 'pruned'}")
        return folder / BEST
    finally:
        lock.release()


def _study(asked: Asked, folder: Path) -> optuna.Study:
    import optuna

    study = optuna.create_study(
        study_name="rlkit",
        storage=f"sqlite:///{folder.resolve() / STUDY}",
        sampler=optuna.samplers.TPESampler(seed=asked.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
        direction="maximize",
        load_if_exists=True,
    )
    now, before = json.loads(json.dumps(asdict(asked))), study.user_attrs.get("asked")
    if before is None:
        study.set_user_attr("asked", now)
    elif before != now:
        names = ", ".join(name for name in now if now[name] != before.get(name))
        raise ConfigError(
            f"{folder} has a study of other {names}; give what that was asked, or choose another --folder"
        )
    _try_again(study)
    return study


def _try_again(study: optuna.Study) -> None:
    """Queue what was interrupted, each once."""
    import optuna

    queued = {trial.user_attrs.get(AGAIN) for trial in study.trials}
    for trial in study.trials:
        if trial.state.name == "RUNNING":
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        elif trial.state.name != "FAIL":
            continue
        if ERROR not in trial.user_attrs and trial.number not in queued:
            study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})


def _trained(trial: optuna.Trial, base: AlgorithmConfig, asked: Asked) -> float:
    """Train as the trial suggests; the mean return of the last evaluation."""
    import optuna

    config = base.copy(copy_frozen=False)
    apply(config, suggested(trial, asked.ranges))
    config.debugging(seed=asked.seed + trial.number).evaluation(evaluation_interval=None)
    value = math.nan
    with config.build_algo() as algorithm:
        for number in range(1, asked.evaluations + 1):
            while algorithm.num_env_steps_sampled_lifetime < asked.steps * number / asked.evaluations:
                algorithm.train()
            value = float(algorithm.evaluate(asked.episodes)["env_runners"]["episode_return_mean"])
            trial.report(value, number)
            if number < asked.evaluations and trial.should_prune():
                raise optuna.TrialPruned
    if math.isnan(value):
        raise TuneError("no episode of its last evaluation ended")
    return value


def _write_best(study: optuna.Study, config: AlgorithmConfig, asked: Asked, folder: Path) -> bool:
    """Write the preset, if a trial got to its end."""
    import optuna

    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        return False
    found = suggested(optuna.trial.FixedTrial(study.best_params), asked.ranges)
    preset = as_preset(config, {**asked.settings, **found})
    write_json(folder / BEST, {**preset, "stop": asked.stop or {"steps": asked.steps}})
    return True


def _in_words(trial: optuna.trial.FrozenTrial) -> str:
    params = ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in trial.params.items()
    )
    if trial.state.name == "COMPLETE":
        return f"{trial.value:.4g} ({params})"
    if trial.state.name == "PRUNED":
        return f"pruned after {len(trial.intermediate_values)} evaluations ({params})"
    return f"failed: {trial.user_attrs.get(ERROR, 'no value')} ({params})"
