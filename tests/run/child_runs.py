"""Runs in processes of their own that are ready at once: this one has imported everything, and forks for each.

It reads requests from standard input, one JSON object a line, and answers each with a line:

- ``{"args": [...], "faults": [[name, value], ...], "stdout": file, "stderr": file}``: fork a child that is
  ``rlkit ARGS``, after the functions below of these names; the answer is its process id. A stream is a path,
  None for a closed one.
- ``{"wait": pid}``: wait for a child; the answer is its exit code, or minus the signal that killed it.
"""

import errno
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import torch

from actor_critic import AC
from rlkit_core.checkpoint import arrays, files
from rlkit_core.cli import main
from rlkit_core.cli.train import train  # noqa: F401 - imported once, here
from rlkit_core.run import keeper, run, signals  # noqa: F401


class Marked(gym.Wrapper):
    """An env that says by a file that it has come to a step, and hangs there, or goes on."""

    def __init__(self, env, mark, at, hangs):
        super().__init__(env)
        self.mark, self.left, self.hangs = Path(mark), at, hangs

    def step(self, action):
        self.left -= 1
        if self.left == 0:
            self.mark.touch()
            if self.hangs:
                time.sleep(600)
        return super().step(action)


def hanging(mark):
    """An env that hangs in its 200th step."""
    gym.register("Hanging-v0", lambda: Marked(gym.make("CartPole-v1"), mark, 200, True))


def slow_save(mark):
    """Each save lasts a second, and says when it has begun."""
    write = files.write_bytes

    def slow(path, data):
        if path.name == "class_and_ctor_args.json" and path.parent.name.startswith("."):
            Path(mark).touch()
            time.sleep(1.0)
        return write(path, data)

    files.write_bytes = slow


def full(folder_and_file):
    """Files below a folder take nothing as long as another file exists."""
    folder, switch = folder_and_file
    write_bytes, write_tensors = files.write_bytes, arrays.write_tensors

    def check(path):
        if str(path).startswith(folder) and os.path.exists(switch):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def bytes_(path, data):
        check(path)
        return write_bytes(path, data)

    def tensors(path, *of):
        check(path)
        return write_tensors(path, *of)

    files.write_bytes, arrays.write_tensors = bytes_, tensors


def limited(size):
    """A file of results takes so many bytes, in the first place where it is."""
    write, first = os.write, []

    def limited_write(descriptor, data):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.endswith("results.jsonl"):
            first.append(path)
            if path == first[0] and os.fstat(descriptor).st_size + len(data) > size:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return write(descriptor, data)

    os.write = limited_write


def failing(at):
    """Training raises in an iteration."""
    step = AC.training_step

    def fail(self):
        if self.iteration == at:
            raise ZeroDivisionError("in training")
        step(self)

    AC.training_step = fail


def unsavable(at):
    """The algorithm cannot say its state in an iteration."""
    get = AC.get_state

    def fail(self, *args, **kwargs):
        if self.iteration == at:
            raise LookupError("no state")
        return get(self, *args, **kwargs)

    AC.get_state = fail


def poisoned(at):
    """The weights are no numbers any more in an iteration."""
    step = AC.training_step

    def poison(self):
        if self.iteration == at:
            with torch.no_grad():
                for parameter in self.learner_group.learner.module["default_policy"].parameters():
                    parameter.fill_(float("nan"))
        step(self)

    AC.training_step = poison


def killed_at(iteration):
    """The process is killed inside of the iteration after this one."""
    step = AC.training_step

    def die(self):
        if self.iteration == iteration:
            os.kill(os.getpid(), signal.SIGKILL)
        step(self)

    AC.training_step = die


def grace(seconds):
    """A signal waits so long."""
    signals.Signals.__init__.__defaults__ = (seconds,)


def paused(folder):
    """Each iteration lasts a little."""
    step = AC.training_step

    def slowly(self):
        time.sleep(0.02)
        step(self)

    AC.training_step = slowly


def stream(number, path):
    if path is None:
        os.close(number)
        setattr(sys, {1: "stdout", 2: "stderr"}[number], None)
        return
    how = os.O_RDWR if path.startswith("/dev/pts") else os.O_WRONLY  # a terminal becomes that of the session
    opened = os.open(path, how | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(opened, number)
    os.close(opened)


def child(request):
    os.setsid()
    tempfile.tempdir = request["tmp"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream(1, request["stdout"])
    stream(2, request["stderr"])
    for name, value in request.get("faults", []):
        globals()[name](value)
    code = 0
    try:
        main(request["args"])
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    try:
        for one in (sys.stdout, sys.stderr):
            if one is not None:
                one.flush()
    except OSError:
        code = 120  # as Python ends
    os._exit(code)


def wait(pid):
    deadline = time.monotonic() + 100
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(found[1])


def serve():
    torch.set_num_threads(1)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may run under nohup, which runs would rightly respect
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = wait(request["wait"])
        else:
            answer = os.fork()
            if answer == 0:
                child(request)
        print(answer, flush=True)


if __name__ == "__main__":
    serve()
