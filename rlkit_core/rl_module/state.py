"""Module state as flat dicts of numpy arrays, and the strict rules for putting it back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from rlkit_core.errors import StateError


def to_array(value: object, *, copy: bool = True) -> Any:
    """A tensor as a numpy array, a copy unless told otherwise; bfloat16, which numpy lacks, stays a CPU tensor."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach()
    if value.dtype is torch.bfloat16:
        return value.cpu().clone()
    array = value.cpu().numpy()
    return np.array(array, copy=True) if copy else array


def under(name: str, attributes: Iterable[str]) -> bool:
    """Whether ``name`` is one of the dotted ``attributes`` or lies below one."""
    return any(name == attribute or name.startswith(attribute + ".") for attribute in attributes)


def nn_state(module: nn.Module, *, without: Collection[str] = (), copy: bool = True) -> dict[str, Any]:
    """Return name -> array of all parameters and persistent buffers, except those under ``without``.

    Without ``copy`` the arrays of a module on the CPU share its memory.
    """
    state = module.state_dict()
    return {name: to_array(value, copy=copy) for name, value in state.items() if not under(name, without)}


def component_parts(module: object, trace: Collection[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Which part of a module's state belongs to which component: ``(dotted prefix, component id)``, outer parts first.

    Args:
        module: as it is built now; each network that a chosen component built knows for which place.
        trace: the choices of the module. A distribution, which has no weights, is given those of the head it reads.
    """
    if not isinstance(module, nn.Module):
        return []
    chosen = {(row.get("kind"), row.get("slot"), tuple(row.get("path", ()))): str(row.get("id")) for row in trace}
    reading = [name for (kind, _, _), name in chosen.items() if kind == "distribution"]
    parts: list[tuple[str, str]] = []
    for prefix, network in module.named_modules():
        place = getattr(network, "place", None)
        if isinstance(place, tuple) and place in chosen:
            parts.append((prefix, chosen[place]))
            parts += [(prefix, name) for name in reading if place[:2] == ("head", "pi")]
    return parts


def check_names(what: str, expected: Collection[str], given: Collection[str], *, ignore: Collection[str] = ()) -> None:
    """Compare the names that an owner (``what``) has with those given, which may be below dotted attributes to ignore.

    Raises:
        StateError: names are missing or unexpected; the message lists them.
    """
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected and not under(name, ignore)]
    if missing or unexpected:
        parts = [f"missing: {_listed(missing)}"] if missing else []
        parts += [f"unexpected: {_listed(unexpected)}"] if unexpected else []
        raise StateError(
            f"state does not fit {what}: {'; '.join(parts)}. It comes from a module with other components"
            f"{_of_sharing(missing, unexpected)}; build the module with the same spec, or pass strict=False to load "
            "what fits."
        )


def _of_sharing(missing: Collection[str], unexpected: Collection[str]) -> str:
    """What to write where one of two actor-critic modules has one encoder for both, and the other one each."""
    for names, here, there in ((missing, "each", True), (unexpected, "both", False)):
        if any(name.startswith("encoder.actor_encoder.") for name in names):
            other = "one encoder for both" if here == "each" else "an encoder for each"
            return (
                f": policy and value function have {other} there, as rl_module(model_config={{'vf_share_layers': "
                f"{there}}}) gives it"
            )
    return ""


def load_nn_state(
    what: str,
    module: nn.Module,
    state: Mapping[str, Any],
    *,
    ignore: Collection[str] = (),
    strict: bool = True,
    only: Collection[str] | None = None,
) -> None:
    """Copy arrays into the parameters and buffers of ``module``, in place; nothing is written when one is wrong.

    Args:
        what: how messages call the module.
        module: the target.
        state: name -> array or tensor.
        ignore: dotted attributes whose entries are skipped where the module lacks them.
        strict: refuse missing and unexpected names.
        only: the names that count as the module's; all by default.

    Raises:
        StateError: names (when strict) or shapes differ.
    """
    targets = module.state_dict()
    if only is not None:
        targets = {name: targets[name] for name in only}
    if strict:
        check_names(what, targets, state, ignore=ignore)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, target in targets.items():
        if name not in state:
            continue
        value = state[name]
        if isinstance(target, torch.Tensor):
            value = value if isinstance(value, torch.Tensor) else _tensor_of(value)
            if value is None:
                wrong.append(f"{name} is an array here and {_kind(state[name])} in the state")
            elif value.is_complex() and not target.is_complex():
                wrong.append(f"{name} is {target.dtype} here and {value.dtype} in the state")
            elif value.shape != target.shape:
                wrong.append(f"{name} is {tuple(target.shape)} here and {tuple(value.shape)} in the state")
        values[name] = value
    if wrong:
        raise StateError(
            f"state does not fit {what}: size mismatch: {'; '.join(wrong)}. Build the module with the model config "
            "(layer widths) and the spaces that the state was saved with."
        )
    if all(isinstance(target, torch.Tensor) for target in targets.values()):
        with torch.no_grad():
            for name, value in values.items():
                targets[name].copy_(value)  # state_dict() gives views of the memory in use
    else:  # extra state, which only its module knows how to take; it may keep arrays, and these may be views of a file
        module.load_state_dict(deepcopy(values), strict=False)


def _tensor_of(value: object) -> torch.Tensor | None:
    """``value`` as a tensor, a copy only where it is a read-only array; None where it holds no numbers."""
    try:
        array = np.asarray(value)
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError):
        return None


def _kind(value: object) -> str:
    return f"{value.dtype} numbers" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
