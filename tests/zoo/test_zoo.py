"""The zoo: a sample of it runs, what it writes is what happened, and an interrupted run goes on."""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import asdict, replace
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import pytest

from conversion import ROUTES as CONVERSIONS
from conversion import ConversionError
from parity.core.results import Subject
from tests.sampling import sample
from tests.zoo import run, weights
from tests.zoo.collection import COVERING, TIMM, Animal, animals
from tests.zoo.one import Line, blamed, culprit, lines
from tests.zoo.table import written

# Six routes and a search for causes take minutes for a network: `make zoo` takes them.
ROUTES = ("onnx-torchscript", "mlprogram-fp32")
# Of more weights than these a conversion alone takes minutes.
LARGE = ("vit_h_14", "vit_l_", "regnet_y_128gf", "vgg", "wide_resnet101_2", "convnext_large", "swin_b", "swin_v2_b")
SMALL = {a.name for a in animals() if not any(large in a.name for large in LARGE)}
SAMPLE = sorted(sample(SMALL, 8))


def line(network: str = "timm/a", route: str = "onnx", **changes: object) -> Line:
    return replace(Line(network, 64, route, "onnxruntime", "pass", 1.5, 2e-7, 1e-5), **changes)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_converts_and_answers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they agree is for the table: it takes more training than this."""
    monkeypatch.setattr(weights, "STEPS", ((math.inf, 2),))
    pytest.importorskip(name.partition("/")[0])
    (animal,) = (a for a in animals() if a.name == name)

    rows = list(chain.from_iterable(lines(animal, ROUTES, tmp_path)))

    assert [row.route for row in rows] == list(ROUTES)
    assert [row.reason for row in rows if row.backend == "-" or row.verdict == "error"] == []


def test_the_zoo_is_as_large_as_it_says() -> None:
    names = [animal.name for animal in animals()]

    assert len(names) == len(set(names))
    assert len(TIMM) >= 70
    assert sum(name.startswith("torchvision/") for name in names) == 80
    assert sum(name.startswith("transformers/") for name in names) == 8


@pytest.mark.parametrize("name", TIMM)
def test_every_name_is_one_of_timms(name: str) -> None:
    timm = pytest.importorskip("timm")

    assert timm.is_model(name)


def test_a_run_goes_on_behind_a_torn_line(tmp_path: Path) -> None:
    record = tmp_path / "zoo.jsonl"
    run.keep(record, [line(), line(route="mlprogram", faults=("p-fp16-drift",))])
    with record.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(line("timm/b")))[:40])

    assert run.read(record) == [line(), line(route="mlprogram", faults=("p-fp16-drift",))]


def test_a_network_lacks_the_routes_that_are_new(tmp_path: Path) -> None:
    record = tmp_path / "zoo.jsonl"
    run.keep(record, [line(), line("timm/b"), line("timm/b", "coreai", backend="-", verdict="error")])

    assert run.missing("timm/a", ("onnx", "coreai"), record) == ["coreai"]
    assert run.missing("timm/b", ("onnx", "coreai"), record) == []
    assert run.missing("timm/c", ("onnx", "coreai"), record) == ["onnx", "coreai"]


def test_those_that_cover_the_architectures_are_of_the_zoo() -> None:
    assert set(COVERING) < {animal.name for animal in animals()}
    assert len(COVERING) == len(set(COVERING)) == 30
    assert {name.partition("/")[0] for name in COVERING} == {"torchvision", "timm", "transformers"}


def a_process(monkeypatch: pytest.MonkeyPatch, record: Path, dies_of: str) -> list[list[str]]:
    """Stand for the process of a network, which writes a line a route, and dies of one; return what is asked."""
    asked = []

    def stand_in(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        routes = [option.removeprefix("--route=") for option in command if option.startswith("--route=")]
        asked.append(routes)
        survived = list(takewhile(lambda route: route != dies_of, routes))
        run.keep(record, [line(route=route) for route in survived])
        return subprocess.CompletedProcess(command, 0 if survived == routes else -6, "", "")

    monkeypatch.setattr("tests.zoo.run.subprocess.run", stand_in)
    return asked


def test_only_what_is_missing_runs_and_a_route_that_kills_its_process_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "zoo.jsonl"
    run.keep(record, [line()])
    asked = a_process(monkeypatch, record, dies_of="coreai")

    for _ in range(2):
        run.run_one(Animal("timm", "a", fails), ("onnx", "mlprogram", "coreai", "coreai-fp16"), record, 600.0)

    assert asked == [["mlprogram", "coreai", "coreai-fp16"], ["coreai-fp16"]]
    rows = run.read(record)
    assert [row.route for row in rows] == ["onnx", "mlprogram", "coreai", "coreai-fp16"]
    assert (rows[2].verdict, rows[2].whose, rows[2].reason) == ("error", "ours", "code -6")


def fails(size: int) -> Any:
    raise AssertionError


def test_what_a_network_does_not_survive_is_a_line_of_ours(tmp_path: Path) -> None:
    run.run_one(Animal("timm", "no_such_network", fails), ("onnx",), tmp_path / "zoo.jsonl", 600.0)

    (row,) = run.read(tmp_path / "zoo.jsonl")
    assert (row.network, row.route, row.verdict, row.whose) == ("timm/no_such_network", "onnx", "error", "ours")
    assert row.reason


def test_the_page_counts_what_agrees_and_groups_what_does_not() -> None:
    torn = "the conversion failed with ValueError: no `tile` of floats; what the converters said is in /tmp/a/b.log"
    page = written(
        [
            line(),
            line("timm/b"),
            line(
                route="mlprogram-fp32",
                backend="-",
                verdict="error",
                reason=f"a, route x: {torn}",
                whose="converter",
            ),
            line(
                "timm/b",
                "mlprogram-fp32",
                backend="-",
                verdict="error",
                reason=f"b, route x: {torn}",
                whose="converter",
            ),
            line(
                "timm/b",
                "mlprogram-export",
                verdict="fail",
                apart=0.2,
                reason="4 drift of 4 image(s)",
                whose="fp16",
            ),
        ]
    )

    assert "| `onnx` | 2 | 2 | 2 |" in page
    assert "| ML Program, by trace or by export | 1 | 0 | 2 |" in page
    assert "| timm/a | 64 |  | 2e-07 |  |  | - |  |  |  |  | 3 |" in page
    assert "| `mlprogram-fp32` | converter | timm/a, timm/b | ValueError: no `tile` of floats |" in page
    assert "| `mlprogram-export` | fp16 | timm/b | drift of image(s) |" in page
    assert "/tmp" not in page


def test_the_latest_line_of_a_leg_counts() -> None:
    assert "| `onnx` | 1 | 1 | 1 |" in written([line(verdict="fail", apart=0.5), line()])


def test_whose_code_fails_is_whose_fault_it_is() -> None:
    import coremltools as ct
    import torch

    def failing(work: object) -> ConversionError:
        try:
            work()  # type: ignore[operator]
        except Exception as error:
            wrapped = ConversionError("x")
            wrapped.__cause__ = error
            return wrapped
        raise AssertionError

    assert culprit(failing(lambda: ct.convert("nothing"))) == "converter"
    assert culprit(failing(lambda: torch.jit.trace(3, 3))) == "exporter"
    assert culprit(failing(lambda: 1 / 0)) == "ours"


@pytest.mark.parametrize(
    ("verdict", "backend", "reason", "whose"),
    [
        ("pass", "onnxruntime", "", ""),
        ("error", "onnxruntime", "no kernel", "runtime"),
        ("error", "coreml-evaluator", "the evaluator lacks an operation", "evaluator"),
        ("error", "coreml-evaluator", "shapes do not join; convert again with sizes that fit", "converter"),
        ("fail", "coreml-evaluator", "3 drift", "converter"),
    ],
)
def test_whose_answers_are_wrong_is_whose_fault_it_is(verdict: Any, backend: str, reason: str, whose: str) -> None:
    subject = Subject("a", "onnx", "a.onnx", backend, "fp32", verdict, reason)

    assert blamed(subject) == whose


def test_the_page_says_what_was_not_run() -> None:
    page = written([line(), line("timm/b"), line(route="coreai")], ["timm/a", "timm/b", "timm/c"])

    assert "By no route was run: timm/c." in page
    assert "By `coreai` 1 of the 2 networks were run, not timm/b." in page
    assert "| `onnx` | 2 | 2 | 2 |" in page
    assert "| `coreai` | 1 | 1 | 1 |" in page
    assert "By `onnx`" not in page


def test_the_page_of_all_says_so_of_none() -> None:
    assert "were run" not in written([line(route=route) for route in CONVERSIONS], ["timm/a"])


def test_the_record_names_no_place_of_a_machine(tmp_path: Path) -> None:
    run.keep(tmp_path / "zoo.jsonl", [line(reason="timm/a: see /tmp/xyz/convert.log; no `tile`")])

    assert [kept.reason for kept in run.read(tmp_path / "zoo.jsonl")] == ["timm/a: see ... no `tile`"]
