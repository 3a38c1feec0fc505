"""Recorded operations that need not be repeated: what never changes, and sums onto zeros.

Every rewrite keeps each number as it was; it only leaves out work. The caller compares the first replay with the eager
run in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]

_ATEN = torch.ops.aten
#: Read the shape of their tensor only.
_OF_SHAPE = frozenset(
    f"aten::{name}" for name in ("ones_like", "zeros_like", "full_like", "new_zeros", "new_ones", "new_full")
)
#: Operations that can write their result where they are told to.
_WITH_OUT = {
    _ATEN.mm.default: _ATEN.mm.out,
    _ATEN.sum.dim_IntList: _ATEN.sum.IntList_out,
}


def simplify(calls: Sequence[Call], outputs: Sequence[Tensor]) -> list[Call]:
    """The same computation with fewer operations.

    Args:
        calls: operations in order; the results of all of them must still be alive, so that addresses tell them apart.
        outputs: what the computation gives.
    """
    return _without_idle_views(_write_instead_of_adding(_without_constants(calls, outputs), outputs), outputs)


def _without_constants(calls: Sequence[Call], outputs: Sequence[Tensor]) -> list[Call]:
    """Leave out what depends on no input and no tensor that may change: its result was computed while recording."""
    written = {memory_of(t) for call in calls for t in written_by(call)}
    fixed = written | {memory_of(t) for t in outputs}
    constant: set[int] = set()
    kept = []
    for call in calls:
        func, args, kwargs, out = call
        known = func._schema.name in _OF_SHAPE or all(memory_of(t) in constant for t in tensors_in((args, kwargs)))
        if (
            known
            and isinstance(out, Tensor)
            and out.numel()
            and memory_of(out) not in fixed
            and torch.Tag.nondeterministic_seeded not in func.tags
            and "empty" not in func._schema.name
        ):
            constant.add(memory_of(out))
        else:
            kept.append(call)
    return kept


def _write_instead_of_adding(calls: Sequence[Call], outputs: Sequence[Tensor]) -> list[Call]:
    """Let a product or a sum that is added to zeros be written there, as the gradients of a flat buffer are."""
    zeroed = {memory_of(a[0]): (k, a[0]) for k, (f, a, _, _) in enumerate(calls) if f is _ATEN.zero_.default}
    made = {memory_of(o): k for k, (f, _, _, o) in enumerate(calls) if f in _WITH_OUT}
    touched: dict[int, list[tuple[int, Tensor]]] = {}
    for k, (func, args, kwargs, out) in enumerate(calls):
        if not _is_view(func, out):
            for tensor in tensors_in((args, kwargs)):
                touched.setdefault(memory_of(tensor), []).append((k, tensor))
    given = {memory_of(t) for t in outputs}
    new: dict[int, Call | None] = {}
    filled: dict[int, int] = {}
    for k, (func, args, kwargs, _) in enumerate(calls):
        if func is not _ATEN.add_.Tensor or kwargs or len(args) != 2 or not isinstance(args[1], Tensor):
            continue
        target, source = args
        zero, maker = zeroed.get(memory_of(target)), made.get(memory_of(source))
        if zero is None or maker is None or not zero[0] < maker < k or memory_of(source) in given:
            continue
        result = calls[maker][3]
        alone = len(touched[memory_of(source)]) == 1
        same = all(t.is_contiguous() for t in (target, source, result)) and target.shape == source.shape
        same = same and result.numel() == target.numel() and result.dtype == target.dtype == source.dtype
        # From the zeros to the sum, nothing else looks at this part of the buffer.
        free = not any(zero[0] < j < k and _overlap(tensor, target) for j, tensor in touched[memory_of(target)])
        if not (alone and same and free and zero[1].is_contiguous() and _covers(zero[1], target)):
            continue
        into = target.view(result.shape)
        new[maker] = (_WITH_OUT[calls[maker][0]], calls[maker][1], {**calls[maker][2], "out": into}, into)
        new[k] = None
        filled[zero[0]] = filled.get(zero[0], 0) + target.numel()
    for k, count in filled.items():
        if calls[k][1][0].numel() == count:
            new[k] = None
    rewritten = (new.get(k, call) for k, call in enumerate(calls))
    return [call for call in rewritten if call is not None]


def _without_idle_views(calls: Sequence[Call], outputs: Sequence[Tensor]) -> list[Call]:
    """Leave out views of what no other operation looks at."""
    used = {memory_of(t) for t in outputs}
    used |= {memory_of(t) for f, a, k, out in calls if not _is_view(f, out) for t in tensors_in((a, k))}
    return [call for call in calls if not _is_view(call[0], call[3]) or memory_of(call[3]) in used]


def _is_view(func: Any, out: Any) -> bool:
    return bool(func.is_view) and isinstance(out, Tensor)


def written_by(call: Call) -> Iterator[Tensor]:
    """Tensors that an operation changes."""
    func, args, kwargs, _ = call
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tensors_in(args[index] if index < len(args) else kwargs.get(argument.name))


def tensors_in(struct: Any) -> Iterator[Tensor]:
    """The tensors of arguments or results."""
    if isinstance(struct, Tensor):
        yield struct
    elif isinstance(struct, dict):
        for value in struct.values():
            yield from tensors_in(value)
    elif isinstance(struct, (tuple, list)):
        for value in struct:
            yield from tensors_in(value)


def memory_of(tensor: Tensor) -> int:
    """Tells memories apart; tensors without plain memory (the builder refuses them) are each their own."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one memory share an element, taking each as all from its first to its last one."""
    (a, b), (c, d) = _span(one), _span(other)
    return a < d and c < b


def _covers(whole: Tensor, part: Tensor) -> bool:
    (a, b), (c, d) = _span(whole), _span(part)
    return a <= c and d <= b


def _span(tensor: Tensor) -> tuple[int, int]:
    first = int(tensor.storage_offset())
    if not tensor.numel():
        return first, first
    return first, first + 1 + sum((int(n) - 1) * int(s) for n, s in zip(tensor.shape, tensor.stride(), strict=True))
