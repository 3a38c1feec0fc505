"""``load_policy``: what a run has learned, to act with, and the env that it acts in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from rlkit_core.checkpoint import PassAtLoad, SavedComponent, from_jsonable
from rlkit_core.checkpoint.locate import Which, is_run, read_index, read_located
from rlkit_core.checkpoint.trust import reading
from rlkit_core.errors import CheckpointError
from rlkit_core.rl_module import MultiRLModule, RLModule
from rlkit_core.run.policy.policy import Policy

if TYPE_CHECKING:
    import gymnasium as gym
    import torch

    from rlkit_core.envs.wrapping.entries import Given


def load_policy(
    path: str | os.PathLike[str],
    which: Which | None = None,
    *,
    module_id: str | None = None,
    explore: bool = False,
    device: str | torch.device | None = None,
    classes: Iterable[type] = (),
    env: object = None,
    wrappers: Sequence[Given] | None = None,
) -> Policy:
    """Load a policy from a run, or a checkpoint; nothing of training is made, and nothing of an algorithm imported.

    ::

        policy = load_policy("runs/ppo-CartPole-v1")
        env = policy.make_env(render_mode="human")
        observation, info = env.reset()
        action = policy(observation)

    Args:
        path: a run folder, a checkpoint, or the checkpoint of a module.
        which: checkpoint of a run folder, ``"best"`` or ``"last"``; unless given, the best where the run has one.
        module_id: which of several modules.
        explore: sample actions instead of taking the best.
        device: where the module is to be; the CPU unless given.
        classes: classes that the checkpoint may name although they are not of rlkit, a plugin or this process.
        env: to be made by :meth:`Policy.make_env` in place of the run's, where that was a function, say.
        wrappers: in place of the run's, where they are a script's own.

    Raises:
        CheckpointNotFoundError: nothing is there, or no such checkpoint.
        CheckpointError: it is damaged, or has several modules, which the message lists.
    """
    if which is None:
        which = "best" if is_run(path) and read_index(path).best is not None else "last"
    snapshot, directory = read_located(path, which)
    if module_id is None:
        part = RLModule.own_part(snapshot, directory)
    else:
        modules = MultiRLModule.own_part(snapshot, directory).components
        if module_id not in modules:
            raise CheckpointError(f"{directory} has no module {module_id!r}; it has {', '.join(modules) or 'none'}")
        part = modules[module_id]
    module = RLModule.from_snapshot(part, classes=classes, inference_only=True)
    if device is not None:
        cast(Any, module).to(device)
    return Policy(module, explore=explore, make_env=_EnvOfRun(snapshot, str(directory), tuple(classes), env, wrappers))


class _EnvOfRun:
    """Makes the env of a run as evaluation has it; what a checkpoint says of it is read when it is asked for.

    Args:
        snapshot: of an algorithm, or of a part of one, which knows no env.
        where: it was read from.
        classes: that it may name.
        env, wrappers: in place of what it says.
    """

    def __init__(
        self,
        snapshot: SavedComponent,
        where: str,
        classes: tuple[type, ...],
        env: object,
        wrappers: Sequence[Given] | None,
    ) -> None:
        self._where, self._classes, self._env, self._wrappers = where, classes, env, wrappers
        self._settings, self._plugins = _settings_of(snapshot.ctor), snapshot.plugins
        self._wrapper_ids = {e.id.rpartition("/")[2]: e.id for e in snapshot.lock.entries if e.role == "wrapper"}

    def __call__(self, **env_config: object) -> gym.Env[Any, Any]:
        """See :meth:`Policy.make_env`."""
        from rlkit_core.envs.make import make_env
        from rlkit_core.envs.wrapping.entries import for_evaluation, wrapper_entries

        evaluation = self._setting("evaluation_config") or {}
        env: Any = self._env if self._env is not None else self._setting("env", evaluation)
        if env is None:
            raise CheckpointError(f"{self._where} knows no env; give one: load_policy(path, env=...)")
        if isinstance(env, PassAtLoad):
            raise CheckpointError(
                f"the env of {self._where} was the function {env.ref}, and checkpoints hold no code; pass it again: "
                "load_policy(path, env=function)"
            )
        if self._env is None and self._setting("gym_env_vectorize_mode", evaluation) == "envpool":
            raise CheckpointError(
                f"the envs of {self._where} were envpool's, which makes vector envs only: "
                f"envpool.make({env!r}, env_type='gymnasium', num_envs=1), or give another: load_policy(path, env=...)"
            )
        if self._wrappers is not None:
            entries = wrapper_entries(self._wrappers)
        else:
            with reading():
                entries = wrapper_entries([self._in_full(one) for one in self._setting("wrappers", evaluation) or ()])
        settings = {**(self._setting("env_config", evaluation) or {}), **env_config}
        return make_env(env, settings, for_evaluation(entries))

    def _setting(self, name: str, evaluation: Mapping[str, Any] | None = None) -> Any:
        """A setting of the run's, as evaluation has it."""
        if evaluation is not None and name in evaluation:
            return evaluation[name]
        return from_jsonable(self._settings.get(name), classes=self._classes, plugins=self._plugins)

    def _in_full(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """An entry with the full id that a short name of a plugin's meant."""
        name = entry.get("name")
        return {**entry, "name": self._wrapper_ids.get(name, name)} if isinstance(name, str) else entry


def _settings_of(ctor: Sequence[Any]) -> Mapping[str, Any]:
    """The settings in an algorithm's constructor arguments, as JSON, whether or not its config class is installed."""
    try:
        args, kwargs = ctor
        for value in (kwargs.get("config"), *args):
            if isinstance(value, Mapping) and value["$object"][0] == "config":
                settings = value["$object"][1]["settings"]
                return settings if isinstance(settings, Mapping) else {}
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        pass
    return {}
