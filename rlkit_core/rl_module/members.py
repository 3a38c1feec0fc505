"""The members of a MultiRLModule: a mapping that registers them under any valid id, and the state of all of them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Collection, ItemsView, Iterator, Mapping, MutableMapping
from typing import Any, Protocol

from torch import nn

from rlkit_core.columns import module_id_problem
from rlkit_core.errors import StateError
from rlkit_core.rl_module.deploy import ComputeActions
from rlkit_core.rl_module.forwards import ModuleForwards
from rlkit_core.rl_module.state import check_names, load_nn_state, to_array, under

SELF = "__self__"
SHARED = "__shared__"
_MEMBERS = "_rl_modules."


def validate_module_id(module_id: object, error: bool = False) -> bool:
    """Check that an id can name a directory of a checkpoint.

    Args:
        module_id: a non-empty str without any of ``< > : " / \\ | ?``, not ending in a dot or a space.
        error: raise instead of warning.

    Returns:
        Whether it is valid.

    Raises:
        ValueError: it is not, and ``error`` is True.
    """
    problem = module_id_problem(module_id)
    if problem and error:
        raise ValueError(problem)
    if problem:
        warnings.warn(problem, UserWarning, stacklevel=2)
    return problem is None


class Whole(Protocol):
    """The forwards of a MultiRLModule that act."""

    def forward_exploration(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """``{module id: sub-batch}`` to ``{module id: outputs}``."""
        ...

    def forward_inference(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """The same without exploration."""
        ...


class Members(nn.Module, MutableMapping[str, Any]):
    """Module id -> RLModule, in order.

    Unlike ``nn.ModuleDict`` it takes ids such as ``"train"`` and ``"p.0"``, and members that are no ``nn.Module``.
    """

    def __init__(self, members: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._order: list[str] = []
        self._plain: dict[str, Any] = {}
        for module_id, module in (members or {}).items():
            self[module_id] = module

    def __setitem__(self, module_id: str, module: Any) -> None:
        self._modules.pop(module_id, None)
        self._plain.pop(module_id, None)
        if isinstance(module, nn.Module):
            self._modules[module_id] = module
        else:
            self._plain[module_id] = module
        if module_id not in self._order:
            self._order.append(module_id)

    def __delitem__(self, module_id: str) -> None:
        self._order.remove(module_id)
        self._modules.pop(module_id, None)
        self._plain.pop(module_id, None)

    def __getitem__(self, module_id: str) -> Any:
        module = self._modules.get(module_id)
        return module if module is not None else self._plain[module_id]

    def __contains__(self, module_id: object) -> bool:
        return module_id in self._modules or module_id in self._plain

    def items(self) -> ItemsView[str, Any]:
        """Those that there are now, found more quickly than a mapping finds them by itself."""
        return {module_id: self[module_id] for module_id in self._order}.items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __bool__(self) -> bool:
        return bool(self._order)

    # A mapping of modules is the module that it is: torch keeps modules in sets.
    __eq__ = object.__eq__
    __hash__ = nn.Module.__hash__


class ActingMember(ComputeActions):
    """A member that acts through the forwards of its MultiRLModule; for all else it is the member.

    Args:
        whole: the MultiRLModule.
        module_id: of the member.
        member: the member.
    """

    def __init__(self, whole: Whole, module_id: str, member: ModuleForwards) -> None:
        self._whole, self._module_id, self._member = whole, module_id, member

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)

    def forward_exploration(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """The member's part of the whole's exploration forward."""
        return self._whole.forward_exploration({self._module_id: batch}, **kwargs)[self._module_id]  # type: ignore[no-any-return]

    def forward_inference(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """The member's part of the whole's inference forward."""
        return self._whole.forward_inference({self._module_id: batch}, **kwargs)[self._module_id]  # type: ignore[no-any-return]

    def unwrapped(self) -> ModuleForwards:  # type: ignore[override]
        """The member."""
        return self._member.unwrapped()


def own_names(whole: nn.Module) -> list[str]:
    """State-dict names that belong to the MultiRLModule itself, not to its members."""
    if not _has_own(whole):
        return []
    return [name for name in whole.state_dict() if not name.startswith(_MEMBERS)]


def _has_own(whole: nn.Module) -> bool:
    """Whether there may be parameters or buffers beside the members' (most have none, and need no search)."""
    parts = itertools.chain(whole.parameters(recurse=False), whole.buffers(recurse=False), whole.children())
    return any(not isinstance(part, Members) for part in parts)


def shared_groups(whole: nn.Module, members: Members) -> list[list[str]]:
    """Groups of ``"module_id/name"`` that are one parameter or buffer, in order of first appearance."""
    if len(members) < 2 and not _has_own(whole):
        return []
    places: dict[int, list[str]] = {}
    owners = [(f"{key}/", module) for key, module in members.items() if isinstance(module, nn.Module)]
    for prefix, module in owners:
        for name, tensor in module.state_dict(keep_vars=True).items():
            places.setdefault(id(tensor), []).append(prefix + name)
    for name, tensor in whole.state_dict(keep_vars=True).items():
        if not name.startswith(_MEMBERS):
            places.setdefault(id(tensor), []).append(f"{SELF}/{name}")
    return [names for names in places.values() if len({name.partition("/")[0] for name in names}) > 1]


def own_state(whole: nn.Module, members: Members, *, without: Collection[str] = ()) -> dict[str, Any]:
    """What a MultiRLModule's state has beside its members': its own parameters, and which names are shared.

    Args:
        whole: the MultiRLModule.
        members: its members.
        without: dotted attributes of ``whole`` to leave out.
    """
    state: dict[str, Any] = {}
    names = [name for name in own_names(whole) if not under(name, without)]
    if names:
        tensors = whole.state_dict()
        state[SELF] = {name: to_array(tensors[name]) for name in names}
    left_out = [f"{SELF}/{attribute}" for attribute in without]
    shared = [[name for name in group if not under(name, left_out)] for group in shared_groups(whole, members)]
    shared = [group for group in shared if len(group) > 1]
    if shared:
        state[SHARED] = shared
    return state


def set_multi_state(
    whole: nn.Module,
    members: Members,
    state: Mapping[str, Any],
    *,
    strict: bool,
    expected: Collection[str] | None,
    ignore: Collection[str] = (),
) -> None:
    """See :meth:`MultiRLModule.set_state`.

    Args:
        whole: the MultiRLModule.
        members: its members.
        state: what to take over.
        strict: refuse missing and unexpected ids and names.
        expected: ids that the state must have; None: any may be missing.
        ignore: dotted attributes that ``whole`` has dropped.
    """
    ids = [key for key in state if key not in (SELF, SHARED)]
    beside_members, name = own_names(whole), type(whole).__name__
    if strict:
        check_names(f"{name} (module ids)", ids if expected is None else expected, ids)
        if beside_members and SELF not in state:
            raise StateError(f"state does not fit {name}: missing: its own parameters, {SELF!r}")
    for module_id in ids:
        if module_id in members:
            try:
                members[module_id].set_state(state[module_id], **({} if strict else {"strict": False}))
            except StateError as error:
                raise StateError(f"module {module_id!r}: {error}") from error
    if SELF in state:
        load_nn_state(name, whole, state[SELF], ignore=ignore, strict=strict, only=beside_members)
