"""Behaviour cloning, as small as an algorithm gets: for tests, and to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from rlkit_core.algorithm import Algorithm, AlgorithmConfig
from rlkit_core.algorithm.config.converters import function, path
from rlkit_core.checkpoint import load_tree
from rlkit_core.columns import Columns
from rlkit_core.data.nested import index_rows, leaves, map_leaves
from rlkit_core.errors import ConfigError
from rlkit_core.learner import TorchLearner
from rlkit_core.rl_module import RLModuleSpec
from rlkit_core.settings import optional, setting

_ONE_OF_THEM = "give training(expert=...), or training(rows_path=...)"


@attrs.define
class BCConfigTest(AlgorithmConfig):
    """Settings of behaviour cloning. To train, give :attr:`expert` or :attr:`rows_path`; to build needs neither."""

    algo_class = "rlkit_core.testing.bc_algorithm:BC"

    expert: Any = setting(
        section="training",
        help="Function of observations (numpy, [B, ...]) that gives the actions to clone.",
        converter=optional(function),
    )
    rows_path: str | None = setting(
        section="training",
        help="Folder with recorded rows: save_tree({'obs': ..., 'actions': ...}, folder).",
        converter=optional(path),
    )

    def get_default_learner_class(self) -> Any:
        """:class:`BCTorchLearner`."""
        return BCTorchLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """:class:`~rlkit_core.testing.DiscreteBCTorchModule`, 32 wide."""
        from rlkit_core.testing.bc_module import DiscreteBCTorchModule

        return RLModuleSpec(module_class=DiscreteBCTorchModule, model_config={"fcnet_hiddens": [32]})

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from super().problems()
        if self.expert is not None and self.rows_path is not None:
            yield f"expert= and rows_path= both say what is cloned; {_ONE_OF_THEM}"


class BCTorchLearner(TorchLearner):
    """The loss of behaviour cloning: minus the mean log-probability of the actions in the batch."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """``-E[log pi(a | s)]``."""
        dist = fwd_out.get(Columns.ACTION_DIST)
        if dist is None:
            dist_cls = self.module[module_id].get_train_action_dist_cls()
            logp: Tensor = dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS]).logp(batch[Columns.ACTIONS])
        else:
            logp = dist.log_prob(batch[Columns.ACTIONS])
        return -logp.mean()


class BC(Algorithm):
    """Clones recorded rows, or what an expert would have done where the module itself has been."""

    _rows: dict[str, Any] | None = None

    def training_step(self) -> None:
        """One update on rows that were recorded, or on the states of a fresh sample with the expert's actions."""
        config = self.config
        if config.expert is None and config.rows_path is None:
            raise ConfigError(f"behaviour cloning has nobody to clone; {_ONE_OF_THEM}")
        batch = self._recorded() if config.rows_path is not None else self._sampled()
        self.learner_group.update(
            batch=batch,
            timesteps=self.timesteps,
            num_epochs=config.num_epochs,
            minibatch_size=config.minibatch_size,
            shuffle_batch_per_epoch=config.shuffle_batch_per_epoch,
        )
        self.sync_weights()

    def _sampled(self) -> dict[str, Any]:
        batch = {}
        for module_id, rollout in self.env_runner_group.sample().items():
            obs = rollout.flat()[Columns.OBS]
            actions = self.config.expert(map_leaves(lambda x: x.numpy(), obs))
            batch[module_id] = {Columns.OBS: obs, Columns.ACTIONS: torch.as_tensor(np.asarray(actions))}
        return batch

    def _recorded(self) -> dict[str, Any]:
        if self._rows is None:
            tree = load_tree(self.config.rows_path)
            self._rows = {name: map_leaves(torch.as_tensor, tree[name]) for name in (Columns.OBS, Columns.ACTIONS)}
        count = len(next(leaves(self._rows)))
        generator = np.random.default_rng(self.seeds.child("rows", self.learner_group.weights_seq_no).seed())
        chosen = torch.from_numpy(generator.integers(0, count, self.config.total_train_batch_size))
        return {
            self.env_runner_group.acting_id: {name: index_rows(column, chosen) for name, column in self._rows.items()}
        }
