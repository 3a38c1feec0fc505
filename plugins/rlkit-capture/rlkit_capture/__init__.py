"""Recorded gradient steps for rlkit: replayed on the CPU, CUDA graphs on a GPU, compiled by torch's inductor.

Installed, it supplies the step engines ``capture`` and ``inductor``, and what ``learners(compile="auto")`` means.
"""

from __future__ import annotations

__version__ = "0.1.0"
