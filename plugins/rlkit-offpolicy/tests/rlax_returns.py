"""Writes ``fixtures/rlax_returns.json``: random arrays, and what rlax makes of them. Needs rlax; run it with a path."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np


def rlax_returns(r_t: Any, discount_t: Any, v_t: Any, n: int) -> Any:
    import jax
    import rlax

    def one_env(r: Any, d: Any, v: Any) -> Any:
        return rlax.n_step_bootstrapped_returns(r, d, v, n)

    return np.asarray(jax.vmap(one_env, in_axes=1, out_axes=1)(r_t, discount_t, v_t))


def main(path: str) -> None:
    """Rewards, discounts with and without ends, values."""
    import jax
    import rlax

    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(7)
    x = {
        "n": 3,
        "r_t": rng.normal(size=(9, 4)),
        "discount_t": 0.9 * (rng.random((9, 4)) >= 0.2),
        "v_t": rng.normal(size=(9, 4)),
    }
    found = {"returns": rlax_returns(x["r_t"], x["discount_t"], x["v_t"], 3)}
    arrays = {key: np.asarray(value).round(12).tolist() for key, value in {**x, **found}.items()}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"rlax": rlax.__version__, "jax": jax.__version__, **arrays}, file)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
