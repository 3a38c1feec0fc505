"""The mixin that gives a class ``save_to_path``, ``restore_from_path`` and ``from_checkpoint``."""

from __future__ import annotations

import abc
import functools
import inspect
import operator
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from rlkit_core.checkpoint import files
from rlkit_core.checkpoint.jsonable import PassAtLoad, from_jsonable, to_jsonable
from rlkit_core.checkpoint.locate import Which, locate_part, part_of_kind, read_located
from rlkit_core.checkpoint.migration import Migration
from rlkit_core.checkpoint.saved_component import (
    CLASS_FILE,
    COPIED,
    DEFAULT_STATE_FILE,
    SavedComponent,
    base_metadata,
    split_component,
    write_snapshot,
)
from rlkit_core.checkpoint.strict_json import key_path
from rlkit_core.checkpoint.tree import encode_tree
from rlkit_core.checkpoint.trust import class_ref, distribution_of, refs_in, resolve_class
from rlkit_core.errors import CheckpointError, RLKitError
from rlkit_core.from_rllib import CHECKPOINTS, RefusesOverrides
from rlkit_core.plugins.discovery import CORE
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.used.lock import Lock, Used, foundation, listed
from rlkit_core.plugins.used.pinned import Pinned, for_next_module

Self = TypeVar("Self", bound="Checkpointable")
Filter = str | Collection[str] | None
_NAMED = ("kind", "id", "distribution", "version")


def _listed(value: Filter) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


class Checkpointable(RefusesOverrides, abc.ABC):
    """Mixin of everything that can be saved and restored, alone or as part of something larger.

    A subclass gives three methods, :meth:`get_state`, :meth:`set_state` and :meth:`get_ctor_args_and_kwargs`, and lists
    its parts in :meth:`get_checkpointable_components`. The state is nested dicts, lists and tuples of None, bool, int,
    float, str, numpy arrays and scalars, and torch tensors. The mixin keeps no attributes, so it fits any class.

    A checkpoint is a directory with :attr:`METADATA_FILE_NAME`, :attr:`CLASS_AND_CTOR_ARGS_FILE_NAME`, the state in two
    files named :attr:`STATE_FILE_NAME`, and a sub-directory, itself a checkpoint, for each component.
    """

    STATE_FILE_NAME: ClassVar[str] = DEFAULT_STATE_FILE
    CLASS_AND_CTOR_ARGS_FILE_NAME: ClassVar[str] = CLASS_FILE
    METADATA_FILE_NAME: ClassVar[str] = files.METADATA_FILE
    refused_overrides = CHECKPOINTS
    #: What its state is to ``rlkit_checkpoint_migrate``: ``"module"``, ``"learner"`` or ``"algorithm"``.
    migrates_as: ClassVar[str] = "algorithm"
    #: Where one of this kind lies in an algorithm's checkpoint: names of components; ``"*"`` is the only one there.
    lies_in: ClassVar[tuple[str, ...]] = ()

    # -- to be given by subclasses ---------------------------------------------------------------------------

    @abc.abstractmethod
    def get_state(self, components: Filter = None, *, not_components: Filter = None, **kwargs: Any) -> Any:
        """Return the state as a dict, each component's state under its name.

        Args:
            components: only these (a name, or several; ``"a/b"`` is part ``b`` of ``a``); None is all.
            not_components: without these.
            **kwargs: what a subclass adds.
        """

    @abc.abstractmethod
    def set_state(self, state: Any) -> None:
        """Take over a state that :meth:`get_state` gave; parts that are not in it stay as they are.

        A subclass may add ``strict: bool = True``; ``restore_from_path`` then passes its own.
        """

    @abc.abstractmethod
    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return ``(args, kwargs)`` with which the class builds an object like this one."""

    def get_state_to_save(self, not_components: Collection[str] = ()) -> Any:
        """Return the state as :meth:`save_to_path` writes it: :meth:`get_state` unless overridden.

        It may share memory with the object, and hold :class:`~rlkit_core.checkpoint.segments.Segment` objects for what
        never changes: the object keeps these, and puts them into its next state again.

        Args:
            not_components: without these.
        """
        return self.get_state(not_components=list(not_components)) if not_components else self.get_state()

    def get_checkpointable_components(self) -> Collection[tuple[str, Any]]:
        """Return ``(name, component)`` for each part that has a sub-directory of its own; none by default."""
        return []

    @classmethod
    def copies_state(cls) -> bool:
        """Whether :meth:`set_state` copies all arrays of a state and keeps none, so that they may be views of a file.

        No by default: a load then reads them to memory of their own.
        """
        return False

    @classmethod
    def stored_class(cls) -> type:
        """The class that a checkpoint names: this one, unless it is put together from others at run time."""
        return cls

    @classmethod
    def rebuilt(cls, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """An object of what :meth:`get_ctor_args_and_kwargs` gave."""
        return cls(*args, **kwargs)

    def get_metadata(self) -> dict[str, Any]:
        """Return what ``metadata.json`` says beside the hashes; subclasses may add entries (JSON data).

        If the object has a method ``component_trace()``, its list goes under ``"component_trace"``.
        """
        distribution = distribution_of(type(self))
        named = None if distribution is None else {"name": distribution[0], "version": distribution[1]}
        trace = getattr(self, "component_trace", None)
        copied = {COPIED: True} if self.copies_state() else {}
        traced = {"component_trace": trace()} if callable(trace) else {}
        return {**base_metadata(), "distribution": named, **traced, **copied}

    def what_is_used(self) -> Lock:
        """What this object and its parts in this process are made of, with the distributions that all this comes from.

        Here: the core, the libraries, its class with the plugins' classes that it builds on, and the components chosen.
        """
        host = default_host()
        trace = getattr(self, "component_trace", None)
        chosen = (choice for choice in (trace() if callable(trace) else ()) if {*_NAMED} <= choice.keys())
        parts = (
            part.what_is_used() for _, part in self.get_checkpointable_components() if isinstance(part, Checkpointable)
        )
        role = "module" if callable(trace) else "class"
        own = foundation() | Used.class_and_bases(role, type(self), host.origin_of)
        own |= Lock(Used(*(choice[name] for name in _NAMED)) for choice in chosen)
        return functools.reduce(operator.or_, parts, own)

    def migrate_parts(self, state: dict[str, Any], migration: Migration) -> dict[str, Any]:
        """Let plugins bring their parts of an older state of this object up to date; here nobody has a part.

        Args:
            state: its own, without that of components; the plugins of its class have been asked.
            migration: asks them.
        """
        return state

    # -- saving ----------------------------------------------------------------------------------------------

    def save_to_path(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        state: object = None,
        components: Filter = None,
        not_components: Filter = None,
    ) -> str:
        """Write a checkpoint and return its path.

        All or nothing: the checkpoint is written beside ``path`` and renamed when it is complete and on disk. One that
        was there becomes ``path.old`` until then and is removed last.

        Args:
            path: the directory; None makes a fresh temporary one.
            state: written instead of ``get_state()``; entries named like components become the state of these, and a
                component without an entry writes its own current state.
            components: only these components (``"a"``, ``"a/b"``, or several) beside the own state.
            not_components: leave these out.

        Raises:
            CheckpointError: as :meth:`snapshot`, or ``path`` holds something that is no checkpoint, or writing failed;
                an older checkpoint at ``path`` is intact.
        """
        snapshot = self.snapshot(state=state, components=components, not_components=not_components)
        if path is None:
            path = tempfile.mkdtemp(prefix="rlkit-checkpoint-")
        return str(write_snapshot(snapshot, path))

    def snapshot(
        self, *, state: object = None, components: Filter = None, not_components: Filter = None
    ) -> SavedComponent:
        """Collect in memory what :meth:`save_to_path` writes, with all components.

        Arrays may share memory with the object, so write (or send) the snapshot before it changes. A component that
        lives elsewhere can be stood in for by any object with ``snapshot`` and ``restore_snapshot``.

        Raises:
            CheckpointError: something cannot be written, or a filter names an unknown component.
        """
        parts = dict(self.get_checkpointable_components())
        for wanted in (*_listed(components), *_listed(not_components)):
            split_component(wanted, parts, where=type(self).__name__)
        given = state if isinstance(state, dict) else {}
        own = state
        if state is None:
            own = self.get_state_to_save(list(parts))
        if not isinstance(own, dict):
            raise CheckpointError(f"the state of {type(self).__name__} is a {type(own).__name__}, expected a dict")
        children: dict[str, SavedComponent] = {}
        left_out: list[str] = []
        for name, part in parts.items():
            if not self._check_component(name, components, not_components):
                left_out.append(name)
                continue
            try:
                children[name] = part.snapshot(
                    state=given.get(name),
                    components=self._get_subcomponents(name, components),
                    not_components=self._get_subcomponents(name, not_components),
                )
            except CheckpointError as error:
                raise CheckpointError(f"component {name!r}: {error}") from error
        ctor = self._ctor_to_json()
        lock = functools.reduce(operator.or_, (child.lock for child in children.values()), self.what_is_used())
        lock |= _classes_in(ctor)
        metadata = {
            **self.get_metadata(),
            "lock": lock.to_dict(),
            "plugins": listed(lock, default_host().snapshot),
            "left_out": left_out,
        }
        tree = encode_tree({key: value for key, value in own.items() if key not in parts})
        return SavedComponent(class_ref(self.stored_class()), ctor, tree, metadata, self.STATE_FILE_NAME, children)

    def _ctor_to_json(self) -> Any:
        args, kwargs = self.get_ctor_args_and_kwargs()
        try:
            return to_jsonable([list(args), dict(kwargs)])
        except CheckpointError as error:
            raise CheckpointError(f"constructor arguments of {type(self).__name__}: {error}") from error

    # -- restoring -------------------------------------------------------------------------------------------

    def restore_from_path(
        self,
        path: str | os.PathLike[str],
        *,
        component: str | None = None,
        strict: bool = True,
        which: Which = "last",
        allow_component_change: bool = False,
    ) -> None:
        """Load a checkpoint into this object: every file is checked, then :meth:`restore_snapshot` takes it over.

        Args:
            path: the checkpoint, or a run folder; what is larger than this object (an algorithm's checkpoint, for a
                module) has its part taken. With ``component``, of that component alone or of what it is a part of.
            component: load only into the part at ``"a/b/c"``.
            strict: a component that only one side has is an error; passed on to ``set_state`` where it takes it.
            which: checkpoint of a run folder, ``"last"`` or ``"best"``.
            allow_component_change: load weights of one encoder, head or distribution into a module that has another
                one in its place.

        Raises:
            CheckpointNotFoundError: nothing is there.
            CheckpointError: a damaged file, an unknown component, components that do not fit, or a module that is built
                of other components than the one that was saved.
        """
        if component:
            parts = dict(self.get_checkpointable_components())
            name, rest = split_component(component, parts, where=type(self).__name__)
            inside = locate_part(path, component, which)
            how = {"strict": strict, "allow_component_change": allow_component_change}
            parts[name].restore_from_path(inside, component=rest or None, **how)
        else:
            snapshot, directory = read_located(path, which)
            own = self.own_part(snapshot, directory).allowing_component_change(allow_component_change)
            self.restore_snapshot(own, strict=strict)

    @classmethod
    def own_part(cls, snapshot: SavedComponent, directory: Path) -> SavedComponent:
        """Of a snapshot of something larger (an algorithm's, for a module) the part of this kind; else all of it.

        Raises:
            CheckpointError: several parts may be meant; the message lists them with their paths.
        """
        if snapshot.state_name == cls.STATE_FILE_NAME != DEFAULT_STATE_FILE:
            return snapshot  # of this kind itself, whatever its members are called
        return part_of_kind(cls.__name__, cls.lies_in, snapshot, directory) or snapshot

    def restore_snapshot(self, snapshot: SavedComponent, *, strict: bool = True) -> None:
        """Take over a snapshot: components, own state, then components that this state brought.

        A subclass that must act after a restore overrides this and calls it first.

        Raises:
            CheckpointError: components do not fit (with ``strict``).
        """
        with snapshot.as_built_before():
            self._take_over(snapshot, strict)

    def _take_over(self, snapshot: SavedComponent, strict: bool) -> None:
        trace = getattr(self, "component_trace", None)
        snapshot.check_components(trace() if callable(trace) else [])
        state = snapshot.state(to_copy=self.copies_state())
        migration = Migration.of(snapshot)
        if migration:
            state = self.migrate_parts(migration.ask_classes(type(self), self.migrates_as, state), migration)
        done: set[str] = set()
        self._restore_components(snapshot, done, strict)
        takes = () if strict else inspect.signature(self.set_state).parameters.values()
        lenient = any(p.name == "strict" or p.kind is p.VAR_KEYWORD for p in takes)
        with _naming(f"the state of {class_ref(type(self))} in the checkpoint is not one that it takes"):
            self.set_state(state, **({"strict": False} if lenient else {}))
        present = self._restore_components(snapshot, done, strict)
        if not strict:
            return
        missing = [name for name in present if name not in done and name not in snapshot.left_out]
        unknown = [name for name in snapshot.components if name not in done]
        if missing or unknown:
            raise CheckpointError(
                f"the components of {type(self).__name__} and of its checkpoint differ: only the object has "
                f"{missing}, only the checkpoint has {unknown}; restore with strict=False to load what fits"
            )

    def _restore_components(self, snapshot: SavedComponent, done: set[str], strict: bool) -> list[str]:
        parts = dict(self.get_checkpointable_components())
        for name, part in parts.items():
            if name in snapshot.components and name not in done:
                try:
                    part.restore_snapshot(snapshot.components[name], strict=strict)
                except CheckpointError as error:
                    raise CheckpointError(f"component {name!r}: {error}") from error
                done.add(name)
        return list(parts)

    @classmethod
    def from_checkpoint(
        cls: type[Self],
        path: str | os.PathLike[str],
        *,
        which: Which = "last",
        classes: Iterable[type] = (),
        strict: bool = True,
        allow_component_change: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Build the object that a checkpoint holds, and restore it.

        Args:
            path: the checkpoint, or a run folder. That of a component is as good, and in one of something larger (an
                algorithm's, for a module) the part of this kind is found.
            which: checkpoint of a run folder, ``"last"`` or ``"best"``.
            classes: classes it may name although they are not in ``rlkit_core``, an installed plugin or this process.
            strict: as in :meth:`restore_from_path`, and so is ``allow_component_change``.
            allow_component_change: see there.
            **kwargs: override stored constructor arguments by name; also how functions are passed again.

        Raises:
            CheckpointNotFoundError: nothing is there.
            CheckpointError: a damaged file, a class that is not installed or not trusted, or no subclass of this one;
                several parts of this kind, which the message lists.
        """
        snapshot, directory = read_located(path, which)
        own = cls.own_part(snapshot, directory).allowing_component_change(allow_component_change)
        return cls.from_snapshot(own, classes=classes, strict=strict, **kwargs)

    @classmethod
    def from_snapshot(
        cls: type[Self], snapshot: SavedComponent, *, classes: Iterable[type] = (), strict: bool = True, **kwargs: Any
    ) -> Self:
        """Build the object that a snapshot holds, and restore it; see :meth:`from_checkpoint`."""
        allowed = (cls, *classes)
        found = resolve_class(snapshot.class_ref, classes=allowed, base=Checkpointable, plugins=snapshot.plugins)
        if not issubclass(found, cls.stored_class()):
            raise CheckpointError(
                f"the checkpoint holds a {snapshot.class_ref}, which is not a subclass of {class_ref(cls)}"
            )
        args, stored = _ctor_arguments(snapshot, found, kwargs, allowed)
        own = Pinned.from_trace(snapshot.metadata.get("component_trace"))
        said = f"{snapshot.class_ref} is not built from the constructor arguments in {CLASS_FILE}"
        about_it = nullcontext() if kwargs else _naming(said)  # the caller's own arguments may be what is wrong
        with snapshot.as_built_before(), for_next_module(own), about_it:
            instance: Self = cast("type[Self]", found).rebuilt(args, stored)
        instance.restore_snapshot(snapshot, strict=strict)
        return instance

    # -- parts and filters -------------------------------------------------------------------------------------------

    def get_component(self, path: str) -> Any:
        """The part at ``"a/b/c"``; the object itself at ``""``.

        Raises:
            CheckpointError: there is none; the message lists those there are.
        """
        part: Any = self
        while path:
            parts = dict(part.get_checkpointable_components())
            name, path = split_component(path, parts, where=type(part).__name__)
            part = parts[name]
        return part

    def get_component_states(
        self, components: Filter = None, not_components: Filter = None, **kwargs: object
    ) -> dict[str, Any]:
        """The state of each part that the filters want, by name: what :meth:`get_state` adds to the object's own.

        Names of what is no component are passed over; ``kwargs`` go to each part's ``get_state``.
        """
        return {
            name: part.get_state(
                self._get_subcomponents(name, components),
                not_components=self._get_subcomponents(name, not_components),
                **kwargs,
            )
            for name, part in self.get_checkpointable_components()
            if self._check_component(name, components, not_components)
        }

    def _check_component(self, name: str, components: Filter = None, not_components: Filter = None) -> bool:
        """Tell whether the part ``name`` is wanted, wholly or in part."""
        wanted = components is None or any(c == name or c.startswith(name + "/") for c in _listed(components))
        return wanted and name not in _listed(not_components)

    def _get_subcomponents(self, name: str, components: Filter) -> list[str] | None:
        """Return what a filter says about the inside of ``name``; None when it does not restrict it."""
        listed = _listed(components)
        if name in listed:
            return None
        return [c[len(name) + 1 :] for c in listed if c.startswith(name + "/")] or None


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Let what somebody's code makes of data that it does not expect be a CheckpointError that says which data."""
    try:
        yield
    except RLKitError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{what}: {type(error).__name__}: {error}") from error


def _classes_in(ctor: object) -> Lock:
    """The plugins' classes that constructor arguments name."""
    host = default_host()
    plugins = {info.name for info in host.snapshot.distributions} - {CORE}
    found = (Used.of("class", ref.partition(":")[2], host.origin_of(ref)) for ref in refs_in(ctor))
    return Lock(one for one in found if one.distribution in plugins)


def _ctor_arguments(
    snapshot: SavedComponent, cls: type, overrides: dict[str, Any], classes: tuple[type, ...]
) -> tuple[list[Any], dict[str, Any]]:
    """Decode the stored constructor arguments; overridden ones are skipped, so they need not be loadable."""
    ctor = snapshot.ctor
    if not (isinstance(ctor, list) and len(ctor) == 2 and isinstance(ctor[0], list) and isinstance(ctor[1], dict)):
        raise CheckpointError(f"{CLASS_FILE} of {snapshot.class_ref}: 'ctor_args_and_kwargs' is not [args, kwargs]")
    stored_args, stored = ctor
    if "$dict" in stored:
        raise CheckpointError(f"{CLASS_FILE} of {snapshot.class_ref}: argument names must be plain strings")
    kwargs = dict(overrides)
    parameters = inspect.signature(cls).parameters.values() if stored_args else ()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    args = []
    for index, value in enumerate(stored_args):
        name = names[index] if index < len(names) else ""
        overridden = name in kwargs
        args.append(kwargs.pop(name) if overridden else _decode_argument(f"argument {index}", value, snapshot, classes))
    for name, value in stored.items():
        if name not in kwargs:
            kwargs[name] = _decode_argument(name, value, snapshot, classes)
    return args, kwargs


def _decode_argument(name: str, value: object, snapshot: SavedComponent, classes: tuple[type, ...]) -> Any:
    try:
        decoded = from_jsonable(value, classes=classes, plugins=snapshot.plugins)
    except CheckpointError as error:
        raise CheckpointError(f"constructor argument {name!r} of {snapshot.class_ref}: {error}") from error
    if isinstance(decoded, PassAtLoad):
        decoded.where = f"constructor argument {key_path((name,))} of {snapshot.class_ref}"
    return decoded
