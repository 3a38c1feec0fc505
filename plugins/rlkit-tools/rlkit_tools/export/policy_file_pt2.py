"""How a ``.pt2`` is loaded in the ``policy.py`` beside it; the rest is that of ``policy_file.py``."""

from typing import Any


def load(path: str) -> Any:
    """A function from named arrays to the list of what the graph gives; needs torch."""
    import torch

    module = torch.export.load(path).module()
    return lambda feed: [x.detach().numpy() for x in module(*(torch.tensor(x) for x in feed.values()))]
