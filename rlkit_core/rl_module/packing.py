"""Observations without a fixed array (Text, Sequence, Graph, ...) as arrays, by the ``pack`` of the encoder chosen.

``pack(space, observations)`` gets a list of B observations of a leaf and returns a dict of arrays, each with a leading
axis of B; in a batch, the leaf is that dict of tensors. It is called with the N observations of a step, when acting,
and once more with all those of a rollout. Arrays may be padded to the largest observation of each list, so an encoder
that pads has to tell padding from content (by a mask or a count among its arrays). Where rollouts are joined, the
smaller arrays are filled up with zeros, so zeros must be fit for padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rlkit_core.data.nested import has_array
from rlkit_core.errors import ConfigError
from rlkit_core.plugins.registry import Choice
from rlkit_core.rl_module.forwards import ModuleForwards
from rlkit_core.spaces import at_path, describe, flat_leaves, map_space, with_leaf

Pack = Callable[[Any, list[Any]], Mapping[str, Any]]
Path = tuple[str, ...]


class ObservationPacker:
    """Packs the leaves of observations that have no fixed array.

    Args:
        space: space of one observation.
        packs: path of a leaf to its encoder's ``pack``.

    Raises:
        ConfigError: a leaf without a fixed array has no ``pack``.
    """

    def __init__(self, space: gym.Space[Any], packs: Mapping[Path, Pack]) -> None:
        self._leaves: list[tuple[Path, gym.Space[Any], Pack]] = []
        for path, leaf in flat_leaves(space):
            if has_array(leaf):
                continue
            pack = packs.get(path)
            if pack is None:
                raise ConfigError(
                    f"observation {'.'.join(path) or 'space'}: {describe(leaf)} has no array of fixed shape, and the "
                    "module has nothing that packs it; the encoder chosen for it needs a class method "
                    "pack(space, observations) -> dict of arrays (a module without catalog: observation_packs())"
                )
            self._leaves.append((path, leaf, pack))

    @classmethod
    def of(cls, module: ModuleForwards, space: gym.Space[Any] | None) -> ObservationPacker | None:
        """The packer of a module's observations; None where all are arrays."""
        if space is None or all(has_array(leaf) for _, leaf in flat_leaves(space)):
            return None
        return cls(space, observation_packs(module))

    def __call__(self, obs: object) -> Any:
        """Pack observations with leading axes ``[...]``: the leaf's object array becomes a dict of ``[..., *rest]``."""
        return self.together([obs])[0]

    def together(self, parts: list[Any]) -> list[Any]:
        """Pack several batches of observations in one call each, so that all are padded alike."""
        for path, space, pack in self._leaves:
            batches = [_objects(at_path(part, path)) for part in parts]
            listed = [item for batch in batches for item in batch.reshape(-1)]
            arrays = self._checked(path, pack, pack(space, listed), len(listed))
            start, packed = 0, []
            for batch in batches:
                stop = start + batch.size
                packed.append({k: a[start:stop].reshape(*batch.shape, *a.shape[1:]) for k, a in arrays.items()})
                start = stop
            parts = [with_leaf(part, path, new) for part, new in zip(parts, packed, strict=True)]
        return parts

    def _checked(self, path: Path, pack: Pack, packed: object, count: int) -> dict[str, torch.Tensor]:
        name = getattr(pack, "__qualname__", repr(pack))
        if not isinstance(packed, Mapping) or not packed:
            raise ConfigError(f"{name} must return a dict of arrays, it returned {type(packed).__name__}")
        arrays = {key: torch.as_tensor(value) for key, value in packed.items()}
        for key, array in arrays.items():
            if not array.dim() or array.shape[0] != count:
                raise ConfigError(
                    f"{name}: array {key!r} has shape {tuple(array.shape)}; expected {count} rows, one for each "
                    f"observation of {'.'.join(path) or 'the root'}"
                )
        return {k: a.float() if a.dtype is torch.float64 else a for k, a in arrays.items()}


def one(space: gym.Space[Any], observation: Any) -> Any:
    """One observation with a leading axis of 1; a list of 1 where a leaf has no fixed array."""
    return map_space(lambda leaf, value: np.asarray(value)[None] if has_array(leaf) else [value], space, observation)


def observation_packs(module: ModuleForwards) -> dict[Path, Pack]:
    """``{path: pack}``: the module's own ``observation_packs()``, else those of the encoders that its catalog chose."""
    inner: Any = module.unwrapped()
    packs = getattr(inner, "observation_packs", None)
    if packs is not None:
        return dict(packs())
    if not inner.component_trace():
        return {}
    return packs_of_encoders(inner.catalog.trace, inner)


def packs_of_encoders(trace: Iterable[Choice], built: nn.Module) -> dict[Path, Pack]:
    """``{path: pack}`` of the encoders that were chosen.

    It is the ``pack`` of the config that a network was built from, so that settings reach it, and that of the class
    where a network keeps no config.

    Args:
        trace: what a catalog chose.
        built: what has been built of it.
    """
    chosen = [(choice.path, choice.component.load()) for choice in trace if choice.kind == "encoder"]
    packs: dict[Path, Pack] = {tuple(path): target.pack for path, target in chosen if hasattr(target, "pack")}
    of_configs: dict[Path, Pack] = {}
    for network in built.modules() if packs else ():
        kind, _, path = getattr(network, "place", None) or ("", "", ())
        config: Any = getattr(network, "config", None)
        if kind == "encoder" and hasattr(config, "pack"):
            of_configs.setdefault(path, config.pack)
    return packs | of_configs


def _objects(value: Sequence[object] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of objects, one for each observation."""
    if isinstance(value, np.ndarray):
        return value
    array = np.empty(len(value), dtype=object)
    for index, item in enumerate(value):
        array[index] = item
    return array
