"""Hypothesis strategies for spaces of gymnasium: of every kind that has arrays, in any nesting."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces as S
from hypothesis import strategies as st


def _composed(children):
    return st.one_of(
        st.dictionaries(st.sampled_from("abc"), children, min_size=1, max_size=3).map(S.Dict),
        st.lists(children, min_size=1, max_size=3).map(S.Tuple),
    )


LEAVES = st.one_of(
    st.builds(S.Discrete, st.integers(1, 5), start=st.integers(-2, 2)),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(S.MultiDiscrete),
    st.lists(st.integers(1, 3), min_size=1, max_size=2).map(S.MultiBinary),
    st.builds(
        lambda shape, dtype: S.Box(-3, 3, tuple(shape), dtype),
        st.lists(st.integers(1, 3), max_size=4),
        st.sampled_from([np.float32, np.float64, np.int8, np.int64]),
    ),
)


def any_space(max_leaves: int) -> st.SearchStrategy[S.Space]:
    """Leaves, and Dict and Tuple spaces of them."""
    return st.recursive(LEAVES, _composed, max_leaves=max_leaves)
