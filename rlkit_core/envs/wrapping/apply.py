"""Finding the wrappers of a config, and putting them around an env."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from rlkit_core.checkpoint import PassAtLoad
from rlkit_core.checkpoint.trust import belongs_to_plugin, is_imported
from rlkit_core.envs.faults.own_type import told
from rlkit_core.envs.naming.known import how_to_install
from rlkit_core.envs.wrapping.counted import Below, Counted
from rlkit_core.envs.wrapping.entries import (
    Entries,
    Entry,
    ReadName,
    arguments_of,
    described,
    is_for_training,
    name_of,
    names_in_bundles,
)
from rlkit_core.errors import CheckpointError, ConfigError, EnvError, RLKitError, did_you_mean
from rlkit_core.plugins.guard import describe
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.own_code import add_own
from rlkit_core.plugins.using import code_of, import_by_name

Make = Callable[..., Any]
_SPACES = ("observation_space", "action_space")


def found(entries: Entries) -> list[Entry]:
    """The entries with the wrappers themselves in the place of names, for envs that are made where names say nothing.

    Raises:
        ConfigError, PluginError, CheckpointError, ...: see :func:`find`.
    """
    return [{**entry, "name": find(entry["name"])} if "name" in entry else dict(entry) for entry in entries]


def find(name: object) -> Make:
    """The class or function that the name of an entry means.

    Raises:
        ConfigError: there is no such module, or nothing of that name in it.
        CheckpointError: the name was read from a file, and is neither gymnasium's, nor a plugin's, nor passed.
        PluginNotFoundError, AmbiguousComponentError, ...: no plugin, or several, have a wrapper of that name.
    """
    if isinstance(name, PassAtLoad):
        raise CheckpointError(
            f"a wrapper was the function {name.ref}; checkpoints hold no code, so pass the wrappers again when "
            "loading: wrappers=[...], or --wrap on the command line"
        )
    if not isinstance(name, str):
        assert callable(name)
        return name
    module_name, colon, path = name.partition(":")
    if not colon:
        if hasattr(gym.wrappers, name):
            raise ConfigError(f"wrapper {str(name)!r}: gymnasium's are written 'gymnasium.wrappers:{name}'")
        target = default_host().get_service("env_wrapper", name)
        if not callable(target):
            raise ConfigError(f"wrapper {str(name)!r} is {target!r}, expected a class or a function that takes an env")
        return target  # type: ignore[no-any-return]
    if isinstance(name, ReadName):
        _check_module(name, module_name)
    target = _in_module(name, module_name, path)
    if isinstance(name, ReadName):
        _check_target(name, target)
    return target


def wrapped(env: object, entries: Entries) -> Any:
    """Put wrappers around an env, the first one innermost.

    Where some are for training only, what lies below the first of them is counted, see :class:`Counted`.

    Args:
        env: an env of one agent, or of several as long as the wrappers know such.
        entries: see :mod:`~rlkit_core.envs.wrapping.entries`.

    Raises:
        EnvError: a wrapper does not fit, or changes spaces in training only.
        ConfigError, ...: see :func:`find`.
    """
    below: Below | None = None
    made: Any = env
    for entry in entries:
        if "name" not in entry:
            continue
        if below is None and is_for_training(entry):
            made = below = _around(Below, made, {"name": Below})
        outside = _around(find(entry["name"]), made, entry)
        for space in _SPACES if entry.get("training_only") else ():
            if getattr(outside, space, None) != getattr(made, space, None):
                raise EnvError(
                    f"wrapper {described(entry)} changes the {space} from {getattr(made, space, None)} to "
                    f"{getattr(outside, space, None)}: the module could not act without it; leave out training_only"
                )
        made = outside
    return made if below is None else Counted(made, below)


def _around(make: Make, env: object, entry: Mapping[str, Any]) -> Any:
    try:
        with code_of(make, f"env wrapper {name_of(entry)}, when it was made"):
            made = make(env, **arguments_of(entry))
    except Exception as error:
        raise told(f"wrapper {described(entry)} could not be put around env {env}: {describe(error)}", error) from error
    if not hasattr(made, "step") or not hasattr(made, "reset"):
        raise EnvError(f"wrapper {name_of(entry)} gave a {type(made).__name__}, which has no reset() and step()")
    return made


def _in_module(name: str, module_name: str, path: str) -> Make:
    try:
        module = import_by_name(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if f"{module_name}.".startswith(f"{missing}.") and add_own(module_name):  # a command's current folder
            return _in_module(name, module_name, path)
        hint = did_you_mean(str(name), [one for one in names_in_bundles() if one != name], cutoff=0.8)
        raise ConfigError(
            f"wrapper {str(name)!r}: there is no module {missing!r}; {how_to_install(missing)}.{hint}"
        ) from error
    except RLKitError:
        raise
    except Exception as error:
        raise ConfigError(f"wrapper {str(name)!r}: importing {module_name} raised {describe(error)}") from error
    try:
        target = functools.reduce(getattr, path.split("."), module)
    except AttributeError as error:
        near = did_you_mean(path, [one for one in dir(module) if not one.startswith("_")])
        raise ConfigError(f"wrapper {str(name)!r}: {module_name} has no {path!r}.{near}") from error
    except Exception as error:  # gymnasium says what an older wrapper is called now
        raise ConfigError(f"wrapper {str(name)!r}: {describe(error)}") from error
    if not callable(target):
        raise ConfigError(f"wrapper {str(name)!r} is {target!r}, expected a class or a function that takes an env")
    return target


def _check_module(name: str, module_name: str) -> None:
    """Refuse to import, on behalf of a file, what nobody vouches for."""
    own = module_name.partition(".")[0] in ("gymnasium", "rlkit_core") or str(name) in names_in_bundles()
    if not (own or belongs_to_plugin(module_name) or is_imported(module_name)):
        raise CheckpointError(
            f"wrapper {str(name)!r} was read from a file: wrappers are imported only from gymnasium and from plugins. "
            f"If it is yours: import {module_name} first, or pass the wrappers: wrappers=[{str(name)!r}] "
            f"(--wrap {name})"
        )


def _check_target(name: str, target: Make) -> None:
    """Refuse to call, on behalf of a file, what is no wrapper: other functions do things with their arguments."""
    is_wrapper = isinstance(target, type) and issubclass(target, gym.Wrapper)
    if not is_wrapper and not belongs_to_plugin(getattr(target, "__module__", None) or ""):
        raise CheckpointError(
            f"wrapper {str(name)!r} was read from a file and is no gymnasium.Wrapper; if it is yours, pass the "
            f"wrappers: wrappers=[{str(name)!r}] (--wrap {name})"
        )
