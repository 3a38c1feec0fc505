"""``TorchLearner``: the learner of torch modules under the name that RLlib's algorithms derive from."""

from __future__ import annotations

from rlkit_core.learner.learner import Learner


class TorchLearner(Learner):
    """A :class:`Learner`, which trains torch modules by itself; beside it a mixin may derive from ``Learner`` too."""
