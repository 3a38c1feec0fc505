"""All optimizers of a learner, and who steps which parameter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from rlkit_core.columns import ALL_MODULES
from rlkit_core.errors import ConfigError
from rlkit_core.learner.optim.clipping import ParamDict
from rlkit_core.learner.optim.registered import RegisteredOptimizer

Holders = Mapping[str, set[int]]
"""Module id to the identities of its parameters."""


class OptimizerSet:
    """Optimizers by name; each parameter belongs to at most one of them.

    Args:
        own_part: a learner's own ``filter_param_dict_for_optimizer``, where it has one.

    Attributes:
        parameters: those whose gradients a step takes: of modules that are trained, and of no module.
    """

    def __init__(self, own_part: Callable[[ParamDict, torch.optim.Optimizer], ParamDict] | None = None) -> None:
        self._own_part = own_part
        self._by_name: dict[str, RegisteredOptimizer] = {}
        self._trained: dict[str, list[nn.Parameter]] = {}
        self.parameters: list[nn.Parameter] = []

    def __iter__(self) -> Iterator[RegisteredOptimizer]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> RegisteredOptimizer:
        if name not in self._by_name:
            raise KeyError(f"no optimizer {name!r}; registered are {sorted(self._by_name)}")
        return self._by_name[name]

    @property
    def layout(self) -> tuple[int, ...]:
        """Another value whenever parameters, flat buffers or moments of one of them become other tensors."""
        return tuple(registered.layout for registered in self._by_name.values())

    # -- who steps what -----------------------------------------------------------------------------------------------

    def add(self, registered: RegisteredOptimizer) -> None:
        """Put an optimizer in charge of its parameters.

        Raises:
            ConfigError: the name is taken, or another one steps a parameter of it already.
        """
        if registered.name in self._by_name:
            raise ConfigError(f"register_optimizer: {registered.name!r} is registered already; give another name")
        twice = [other.name for other in self if any(other.owns(p) for p in registered.parameters)]
        if twice:
            raise ConfigError(
                f"register_optimizer: {registered.name!r} has parameters that {twice[0]!r} steps already; a parameter "
                "belongs to one optimizer"
            )
        self._by_name[registered.name] = registered

    def owns(self, parameter: nn.Parameter) -> bool:
        """Whether one of them steps ``parameter``."""
        return any(registered.owns(parameter) for registered in self)

    def of(self, module_id: str) -> list[RegisteredOptimizer]:
        """Those that were registered for a module; ``ALL_MODULES`` are those that span modules."""
        return [registered for registered in self if registered.module_id == module_id]

    def module_ids(self) -> list[str]:
        """The ids that they were registered for, each once."""
        return list(dict.fromkeys(registered.module_id for registered in self))

    def record_of(self, optimizer: torch.optim.Optimizer) -> RegisteredOptimizer:
        """What is known of a torch optimizer.

        Raises:
            KeyError: it is not registered.
        """
        for registered in self:
            if registered.optimizer is optimizer:
                return registered
        raise KeyError("the optimizer is not registered with this learner")

    def modules_changed(self, module_parameters: Holders) -> None:
        """Note which modules hold which parameters, and flatten what can be."""
        for registered in self:
            holders = [
                frozenset(mid for mid, held in module_parameters.items() if id(p) in held)
                for p in registered.parameters
            ]
            registered.holders = frozenset(holders)
            registered.module_parameters = {id(p) for p, ids in zip(registered.parameters, holders, strict=True) if ids}
            registered.flatten()

    def look_again(self) -> bool:
        """Follow what someone did to the torch optimizers: parameters added or removed, states replaced.

        Returns:
            Whether one of them steps other parameters now; :meth:`modules_changed` has to follow.

        Raises:
            ConfigError: two optimizers step one parameter.
        """
        changed = False
        for registered in self._by_name.values():
            changed = registered.look_again() or changed
        if not changed:
            return False
        seen: dict[int, str] = {}
        for registered in self:
            for parameter in registered.parameters:
                if seen.setdefault(id(parameter), registered.name) != registered.name:
                    raise ConfigError(
                        f"optimizer {registered.name!r} was given a parameter that {seen[id(parameter)]!r} steps "
                        "already; a parameter belongs to one optimizer"
                    )
        return True

    def stepped(self) -> dict[int, nn.Parameter]:
        """The parameters that one of them steps, by identity."""
        return {id(p): p for registered in self for p in registered.parameters}

    def choose_parameters(self, in_order: Collection[nn.Parameter], frozen: Collection[int]) -> None:
        """Set :attr:`parameters`.

        Args:
            in_order: parameters of all modules; those of no module come behind them.
            frozen: identities of parameters that are not stepped now.
        """
        stepped = {key: p for key, p in self.stepped().items() if p.requires_grad}
        of_modules = [p for p in in_order if id(p) in stepped]
        known = {id(p) for p in of_modules}
        others = [p for key, p in stepped.items() if key not in known]
        self.parameters = [p for p in (*of_modules, *others) if id(p) not in frozen]
        chosen = {id(p) for p in self.parameters}
        self._trained = {r.name: [p for p in r.parameters if id(p) in chosen] for r in self}

    def trained_of(self, registered: RegisteredOptimizer) -> list[nn.Parameter]:
        """The part of :attr:`parameters` that one of them steps, in its order."""
        return self._trained.get(registered.name, [])

    def release_module(self, module_id: str, left: Collection[int]) -> list[tuple[nn.Parameter, dict[str, Any], type]]:
        """Give up the optimizers of a module that goes, and its parameters in those that span modules.

        Args:
            module_id: the module.
            left: identities of the parameters of the modules that stay.

        Returns:
            Parameters of given-up optimizers that others hold too: each with its state and its optimizer's class.
        """
        orphans: list[tuple[nn.Parameter, dict[str, Any], type]] = []
        for name, registered in list(self._by_name.items()):
            if registered.module_id == module_id:
                del self._by_name[name]
                shared = [p for p in registered.parameters if id(p) in left]
                states = registered.release(shared) if shared else {}
                orphans += [(p, states.get(p, {}), type(registered.optimizer)) for p in shared]
            elif registered.module_id == ALL_MODULES:
                was = registered.module_parameters  # a learner's own variables were no module's, and stay
                gone = [p for p in registered.parameters if id(p) in was and id(p) not in left]
                if gone:
                    registered.release(gone)
                if not registered.parameters:
                    del self._by_name[name]
        return orphans

    # -- a step -------------------------------------------------------------------------------------------------------

    def zero_grad(self, module_ids: Collection[str]) -> None:
        """Clear gradients before losses of ``module_ids`` are differentiated."""
        for registered in self._by_name.values():
            registered.zero_grad(all_reached=registered.serves(module_ids))

    def gradients(self) -> ParamDict:
        """``{parameter: gradient}`` of the :attr:`parameters` that have one."""
        return {p: p.grad for p in self.parameters if p.grad is not None}

    def part_of(self, gradients: ParamDict, registered: RegisteredOptimizer) -> ParamDict:
        """What an optimizer steps of a gradient dict: all of it where there is but one optimizer."""
        if self._own_part is not None:
            return self._own_part(gradients, registered.optimizer)
        if len(self._by_name) == 1:
            return gradients
        return {p: gradients[p] for p in registered.parameters if p in gradients}

    def apply(self, gradients: ParamDict) -> None:
        """Give parameters their gradients and step every optimizer that has any.

        Parameters that are not in ``gradients`` keep their values, whatever their optimizer's momentum.
        """
        for registered in self._by_name.values():
            count = 0
            for parameter in registered.parameters:
                gradient = gradients.get(parameter)
                if gradient is None:
                    continue
                count += 1
                if parameter.grad is not gradient:
                    if parameter.grad is None:
                        parameter.grad = gradient
                    else:
                        parameter.grad.copy_(gradient)
            if count:
                registered.prepare_step(count, gradients)
                registered.step()

    def get_state(self) -> dict[str, Any]:
        """``{optimizer name: state}``, per parameter whatever the buffers."""
        return {name: registered.get_state() for name, registered in self._by_name.items()}
