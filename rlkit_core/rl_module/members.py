"""The mapping behind ``MultiRLModule._rl_modules``: registers torch members, under any valid id."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from torch import nn


class Members(nn.Module):
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

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __bool__(self) -> bool:
        return bool(self._order)

    def __contains__(self, module_id: object) -> bool:
        return module_id in self._order

    def keys(self) -> KeysView[str]:
        """The module ids."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        """The modules."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:
        """Pairs of module id and module."""
        return ItemsView(self)

    def get(self, module_id: str, default: object = None) -> Any:
        """The module of that id, or ``default``."""
        return self[module_id] if module_id in self._order else default

    def pop(self, module_id: str, *default: object) -> Any:
        """Remove and return a module."""
        if module_id not in self and default:
            return default[0]
        module = self[module_id]
        del self[module_id]
        return module

    def update(self, members: Mapping[str, Any]) -> None:
        """Add or replace members."""
        for module_id, module in members.items():
            self[module_id] = module
