"""Writes ``fixtures/rlax_vtrace.json``: random arrays, and what rlax makes of them. Needs rlax; run it with a path."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

#: ``(clip_rho, clip_pg_rho)``; rlax clips c at 1.
CLIPS = ((1.0, 1.0), (2.0, 0.5), (0.8, 3.0))


def rlax_vtrace(x: dict[str, Any], clip_rho: float, clip_pg_rho: float) -> tuple[Any, Any]:
    """``vs`` and advantages, ``[T, N]``."""
    import jax
    import rlax

    def one_env(values: Any, bootstrap: Any, rewards: Any, discounts: Any, rho: Any) -> Any:
        following = jax.numpy.append(values[1:], bootstrap)
        out = rlax.vtrace_td_error_and_advantage(values, following, rewards, discounts, rho, 1.0, clip_rho, clip_pg_rho)
        return out.errors + values, out.pg_advantage

    rho = np.exp(x["target_logp"] - x["behaviour_logp"])
    columns = (x["values"], x["bootstrap_value"], x["rewards"], x["discounts"], rho)
    vs, advantages = jax.vmap(one_env, in_axes=(1, 0, 1, 1, 1), out_axes=1)(*columns)
    return np.asarray(vs), np.asarray(advantages)


def inputs(seed: int) -> dict[str, Any]:
    """Experience of 3 envs, 10 steps, with terminations."""
    rng = np.random.default_rng(seed)
    shape = (10, 3)
    return {
        "behaviour_logp": rng.normal(size=shape) * 0.7 - 1.0,
        "target_logp": rng.normal(size=shape) * 0.7 - 1.0,
        "rewards": rng.normal(size=shape),
        "values": rng.normal(size=shape),
        "bootstrap_value": rng.normal(size=3),
        "discounts": 0.95 * (rng.random(shape) >= 0.15),
    }


def main(path: str) -> None:
    import jax
    import rlax

    jax.config.update("jax_enable_x64", True)
    x = inputs(7)
    arrays: dict[str, Any] = {key: value.round(12).tolist() for key, value in x.items()}
    rounded = {key: np.asarray(value) for key, value in arrays.items()}
    found = [[a.round(12).tolist() for a in rlax_vtrace(rounded, *clips)] for clips in CLIPS]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"rlax": rlax.__version__, "jax": jax.__version__, **arrays, "found": found}, file)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
