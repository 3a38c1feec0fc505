"""What is asked of components of every kind: the spaces they declare, their condition, the settings they read."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym

from rlkit_core.catalog.scope import filled
from rlkit_core.models import DefaultModelConfig, effective_model_config
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import Component, ComponentRequest, Registered, load_target
from rlkit_core.spaces import describe
from rlkit_core.testing.kit.contract import Contract, advise, doing, require, skip
from rlkit_core.testing.kit.examples import SMALL, Space, example_actions, example_spaces, unknown_classes


class Reads(dict[str, Any]):
    """A model config that notes which settings are read, and which there are not."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> Any:
        self.names[name] = None
        return super().__getitem__(name)

    def get(self, name: str, default: object = None) -> Any:
        """As of any dict."""
        self.names[name] = None
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:  # so that copies of it, dict(x), read item by item
        return super().__iter__()


class ComponentContract(Contract):
    """What is asked of a component, whatever its kind is.

    Attributes:
        component: its id (``"acme/gcn"``), its record, its class, or ``"package.module:Class"``.
        spaces: what it is looked at with; small ones of each class that its record declares unless given.
        model_config: settings above small defaults.
    """

    kind: ClassVar[str]
    #: Where a component of this kind goes unless it is said.
    slot: ClassVar[str]
    component: Any = None
    spaces: Sequence[Space] = ()
    model_config: Mapping[str, Any] = {}

    @functools.cached_property
    def record(self) -> Registered[Component]:
        """The component's record, with its origin."""
        value = self.component
        require(
            value is not None,
            f"{type(self).__name__} names no {self.kind}",
            f"component = MyClass (or an id, a Component, 'package.module:Class') in the class {type(self).__name__}",
        )
        if isinstance(value, Registered):
            return value
        if isinstance(value, str) and ":" in value:
            value = load_target(value)
        return default_host().registry.adopt(value, self.kind)

    @functools.cached_property
    def target(self) -> Any:
        """What its record names, imported."""
        return self.record.load()

    @property
    def name(self) -> str:
        """The component as findings name it."""
        return f"{self.kind} {self.record.id!r}"

    @functools.cached_property
    def settings(self) -> Mapping[str, Any]:
        """The model config that it is given."""
        with doing(f"{self.name}: filling in the settings that it declares", "give them defaults that fit"):
            return filled(self.record, effective_model_config(SMALL, self.model_config))

    @functools.cached_property
    def served(self) -> list[Space]:
        """The spaces that it is looked at with."""
        if self.spaces:
            return list(self.spaces)
        classes = self.record.record.spaces
        require(
            not isinstance(self.component, type) or gym.Space not in classes,
            f"{self.name}: no record says which spaces the class serves",
            f"spaces = [gymnasium.spaces.Box(-1, 1, (3,))] in the class {type(self).__name__}",
        )
        return self.admitted(self.examples(classes))

    def admitted(self, spaces: Sequence[Space]) -> list[Space]:
        """Those of some spaces that its condition holds for."""
        return [space for space in spaces if self.admits(space)]

    def examples(self, classes: tuple[type, ...]) -> list[Space]:
        """Small spaces of these classes."""
        return example_spaces(classes)

    def admits(self, space: Space) -> bool:
        """Whether its condition holds for a space."""
        when = self.record.record.when
        if when is None:
            return True
        with doing(f"{self.name}: its condition when(request) for {describe(space)}", "let it answer every request"):
            return any(when(request) for request in self.requests(space))

    def requests(self, space: Space) -> Iterator[ComponentRequest]:
        """What it may be asked for with a space."""
        yield ComponentRequest(
            kind=self.kind,  # type: ignore[arg-type]
            slot=self.slot,
            space=space,
            action_space=gym.spaces.Discrete(3),
            model_config=self.settings,
        )

    def make(self, space: Space, settings: Mapping[str, Any]) -> object:
        """Let it make what it makes for a space; for :meth:`test_it_declares_what_it_reads`."""
        raise NotImplementedError

    def test_every_declared_space_is_looked_at(self) -> None:
        """A class of spaces that is declared is one of which something can be built."""
        record = self.record.record
        if self.spaces:
            return
        served = self.served
        for cls in record.spaces:
            if unknown_classes([cls]):
                skip(f"{self.name} for {cls.__name__}, of which the kit has no example (spaces = [...] in a contract)")
            advise(
                any(isinstance(space, cls) for space in served),
                f"{self.name}: its condition (when) admits none of the kit's examples of {cls.__name__}, so what it "
                "builds for them was not looked at",
                f"test it with spaces that it serves: class Test(…Contract): component = {self.record.id!r}; "
                "spaces = [...]",
            )

    def test_it_declares_what_it_reads(self) -> None:
        """Each setting that it reads from ``model_config`` is built in, or declared by its record."""
        declared = self.record.record.settings
        known = {*DefaultModelConfig.known_settings(), "always_check_shapes", *(declared or ())}
        read: dict[str, None] = {}
        for space in self.served:
            reads = Reads(self.settings)
            try:
                self.make(space, reads)
            except Exception:  # what it raises is told where it is built
                if not reads.names:
                    continue
            read |= reads.names
        own = [name for name in read if name not in known]
        listed, first = ", ".join(map(repr, own)), own[0] if own else ""
        fix = f'Component(..., settings={{"{first}": setting(default, help="...")}})'
        if declared is None:
            advise(not own, f"{self.name} reads {listed} from model_config and declares no settings", fix)
        else:
            require(not own, f"{self.name} reads {listed} from model_config, which its settings do not declare", fix)
            unread = [name for name in declared if name not in read]
            advise(
                not unread or not read,
                f"{self.name} declares {', '.join(map(repr, unread))}, which it never reads",
                "leave out what nothing reads, or read it in from_space()",
            )


class ActionComponentContract(ComponentContract):
    """What is asked of a component whose spaces are action spaces, and which a config may always name."""

    slot: ClassVar[str] = "pi"

    def examples(self, classes: tuple[type, ...]) -> list[Space]:
        """Small action spaces of these classes."""
        return example_actions(classes)

    def admitted(self, spaces: Sequence[Space]) -> list[Space]:
        """All of them where its condition holds for none: such a component is built for those who name it."""
        return super().admitted(spaces) or list(spaces)

    def test_its_condition_holds_somewhere(self) -> None:
        """Where it does for no example, the rest is looked at as if a config named the component."""
        if not self.spaces and self.served and not any(map(self.admits, self.served)):
            skip(f"when {self.name} is chosen: its condition holds for no example; the rest is as if a config named it")
