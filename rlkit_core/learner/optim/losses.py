"""Losses of a module: one number for all its parameters, or one for each of its optimizers."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import torch
from torch import Tensor

from rlkit_core.columns import ALL_MODULES, DEFAULT_OPTIMIZER
from rlkit_core.errors import ConfigError, RLKitError
from rlkit_core.learner.optim.clipping import ParamDict
from rlkit_core.learner.optim.optimizer_set import OptimizerSet
from rlkit_core.learner.optim.registered import RegisteredOptimizer
from rlkit_core.plugins.guard import safe_text

Loss: TypeAlias = "Tensor | Mapping[str, Tensor]"
"""A tensor without axes, or ``{optimizer name: tensor without axes}``."""

EVERY: Final = "*"
"""Key of a loss that is differentiated for every parameter that it reaches, as a tensor is, beside keyed ones."""


def total(loss: Loss, device: torch.device | None = None) -> Tensor:
    """The sum of a module's losses, without graph where there are several; zero on ``device`` where there is none."""
    if isinstance(loss, Tensor):
        return loss
    result = None
    for term in loss.values():
        result = term.detach() if result is None else result + term.detach()
    return torch.zeros((), device=device) if result is None else result


def split_modules(losses: Mapping[str, Loss]) -> list[str]:
    """The modules whose losses are dicts, and need gradients."""
    return [
        mid
        for mid, loss in losses.items()
        if not isinstance(loss, Tensor) and any(t.requires_grad for t in loss.values())
    ]


def check_loss(
    loss: object, module_id: str, optimizers: OptimizerSet, who: str, error: type[RLKitError] = ConfigError
) -> None:
    """Refuse what is no loss.

    Args:
        loss: what ``who`` returned.
        module_id: for this module.
        optimizers: those of the learner.
        who: is named in the message.
        error: is raised.

    Raises:
        RLKitError: it is neither a tensor without axes nor a dict of such, or a key is no optimizer of the module.
    """
    terms = loss.items() if isinstance(loss, Mapping) else [(None, loss)]
    for name, term in terms:
        if name is not None and name != EVERY:
            _stepped_by(module_id, name, optimizers, who, error)
        if not isinstance(term, Tensor) or term.ndim:
            seen = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else safe_text(term, 80)
            at = "" if name is None else f" for {name!r}"
            raise error(f"{who} returned {seen}{at}, expected one number as a tensor without axes")


def add_term(loss: Loss, term: Loss, module_id: str, optimizers: OptimizerSet, who: str) -> Loss:
    """A loss and one more term; ``who`` gave the term.

    Raises:
        ConfigError: the loss has one entry for each optimizer, the term is a tensor, and the module has no
            ``default_optimizer`` for it.
    """
    if isinstance(loss, Tensor) and isinstance(term, Tensor):
        return loss + term
    result = {EVERY: loss} if isinstance(loss, Tensor) else dict(loss)
    if isinstance(term, Tensor):
        names = _names(module_id, optimizers)
        if DEFAULT_OPTIMIZER not in names:
            raise ConfigError(
                f"{who} returned a tensor, which is for {DEFAULT_OPTIMIZER!r} where a loss has one entry for each "
                f"optimizer, and module {module_id!r} has no optimizer of that name; it has {_listed(names)}. Return "
                "{optimizer name: tensor}, or register a 'default_optimizer' for the parameters that this is for"
            )
        term = {DEFAULT_OPTIMIZER: term}
    for name, more in term.items():
        result[name] = result[name] + more if name in result else more
    return result


def differentiate(losses: Mapping[str, Loss], scale: Mapping[str, float], optimizers: OptimizerSet) -> ParamDict:
    """Gradients where some losses have one entry for each optimizer, see ``Learner.compute_loss_for_module``.

    Every entry is differentiated for its optimizer's own parameters alone: autograd computes no gradient of others, not
    even one that would be dropped. What is not an entry is differentiated last, together, for all that it reaches.

    Args:
        losses: by module.
        scale: factors by module; those left out are 1.
        optimizers: those of the learner. Their gradients are cleared first.

    Returns:
        Parameter to gradient; parameters of optimizers that no loss is for are absent.

    Raises:
        ConfigError: a key is no optimizer of its module.
    """
    whole: dict[str, Tensor] = {}
    parts: list[tuple[Tensor, list[RegisteredOptimizer]]] = []
    has_entry: dict[str, set[str]] = {}
    for module_id, loss in losses.items():
        for name, term in [(EVERY, loss)] if isinstance(loss, Tensor) else loss.items():
            if not term.requires_grad:
                continue
            if module_id in scale:
                term = term * scale[module_id]
            if name == EVERY:
                whole[module_id] = term
                continue
            steppers = _stepped_by(module_id, name, optimizers, "a loss")
            parts.append((term, steppers))
            for registered in steppers:
                has_entry.setdefault(registered.name, set()).add(module_id)
    for registered in optimizers:
        entries = has_entry.get(registered.name, set())
        registered.zero_grad(all_reached=registered.module_id in entries or registered.serves(entries | set(whole)))
    left = len(parts) + bool(whole)
    for term, steppers in parts:
        left -= 1
        # What a loss needs of the graph, others may need too: only the last one lets go of it.
        inputs = [p for registered in steppers for p in optimizers.trained_of(registered) if p.requires_grad]
        if inputs:
            torch.autograd.backward(term, inputs=inputs, retain_graph=left > 0)
    if whole:
        terms = list(whole.values())
        torch.autograd.backward(terms[0] if len(terms) == 1 else torch.stack(terms).sum())
    return optimizers.gradients()


def _stepped_by(
    module_id: str, name: str, optimizers: OptimizerSet, who: str, error: type[RLKitError] = ConfigError
) -> list[RegisteredOptimizer]:
    """The optimizers that a key means: the module's, and that of the same name which spans modules."""
    found = [r for r in _candidates(module_id, optimizers) if r.short_name == name]
    if found:
        return found
    names = _names(module_id, optimizers)
    near = difflib.get_close_matches(str(name), names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise error(
        f"{who} of module {module_id!r} has an entry {str(name)[:40]!r}, expected names of its optimizers: "
        f"{_listed(names)}{hint}"
    )


def _candidates(module_id: str, optimizers: OptimizerSet) -> Iterator[RegisteredOptimizer]:
    return (r for r in optimizers if r.module_id in (module_id, ALL_MODULES))


def _names(module_id: str, optimizers: OptimizerSet) -> list[str]:
    return list(dict.fromkeys(r.short_name for r in _candidates(module_id, optimizers)))


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "it has none"
