"""DQN's module and catalog: an encoder, a stream of advantages and, where dueling, one of state values."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rlkit_core import Catalog, Columns, Component, TorchRLModule
from rlkit_core.apis import QNetAPI, TargetNetworkAPI
from rlkit_core.catalog import has_action_mask
from rlkit_core.learner import Scheduler, make_target_network
from rlkit_core.models import (
    SMALL_ROWS,
    ActingPlan,
    ModelConfig,
    SmallPlan,
    build_network,
    encoder_output,
    initial_state_of,
)
from rlkit_core.settings import number, setting
from rlkit_dqn.acting import EPSILON, RowPolicy, epsilon_greedy_rows, greedy_rows
from rlkit_dqn.actions import ActionTable
from rlkit_dqn.noisy import NoisyLinear, noisy_layers, set_noise
from rlkit_dqn.plain import PlainNetworks
from rlkit_dqn.q_learning import at_steps, atoms_of, dueling_q
from rlkit_offpolicy import N_STEP, NEW, with_successor

QF_PREDS = "qf_preds"
QF_NEXT_PREDS = "qf_next_preds"
QF_TARGET_NEXT_PREDS = "qf_target_next_preds"
ATOMS = "atoms"
QF_LOGITS = "qf_logits"
QF_PROBS = "qf_probs"
QF_TARGET_NEXT_PROBS = "qf_target_next_probs"
_LAST = float("inf")
#: Methods that decide about actions; who overrides one wants it to be called.
_ACTING = {
    "forward_exploration",
    "forward_inference",
    "_forward_exploration",
    "_forward_inference",
    "_best",
    "_q_values",
    "_heads",
    "_masked",
    "compute_q_values",
    "compute_advantage_distribution",
}
_VALUES = ("compute_q_values", "compute_advantage_distribution")


def _wants_noise(request: Any) -> bool:
    return request.slot in ("af", "vf") and bool(request.model_config.get("noisy"))


class DQNCatalog(Catalog):
    """Chooses encoder and heads of a DQN module; ``model_config["noisy"]`` asks for heads of noisy layers."""

    algorithm = "dqn"
    settings: ClassVar[Mapping[str, Any] | None] = {}
    components: ClassVar[tuple[Component, ...]] = (
        Component(
            "noisy-mlp",
            "head",
            "rlkit_dqn.noisy:NoisyMLPHeadConfig",
            (gym.spaces.Space,),
            when=_wants_noise,
            settings={"sigma0": setting(0.5, help="First scale of the noise.", converter=number(gt=0))},
        ),
    )

    @property
    def num_atoms(self) -> int:
        """Atoms of the return distribution; 1: only its mean."""
        return int(self.model_config_dict.get("num_atoms", 1))

    @functools.cached_property
    def af_head_config(self) -> ModelConfig:
        """Config of the head with one output (or one per atom) for each action.

        Raises:
            ConfigError: actions that cannot be put in a table.
        """
        return self.head_config("af", ActionTable(self.action_space).size * self.num_atoms)

    @functools.cached_property
    def vf_head_config(self) -> ModelConfig:
        """Config of the head of state values: one output, or one per atom."""
        return self.head_config("vf", self.num_atoms)

    def build_af_head(self, framework: str = "torch") -> Any:
        """Return a new advantage head (without dueling: the head of action values)."""
        with self.working():
            return build_network(self.af_head_config, framework)

    def build_vf_head(self, framework: str = "torch") -> Any:
        """Return a new state value head."""
        with self.working():
            return build_network(self.vf_head_config, framework)


class DQNTorchRLModule(TorchRLModule, QNetAPI, TargetNetworkAPI):
    """A Q network: ``self.encoder``, ``self.af`` and, where dueling, ``self.vf``, each with a target network.

    Settings come from ``model_config``: ``double_q``, ``dueling``, ``num_atoms``, ``v_min``, ``v_max``, ``noisy``,
    ``epsilon`` (a number or ``[[step, value], ...]``), with the defaults of ``DQNConfig``.

    An ``action_mask`` at the root of a Dict observation gives actions that are not allowed the lowest value there is:
    they are neither explored, nor chosen, nor do they bootstrap.
    """

    default_catalog_class: ClassVar[type | None] = DQNCatalog

    encoder: Any
    af: Any
    vf: Any
    atoms: Tensor

    def setup(self) -> None:
        """Build encoder and heads with the catalog."""
        self.table = ActionTable(self.action_space)
        settings, catalog = self.model_config, self.catalog
        assert isinstance(catalog, DQNCatalog)
        self.double_q = bool(settings.get("double_q", True))
        self.dueling = bool(settings.get("dueling", True))
        self.num_atoms = int(settings.get("num_atoms", 1))
        self.epsilon = Scheduler(settings.get("epsilon", EPSILON))
        if self.num_atoms > 1:
            atoms = atoms_of(float(settings.get("v_min", -10.0)), float(settings.get("v_max", 10.0)), self.num_atoms)
            self.register_buffer("atoms", atoms, persistent=False)
        self.encoder = catalog.build_encoder(framework=self.framework)
        self.af = catalog.build_af_head(framework=self.framework)
        self.vf = catalog.build_vf_head(framework=self.framework) if self.dueling else None

    def _prepare(self) -> None:
        super()._prepare()
        self._masks = has_action_mask(self.observation_space)
        self._num_actions, self._joint = self.table.size, self.table.joint  # a module finds its parts slowly
        #: Columns of a batch that the networks read; whoever acts and trains supplies them.
        self.input_columns = tuple(getattr(self.encoder, "input_columns", (Columns.OBS,)))
        #: Methods of a subclass that say what is best; RLlib's users override them for that.
        self._own_values = [
            name for name in _VALUES if getattr(type(self), name) is not getattr(DQNTorchRLModule, name)
        ]
        if self.num_atoms > 1 and self._own_values[-1:] == [_VALUES[1]]:  # an argmax of Q takes V(s) too
            self._own_values.pop()
        plain = self.num_atoms == 1 and not self._masks and not self._own_values
        self._acting_plan = ActingPlan.of(self.encoder, self.af) if plain else None
        self._small_plan = SmallPlan.of(self._acting_plan)
        self._draws = torch.empty(0, 0, dtype=torch.float64)
        own = type(self)
        self._acts_plainly = getattr(self.observation_space, "dtype", None) == np.float32 and all(
            getattr(own, name) is getattr(DQNTorchRLModule, name) for name in _ACTING
        )
        own_values = not self._acts_plainly or self.num_atoms > 1 or self._masks
        networks = None if own_values else PlainNetworks.of(self.encoder, self.af, self.vf)
        self._plain: list[PlainNetworks] = [] if networks is None else [networks]
        self._noisy: list[NoisyLinear] = noisy_layers(self.encoder, self.af, self.vf)
        self._target_noisy: list[NoisyLinear] = []
        set_noise(self._noisy, False)

    def get_initial_state(self) -> Any:
        """The encoder's initial state, without a batch axis."""
        return initial_state_of(self.encoder)

    # -- Q values -----------------------------------------------------------------------------------------------------

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """``qf_preds`` (B, A), or (B, T, A) when recurrent; with atoms also ``atoms`` (K,), ``qf_logits`` and
        ``qf_probs`` (..., A, K). See :class:`~rlkit_core.apis.QNetAPI`."""
        return self._q_values(batch, self.encoder, self.af, self.vf)[0]

    def compute_advantage_distribution(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The same of the advantage stream alone; without dueling that is all there is."""
        return self._q_values(batch, self.encoder, self.af, None)[0]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """:meth:`compute_q_values` by the target networks."""
        return self._q_values(batch, self._target_encoder, self._target_af, self._target_vf)[0]

    def _q_values(self, batch: dict[str, Any], encoder: Any, af: Any, vf: Any) -> tuple[dict[str, Tensor], Any]:
        """Q values and, when recurrent, the state after the last step."""
        for networks in self._plain:
            if networks.serve(batch[Columns.OBS], encoder, af, vf):
                return {QF_PREDS: networks.q(batch[Columns.OBS])}, None
        encoded = encoder(batch)
        return self._heads(batch, encoder_output(encoded, encoder), af, vf), encoded.get(Columns.STATE_OUT)

    def _heads(self, batch: dict[str, Any], embeddings: Tensor, af: Any, vf: Any) -> dict[str, Tensor]:
        """Q values from what an encoder gave for the rows of ``batch``."""
        if self.num_atoms == 1:
            q = af(embeddings)
            if vf is not None:
                q = dueling_q(vf(embeddings), q)
            return {QF_PREDS: self._masked(q, batch)}
        logits = af(embeddings).unflatten(-1, (self.table.size, self.num_atoms))
        if vf is not None:
            logits = dueling_q(vf(embeddings).unsqueeze(-2), logits, action_axis=-2)
        probs = torch.softmax(logits, -1)
        q = self._masked((probs * self.atoms).sum(-1), batch)
        return {QF_PREDS: q, ATOMS: self.atoms, QF_LOGITS: logits, QF_PROBS: probs}

    def _masked(self, q: Tensor, batch: dict[str, Any]) -> Tensor:
        if not self._masks:
            return q
        return torch.where(self._legal(batch), q, torch.finfo(q.dtype).min)

    def _legal(self, batch: dict[str, Any]) -> Tensor:
        """``(..., A)`` bool; where nothing is allowed (after an episode's end, say), everything is."""
        legal = self.table.legal(batch[Columns.OBS][Columns.ACTION_MASK])
        return legal | ~legal.any(-1, keepdim=True)

    # -- target networks ----------------------------------------------------------------------------------------------

    def make_target_networks(self) -> None:
        """Copy encoder and heads."""
        self._target_encoder = make_target_network(self.encoder)
        self._target_af = make_target_network(self.af)
        self._target_vf = None if self.vf is None else make_target_network(self.vf)
        self._target_noisy = noisy_layers(self._target_encoder, self._target_af, self._target_vf)
        if self._plain:
            networks = PlainNetworks.of(self._target_encoder, self._target_af, self._target_vf)
            self._plain = self._plain[:1] if networks is None else [self._plain[0], networks]

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Encoder, advantage head and, where dueling, value head."""
        pairs = [(self.encoder, self._target_encoder), (self.af, self._target_af)]
        return pairs if self.vf is None else [*pairs, (self.vf, self._target_vf)]

    # -- acting -------------------------------------------------------------------------------------------------------

    def get_exploration_action_dist_cls(self) -> Any:
        """There is none: exploration takes the best action or any, and samples from nothing."""
        raise NotImplementedError(
            f"{type(self).__name__} explores by epsilon; where _forward_exploration is overridden to return "
            "'action_dist_inputs', get_exploration_action_dist_cls must be as well"
        )

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """``actions``: those of the highest value, noise left out."""
        index, out = self._best(batch)
        out[Columns.ACTIONS] = self.table.actions(index)
        return out

    def _forward_exploration(self, batch: dict[str, Any], t: int | None = None) -> dict[str, Any]:
        """``actions``: random allowed ones in a share ``epsilon`` of rows, the best of the others.

        Args:
            batch: with ``obs``, and ``state_in`` when recurrent.
            t: lifetime env steps, which ``epsilon`` follows; None: its last value.
        """
        epsilon = self.epsilon.at(_LAST if t is None else t)
        set_noise(self._noisy, True)
        index, out = self._best(batch)
        set_noise(self._noisy, False)
        if epsilon > 0.0:
            if self._masks:
                legal = self._legal(batch)
                random = torch.where(legal, torch.rand(legal.shape, device=legal.device), -1.0).argmax(-1)
            else:
                random = torch.randint(self.table.size, index.shape, device=index.device)
            index = torch.where(torch.rand(index.shape, device=index.device) < epsilon, random, index)
        out[Columns.ACTIONS] = self.table.actions(index)
        return out

    def row_policy(self, *, explore: bool, timesteps: Sequence[int], num_envs: int, generator: Any) -> RowPolicy | None:
        """Acting on numpy rows where the networks are small MLPs, the envs few, and no method is overridden."""
        plan, modules = self._small_plan, self._modules
        if (
            plan is None
            or not self._acts_plainly
            or num_envs > SMALL_ROWS
            or self._joint
            or self._noisy
            or not self._acting_plan.holds(modules.get("encoder"), modules.get("af"))
            or not self.__dict__.keys().isdisjoint(_ACTING)
        ):
            return None
        if not explore:
            return greedy_rows(plan, num_envs)
        epsilons = [self.epsilon.at(t) for t in timesteps]
        if self._draws.shape != (len(epsilons), num_envs):
            with torch.inference_mode(False):
                self._draws = torch.empty(len(epsilons), num_envs, dtype=torch.float64)
        draws = self._draws.uniform_(generator=generator).tolist()  # a new tensor takes longer than the numbers
        return epsilon_greedy_rows(plan, self._num_actions, epsilons, num_envs, draws)

    def _is_small(self, obs: Any) -> bool:
        """Whether numpy is the quicker for these observations."""
        plan, modules = self._acting_plan, self._modules
        return (
            plan is not None
            and not torch.jit.is_tracing()  # a trace holds no numpy
            and not torch.compiler.is_compiling()
            and obs.shape[0] <= SMALL_ROWS
            and obs.dtype is torch.float32
            and not obs.is_cuda
            and plan.holds(modules.get("encoder"), modules.get("af"))
        )

    def _best(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """Numbers of the best actions, and a dict with the state when recurrent.

        What all actions have in common, V(s) among it, is left out where it does not matter.
        """
        plan = self._acting_plan
        if plan is not None:
            obs, modules = batch[Columns.OBS], self._modules
            if self._small_plan is not None and self._is_small(obs):
                return torch.from_numpy(self._small_plan(obs.numpy()).argmax(-1)), {}
            if obs.dtype is torch.float32 and plan.holds(modules.get("encoder"), modules.get("af")):
                return plan(obs).argmax(-1), {}
        vf = self.vf if self.num_atoms > 1 else None
        if self._own_values:
            values = getattr(self, self._own_values[0])(batch)
            state = self._q_values(batch, self.encoder, self.af, vf)[1] if self.is_stateful() else None
        else:
            values, state = self._q_values(batch, self.encoder, self.af, vf)
        return values[QF_PREDS].argmax(-1), {} if state is None else {Columns.STATE_OUT: state}

    # -- training -----------------------------------------------------------------------------------------------------

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Q values of the observations, and of those that follow.

        Returns:
            ``qf_preds`` and ``qf_target_next_preds`` (..., A); with double Q-learning ``qf_next_preds``; with atoms
            ``atoms`` (K,), ``qf_logits``, ``qf_probs`` and ``qf_target_next_probs`` (..., A, K).
        """
        set_noise(self._noisy, True)
        set_noise(self._target_noisy, True)
        if Columns.SEQ_LENS in batch:
            out, online, target = self._sequence_values(batch)
        else:
            out = self.compute_q_values(batch)
            following = {**batch, **{name: batch[NEW + name] for name in self.input_columns}}
            with torch.no_grad():
                online = self.compute_q_values(following) if self.double_q else {}
                target = self.forward_target(following)
        set_noise(self._noisy, False)
        set_noise(self._target_noisy, False)
        if self.double_q:
            out[QF_NEXT_PREDS] = online[QF_PREDS]
        out[QF_TARGET_NEXT_PREDS] = target[QF_PREDS]
        if self.num_atoms > 1:
            out[QF_TARGET_NEXT_PROBS] = target[QF_PROBS]
        return out

    def _sequence_values(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], ...]:
        """Q values of sequences (B, L, ...), and, of the steps that follow, the online and the target networks'.

        Each network passes once over all L + 1 observations: what follows step t stands n steps further on, with the
        recurrent state that the steps between have led to.
        """
        whole = {
            name: with_successor(batch[name], batch[NEW + name], batch[Columns.SEQ_LENS]) for name in self.input_columns
        }
        whole[Columns.STATE_IN] = batch[Columns.STATE_IN]
        n_step = batch[N_STEP]
        follow = torch.arange(n_step.shape[1], device=n_step.device) + n_step
        values = self.compute_q_values(whole)
        with torch.no_grad():
            target = self.forward_target(whole)
        per_step = [name for name in values if name != ATOMS]
        out = {name: value[:, :-1] if name in per_step else value for name, value in values.items()}
        online = {name: at_steps(values[name].detach(), follow) for name in per_step}
        return out, online, {name: at_steps(target[name], follow) for name in per_step}


DQNRLModule = DQNTorchRLModule
