"""The evaluator, Core AI and float64 on a few examples of each operation, and what judges them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity.coreml import registry
from tests.cross_check import answers, run
from tests.cross_check.answers import Answer, by_core_ai, by_evaluator, by_reference, why_not
from tests.cross_check.judgement import Known, Opinion, Right, agree, judge, read_known, tally
from tests.cross_check.operation import Example, arrays, draw_examples, numbers
from tests.cross_check.operations import OPERATIONS

KNOWN = read_known()
needs_core_ai = pytest.mark.skipif(bool(why_not()), reason=why_not())
# Core AI's side of a disagreement that is Core AI's own, and one that no definition settles.
UNSETTLED = {"resize (nearest)"}


def few(count: int, names: Sequence[str] = tuple(OPERATIONS)) -> list[Example]:
    return [example for name in names for example in draw_examples(OPERATIONS[name], 25)[-count:]]


def opinions(examples: Sequence[Example], theirs: Sequence[Answer]) -> list[Opinion]:
    ours = by_evaluator(examples)
    return [
        judge(OPERATIONS[example.operation], example, one, other)
        for example, one, other in zip(examples, ours, theirs, strict=True)
    ]


def test_there_are_as_many_operations_as_are_promised() -> None:
    assert len(OPERATIONS) >= 100


def test_the_evaluator_is_right_by_float64() -> None:
    examples = few(4, [name for name in OPERATIONS if name not in UNSETTLED])
    wrong = [
        (each.example.operation, each.example.attributes)
        for each in opinions(examples, [Answer(by_reference(example)) for example in examples])
        if not each.agreed
    ]
    assert wrong == []


@needs_core_ai
def test_core_ai_agrees_or_the_list_says_why() -> None:
    examples = few(3)
    by_operation = [[e for e in examples if e.operation == name] for name in OPERATIONS]
    theirs = [answer for batch in by_core_ai(by_operation) for answer in batch]
    judged = opinions([e for batch in by_operation for e in batch], theirs)
    assert tally("all", judged, KNOWN).unexplained == []


MUTATIONS: dict[str, tuple[str, Any]] = {
    "gelu": ("gelu", lambda x, mode="EXACT": torch.nn.functional.gelu(x, approximate="tanh")),
    "round": ("round", lambda x: torch.floor(x + 0.5)),
    "floor_div": ("floor_div", lambda x, y: torch.div(x, y, rounding_mode="trunc")),
    "layer_norm": (
        "layer_norm",
        lambda x, axes=None, gamma=None, beta=None, epsilon=1e-5: (
            (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True).sqrt() + epsilon) * gamma
            + beta
        ),
    ),
    "upsample_bilinear": (
        "upsample_bilinear",
        lambda x, scale_factor_height=1, scale_factor_width=1, align_corners=True, half_pixel_centers=None: (
            torch.nn.functional.interpolate(
                x,
                scale_factor=(float(scale_factor_height), float(scale_factor_width)),
                mode="bilinear",
                align_corners=not align_corners,
            )
        ),
    ),
    "softmax": ("softmax", lambda x, axis=-1: x.exp() / x.exp().sum(axis, keepdim=True)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_kernel_that_is_broken_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break a kernel as people do; the side that float64 agrees with stands for Core AI, which need not be here."""
    examples = draw_examples(OPERATIONS[name], 25)
    kind, broken = MUTATIONS[name]
    theirs = [Answer(by_reference(example)) for example in examples]
    assert all(each.agreed for each in opinions(examples, theirs))
    for since, kernel in registry.operations()[kind].items():
        mutant = dataclasses.replace(kernel, function=broken, prepare=None, wants_outputs=False)
        monkeypatch.setitem(registry.operations()[kind], since, mutant)
    unexplained = tally(name, opinions(examples, theirs), KNOWN).unexplained
    assert unexplained
    assert {each.right for each in unexplained} == {"core-ai"}


@needs_core_ai
def test_a_broken_kernel_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = registry.operations()["relu"]["iOS15"]
    broken = dataclasses.replace(kernel, function=lambda x: torch.nn.functional.leaky_relu(x, 0.01), inplace=None)
    assert run.main(["--only", "relu", "--examples", "5"]) == 0
    monkeypatch.setitem(registry.operations()["relu"], "iOS15", broken)
    assert run.main(["--only", "relu", "--examples", "5"]) == 1
    assert "right: core-ai" in capsys.readouterr().out


def test_the_examples_are_the_same_every_time() -> None:
    first, again = (draw_examples(OPERATIONS["conv"], 10) for _ in range(2))
    assert first == again
    assert json.loads(json.dumps([dataclasses.asdict(e) for e in first])) == [dataclasses.asdict(e) for e in first]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_equal(arrays(OPERATIONS["conv"], one), arrays(OPERATIONS["conv"], other))


def test_special_numbers_are_among_those_drawn() -> None:
    drawn = numbers("special", (200,), np.random.default_rng(0))
    assert np.isnan(drawn).any()
    assert np.isposinf(drawn).any()
    assert np.isneginf(drawn).any()
    assert (np.signbit(drawn) & (drawn == 0)).any()


HARMLESS = Example("relu", 0, {"shape": [3], "numbers": "normal"})
RELU = OPERATIONS["relu"]


@pytest.mark.parametrize(
    ("evaluator", "core_ai", "right"),
    [(0, 0, "both"), (0, 1, "evaluator"), (1, 0, "core-ai"), (1, 2, "nobody"), (1, 1, "nobody")],
)
def test_float64_says_who_is_right(evaluator: float, core_ai: float, right: Right) -> None:
    true = by_reference(HARMLESS)[0].astype(np.float32)
    opinion = judge(RELU, HARMLESS, Answer([true + evaluator]), Answer([true + core_ai]))
    assert opinion.right == right


def test_another_shape_is_no_agreement() -> None:
    true = by_reference(HARMLESS)[0].astype(np.float32)
    opinion = judge(RELU, HARMLESS, Answer([true]), Answer([true[None]]))
    assert (opinion.right, opinion.distance) == ("evaluator", np.inf)


def test_who_raises_is_not_right() -> None:
    true = by_reference(HARMLESS)[0].astype(np.float32)
    assert judge(RELU, HARMLESS, Answer([true]), Answer(error="no")).right == "evaluator"
    assert judge(RELU, HARMLESS, Answer(error="no"), Answer([true])).right == "core-ai"
    assert judge(RELU, HARMLESS, Answer(error="no"), Answer(error="no")).right == "nobody"


@pytest.mark.parametrize(
    ("rounding", "one", "other", "same"),
    [
        ("none", [1.0], [1.0 + 1e-8], True),  # one number in float32
        ("none", [1.0], [1.0 + 1e-6], False),
        ("each", [1e-3, 1.0], [1e-3 + 1e-6, 1.0], False),
        ("sum", [1e-3, 1.0], [1e-3 + 1e-6, 1.0], True),
        ("each", [np.nan, np.inf], [np.nan, np.inf], True),
        ("each", [np.inf], [-np.inf], False),
        ("each", [np.inf], [1.0], False),
        ("sum", [np.inf, 1.0], [np.inf, 2.0], False),
        ("each", [np.nan], [0.0], False),
        ("each", [1e-45], [0.0], True),
    ],
)
def test_how_far_apart_is_agreement(rounding: Any, one: list[float], other: list[float], same: bool) -> None:
    operation = dataclasses.replace(RELU, rounding=rounding)
    a, b = np.array(one), np.array(other)
    assert agree(operation, a, b, a) == same


def test_an_entry_explains_what_it_is_about_and_nothing_else() -> None:
    entry = Known("relu", "it is so", "evaluator", "why", "source", {"numbers": ["normal"]})
    other = Example("relu", 1, {"shape": [3], "numbers": "wide"})
    judged = [
        Opinion(HARMLESS, "evaluator", 1.0),
        Opinion(HARMLESS, "core-ai", 1.0),  # the entry says otherwise
        Opinion(other, "evaluator", 1.0),
        Opinion(HARMLESS, "both", 1e-8),
    ]
    counted = tally("relu", judged, [entry])
    assert (counted.examples, counted.agreed, counted.explained) == (4, 1, {"it is so": 1})
    assert list(counted.unexplained) == judged[1:3]
    assert "2 not explained" in run.describe([counted])


def test_the_list_is_about_what_is_there() -> None:
    for entry in KNOWN:
        assert entry.operation in OPERATIONS
        assert entry.right in ("evaluator", "core-ai", "nobody")
        assert entry.why.strip()
        assert entry.source.strip()
        assert set(entry.when) <= set(draw_examples(OPERATIONS[entry.operation], 1)[0].attributes)


DYING = """
import json, os, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[1])
for n, batch in enumerate(json.loads((folder / "request.json").read_text())):
    if any(example["number"] == 1 for example in batch):
        print("the runtime gave up", file=sys.stderr, flush=True)
        os.abort()
    np.savez(folder / f"batch-{n}.npz", **{f"result_{i}_0": np.zeros(1) for i in range(len(batch))})
"""


def test_a_runtime_that_dies_costs_the_one_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(DYING)
    monkeypatch.setattr(answers, "WORKER", worker)
    batches = [draw_examples(OPERATIONS[name], 3) for name in ("relu", "abs")]
    errors = [[answer.error for answer in batch] for batch in by_core_ai(batches)]
    assert errors == [["", "Core AI's process ended with -6: the runtime gave up", ""]] * 2


def test_without_core_ai_the_run_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("conversion.coreai.package_versions", lambda packages: {})
    assert run.main([]) == 3
    assert capsys.readouterr().err == "coreai-core not installed; pip install 'coreml-parity[coreai]'\n"


def test_an_unknown_operation_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["--only", "frobnicate"])
    assert ended.value.code == 2
    assert "no operation `frobnicate`" in capsys.readouterr().err


def test_an_entry_that_no_example_shows_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = Known("relu", "it is so", "evaluator", "why", "source", {})
    monkeypatch.setattr(run, "why_not", lambda: "")
    monkeypatch.setattr(run, "read_known", lambda: [entry])
    monkeypatch.setattr(run, "cross_check", lambda names, count, known: iter([tally("relu", [], known)]))
    assert run.main([]) == 1
    assert "take the entry out of the list" in capsys.readouterr().out
