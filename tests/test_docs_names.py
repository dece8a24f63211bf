"""What README, docs/ and CONTRIBUTING.md refer to exists: links, paths, names of Python, suite files, imports."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parity.core.errors import ParityError
from parity.suite.suite import read_suite
from tests.documents import PAGES, ROOT, blocks, paint_photos, read

NAMING = (*PAGES, "CONTRIBUTING.md")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


# Links


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: str, text: str) -> Iterator[str]:
    """Name the relative links of a page that lead nowhere."""
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            yield f"{page}: {link}: no such file"
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8") if path else text):
            yield f"{page}: {link}: no such heading"


@pytest.mark.parametrize("page", [*NAMING, "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    assert list(broken_links(page, read(page))) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[x](nowhere.md)", "README.md: nowhere.md: no such file"),
        ("[x](docs/nowhere/y.md#z)", "README.md: docs/nowhere/y.md#z: no such file"),
        ("# Here\n[x](#there)", "README.md: #there: no such heading"),
    ],
)
def test_a_broken_link_is_named(text: str, fault: str) -> None:
    assert list(broken_links("README.md", text)) == [fault]


def test_every_page_is_linked_from_readme() -> None:
    assert {f"{link}" for link in re.findall(r"\]\((docs/[^)#]+)", read("README.md"))} == set(PAGES) - {"README.md"}


# Paths and names


def missing_names(page: str, text: str) -> Iterator[str]:
    """Name the paths of this repository, and the names of its packages, that do not exist.

    A path begins with something at the root; `<name>` in it stands for any. parity.toml is a user's file.
    """
    root = {path.name for path in ROOT.iterdir()}
    for name in re.findall(r"`([^`\n]+)`", _FENCED.sub("", text)):
        made = name.startswith(".parity/")  # by commands, in a user's directory
        if not made and re.fullmatch(r"(\.?[\w-]+)(/[\w.<>-]+)+/?", name) and name.split("/")[0] in root:
            if not any(ROOT.glob(re.sub(r"<\w+>", "*", name).rstrip("/"))):
                yield f"{page}: {name}: no such path"
        elif (dotted := re.fullmatch(r"((?:parity|conversion)(?:\.\w+)+)(?:\(.*\))?", name)) and (
            not name.endswith(".toml") and resolve(dotted[1]) is None
        ):
            yield f"{page}: {name}: no such name"


def resolve(name: str) -> Any:
    """Import a dotted name; None where it is not there."""
    module, _, attribute = name.rpartition(".")
    if importable(name):
        return importlib.import_module(name)
    return getattr(importlib.import_module(module), attribute, None) if module and importable(module) else None


def importable(module: str) -> bool:
    """Say whether there is such a module."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", NAMING)
def test_paths_and_names_exist(page: str) -> None:
    assert list(missing_names(page, read(page))) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("`parity/nowhere.py`", "p: parity/nowhere.py: no such path"),
        ("`tests/<name>/nowhere.py`", "p: tests/<name>/nowhere.py: no such path"),
        ("`parity.coreml.nowhere.MOST`", "p: parity.coreml.nowhere.MOST: no such name"),
        ("`parity.coreml.NOWHERE`", "p: parity.coreml.NOWHERE: no such name"),
    ],
)
def test_a_name_of_nothing_is_named(text: str, fault: str) -> None:
    assert list(missing_names("p", text)) == [fault]


# Suite files


def refused_suites(page: str, text: str, place: Path) -> Iterator[str]:
    """Name the suite files, and the tables of one, that the suite's own reader refuses."""
    model = '[models.other]\nfactory = "my_models.py:flowers"\nimages = ["photos/*.png"]\n'
    for block in blocks(page, text):
        if block.language == "toml":
            whole = "models" in tomllib.loads(block.text)
            (place / "parity.toml").write_text(block.text if whole else f"{model}{block.text}", encoding="utf-8")
            try:
                read_suite(place / "parity.toml")
            except ParityError as error:
                yield f"{block.place}: {error}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with the photos and the files of factories that suite files name."""
    paint_photos(tmp_path / "photos")
    for name in ("my_models.py", "colours.py", "to_coreml.py", "tools/to_coreml.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("page", NAMING)
def test_suite_files_are_read(page: str, place: Path) -> None:
    assert list(refused_suites(page, read(page), place)) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[models.a]\nfactory = "my_models.py:a"\nimages = ["photos/*.png"]\nroute = "onnx"', "unknown key"),
        ('[toolchains.a]\npackage = ["onnx==1.18.0"]', "unknown key"),
    ],
)
def test_a_refused_suite_file_is_named(text: str, fault: str, place: Path) -> None:
    named = list(refused_suites("p", f"```toml\n{text}\n```\n", place))
    assert len(named) == 1
    assert fault in named[0]


# Python


def import_faults(page: str, text: str) -> Iterator[str]:
    """Name the Python blocks that do not compile, and what they import that is not there."""
    files = {block.file.removesuffix(".py") for one in PAGES for block in blocks(one, read(one)) if block.file}
    for block in blocks(page, text):
        if block.language != "python":
            continue
        try:
            tree = ast.parse(block.text)
        except SyntaxError as error:
            yield f"{block.place}: {error.msg}"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module not in files:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                names = []
            yield from (f"{block.place}: {name}: no such import" for name in names if resolve(name) is None)


@pytest.mark.parametrize("page", NAMING)
def test_python_compiles_and_its_imports_are_there(page: str) -> None:
    assert list(import_faults(page, read(page))) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("f(a=1, 2)", "p:1: positional argument follows keyword argument"),
        ("from parity import chek", "p:1: parity.chek: no such import"),
        ("import nowhere_to_be_found", "p:1: nowhere_to_be_found: no such import"),
    ],
)
def test_python_that_cannot_be_imported_is_named(text: str, fault: str) -> None:
    assert list(import_faults("p", f"```python\n{text}\n```\n")) == [fault]
