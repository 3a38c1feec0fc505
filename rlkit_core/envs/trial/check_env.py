"""``check_env``: what a trainer will trip over in an env, beyond gymnasium's own checker, each with the fix."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rlkit_core.envs.checks.returned import inmost
from rlkit_core.envs.make import can_be_made, make_env, spaces_of
from rlkit_core.envs.naming.kinds import check_single
from rlkit_core.envs.trial.findings import EnvReport
from rlkit_core.envs.trial.judging import judged
from rlkit_core.envs.trial.playing import Player, Trace
from rlkit_core.envs.wrapping.entries import Entries
from rlkit_core.errors import EnvError, RLKitError
from rlkit_core.findings import Finding, Level, in_order

COMPARED = 200
"""Steps that are played again, to be compared."""


class EnvCheckWarning(UserWarning):
    """Something that a trainer may trip over."""


def check_env(
    env: object,
    env_config: Mapping[str, Any] | None = None,
    wrappers: Entries = (),
    *,
    steps: int = 1000,
    seed: int = 0,
    strict: bool = True,
) -> EnvReport:
    """Play an env with random actions, several times over, and say what a trainer will trip over.

    What ``reset()`` and ``step()`` return, numbers that are not finite and choices that there are not, are looked at in
    each step; and further: actions that are changed in place, one buffer for all observations, observations through
    which one writes into the env, randomness that no seed reaches, envs that share state, episodes without end, limits
    of time told as terminations, odd rewards, actions that do nothing, spaces that nothing serves, slow steps. Global
    random generators are put back.

    Args:
        env: an env, or what one is made from: an id, a class, a function. Two of one instance cannot be compared.
        env_config: settings of the env, where it is to be made.
        wrappers: what is put around it.
        steps: of the first pass.
        seed: of its first reset.
        strict: raise errors, and warn of the rest; otherwise only return them.

    Raises:
        EnvError: the env cannot be made, or is no env with one agent; or, if ``strict``, there are errors.
    """
    with _generators_kept():
        made: Any = env
        make_another: Callable[[], gym.Env[Any, Any]] | None = None
        if can_be_made(env):
            checker: dict[str, Any] = {"disable_env_checker": True} if isinstance(env, str) else {}
            make_another = functools.partial(make_env, env, env_config, wrappers, **checker)
            made = make_another()
        check_single(made, "check_env plays")
        trial = _Trial(made, env if isinstance(env, str) else str(made), steps, seed, make_another)
        report = trial.run()
    if strict:
        for finding in report.warnings:
            warnings.warn(f"{report.env}: {finding}", EnvCheckWarning, stacklevel=2)
        if report.errors:
            raise EnvError("\n".join([f"{report.env} cannot be trained in:", *map(str, report.errors)]))
    return report


class _Trial:
    """The passes over one env, of which ``make_another`` makes others, where there can be any."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        name: str,
        steps: int,
        seed: int,
        make_another: Callable[[], gym.Env[Any, Any]] | None,
    ) -> None:
        self._env, self._name, self._steps, self._seed = env, name, steps, seed
        self._make_another = make_another
        self._findings: list[Finding] = []

    def run(self) -> EnvReport:
        try:
            observation, actions = spaces_of(self._env)
        except EnvError as error:
            self._find("spaces", "error", str(error), "set observation_space and action_space in __init__")
            return self._report(Trace())
        self._find_unserved(observation, actions)
        player = Player(self._env, observation, actions)
        before = _states()
        first = player.play(self._steps, seed=self._seed, watch=True)
        drawn = [name for name, state in _states().items() if state != before[name]]
        self._findings += first.findings.values()
        if not first.stopped:
            self._findings += judged(first, self._env, actions)
            self._compare(player, first, drawn)
        try:
            self._env.close()
        except Exception as error:
            self._find("close", "warning", f"close() raised {type(error).__name__}: {error}", "let it be called twice")
        return self._report(first)

    def _report(self, trace: Trace) -> EnvReport:
        steps, seconds = len(trace.rewards), trace.step_seconds + trace.reset_seconds
        return EnvReport(
            findings=in_order(self._findings),
            env=self._name,
            steps=steps,
            episodes=len(trace.lengths),
            steps_per_second=steps / seconds if seconds else 0.0,
        )

    def _find(self, kind: str, level: Level, what: str, fix: str) -> None:
        self._findings.append(Finding(kind, level, what, fix))

    def _find_unserved(self, observation: gym.Space[Any], actions: gym.Space[Any]) -> None:
        from rlkit_core.catalog import ActorCriticCatalog

        try:
            catalog = ActorCriticCatalog(observation, actions, {})
            catalog.build_actor_critic_encoder()
            catalog.get_action_dist_cls()
        except RLKitError as error:
            fix = "wrap the env so that it has another space, or install or write a component that serves it"
            self._find("spaces", "error", str(error), fix)

    # -- passes that are compared ---------------------------------------------------------------------------------

    def _compare(self, player: Player, first: Trace, drawn: list[str]) -> None:
        steps = min(COMPARED, len(first.rewards))
        again = player.play(steps, seed=self._seed)
        at = _differ(first, again)
        if at is not None:
            self._find_unseeded(player, first, at, drawn)
            return
        if drawn:
            what = f"it draws from {' and '.join(drawn)}, which other code seeds and draws from too"
            self._find("randomness", "warning", what, "draw from self.np_random, which reset(seed=...) seeds")
        if steps >= 2 and _differ(first, player.play(steps, seed=self._seed, action_seed=1)) is None:
            fix = "see that step() uses its action"
            self._find("actions", "warning", f"other actions change nothing in {steps} steps", fix)
        self._find_repeated_resets(player, first)
        self._find_shared_state(player, first, steps)
        # The last, since it may leave the env spoilt.
        at = _differ(first, player.play(steps, seed=self._seed, scribble=True))
        if at is not None:
            what = f"who writes into an observation or action after step() changes what is to come, from {_when(at)} on"
            fix = "return copies of what the env goes on with, and keep copies of actions: self.state.copy()"
            self._find("shared memory", "warning", what, fix)

    def _find_unseeded(self, player: Player, first: Trace, at: int, drawn: list[str]) -> None:
        what = f"the same seed and actions gave something else the second time, from {_when(at)} on"
        fix = "draw from self.np_random, which super().reset(seed=seed) seeds, and from nothing else"
        if drawn:
            what += f": it draws from {' and '.join(drawn)}"
        elif self._make_another is not None:
            another = Player(self._make_another(), *spaces_of(player.env))
            if _differ(first, another.play(min(COMPARED, len(first.rewards)), seed=self._seed)) is None:
                what += ", and not in a new env: something is left over from the episodes before"
                fix = "let reset() put back all that step() changes"
            another.env.close()
        self._find("randomness", "warning", f"{what}; runs cannot be repeated or resumed exactly", fix)

    def _find_repeated_resets(self, player: Player, first: Trace) -> None:
        trace = Trace()
        unseeded = {player.reset_unseeded(trace) for _ in range(3)}
        other = player.play(1, seed=self._seed + 12345).shown[:1]
        if len(unseeded) == 1 and other and other[0] != first.shown[0]:
            what = "reset() without a seed begins with the same episode each time, although seeds give others"
            fix = "seed only if there is a seed: super().reset(seed=seed) does so"
            self._find("resets", "warning", what, fix)

    def _find_shared_state(self, player: Player, first: Trace, steps: int) -> None:
        if self._make_another is None:
            return
        other = self._make_another()
        if inmost(other) is inmost(player.env):
            what = "the function gives the same object each time: the episodes of several envs would be mixed up"
            self._find("shared state", "error", what, "make a new env each time: not lambda: env, but lambda: MyEnv()")
            return
        neighbour = Player(other, *spaces_of(other))

        def step_the_other() -> None:
            neighbour.play(1, seed=self._seed + 1, action_seed=2)

        at = _differ(first, player.play(min(steps, 50), seed=self._seed, between=step_the_other))
        if at is not None:
            what = f"an env does something else when another one is stepped beside it, from {_when(at)} on"
            fix = "keep state in self, not in the class, a module or a default argument; or one process for each env: "
            self._find("shared state", "error", what, fix + "gym_env_vectorize_mode='async'")
        other.close()


def _differ(first: Trace, second: Trace) -> int | None:
    """The place of the first difference, as far as both go; None where there is none."""
    pairs = zip(first.shown, second.shown, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), None)


def _when(at: int) -> str:
    return "the first reset" if at == 0 else f"step {at - 1}"


def _states() -> dict[str, str]:
    """The state of each global generator, as text."""
    return {
        "np.random": str([np.asarray(part).tobytes() for part in np.random.get_state()]),
        "random": str(random.getstate()),
        "torch's generator": str(torch.get_rng_state().tolist()),
    }


@contextmanager
def _generators_kept() -> Iterator[None]:
    of_numpy, of_python, of_torch = np.random.get_state(), random.getstate(), torch.get_rng_state()
    try:
        yield
    finally:
        np.random.set_state(of_numpy)
        random.setstate(of_python)
        torch.set_rng_state(of_torch)
