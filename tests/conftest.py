"""The core's tests need the core alone; where that is all there is, those of the whole workspace are left out."""

from __future__ import annotations

import importlib.util

collect_ignore = [] if importlib.util.find_spec("rlkit_ppo") else ["benchmarks", "docs", "exact", "matrix"]
