"""Saves in a loop until it is killed; the fault tests run it as their own process.

It reads requests from standard input, one JSON list ``[path, mode, output file]`` a line, forks a child for each and
prints the child's process id. The child saves to the path and writes a line to the output file after each save.
Modes: "" saves for ever, "once" once; a number is a limit on file sizes in bytes, "drop" gives up root; these two
save once. Every save holds one number in all its arrays.
"""

import itertools
import json
import os
import resource
import signal
import sys

import numpy as np
import torch

from rlkit_core.checkpoint import Checkpointable
from rlkit_core.errors import CheckpointError


class Part(Checkpointable):
    """An array and a counter that must always agree."""

    def __init__(self, count=0):
        self.count = count

    def get_state(self, components=None, *, not_components=None, **kwargs):
        return {"count": self.count, "array": np.full(20_000, self.count)}

    def set_state(self, state):
        assert (state["array"] == state["count"]).all()
        self.count = state["count"]

    def get_ctor_args_and_kwargs(self):
        return (), {"count": self.count}


class Whole(Part):
    """Two parts that must agree, too."""

    def __init__(self, count=0):
        super().__init__(count)
        self.parts = {"a": Part(count), "b": Part(count)}

    def get_checkpointable_components(self):
        return list(self.parts.items())


def save(path, mode, output):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open(output, "w") as log:
        if mode == "drop" and os.geteuid() == 0:
            os.setuid(65534)  # permissions do not bind root
        for count in itertools.count(1):
            if mode.isdigit():
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(mode), limits[1]))
            try:
                Whole(count).save_to_path(path)
                line = "saved"
            except CheckpointError as error:
                line = f"refused: {error}"
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            print(line, file=log, flush=True)
            if mode:
                return


def main():
    torch.set_num_threads(1)
    Whole().snapshot()  # import and scan once, before the first fork
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # dead children vanish at once
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                save(*json.loads(line))
            finally:
                os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
