"""Writes ``fixtures/rlax.json``: random arrays, and what rlax makes of them. Needs rlax; run it with a path."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np


def rlax_projection(z_p: Any, probs: Any, z_q: Any) -> Any:
    import jax
    import rlax

    return np.asarray(jax.vmap(rlax.categorical_l2_project, in_axes=(0, 0, None))(z_p, probs, z_q))


def inputs(seed: int) -> dict[str, Any]:
    """Atoms on the support, beside it, outside of it and all in one place."""
    rng = np.random.default_rng(seed)
    z_q = np.linspace(-2.0, 3.0, 11)
    z_p = rng.normal(0.0, 2.5, (6, 11))
    z_p[0], z_p[1], z_p[2], z_p[3] = z_q, z_q[::-1], 0.73, z_p[3].round()
    return {
        "z_p": z_p,
        "probs": rng.dirichlet(np.ones(11), 6),
        "z_q": z_q,
        "z_uneven": np.array([-2.0, -1.5, -0.2, 0.1, 1.4, 3.0]),
    }


def main(path: str) -> None:
    import jax
    import rlax

    jax.config.update("jax_enable_x64", True)
    x = inputs(7)
    found = {
        "projected": rlax_projection(x["z_p"], x["probs"], x["z_q"]),
        "projected_uneven": rlax_projection(x["z_p"], x["probs"], x["z_uneven"]),
    }
    arrays = {key: np.asarray(value).round(12).tolist() for key, value in {**x, **found}.items()}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"rlax": rlax.__version__, "jax": jax.__version__, **arrays}, file)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
