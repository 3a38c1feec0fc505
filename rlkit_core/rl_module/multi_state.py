"""State of a MultiRLModule: that of each member, its own, and a note on what is shared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from rlkit_core.errors import StateError
from rlkit_core.rl_module.state import check_names, load_nn_state, to_array

if TYPE_CHECKING:
    from rlkit_core.rl_module.multi import MultiRLModule

SELF = "__self__"
SHARED = "__shared__"
_MEMBERS = "_rl_modules."


def own_names(multi: MultiRLModule) -> list[str]:
    """State-dict names that belong to the MultiRLModule itself."""
    if not _has_own(multi):
        return []
    return [name for name in multi.state_dict() if not name.startswith(_MEMBERS)]


def _has_own(multi: MultiRLModule) -> bool:
    """Whether there may be parameters or buffers beside the members' (most have none, and need no search)."""
    return bool(multi._parameters or multi._buffers or len(multi._modules) > 1)


def shared_groups(multi: MultiRLModule) -> list[list[str]]:
    """Groups of ``"module_id/name"`` that are one parameter or buffer, in order of first appearance."""
    if len(multi) < 2 and not _has_own(multi):
        return []
    places: dict[int, list[str]] = {}
    owners = [(f"{key}/", module) for key, module in multi.items() if isinstance(module, nn.Module)]
    for prefix, module in owners:
        for name, tensor in module.state_dict(keep_vars=True).items():
            places.setdefault(id(tensor), []).append(prefix + name)
    for name, tensor in multi.state_dict(keep_vars=True).items():
        if not name.startswith(_MEMBERS):
            places.setdefault(id(tensor), []).append(f"{SELF}/{name}")
    return [names for names in places.values() if len({name.partition("/")[0] for name in names}) > 1]


def get_multi_state(
    multi: MultiRLModule,
    components: str | Collection[str] | None,
    not_components: str | Collection[str] | None,
    inference_only: bool,
    kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    """See :meth:`MultiRLModule.get_state`."""
    state: dict[str, Any] = {}
    for module_id, module in multi.items():
        if inference_only and module.learner_only:
            continue
        if _wanted(module_id, components, not_components):
            state[module_id] = module.get_state(
                _below(module_id, components),
                not_components=_below(module_id, not_components),
                inference_only=inference_only,
                **kwargs,
            )
    if components is None:
        names = own_names(multi)
        if names:
            tensors = multi.state_dict()
            state[SELF] = {name: to_array(tensors[name]) for name in names}
        shared = shared_groups(multi)
        if shared:
            state[SHARED] = shared
    return state


def set_multi_state(multi: MultiRLModule, state: Mapping[str, Any], strict: bool, *, partial: bool) -> None:
    """See :meth:`MultiRLModule.set_state`; ``partial`` states may lack members."""
    given = [key for key in state if key not in (SELF, SHARED)]
    own = own_names(multi)
    if strict:
        expected = [key for key, module in multi.items() if not (module.learner_only and multi.inference_only)]
        check_names(f"{type(multi).__name__} (module ids)", given if partial else expected, given)
        if own and SELF not in state:
            raise StateError(f"state does not fit {type(multi).__name__}: missing: its own parameters, {SELF!r}")
    for module_id in given:
        if module_id in multi:
            try:
                multi[module_id].set_state(state[module_id], **({} if strict else {"strict": False}))
            except StateError as error:
                raise StateError(f"module {module_id!r}: {error}") from error
    if SELF in state:
        load_nn_state(type(multi).__name__, multi, state[SELF], strict=strict, only=own)


def _wanted(
    module_id: str, components: str | Collection[str] | None, not_components: str | Collection[str] | None
) -> bool:
    if not_components is not None and module_id in _listed(not_components):
        return False
    return components is None or any(name.partition("/")[0] == module_id for name in _listed(components))


def _below(module_id: str, names: str | Collection[str] | None) -> list[str] | None:
    """Paths below ``module_id``; None when the whole member is meant."""
    if names is None:
        return None
    below = [name.partition("/")[2] for name in _listed(names) if name.partition("/")[0] == module_id]
    return [name for name in below if name] or None


def _listed(names: str | Collection[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
