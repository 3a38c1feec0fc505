"""The hooks a plugin may implement, and the marker to implement them with.

A plugin is a module or an object named by an entry point of group ``rlkit.plugins``. It states
``rlkit_api = "1.0"`` and defines any of the functions below, taking any of their arguments by name::

    from rlkit_core import Component, hookimpl
    from gymnasium.spaces import Graph

    rlkit_api = "1.0"

    @hookimpl
    def rlkit_encoders():
        return [Component("gcn", "encoder", "my_lab.graph:GCNEncoderConfig", spaces=[Graph])]

No hook is called per environment step or per minibatch. Hook wrappers are refused: no plugin may alter what
another one returned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pluggy

from rlkit_core.plugins import PluginDeprecationWarning
from rlkit_core.plugins.records import Component, ModuleAPI, Service

hookspec = pluggy.HookspecMarker("rlkit")
hookimpl = pluggy.HookimplMarker("rlkit")


def deprecated(what: str, *, since: str, removed_in: str, instead: str) -> PluginDeprecationWarning:
    """Return what a hook's specification says of a hook or argument that will go.

    It is declared as pluggy has it, ``@hookspec(warn_on_impl=deprecated(...))`` for the whole hook and
    ``@hookspec(warn_on_impl_args={"argument": deprecated(...)})`` for an argument. A warning names the plugins that
    implement or take it, once, and they go on working.

    Args:
        what: as a message names it: ``"hook rlkit_old"``, ``"argument 'path' of rlkit_checkpoint_saved"``.
        since: the version of the plugin API that deprecates it.
        removed_in: the one that will not have it.
        instead: what to write, as a sentence.
    """
    return PluginDeprecationWarning(
        f"{what} is deprecated since plugin API {since} and will be gone in {removed_in}: {instead}"
    )


class Config(Protocol):
    """An ``AlgorithmConfig``, as this layer knows it: every setting is an attribute."""

    def __getattr__(self, name: str) -> Any: ...


class RunView(Protocol):
    """A run as an observer sees it: copies, and numbers. See :class:`rlkit_core.algorithm.run_view.RunView`."""

    @property
    def config(self) -> Config:
        """A frozen copy of the algorithm's config, of its own class."""

    @property
    def iteration(self) -> int:
        """How many times ``train()`` has returned."""

    @property
    def run_dir(self) -> Path | None:
        """The run's folder; None where there is none."""

    def get_weights(self, module_ids: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """Copies of the weights of all modules, or of those given, by module id and name."""


class RLKitSpecs:
    """Every hook, with its arguments, its result and when it is called."""

    @hookspec
    def rlkit_encoders(self) -> Iterable[Component]:  # type: ignore[empty-body]
        """Return component records of kind ``"encoder"``. Called once, when the plugin is loaded."""

    @hookspec
    def rlkit_heads(self) -> Iterable[Component]:  # type: ignore[empty-body]
        """Return component records of kind ``"head"``. Called once, when the plugin is loaded."""

    @hookspec
    def rlkit_distributions(self) -> Iterable[Component]:  # type: ignore[empty-body]
        """Return component records of kind ``"distribution"``. Called once, when the plugin is loaded."""

    @hookspec
    def rlkit_module_apis(self) -> Iterable[ModuleAPI]:  # type: ignore[empty-body]
        """Return API mixins for RLModules, each with its driver. Called once, when the plugin is loaded."""

    @hookspec
    def rlkit_services(self) -> Iterable[Service]:  # type: ignore[empty-body]
        """Return executors, step engines and whatever else a config names. Called once, when the plugin is loaded."""

    @hookspec
    def rlkit_check_config(self, config: Config) -> Iterable[str]:  # type: ignore[empty-body]
        """Return the problems found in a config, as sentences. Called by ``config.validate()``.

        Only plugins are asked that the config uses: its algorithm's, and those of catalogs, components, module classes
        and services that it names. They see a frozen copy. What is raised is raised again, with the plugin's name.
        """

    @hookspec
    def rlkit_algorithm_built(self, view: RunView) -> None:
        """An algorithm is ready to train. What is raised is logged and counted, what is returned ignored."""

    @hookspec
    def rlkit_train_result(self, view: RunView, result: Mapping[str, Any]) -> None:
        """One ``train()`` has ended; ``result`` cannot be changed. Errors are as in ``rlkit_algorithm_built``."""

    @hookspec
    def rlkit_checkpoint_saved(self, view: RunView, path: Path) -> None:
        """A checkpoint was written to ``path``. Errors are as in ``rlkit_algorithm_built``."""

    @hookspec
    def rlkit_checkpoint_migrate(self, component: str, part: str, state: object, from_version: str) -> Any:
        """Return the state of one of this plugin's components as this version wants it; None leaves it as it is.

        Called when a checkpoint holds it as another version of the plugin wrote it, once for each place it is in.

        Args:
            component: its full id: of an encoder, head, distribution or API (``"acme/gcn"``), or of a class
                (``"acme/GCNModule"``).
            part: what ``state`` is. ``"module"``: a dict of arrays by name, for a class the whole module's; for an
                encoder or head those of its network, by names inside of it; for a distribution those of the head that
                feeds it.
                ``"driver"``: what the API's driver gave. ``"learner"``, ``"algorithm"``: what an object of that class
                gave, the parts that it lists as components aside.
            state: as it was saved.
            from_version: the plugin's version then.
        """


FORMER = {
    "rlkit_result_writers": "writers are services: return Service('writer', 'name', 'package.module:Writer') from "
    "rlkit_services(), and name them in reporting(writers=['csv', 'jsonl', 'your-plugin/name'])",
    "algorithm": "take view: a RunView with config, iteration, run_dir and get_weights(), all of them copies",
}
"""Hooks and arguments of before the API was 1.0, and what to write now."""

RECORD_HOOKS: dict[str, tuple[type[Component] | type[ModuleAPI] | type[Service], str | None]] = {
    "rlkit_encoders": (Component, "encoder"),
    "rlkit_heads": (Component, "head"),
    "rlkit_distributions": (Component, "distribution"),
    "rlkit_module_apis": (ModuleAPI, None),
    "rlkit_services": (Service, None),
}
"""The hooks whose records the host collects while it loads a plugin: their class, and their kind if it is one."""
