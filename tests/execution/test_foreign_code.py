"""Which code goes along with what uses it, and which is found where it was."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
from pathlib import Path

import pytest

from rlkit_core.execution.foreign_code import dumps, is_importable, shadowed_packages


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two copies of a package and of a module; modules that are gone when the test is."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for copy in ("first", "second"):
        package = tmp_path / copy / "hidden_package"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "part.py").write_text("import threading\nLOCK = threading.Lock()\ndef lock(): return LOCK\n")
        (tmp_path / copy / "hidden_module.py").write_text(f"def copy(): return {copy!r}\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("hidden_", "alone")):
            del sys.modules[name]


def hide(folder: Path, *names: str) -> list:
    """Import these from the first copy, and put the second in front."""
    sys.path.insert(0, str(folder / "first"))
    importlib.invalidate_caches()
    modules = [importlib.import_module(name) for name in names]
    sys.path.insert(0, str(folder / "second"))
    return modules


def test_a_package_that_another_copy_hides_travels_by_name(folder):
    assert "hidden_package" not in shadowed_packages()
    (part,) = hide(folder, "hidden_package.part")
    assert not is_importable("hidden_package.part", part)
    assert shadowed_packages()["hidden_package"] == str(folder / "first")
    assert pickle.loads(dumps(part.lock)) is part.lock  # by value, its lock could not travel


def test_a_module_that_another_copy_hides_goes_along(folder):
    """No folder stands for it: one with ``utils.py`` may hold modules of any names."""
    (module,) = hide(folder, "hidden_module")
    assert "hidden_module" not in shadowed_packages()
    copied = pickle.loads(dumps(module.copy))
    assert copied is not module.copy
    assert copied() == "first"


def test_a_part_that_its_hidden_package_does_not_hold_goes_along(folder):
    hide(folder, "hidden_package")
    (folder / "apart.py").write_text("def three(): return 3\n")
    spec = importlib.util.spec_from_file_location("hidden_package.apart", folder / "apart.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    copied = pickle.loads(dumps(module.three))
    assert copied is not module.three
    assert copied() == 3


def test_what_sys_path_holds_is_hidden_by_nothing(folder):
    link = folder / "link"
    link.symlink_to(folder / "first", target_is_directory=True)
    sys.path.insert(0, str(folder / "first"))
    importlib.invalidate_caches()
    module = importlib.import_module("hidden_package.part")
    sys.path.insert(0, str(link))  # the same files under another name
    assert is_importable("hidden_package.part", module)
    assert "hidden_package" not in shadowed_packages()


def test_a_package_under_a_name_that_is_not_its_folders_goes_along(folder):
    file = folder / "first" / "hidden_package" / "__init__.py"
    file.write_text("def four(): return 4\n")
    (folder / "second" / "alone.py").write_text("")
    spec = importlib.util.spec_from_file_location("alone", file, submodule_search_locations=[str(file.parent)])
    module = sys.modules["alone"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.insert(0, str(folder / "second"))
    assert "alone" not in shadowed_packages()
    assert pickle.loads(dumps(module.four))() == 4
