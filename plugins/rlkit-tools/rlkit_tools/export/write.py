"""The files of an exported policy: the graph, what it takes and gives, and Python that runs it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import torch

from rlkit_core.checkpoint.files import METADATA_FILE, sha256_of
from rlkit_core.plugins.used.lock import versions
from rlkit_core.run.policy.policy import Policy
from rlkit_core.spaces import space_to_json
from rlkit_tools.export.graph import PolicyGraph
from rlkit_tools.export.verify import ExportError, verify
from rlkit_tools.export.wrappers import fold, wrappers_owed

FORMAT = 1
PYTHON, PYTHON_OF_PT2 = "policy_file.py", "policy_file_pt2.py"
_LOADER = "def load("
KINDS = (".onnx", ".pt2")


def export_policy(policy: Policy, target: Path, *, checkpoint: Path, observations: int = 200) -> dict[str, Any]:
    """Write ``target``, and beside it a ``.json`` and a ``.py`` of that name, and verify them in the policy's env.

    Args:
        policy: of a checkpoint.
        target: ends in ``.onnx`` or ``.pt2``.
        checkpoint: the directory that the policy was read from.
        observations: how many of the env to compare on.

    Returns:
        What the ``.json`` says; ``verified`` has the fields of :class:`~rlkit_tools.export.verify.Verified`.

    Raises:
        ExportError: it cannot be exported, or acts otherwise; no file is left behind.
        ConfigError: the same, of a module or space that has no graph.
    """
    if target.suffix not in KINDS:
        raise ExportError(f"{target}: the name has to end in {' or '.join(KINDS)}")
    files = [target, target.with_suffix(".json"), target.with_suffix(".py")]
    there = [str(file) for file in files if file.exists()]
    if there:
        raise ExportError(f"{', '.join(there)}: is there already; remove it or choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(policy.make_env()) as env, tempfile.TemporaryDirectory(dir=target.parent) as folder:
        tap, folds = fold(env)
        space = policy.observation_space if tap is None else tap.observation_space
        graph = PolicyGraph(policy.module, space, folds).eval()
        made = [Path(folder) / file.name for file in files]
        _write_graph(graph, made[0])
        about = {
            "format": FORMAT,
            "file": target.name,
            "sha256": sha256_of(made[0]),
            "checkpoint": {"path": str(checkpoint), "sha256": sha256_of(checkpoint / METADATA_FILE)},
            "observation_space": space_to_json(space),
            "action_space": space_to_json(policy.action_space),
            "inputs": [attrs.asdict(leaf) for leaf in graph.inputs],
            "state": [attrs.asdict(one) for one in graph.memory],
            "outputs": graph.outputs,
            "action": graph.action,
            "wrappers_owed": wrappers_owed(env if tap is None else tap.env),
            "versions": versions(),
        }
        made[1].write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        made[2].write_text(_python(target.suffix), encoding="utf-8")
        about["verified"] = attrs.asdict(verify(policy, _written_policy(made[2]), env, observations, tap))
        made[1].write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        for new, file in zip(made, files, strict=True):
            os.replace(new, file)
    return about


def _write_graph(graph: PolicyGraph, path: Path) -> None:
    """Write the graph for batches of any size.

    Raises:
        ExportError: the module does what a graph has not, or a package is missing.
    """
    inputs = graph.example(3)
    if path.suffix == ".onnx":
        lacking = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        if lacking:
            raise ExportError(f"ONNX needs {', '.join(lacking)}: pip install 'rlkit-tools[export]'; a .pt2 needs none")
    rows = torch.export.Dim("batch")
    names = [leaf.name for leaf in graph.inputs] + [one.input for one in graph.memory]
    with torch.no_grad(), _quiet():
        graph(*inputs)  # what is made at the first call is made of real tensors
        try:
            program = torch.export.export(graph, inputs, dynamic_shapes=(tuple({0: rows} for _ in inputs),))
            if path.suffix == ".pt2":
                torch.export.save(program, path)
            else:
                made = torch.onnx.export(program, (), dynamo=True, input_names=names, output_names=graph.outputs)
                assert made is not None
                made.save(path, external_data=False)
        except Exception as error:  # whatever a module, torch or onnxscript raises
            why = next((line for line in str(error).splitlines() if line.strip()), "")
            raise ExportError(
                f"{type(graph.module).__name__} cannot be exported: {type(error).__name__}: {why}. Its forward for "
                "inference has to be of torch operations alone"
            ) from error


def _python(kind: str) -> str:
    """What becomes the ``policy.py`` of a graph; the two kinds differ in how it is loaded."""
    source, of_pt2 = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in (PYTHON, PYTHON_OF_PT2))
    return source if kind == ".onnx" else source.partition(_LOADER)[0] + "".join(of_pt2.partition(_LOADER)[1:])


def _written_policy(path: Path) -> Any:
    """The policy, by the very file that was written."""
    spec = importlib.util.spec_from_file_location(f"_exported_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Policy()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own notes, which are not about the policy."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
