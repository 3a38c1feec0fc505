"""Which checkpoint of a run is meant, whatever state its folder is in."""

import json
import shutil
import warnings

import pytest

from rlkit_core.checkpoint import CheckpointNotFoundError
from rlkit_core.checkpoint.locate import BestCheckpoint, KeptCheckpoint, is_run, locate, read_index, run_of
from rlkit_core.errors import CheckpointError


@pytest.fixture
def run(root, tmp_path):
    """A run with checkpoints of iterations 5, 10 and 15 (the group's step says which), the best of 5, and a crash."""
    folder = tmp_path / "my run"
    for iteration in (5, 10, 15):
        root.group.step = iteration
        root.save_to_path(folder / "checkpoints" / f"{iteration:06d}")
    for name in ("best", "crash"):
        root.group.step = 5 if name == "best" else 99
        root.save_to_path(folder / name)
    rows = [
        {"path": f"checkpoints/{i:06d}", "iteration": i, "steps": 10 * i, "seconds": 0.5, "episodes": i}
        for i in (5, 15)
    ]
    best = {"path": "best", "iteration": 5, "steps": 50, "return": 7.5}
    (folder / "index.json").write_text(json.dumps({"format": 1, "checkpoints": rows, "best": best}))
    return folder


def damage(checkpoint):
    with open(next(checkpoint.glob("group/p0/*.safetensors")), "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")


def test_the_newest_and_the_best(run, toys):
    last, best = run / "checkpoints" / "000015", run / "best"
    assert (locate(run), locate(str(run), "last"), locate(run, "best")) == (last, last, best)
    assert locate(run / "checkpoints") == last
    assert locate(run / "crash") == run / "crash"
    assert locate(last / "group" / "p0") == last / "group" / "p0"
    assert [toys.Root.from_checkpoint(run, which=which).group.step for which in ("last", "best")] == [15, 5]
    other = toys.Root({"p0": 3, "p/1": 2})
    other.restore_from_path(run, which="best")
    assert other.group.step == 5


def test_a_part_of_a_run_is_loaded_by_its_path(run, toys):
    other = toys.Root({"p0": 3, "p/1": 2})
    other.restore_from_path(run, component="group", which="best")
    assert other.group.step == 5
    other.restore_from_path(run / "checkpoints" / "000010", component="group")  # of a whole checkpoint, its part
    assert other.group.step == 10
    other.restore_from_path(run, component="group/p/1")
    assert (other.group.leaves["p/1"].weight == toys.Root.from_checkpoint(run).group.leaves["p/1"].weight).all()


@pytest.mark.parametrize("how", ["flipped", "partial", "no metadata", "empty"])
def test_damaged_ones_are_passed_over_with_a_note_that_names_them(run, toys, how):
    newest = run / "checkpoints" / "000015"
    if how == "flipped":
        damage(newest)
    elif how == "partial":
        shutil.rmtree(newest / "group" / "p0")
    elif how == "no metadata":
        (newest / "metadata.json").unlink()
    else:
        shutil.rmtree(newest)
        newest.mkdir()
    with pytest.warns(UserWarning, match=r"000015 is passed over: .*"):
        assert locate(run) == run / "checkpoints" / "000010"
    with pytest.warns(UserWarning, match="000015 is passed over"):
        assert toys.Root.from_checkpoint(run).group.step == 10
    with pytest.raises(CheckpointError):
        toys.Root.from_checkpoint(newest)  # what is named itself is never replaced by another


def test_where_all_are_damaged_the_error_says_what_is_wrong_with_each(run):
    for checkpoint in (run / "checkpoints").iterdir():
        damage(checkpoint)
    with pytest.raises(CheckpointError, match=r"(?s)that can be loaded.*000015: .*SHA-256.*000005: .*SHA-256"):
        locate(run)
    damage(run / "best")
    with pytest.raises(CheckpointError, match=r"best: .*SHA-256"):
        locate(run, "best")


def test_an_interrupted_save_leaves_the_one_before(run):
    newest = run / "checkpoints" / "000015"
    newest.rename(newest.with_name("000015.old"))
    assert locate(run) == newest.with_name("000015.old")
    (run / "best").rename(run / "best.old")
    assert locate(run, "best") == run / "best.old"
    assert read_index(run).checkpoints[-1].path == "checkpoints/000015"
    (run / "checkpoints" / ".000020.new-host-1-ab").mkdir()
    assert [one.iteration for one in read_index(run).checkpoints] == [5, 10, 15]


def test_errors_name_what_is_there(run, tmp_path):
    shutil.rmtree(run / "best")
    with pytest.raises(CheckpointNotFoundError, match=r"has no best checkpoint: .*its newest one is .*000015"):
        locate(run, "best")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointNotFoundError, match=r"ended before its first one; .*crash has the weights"):
        locate(run)
    empty = tmp_path / "early"
    empty.mkdir()
    (empty / "config.json").write_text("{}")
    for which in ("last", "best"):
        with pytest.raises(CheckpointNotFoundError, match=r"early has no checkpoint: .* before its first one$"):
            locate(empty, which)
    with pytest.raises(CheckpointNotFoundError, match=r"no checkpoint at .*nowhere"):
        locate(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="one checkpoint: 'best' is asked of a run folder"):
        locate(run / "crash", "best")
    with pytest.raises(CheckpointError, match="expected 'last' or 'best'"):
        locate(run, "newest")


def test_the_index_is_made_good_from_the_folders(run):
    whole = (KeptCheckpoint("checkpoints/000005", 5, 50, 0.5, 5), KeptCheckpoint("checkpoints/000010", 10))
    index = read_index(run)
    assert index.checkpoints == (*whole, KeptCheckpoint("checkpoints/000015", 15, 150, 0.5, 15))
    assert index.best == BestCheckpoint("best", 5, 50, 7.5)
    (run / "index.json").write_text(json.dumps(index.to_dict()))
    assert read_index(run) == index
    shutil.rmtree(run / "checkpoints" / "000015")
    assert read_index(run).checkpoints == whole
    for text in ("", "{", "[]", '{"format": 2}', '{"format": 1, "checkpoints": 3, "best": []}', "[" * 5000):
        (run / "index.json").write_text(text)
        assert [(one.iteration, one.steps) for one in read_index(run).checkpoints] == [(5, None), (10, None)]
        assert read_index(run).best == BestCheckpoint("best")
    (run / "index.json").unlink()
    assert locate(run) == run / "checkpoints" / "000010"


def test_checkpoint_and_run_folder_find_each_other(run, tmp_path):
    assert is_run(run)
    assert not is_run(run / "best")
    assert not is_run(tmp_path / "nowhere")
    assert run_of(run / "checkpoints" / "000005") == run == run_of(run / "best") == run_of(run / "crash")
    assert run_of(run / "checkpoints" / "000005" / "group") is None
    assert run_of(tmp_path / "nowhere") is None


def test_a_run_that_goes_on_meanwhile_is_looked_at_again(run, root, monkeypatch):
    from rlkit_core.checkpoint import locate as module

    check = module.check_snapshot

    def rotated(directory):
        if directory.name == "000015":
            root.save_to_path(run / "checkpoints" / "000020")
            for name in ("000005", "000010", "000015"):
                shutil.rmtree(run / "checkpoints" / name)
        check(directory)

    monkeypatch.setattr(module, "check_snapshot", rotated)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert locate(run) == run / "checkpoints" / "000020"
