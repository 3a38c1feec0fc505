"""Acts with the exported policy beside this file; needs numpy and onnxruntime."""

import json
from pathlib import Path
from typing import Any

import numpy as np


class Policy:
    """``action = policy(observation)``; call ``reset()`` when an episode begins."""

    def __init__(self) -> None:
        path = Path(__file__).with_suffix(".json")
        self.about = json.loads(path.read_text(encoding="utf-8"))
        self.run = load(str(path.with_name(self.about["file"])))
        self.reset()

    def reset(self) -> None:
        """Forget the episode before."""
        self.state = {s["input"]: np.full([1, *s["shape"]], s["initial"], s["dtype"]) for s in self.about["state"]}

    def __call__(self, observation: Any, reward: float = 0.0) -> Any:
        """The action, in the env's units; ``reward`` followed the last one, and counts where ``inputs`` names it."""
        feed = {}
        for leaf in self.about["inputs"]:
            value: Any = reward if leaf["path"] is None else observation
            for key in leaf["path"] or ():
                value = value[key]
            feed[leaf["name"]] = np.asarray(value, leaf["dtype"]).reshape(1, *leaf["shape"])
        out = dict(zip(self.about["outputs"], self.run({**feed, **self.state}), strict=True))
        self.state = {s["input"]: out[s["output"]] for s in self.about["state"]}
        return nested(self.about["action"], out)


def nested(layout: Any, out: dict[str, Any]) -> Any:
    """Arrays in the structure of the action."""
    if isinstance(layout, dict):
        return {key: nested(part, out) for key, part in layout.items()}
    return out[layout][0] if isinstance(layout, str) else tuple(nested(part, out) for part in layout)


def load(path: str) -> Any:
    """A function from named arrays to the list of what the graph gives."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one observation at a time is quicker so
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)
