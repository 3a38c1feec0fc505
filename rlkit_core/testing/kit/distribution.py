"""What every action distribution keeps, as tests that anybody's distribution can be run through."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from attrs import define
from gymnasium import spaces
from torch import Tensor

from rlkit_core.catalog import ActorCriticCatalog, make_catalog
from rlkit_core.data.nested import Nested, leaves, map_leaves
from rlkit_core.errors import ConfigError
from rlkit_core.plugins.records import ComponentRequest
from rlkit_core.rl_module.deploy import to_numpy
from rlkit_core.spaces import describe, sub_spaces
from rlkit_core.testing.kit.component import ActionComponentContract
from rlkit_core.testing.kit.contract import doing, require, seeded, skip
from rlkit_core.testing.kit.examples import ROWS, SMALL, Space

OBSERVATIONS = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
LEADS = ((1,), (ROWS,), (ROWS, 3))
"""Leading axes that distributions are made with: of batches, and of sequences."""
DRAWS = 64
"""Of a masked distribution, of which none may be illegal."""
MOST = 64
"""Actions that are counted one by one."""
MANY, BINS = 20_000, 10
"""Draws that a density is held against, and parts of their range, each with as many of them."""


@define
class Made:
    """The class chosen for one action space, and how wide its inputs are."""

    label: str
    space: Space
    cls: Any
    width: int

    def logits(self, lead: tuple[int, ...] = (ROWS,)) -> Tensor:
        """Inputs, the same ones every time."""
        return torch.randn(*lead, self.width, generator=torch.Generator().manual_seed(0))

    def of(self, logits: Tensor) -> Any:
        """A distribution."""
        with doing(f"{self.label}: from_logits() of shape {tuple(logits.shape)}", "take any leading axes"):
            return self.cls.from_logits(logits)

    def asking(self, what: str) -> AbstractContextManager[None]:
        """Around a call of one of its methods."""
        return doing(f"{self.label}: {what}", "see rlkit_core.Distribution for what it has to give")


class DistributionContract(ActionComponentContract):
    """What every action distribution keeps.

    Attributes are those of :class:`EncoderContract`; ``spaces`` are action spaces.
    """

    about = "distribution"
    kind: ClassVar[str] = "distribution"

    def requests(self, space: Space) -> Any:
        """As a catalog asks."""
        yield ComponentRequest("distribution", "pi", (), space, space, self.settings)

    def make(self, space: Space, settings: Mapping[str, Any]) -> object:
        """What it reads to say how wide it is."""
        cls = self.target
        if hasattr(cls, "for_space") and sub_spaces(space) is None:
            cls = cls.for_space(space, settings, None)
        return cls.required_input_dim(space, settings)

    @functools.cached_property
    def made(self) -> list[Made]:
        """One for each space; without those of the kit's own that it refuses."""
        return [one for one in self._chosen if isinstance(one, Made)]

    @functools.cached_property
    def _chosen(self) -> list[Made | ConfigError]:
        """One for each space, or how it refuses that."""
        found: list[Made | ConfigError] = []
        for space in self.served:
            label = f"{self.name} for {describe(space)}"
            fix = "serve the space, or narrow the record: Component(..., when=lambda request: ...), other spaces"
            with doing(f"{label}: required_input_dim()", fix):
                try:
                    cls, width = self._choose(space)
                except ConfigError as refusal:
                    if self.spaces:
                        raise
                    found.append(refusal)
                    continue
            require(
                isinstance(width, int) and width > 0,
                f"{label}: required_input_dim() gave {width!r}, expected a positive int",
                "return the number of inputs that from_logits() takes for the space",
            )
            found.append(Made(label, space, cls, width))
        return found

    def _choose(self, space: Space) -> tuple[Any, Any]:
        """The class for an action space as a module gets it, and how wide its inputs are."""
        catalog = make_catalog(
            catalog_class=ActorCriticCatalog,
            own_class=None,
            catalogs=(),
            components={"distribution": self.record.record},
            observation_space=OBSERVATIONS,
            action_space=space,
            model_config={**SMALL, **self.model_config},
        )
        cls = catalog.get_action_dist_cls()
        return cls, cls.required_input_dim(space, catalog.distribution_settings())

    def test_what_it_refuses_is_not_all(self) -> None:
        """A space of a declared class may be refused by a ConfigError, which says why; not every one."""
        refusals = [one for one in self._chosen if isinstance(one, ConfigError)]
        require(
            self.made or not refusals,
            f"{self.name} refuses every space of the classes that it declares: {refusals and refusals[0]}",
            "declare the spaces that it serves: Component(..., spaces=[...])",
        )
        if refusals:
            skip(f"spaces that {self.name} refuses: {'; '.join(map(str, refusals))}")

    def test_actions_have_the_shape_of_the_space(self) -> None:
        """Whatever the leading axes, samples are as ``action_shape_dtype`` says, and have no gradients."""
        for one in self.made:
            with one.asking("action_shape_dtype()"):
                shapes = list(_layouts(one.cls.action_shape_dtype(one.space)))
            for lead in LEADS:
                dist = one.of(one.logits(lead).requires_grad_())
                with one.asking("sample()"):
                    actions = list(leaves(dist.sample()))
                seen = [tuple(action.shape) for action in actions]
                require(
                    seen == [(*lead, *shape) for shape, _ in shapes],
                    f"{one.label}: samples of a batch {lead} have shapes {seen}, and action_shape_dtype() says "
                    f"{[shape for shape, _ in shapes]} for one",
                    "return samples (*lead, *shape), flat for a Box, or override action_shape_dtype() and to_env()",
                )
                kinds = [to_numpy(action).dtype.kind for action in actions]
                require(
                    all(kind == np.dtype(dtype).kind for kind, (_, dtype) in zip(kinds, shapes, strict=True)),
                    f"{one.label}: samples have kinds {kinds}, and action_shape_dtype() says {shapes}",
                    "let both agree: what is stored is of that dtype",
                )
                require(
                    not any(action.requires_grad for action in actions),
                    f"{one.label}: sample() lets gradients through",
                    "draw under torch.no_grad(), and leave gradients to rsample()",
                )

    def test_log_probabilities(self) -> None:
        """One finite number for each action, with gradients to the inputs; those of all actions sum to 1."""
        for one in self.made:
            for lead in LEADS:
                logits = one.logits(lead).requires_grad_()
                dist = one.of(logits)
                with one.asking("logp()"):
                    logp = dist.logp(dist.sample())
                require(
                    tuple(logp.shape) == lead and bool(torch.isfinite(logp).all()),
                    f"{one.label}: logp() of a batch {lead} has shape {tuple(logp.shape)}, or is not finite",
                    "sum over the parts of an action; a leading shape and nothing else is left",
                )
                require(logp.requires_grad, f"{one.label}: logp() has no gradient", "compute it from the inputs")
                logp.sum().backward()
                require(
                    logits.grad is not None and bool(torch.isfinite(logits.grad).all()),
                    f"{one.label}: the gradient of logp() is not finite, or does not reach the inputs",
                    "clamp what is divided by or exponentiated",
                )
            every = all_actions(one.space)
            if every is not None:
                dist = one.of(one.logits((1,)).expand(len(every), -1))
                with one.asking("logp() of every action"):
                    total = float(dist.logp(every).exp().sum())
                require(
                    abs(total - 1) < 1e-3,
                    f"{one.label}: the probabilities of all {len(every)} actions sum to {total:.4g}, not to 1",
                    "normalise them: torch.log_softmax() of the logits",
                )

    def test_densities(self) -> None:
        """Where actions are one number, the density integrates to 1, and to the share of draws wherever they are."""
        for one in self.made:
            if not isinstance(one.space, spaces.Box) or np.prod(one.space.shape) != 1:
                continue
            drawn = self._draws(one)
            if len(set(drawn.flatten().tolist())) < MANY // 2:
                continue  # few actions, whose probabilities these are
            edges = torch.quantile(drawn.flatten(), torch.linspace(0.01, 0.99, BINS + 1))
            points = torch.stack([torch.linspace(float(a), float(b), 257) for a, b in itertools.pairwise(edges)])
            with one.asking("logp() of actions in the range of its draws"):
                dist = one.of(one.logits((1,)).expand(points.numel(), -1))
                density = dist.logp(points.reshape(-1, *drawn.shape[1:])).detach().double().exp()
            masses = torch.trapezoid(density.reshape(points.shape), points.double())
            worst = int((masses - 0.98 / BINS).abs().argmax())
            for first, last, share, error in ((0, BINS, 0.98, 0.02), (worst, worst + 1, 0.98 / BINS, 0.02)):
                mass = float(masses[first:last].sum())
                require(
                    abs(mass - share) < error,
                    f"{one.label}: between {float(edges[first]):.4g} and {float(edges[last]):.4g} its density "
                    f"integrates to {mass:.3g}, and {share:.3g} of its draws are there",
                    "let logp() be the log-density of what sample() draws, of the same parameters, normalised; where a "
                    "draw is transformed (tanh, say), minus the log of the derivative",
                )

    def _draws(self, one: Made) -> Tensor:
        with seeded(), one.asking("sample()"):
            drawn: Tensor = one.of(one.logits((1,)).expand(MANY, -1)).sample()
        return drawn

    def test_the_seed_decides_and_the_mode_stays(self) -> None:
        """The same seed draws the same; the deterministic form draws its mode every time, as ``mode_of`` does."""
        for one in self.made:
            draws = []
            for seed in (0, 0):
                with seeded(seed), one.asking("sample()"):
                    draws.append(one.of(one.logits()).sample())
            require(
                _equal(*draws),
                f"{one.label}: samples differ although the seed is the same",
                "draw from torch's global generator, and from nothing else",
            )
            with one.asking("to_deterministic()"):
                mode = one.of(one.logits()).to_deterministic()
                modes = [mode.sample() for _ in range(2)]
            require(
                _equal(*modes),
                f"{one.label}: to_deterministic() draws something else each time",
                "return a distribution that always draws the mode: rlkit_core.distributions.Deterministic(mode)",
            )
            with one.asking("mode_of()"):
                quick = one.cls.mode_of(one.logits())
            require(
                _equal(modes[0], quick),
                f"{one.label}: mode_of() is another action than to_deterministic() draws",
                "override both, or neither",
            )

    def test_actions_reach_the_env(self) -> None:
        """``to_env`` of every action that is drawn lies in the space."""
        for one in self.made:
            with one.asking("to_env()"):
                acted = one.cls.to_env(map_leaves(to_numpy, one.of(one.logits((32,))).sample()), one.space)
            rows = [map_leaves(operator.itemgetter(n), acted) for n in range(32)]
            bad = next((row for row in rows if not one.space.contains(row)), None)
            require(
                bad is None,
                f"{one.label}: to_env() gives {bad!r}, which is not in the space",
                "scale or clip to its bounds, add its start, and cast to its dtype",
            )

    def test_entropy_and_divergence(self) -> None:
        """Where it has them: one finite number for each; no divergence from itself."""
        for one in self.made:
            dist = one.of(one.logits())
            for name, ask in (("entropy()", dist.entropy), ("kl(itself)", functools.partial(dist.kl, dist))):
                with one.asking(name):
                    value = _if_there(ask)
                if value is None:
                    continue
                require(
                    tuple(value.shape) == (ROWS,) and bool(torch.isfinite(value).all()),
                    f"{one.label}: {name} has shape {tuple(value.shape)}, or is not finite; expected ({ROWS},)",
                    "sum over the parts of an action",
                )
                require(
                    name == "entropy()" or float(value.abs().max()) < 1e-4,
                    f"{one.label}: its divergence from itself is {float(value.abs().max()):.3g}, not 0",
                    "KL(self || other) is 0 for equal inputs",
                )

    def test_noise_decides_the_draw(self) -> None:
        """Where it draws by noise that is given, the same noise gives the same action, of the usual shape."""
        for one in self.made:
            with one.asking("noise()"):
                noise = one.cls.noise((ROWS,), one.width)
            if noise is None:
                continue
            dist = one.of(one.logits())
            with one.asking("sample(noise=...)"):
                draws = [dist.sample(noise=noise) for _ in range(2)]
            usual = [tuple(x.shape) for x in leaves(dist.sample())]
            require(
                _equal(*draws) and [tuple(x.shape) for x in leaves(draws[0])] == usual,
                f"{one.label}: sample(noise=...) draws something else each time, or of another shape",
                "let the noise alone decide, or let noise_dim() return None",
            )

    def test_masks(self) -> None:
        """What a mask forbids is never drawn, and all stays finite; one that takes no masks refuses them."""
        for one in self.made:
            legal = torch.ones(ROWS, one.width, dtype=torch.bool)
            if not one.cls.supports_mask:
                try:
                    one.cls.mask_logits(one.logits(), legal)
                except ConfigError:
                    continue
                fix = "set supports_mask = True where mask_logits() takes masks; leave both out where it does not"
                require(False, f"{one.label}: supports_mask is False, and mask_logits() refuses no mask", fix)
            first = first_choices(one.space, one.width)
            if first is None:
                continue
            legal[:, first] = False
            logits = one.logits().requires_grad_()
            with one.asking("mask_logits()"):
                dist = one.of(one.cls.mask_logits(logits, legal))
            with seeded():
                drawn = torch.stack([dist.sample() for _ in range(DRAWS)])
            forbidden = drawn != 0 if isinstance(one.space, spaces.MultiBinary) else drawn == 0
            if isinstance(one.space, spaces.MultiBinary):
                forbidden = forbidden[..., first]
            require(
                not bool(forbidden.any()),
                f"{one.label}: it draws actions that mask_logits() forbids",
                "give forbidden logits the lowest finite number, and use them in sample()",
            )
            total = dist.logp(drawn[0]).sum() + _if_there(dist.entropy, torch.zeros(())).sum()
            total.backward()
            require(
                bool(torch.isfinite(total)) and logits.grad is not None and bool(torch.isfinite(logits.grad).all()),
                f"{one.label}: under a mask, logp, entropy or their gradients are not finite",
                "mask with the lowest finite number (torch.finfo(dtype).min), not with -inf",
            )


def _if_there(ask: Callable[[], Any], otherwise: Tensor | None = None) -> Any:
    """What a method gives that not every distribution has."""
    try:
        return ask()
    except NotImplementedError:
        return otherwise


def _layouts(layout: Nested) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Each ``(shape, dtype)`` of a nested layout."""
    if isinstance(layout, Mapping):
        for part in layout.values():
            yield from _layouts(part)
    elif len(layout) == 2 and isinstance(layout[1], (np.dtype, type)):
        yield tuple(layout[0]), layout[1]
    else:
        for part in layout:
            yield from _layouts(part)


def all_actions(space: Space) -> Tensor | None:
    """Every raw action of a space, where there are few; None otherwise."""
    if isinstance(space, spaces.Discrete):
        return torch.arange(int(space.n)) if space.n <= MOST else None
    if isinstance(space, spaces.MultiDiscrete):
        sizes = [int(n) for n in space.nvec.reshape(-1)]
    elif isinstance(space, spaces.MultiBinary):
        sizes = [2] * int(np.prod(space.shape))
    else:
        return None
    if np.prod(sizes) > MOST:
        return None
    dtype = torch.int8 if isinstance(space, spaces.MultiBinary) else torch.int64
    return torch.tensor(list(itertools.product(*map(range, sizes))), dtype=dtype)


def first_choices(space: Space, width: int) -> list[int] | None:
    """Which logits stand for the first choice of each part of an action; None where that is not known."""
    if isinstance(space, spaces.Discrete):
        return [0] if width == space.n else None
    if isinstance(space, spaces.MultiDiscrete):
        sizes = [int(n) for n in space.nvec.reshape(-1)]
        return [int(n) for n in np.cumsum([0, *sizes[:-1]])] if width == sum(sizes) and min(sizes) > 1 else None
    return [0] if isinstance(space, spaces.MultiBinary) and width == np.prod(space.shape) else None


def _equal(first: Nested, second: Nested) -> bool:
    return all(torch.equal(a, b) for a, b in zip(leaves(first), leaves(second), strict=True))
