"""Plug-ins by entry point: pinned before they are imported."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import EntryPoints, entry_points
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from py_compile import PycInvalidationMode
from py_compile import compile as compile_file

import pytest

from hal import DRIVER_GROUP, NotFound, PermissionDenied, available_drivers, available_plugins, load_driver, load_plugin

Install = Callable[[str, str], Path]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """Installs packages for the length of a test: a distribution, and the driver that it offers."""
    made = set(sys.modules)

    def one(name: str, driver: str) -> Path:
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[{DRIVER_GROUP}]\n{driver} = {name}.inner:Driver\n")
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "inner.py").write_text("class Driver:\n    kind = 'floor'\n")
        invalidate_caches()
        return package

    sys.path.insert(0, str(tmp_path))
    try:
        yield one
    finally:
        sys.path.remove(str(tmp_path))
        for name in {*sys.modules} - made:
            if name.startswith("kvt_"):
                del sys.modules[name]


def test_an_installed_driver_is_listed_without_being_imported(install: Install) -> None:
    install("kvt_a", "floor-a")
    entry = available_drivers()["floor-a"]
    assert (entry.name, entry.module, len(entry.sha256)) == ("floor-a", "kvt_a.inner", 64)
    assert "kvt_a" not in sys.modules


def test_a_driver_with_its_pin_is_loaded_in_any_letter_case(install: Install) -> None:
    install("kvt_b", "floor-b")
    pin = available_drivers()["floor-b"].sha256
    assert load_driver("floor-b", pin.upper())[0].kind == "floor"


@pytest.mark.parametrize("change", ["inner.py", "beside.py", "deep/er.py"])
def test_a_change_anywhere_in_its_package_breaks_the_pin_and_nothing_runs(install: Install, change: str) -> None:
    package = install("kvt_c", "floor-c")
    pin = available_drivers()["floor-c"].sha256
    (package / change).parent.mkdir(exist_ok=True)
    (package / change).write_text("raise SystemExit\n")
    with pytest.raises(PermissionDenied, match=pin):
        load_driver("floor-c", pin)
    assert "kvt_c" not in sys.modules


def test_a_name_that_two_packages_offer_is_nobody_s(install: Install) -> None:
    install("kvt_d", "floor-d")
    install("kvt_e", "floor-d")
    with pytest.raises(PermissionDenied, match="two installed packages offer a driver named 'floor-d'"):
        available_drivers()


def test_a_package_without_its_module_is_left_out(install: Install) -> None:
    package = install("kvt_f", "floor-f")
    (package / "inner.py").unlink()
    (package / "__init__.py").unlink()
    package.rmdir()
    assert "floor-f" not in available_drivers()
    assert "uru4000" in available_drivers()


@pytest.mark.parametrize("copies", [0, 2])
def test_metadata_that_change_after_they_were_read_change_nothing(
    install: Install, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    """An upgrade under way: what was hashed is what is loaded, though a second reading finds it gone or twice."""
    install("kvt_h", "floor-h")
    readings: list[EntryPoints] = [entry_points(group=DRIVER_GROUP)]
    one = next(iter(readings[0].select(name="floor-h")))
    readings.append(EntryPoints([one] * copies))
    monkeypatch.setattr("hal._registry.entry_points", lambda **_: readings.pop(0))
    assert load_driver("floor-h", None)[0].kind == "floor"
    assert len(readings) == 1


def test_a_package_without_the_class_that_it_offers_is_not_found(install: Install) -> None:
    (install("kvt_j", "floor-j") / "inner.py").write_text("")
    with pytest.raises(NotFound, match="does not have what it offers"):
        load_driver("floor-j", None)


def test_what_is_not_installed_is_not_found_and_the_remedy_has_what_is() -> None:
    with pytest.raises(NotFound, match="no driver named 'floor-x'") as missing:
        load_driver("floor-x", None)
    assert "uru4000" in missing.value.remedy


def test_groups_do_not_mix(install: Install) -> None:
    install("kvt_g", "floor-g")
    assert "floor-g" not in available_plugins("keyvigil.modalities", "modality")
    with pytest.raises(NotFound, match="no modality named"):
        load_plugin("keyvigil.modalities", "modality", "floor-g", None)


@pytest.mark.parametrize("change", ["inner.abi3.so", "model.onnx", "inner.pyc"])
def test_compiled_code_and_data_are_pinned_too(install: Install, change: str) -> None:
    package = install("kvt_h", "floor-h")
    (package / change).write_bytes(b"as shipped")
    pin = available_drivers()["floor-h"].sha256
    (package / change).write_bytes(b"other")
    with pytest.raises(PermissionDenied, match=pin):
        load_driver("floor-h", pin)


def test_a_cache_that_is_not_of_the_source_is_not_used(install: Install, tmp_path: Path) -> None:
    package, swapped = install("kvt_i", "floor-i"), tmp_path / "swapped.py"
    pin = available_drivers()["floor-i"].sha256
    swapped.write_text("class Driver:\n    kind = 'swapped'\n")
    cache = cache_from_source(str(package / "inner.py"))
    compile_file(str(swapped), cache, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    assert load_driver("floor-i", pin)[0].kind == "floor"

    for name in ("kvt_i.inner", "kvt_i"):
        del sys.modules[name]
    with unpinned("kvt_i"):
        assert load_driver("floor-i", None)[0].kind == "swapped", "the cache would not have been taken at all"


def test_an_extension_that_stands_before_the_source_is_not_loaded(install: Install) -> None:
    package = install("kvt_j", "floor-j")
    pin = available_drivers()["floor-j"].sha256
    load_driver("floor-j", pin)
    shutil.copy(_some_extension(), package / f"late{EXTENSION_SUFFIXES[0]}")
    invalidate_caches()
    with pytest.raises(PermissionDenied, match="pins"):
        import_module("kvt_j.late")


@pytest.mark.parametrize("text", ["kind = 'swapped'\n", None])
def test_a_module_that_changed_or_came_after_the_hash_is_not_loaded(install: Install, text: str | None) -> None:
    package = install("kvt_k", "floor-k")
    if text is not None:
        (package / "lazy.py").write_text("kind = 'floor'\n")
    load_driver("floor-k", available_drivers()["floor-k"].sha256)
    (package / "lazy.py").write_text(text or "")
    invalidate_caches()
    with pytest.raises(PermissionDenied, match=r"lazy\.py is not what the configuration pins"):
        import_module("kvt_k.lazy")


def test_a_module_that_is_as_it_was_hashed_is_loaded_when_it_is_needed(install: Install) -> None:
    package = install("kvt_l", "floor-l")
    (package / "deep").mkdir()
    (package / "deep" / "lazy.py").write_text("kind = 'floor'\n")
    shutil.copy(_some_extension(), package / Path(_some_extension()).name)
    load_driver("floor-l", available_drivers()["floor-l"].sha256)
    assert import_module("kvt_l.deep.lazy").kind == "floor"
    assert import_module(f"kvt_l.{Path(_some_extension()).name.partition('.')[0]}")


def test_code_behind_a_link_to_another_folder_is_not_loaded(install: Install, tmp_path: Path) -> None:
    package, elsewhere = install("kvt_m", "floor-m"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.py").write_text("")
    (package / "deep").symlink_to(elsewhere)
    load_driver("floor-m", available_drivers()["floor-m"].sha256)
    with pytest.raises(PermissionDenied, match=r"far\.py"):
        import_module("kvt_m.deep.far")


def test_bytecode_without_a_source_is_not_loaded(install: Install, tmp_path: Path) -> None:
    package, source = install("kvt_n", "floor-n"), tmp_path / "source.py"
    source.write_text("")
    compile_file(str(source), str(package / "bare.pyc"))
    load_driver("floor-n", available_drivers()["floor-n"].sha256)
    with pytest.raises(PermissionDenied, match="bare"):
        import_module("kvt_n.bare")


def _some_extension() -> str:
    """Any extension module of the standard library that is a file of its own."""
    spec = find_spec("_json") or find_spec("_testcapi")
    if spec is None or not str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES)):
        pytest.skip("this Python has its extensions built in")
    return str(spec.origin)


@contextmanager
def unpinned(package: str) -> Iterator[None]:
    """The package as if nobody had pinned it."""
    finder = next(one for one in sys.meta_path if type(one).__name__ == "_PinnedFinder")
    code = finder.pinned.pop(package)  # type: ignore[attr-defined]
    yield
    finder.pinned[package] = code  # type: ignore[attr-defined]
