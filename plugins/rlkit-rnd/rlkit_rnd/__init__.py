"""Random network distillation for rlkit: rewards for what is new, with any algorithm.

Installed, it supplies the API mixin ``rlkit-rnd/rnd``, and ``rlkit-rnd/Uphill-v0``, an env that nobody learns
without exploring. The parts are where they are used by name:

* ``rlkit_rnd.api``: ``NoveltyAPI``, the contract, and ``RND``, which implements it;
* ``rlkit_rnd.driver``: ``NoveltyDriver``, what learners do for modules with a novelty;
* ``rlkit_rnd.envs``: ``Uphill``.
"""

from __future__ import annotations

__version__ = "0.1.0"
