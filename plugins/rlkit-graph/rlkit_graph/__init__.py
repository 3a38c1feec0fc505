"""Graph observations for rlkit, in plain PyTorch.

Installed, its encoder serves gymnasium's ``Graph`` observations, which the core leaves to plugins, and
``rlkit-graph/OpenDoor-v0`` is an env that needs it. The parts are where they are used by name:

* ``rlkit_graph.encoder``: ``GraphEncoderConfig``, the component ``rlkit-graph/message-passing``;
* ``rlkit_graph.catalog``: ``GraphCatalog``, the catalog ``rlkit-graph``;
* ``rlkit_graph.envs``: ``OpenDoor``.
"""

from __future__ import annotations

__version__ = "0.1.0"
