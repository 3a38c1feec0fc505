"""A checkpoint survives a killed writer, a full disk, missing permission and damaged files."""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from rlkit_core.checkpoint import files
from rlkit_core.errors import CheckpointError

SAVER = Path(__file__).with_name("saver.py")


@pytest.fixture(scope="module")
def saver():
    spec = importlib.util.spec_from_file_location("rlkit_test_saver", SAVER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Child:
    """One process that saves."""

    def __init__(self, pid, output):
        self.pid, self.output = pid, output

    def lines(self):
        return self.output.read_text().splitlines() if self.output.exists() else []

    def alive(self):
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def wait(self, until=lambda: False):
        deadline = time.monotonic() + 60
        while self.alive() and not until():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def kill(self):
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
        self.wait()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """``start(path, mode) -> Child``; a process that has imported everything already is forked for each."""
    outputs = tmp_path_factory.mktemp("outputs")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SAVER)]
    children = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as server:

        def start_one(path, mode=""):
            output = outputs / f"{len(children)}"
            server.stdin.write(json.dumps([str(path), str(mode), str(output)]) + "\n")
            server.stdin.flush()
            children.append(Child(int(server.stdout.readline()), output))
            return children[-1]

        yield start_one
        for child in children:
            child.kill()
        server.stdin.close()


def load(saver, path):
    whole = saver.Whole.from_checkpoint(path, classes=[saver.Whole])
    assert {part.count for part in whole.parts.values()} == {whole.count}
    return whole.count


def names(directory):
    return sorted(p.name for p in directory.iterdir())


def test_a_writer_killed_at_any_moment_leaves_a_checkpoint(saver, start, tmp_path):
    path = tmp_path / "ckpt"
    chance = random.Random(0)
    for _ in range(12):
        child = start(path)
        saves = chance.randint(1, 3)
        child.wait(until=lambda child=child, saves=saves: len(child.lines()) >= saves)
        time.sleep(chance.uniform(0, 0.02))
        child.kill()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the previous one is as good
            last = load(saver, path)
        assert last in (len(child.lines()), len(child.lines()) + 1)
    saver.Whole(last).save_to_path(path)  # the next save clears what the dead ones left
    assert names(tmp_path) == ["ckpt"]


STEPS = ["mkdir", "fsync", "rename"]


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_every_single_step(saver, tmp_path, monkeypatch, step):
    """Stop the save at the n-th call of each primitive, for every n, as a kill would: no clean-up runs."""

    class Killed(BaseException):
        pass

    original = getattr(os, step)
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: None)  # a dead process cleans nothing up
    for n in range(1, 100):
        path = tmp_path / str(n) / "ckpt"
        saver.Whole(1).save_to_path(path)
        calls = 0

        def counted(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls >= n:  # and nothing works any more
                raise Killed
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, step, counted)
            try:
                saver.Whole(2).save_to_path(path)
            except Killed:
                died = True
            else:
                died = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert load(saver, path) in (1, 2)
        if not died:
            assert load(saver, path) == 2
            break
    assert n > 2
    assert not died


def test_the_old_checkpoint_is_the_fallback(saver, tmp_path):
    path = tmp_path / "ckpt"
    saver.Whole(3).save_to_path(path)
    os.rename(path, tmp_path / "ckpt.old")
    with pytest.warns(UserWarning, match=r"interrupted save.*ckpt\.old"):
        assert load(saver, path) == 3
    with pytest.warns(UserWarning, match="interrupted save"):
        assert saver.Part.from_checkpoint(path / "a", classes=[saver.Part]).count == 3
    saver.Whole(4).save_to_path(path)
    assert names(tmp_path) == ["ckpt"]
    assert load(saver, path) == 4


def test_leftovers_of_dead_writers_go_and_those_of_live_ones_stay(saver, start, tmp_path):
    dead = start(tmp_path / "x", "once")
    dead.wait()
    host = files._host()
    gone = [f".ckpt.new-{host}-{dead.pid}-ab", f".ckpt.gone-{host}-{dead.pid}-ab"]
    stay = [
        f".ckpt.new-{host}-{os.getpid()}-ab",
        f".ckpt.new-elsewhere-{dead.pid}-ab",
        f".other.new-{host}-{dead.pid}-ab",
    ]
    for name in gone + stay:
        (tmp_path / name).mkdir()
    saver.Whole(1).save_to_path(tmp_path / "ckpt")
    assert names(tmp_path) == sorted([*stay, "ckpt", "x"])


def test_a_full_disk_leaves_the_old_checkpoint(saver, start, tmp_path):
    path = tmp_path / "ckpt"
    saver.Whole(7).save_to_path(path)
    for limit in (100, 50_000):  # the first breaks the JSON, the second the arrays
        child = start(path, limit)
        child.wait()
        (line,) = child.lines()
        assert line.startswith("refused: cannot write the checkpoint")
        assert "File too large" in line
        assert load(saver, path) == 7
        assert names(tmp_path) == ["ckpt"]


def test_missing_permission(saver, start, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    path = place / "ckpt"
    saver.Whole(1).save_to_path(path)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent.stat().st_mode & 0o777 == 0o700:
            parent.chmod(0o755)
    place.chmod(0o555)
    try:
        child = start(path, "drop")
        child.wait()
    finally:
        place.chmod(0o755)
    (line,) = child.lines()
    assert line.startswith("refused: cannot write the checkpoint")
    assert "Permission denied" in line
    assert load(saver, path) == 1


def test_an_error_while_writing_leaves_nothing_behind(saver, tmp_path, monkeypatch):
    path = tmp_path / "ckpt"
    saver.Whole(1).save_to_path(path)

    write = files.write_bytes

    def broken(path, data):
        if path.name == "metadata.json":
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(files, "write_bytes", broken)
    with pytest.raises(KeyboardInterrupt):
        saver.Whole(2).save_to_path(path)
    assert names(tmp_path) == ["ckpt"]
    assert load(saver, path) == 1


def test_a_failing_second_rename_is_taken_back(saver, tmp_path, monkeypatch):
    path = tmp_path / "ckpt"
    saver.Whole(1).save_to_path(path)
    rename = os.rename

    def fail_once(source, target):
        if Path(target) == path and ".new-" in str(source):
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(CheckpointError, match="cannot write"):
        saver.Whole(2).save_to_path(path)
    assert names(tmp_path) == ["ckpt"]
    assert load(saver, path) == 1


def test_reading_while_another_process_saves(saver, start, tmp_path):
    path = tmp_path / "ckpt"
    child = start(path)
    child.wait(until=child.lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # between the two renames it is the old one
        counts = [load(saver, path)]
        deadline = time.monotonic() + 60
        while len(counts) < 20 or counts[-1] == counts[0]:
            counts.append(load(saver, path))
            assert time.monotonic() < deadline
    assert child.alive()
    child.kill()
    assert counts == sorted(counts)


CONTENT = ["class_and_ctor_args.json", "state.json", "state.safetensors", "metadata.json"]


@pytest.mark.parametrize("place", ["", "b"])
@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "longer", "emptied", "removed", "link", "directory"])
def test_every_damaged_file_is_named(saver, tmp_path, place, name, damage):
    path = tmp_path / "ckpt"
    saver.Whole(5).save_to_path(path)
    file = path / place / name
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[:-3])
    elif damage == "flipped":
        middle = len(content) // 2 if name != "metadata.json" else 0
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "longer":
        file.write_bytes(content + b"\0")
    elif damage == "emptied":
        file.write_bytes(b"")
    else:
        file.unlink()
        if damage == "link":
            (tmp_path / "elsewhere").write_bytes(content)
            file.symlink_to(tmp_path / "elsewhere")
        elif damage == "directory":
            file.mkdir()
    target = saver.Whole(7)
    with pytest.raises(CheckpointError) as caught:
        target.restore_from_path(path)
    assert name in str(caught.value)
    assert target.count == target.parts["a"].count == 7  # nothing was changed


def test_a_format_of_the_future_says_upgrade(saver, tmp_path):
    path = Path(saver.Whole(1).save_to_path(tmp_path / "ckpt"))
    metadata = json.loads((path / "metadata.json").read_text())
    (path / "metadata.json").write_text(json.dumps({**metadata, "format_version": 2, "rlkit_core_version": "9.9"}))
    with pytest.raises(CheckpointError, match=r"format 2.*reads up to 1.*rlkit-core 9\.9.*--upgrade"):
        load(saver, path)
