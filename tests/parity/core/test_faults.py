"""The catalogue of faults: every name that the package uses is in it, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import conversion
import parity
from parity.audit.mutant import Mutant
from parity.core.faults import FAMILIES, Fault, catalogue, described, known, nearest
from parity.diagnosis.suspects import Suspect

FAULT = re.compile(r"\[?((?:pre|i|g|wt|mode|p|head|lab|s|v)-[a-z0-9]+(?:-[a-z0-9]+)*)\]?")


def names_in(source: str) -> set[str]:
    """Return what looks like a fault's name among the strings of a module: alone, or in brackets in a sentence."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    strings = [text for text in texts if isinstance(text, str)]
    whole = {match[1] for text in strings if (match := FAULT.fullmatch(text))}
    return whole | {match[1] for text in strings for match in FAULT.finditer(text) if match[0][0] == "["}


def names_in_packages() -> set[str]:
    roots = [Path(package.__path__[0]) for package in (parity, conversion)]
    return {name for root in roots for path in root.rglob("*.py") for name in names_in(path.read_text("utf-8"))}


def test_every_fault_that_the_package_names_is_in_the_catalogue_and_no_other() -> None:
    assert names_in_packages() == set(catalogue())


def test_a_name_is_seen_alone_and_in_brackets_and_not_inside_a_word() -> None:
    source = 'a = "pre-bgr-swap"; b = "do that [g-clip] now"; c = "a p-value"; d = "the g-th"'

    assert names_in(source) == {"pre-bgr-swap", "g-clip"}


@pytest.mark.parametrize("fault", catalogue().values(), ids=catalogue())
def test_an_entry_says_all_that_a_reader_needs(fault: Fault) -> None:
    assert fault.family
    for text in (fault.title, fault.what, fault.shows, fault.fix):
        assert text.isprintable()
        assert text[0] == text.strip()[0]
    assert not fault.title.endswith(".")
    assert all(text.endswith(".") or text.startswith("model = ") for text in (fault.what, fault.shows, fault.fix))
    assert len(fault.title) < 80


def test_every_family_has_a_file_and_every_file_a_family() -> None:
    files = {path.stem for path in (Path(parity.__path__[0]) / "core" / "faults").glob("*.toml")}

    assert files == set(FAMILIES)
    assert len({fault.family for fault in catalogue().values()}) == len(FAMILIES)


@pytest.mark.parametrize("of", [known, lambda name: Suspect(name, "Said."), lambda name: Mutant(name, "done")])
def test_what_is_not_in_the_catalogue_cannot_be_named(of: object) -> None:
    assert callable(of)
    of("pre-bgr-swap")
    with pytest.raises(ValueError, match=r"'pre-rgb-swap' is not in the catalogue of faults"):
        of("pre-rgb-swap")


def test_the_nearest_names_are_those_that_are_spelt_alike() -> None:
    assert nearest("pre-bgr-swop")[0] == "pre-bgr-swap"
    assert nearest("zzzz") == ()


def test_faults_of_another_version_are_passed_over() -> None:
    assert [fault.id for fault in described(["g-clip", "of-another-version", "g-clip"])] == ["g-clip"]
