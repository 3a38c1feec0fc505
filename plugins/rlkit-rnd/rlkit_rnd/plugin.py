"""What this distribution registers: one API mixin, by strings, so that reading the record imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rlkit_core import ModuleAPI, hookimpl
from rlkit_core.settings import integer, number, setting

rlkit_api = "1.0"


def widths(value: Any) -> list[int]:
    """Check widths of layers."""
    if not isinstance(value, list | tuple) or not all(isinstance(n, int) and n > 0 for n in value):
        raise ValueError("expected a list of positive integers, such as [64, 64]")
    return list(value)


#: Of what the driver reads, for modules that say themselves what is new: these are given no defaults.
DEFAULTS = {"rnd_coeff": 0.1, "rnd_gamma": 0.99, "rnd_loss_coeff": 1.0}

SETTINGS = {
    "rnd_coeff": setting(DEFAULTS["rnd_coeff"], help="Reward for what is as new as usual.", converter=number(ge=0)),
    "rnd_gamma": setting(
        DEFAULTS["rnd_gamma"], help="Discount of the returns that novelty is scaled by.", converter=number(ge=0, le=1)
    ),
    "rnd_loss_coeff": setting(
        DEFAULTS["rnd_loss_coeff"], help="Weight of the predictor's loss.", converter=number(ge=0)
    ),
    "rnd_obs_clip": setting(5.0, help="Bound of what both networks see.", converter=number(gt=0)),
    "rnd_features": setting(64, help="Numbers to predict.", converter=integer(ge=1)),
    "rnd_fcnet_hiddens": setting([128], help="Widths of the hidden layers of both networks.", converter=widths),
}


@hookimpl
def rlkit_module_apis() -> Iterable[ModuleAPI]:
    """The mixin, its driver, and an implementation that goes onto any module with a catalog."""
    mixin, driver, implementation = "rlkit_rnd.api:NoveltyAPI", "rlkit_rnd.driver:NoveltyDriver", "rlkit_rnd.api:RND"
    return [ModuleAPI("rnd", mixin, driver, implementation=implementation, settings=SETTINGS)]
