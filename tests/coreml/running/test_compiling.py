"""A plan is compiled after so many predictions with inputs of the same shapes, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from parity.coreml import Evaluator
from parity.coreml.program import Graph
from parity.coreml.running import compiling
from parity.coreml.running.compiling import Compiled
from parity.coreml.running.plan import Plan, make_plan
from tests.coreml.programs import Builder, convert

PLAIN = make_plan(Graph((), (), ()), "plain")


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    made: list[Plan] = []

    def fuse(plan: Plan, inputs: Any) -> Plan:
        made.append(make_plan(plan.graph, f"compiled {len(made)}"))
        return made[-1]

    monkeypatch.setattr(compiling, "fuse", fuse)
    return made


def names(compiled: Compiled, shapes: list[tuple[int, ...]]) -> list[str]:
    return [compiled.plan(PLAIN, {"x": torch.zeros(shape)}).where for shape in shapes]


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize(
    ("after", "wheres"),
    [
        (None, ["plain"] * 4),
        (0, ["compiled 0"] * 4),
        (2, ["plain", "plain", "compiled 0", "compiled 0"]),
    ],
)
def test_a_plan_is_compiled_after_so_many_predictions(after: int | None, wheres: list[str]) -> None:
    assert names(Compiled(after), [(1, 3)] * 4) == wheres


@pytest.mark.usefixtures("fused")
def test_each_shape_has_a_count_and_a_plan_of_its_own() -> None:
    one, two = (1, 3), (2, 3)

    assert names(Compiled(1), [one, two, one, two, one]) == [
        "plain",
        "plain",
        *(f"compiled {i}" for i in (0, 1, 0)),
    ]


def test_no_more_plans_are_kept_than_memory_allows(fused: list[Plan]) -> None:
    wheres = names(Compiled(0), [(size,) for size in range(1, 9)])

    assert wheres.count("plain") == 4
    assert len(fused) == 4


def test_what_is_not_worth_it_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Plan] = []
    monkeypatch.setattr(compiling, "fuse", lambda plan, inputs: asked.append(plan))

    assert names(Compiled(0), [(1,)] * 3) == ["plain"] * 3
    assert len(asked) == 1


def test_a_model_with_a_state_or_with_shapes_by_content_is_never_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def fuse(*_: Any) -> Any:
        raise AssertionError("compiled")

    monkeypatch.setattr(compiling, "fuse", fuse)
    model = convert(lambda x: Builder.non_zero(x=x), (4,))
    evaluator = Evaluator(model, compile_after=0)

    for _ in range(2):
        evaluator.predict({evaluator.description.input[0].name: torch.ones(4).numpy()})
