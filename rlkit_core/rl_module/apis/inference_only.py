"""InferenceOnlyAPI: modules that can leave out what only training needs."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Any


class InferenceOnlyAPI(abc.ABC):
    """A module that names its training-only attributes.

    Built with ``inference_only=True`` the module loses them when its constructor ends, and
    ``get_state(inference_only=True)`` of a full one leaves their parameters out.
    """

    @abc.abstractmethod
    def get_non_inference_attributes(self) -> list[str]:
        """Return attribute paths, dots for sub-attributes: ``["vf", "encoder.critic_encoder"]``.

        Names that do not exist on this instance are skipped. What overrides it adds to ``super()``'s, which here are
        none.
        """
        return []


class InferenceOnlyDriver:
    """Strips inference-only modules."""

    @staticmethod
    def on_module_built(module: Any) -> None:
        """Delete the non-inference attributes of a module built with ``inference_only=True``."""
        if module.inference_only:
            module.strip_to_inference_only(module.get_non_inference_attributes())


def strip(root: object, attributes: Iterable[str]) -> None:
    """Delete each dotted attribute from the object that holds it; names that do not exist are skipped."""
    for path in attributes:
        *parents, leaf = path.split(".")
        holder = root
        for name in parents:
            holder = _part(holder, name)
            if holder is None:
                break
        if holder is not None and _part(holder, leaf) is not None:
            delattr(holder, leaf)


def _part(holder: object, name: str) -> Any:
    """``holder.name``, or None; entries of module lists and dicts are found by their name too."""
    part = getattr(holder, "_modules", {}).get(name)
    return part if part is not None else getattr(holder, name, None)
