"""What is left behind when a loss or gradient is not finite: the minibatch, the weights, and a script to replay it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from rlkit_core.checkpoint import Checkpointable, load_tree, save_tree
from rlkit_core.errors import CheckpointError, NonFiniteError, RLKitError
from rlkit_core.execution.foreign_code import is_importable
from rlkit_core.learner.minibatch import as_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCRIPT = '''"""Replays the minibatch whose loss or gradients were not finite. See report.json."""

import sys
from pathlib import Path
from types import FunctionType

sys.path[:0] = {paths!r}  # where the run found its modules
from rlkit_core.learner import replay_nonfinite

{imports}
replay_nonfinite(Path(__file__).parent, classes=[{classes}])
'''

_LOAD_MAIN = """import runpy

main = runpy.run_path({path!r}, run_name="__replayed_main__")"""

_LOAD_FILE = """import importlib.util

spec = importlib.util.spec_from_file_location({name!r}, {path!r})
module = sys.modules[{name!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)"""


def write_report(learner: Any, error: NonFiniteError, minibatch: Mapping[str, Any]) -> NonFiniteError:
    """Write a folder with which the error can be studied; nothing that goes wrong here hides the error.

    The folder holds the minibatch (safetensors), ``learner`` (a checkpoint with the weights before that minibatch, the
    optimizers and the config), the random state, ``report.json`` and ``replay.py``.

    Returns:
        The same kind of error, naming the folder.
    """
    if error.of_another_learner:
        return error
    module_id = error.module_id
    try:
        folder = _write(learner, error, minibatch)
        text = f"{error}. The minibatch and a script that replays it are in {folder}: python {folder / 'replay.py'}"
    except (OSError, RLKitError, TypeError) as problem:
        folder, text = None, f"{error}. (The minibatch could not be saved: {problem})"
    told = NonFiniteError(text)
    told.module_id = module_id
    told.report_path = None if folder is None else str(folder)
    return told.with_traceback(error.__traceback__)


def _write(learner: Any, error: NonFiniteError, minibatch: Mapping[str, Any]) -> Path:
    folder = _new_folder(learner)
    save_tree(dict(minibatch), folder, "minibatch")
    save_tree({"torch": learner.rng.get_state()}, folder, "random_state")
    try:
        learner.save_to_path(folder / "learner")
        whole = None
    except CheckpointError as problem:  # a network among its settings, say: the weights alone can still be saved
        save_tree(learner.get_state(), folder, "learner_state")
        whole = str(problem)
    report = {
        "error": str(error),
        "module_id": error.module_id,
        "update": learner.weights_seq_no + 1,
        "seed": learner.seeds.root,
        "learner_class": f"{type(learner).__module__}:{type(learner).__qualname__}",
        "why_the_learner_must_be_passed": whole,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (folder / "replay.py").write_text(_script(learner), encoding="utf-8")
    return folder


def _new_folder(learner: Any) -> Path:
    if learner.report_dir is None:
        return Path(tempfile.mkdtemp(prefix="rlkit-nonfinite-"))
    for attempt in range(1000):
        suffix = f"-{attempt}" if attempt else ""
        folder: Path = learner.report_dir / f"nonfinite-update-{learner.weights_seq_no + 1}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder.absolute()
    raise OSError(f"{learner.report_dir} is full of reports")


def _script(learner: Any) -> str:
    classes = {type(learner), type(learner.config)}
    classes |= {type(module.unwrapped()) for module in learner.module.values()}
    imports, names = [], []
    for cls in sorted(classes, key=lambda c: (c.__module__, c.__qualname__)):
        if cls.__module__.partition(".")[0] == "rlkit_core" or "<locals>" in cls.__qualname__:
            continue
        if cls.__module__ == "__main__":
            path = _file_of(cls)
            load = _LOAD_MAIN.format(path=str(Path(path).absolute())) if path else None
            if load is None or "." in cls.__qualname__:
                continue
            if load not in imports:
                imports.append(load)
            names.append(f"main[{cls.__qualname__!r}]")
        elif (module := sys.modules.get(cls.__module__)) is None or not is_importable(cls.__module__, module):
            path = _file_of(cls)
            if path is None:  # made while the run went on: there is nothing to load
                continue
            imports.append(_LOAD_FILE.format(name=cls.__module__, path=str(Path(path).absolute())))
            names.append(f"sys.modules[{cls.__module__!r}].{cls.__qualname__}")
        else:
            imports.append(f"import {cls.__module__}")
            names.append(f"{cls.__module__}.{cls.__qualname__}")
    paths = [str(Path(entry or ".").absolute()) for entry in sys.path]
    return _SCRIPT.format(paths=paths, imports="\n".join(dict.fromkeys(imports)), classes=", ".join(names))


def _file_of(cls: type) -> str | None:
    """The file that defines a class; one that came from another process by value has no module here."""
    file: str | None = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is not None:
        return file
    code = [member.__code__.co_filename for member in vars(cls).values() if isinstance(member, FunctionType)]
    return next((name for name in code if os.path.isfile(name)), None)


def replay_nonfinite(folder: str | os.PathLike[str], *, learner: Any = None, classes: Iterable[type] = ()) -> None:
    """Repeat the gradient step on a saved minibatch.

    Args:
        folder: what a ``NonFiniteError`` named.
        learner: a built learner like the one that failed, where the folder could not hold it; its state is set.
        classes: classes that the saved learner names beside rlkit's and plugins'.

    Raises:
        NonFiniteError: as in the run, if it is reproduced.
        CheckpointError: the folder is damaged, or the learner has to be passed.
    """
    folder = Path(folder)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    if (folder / "learner").is_dir():
        learner = Checkpointable.from_checkpoint(folder / "learner", classes=classes)
    elif learner is None:
        raise CheckpointError(
            f"{folder} holds no complete learner ({report['why_the_learner_must_be_passed']}); build one as the run "
            f"did and call rlkit_core.learner.replay_nonfinite({str(folder)!r}, learner=learner)"
        )
    else:
        learner.set_state(load_tree(folder, "learner_state"))
    learner.rng.set_state(load_tree(folder, "random_state")["torch"])
    minibatch = load_tree(folder, "minibatch")
    print(f"update {report['update']}, seed {report['seed']}, module {report['module_id']!r}: {report['error']}")
    with learner.rng.scope():
        learner.eager_step({mid: as_tensors(rows, learner.device) for mid, rows in minibatch.items()})
    print("not reproduced: losses and gradients are finite this time")
