"""What runs attacks: everything that must not be is called by its name, and what is well is held."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.attack import Attack, Outcome
from tests.attack.families import FAMILIES, all_attacks
from tests.attack.run import Row, sample, table
from tests.attack.running import MEMORY, faults, run_attack

HOSTILE = Attack("images/eps/predict", ("parity", "predict", "keep.onnx", "evil.jpg"), writes=("new*",))
REFUSAL = "parity: evil.jpg: not an image that is read here\n"


def outcome(code: int | None = 2, errors: str = REFUSAL, **more: object) -> Outcome:
    """Describe how a command ended: refused in one line, unless told otherwise."""
    values = {"seconds": 1.0, "peak": 2**20, "output": ""} | more
    return Outcome(code=code, errors=errors, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ending", "fault"),
    [
        pytest.param(outcome(code=None), "no end within 1 s", id="hang"),
        pytest.param(outcome(code=0), "exit code 0, where 2 holds", id="green"),
        pytest.param(outcome(code=-11, errors=""), "exit code -11, where 2 holds: nothing was printed", id="crash"),
        pytest.param(outcome(peak=MEMORY + 1), "2048 MB of memory", id="memory"),
        pytest.param(
            outcome(errors=f"Traceback (most recent call last)\n{REFUSAL}"), "prints `Traceback", id="traceback"
        ),
        pytest.param(outcome(output="Exception ignored in: <stdout>"), "prints `Exception ignored`", id="ignored"),
        pytest.param(outcome(errors="\n"), "exit code 2 without a line that says why", id="silent"),
        pytest.param(outcome(errors=f"parity: {'x' * 3000}\n"), "a line of 3008 characters", id="endless line"),
        pytest.param(outcome(output="\x07"), "prints control characters", id="bell"),
        pytest.param(outcome(changed=("outer/place/keep.onnx",)), "wrote outer/place/keep.onnx", id="input"),
        pytest.param(outcome(changed=("outer/new.txt",)), "wrote outer/new.txt", id="outside"),
    ],
)
def test_what_must_not_be_is_a_fault(ending: Outcome, fault: str, tmp_path: Path) -> None:
    (said,) = faults(HOSTILE, ending, tmp_path)

    assert fault in said


@pytest.mark.parametrize("changed", [(), ("outer/place/new.json",), ("outer/place/.parity/tiny.onnx",)])
def test_what_is_well_is_held(changed: tuple[str, ...], tmp_path: Path) -> None:
    assert faults(HOSTILE, outcome(changed=changed), tmp_path) == []


def test_an_attack_runs_in_a_copy_and_is_seen_to_leave_it(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "kept.txt").write_text("kept")

    def lay(copy: Path) -> None:
        (copy / "test_evil.py").write_text(
            "from pathlib import Path\n\n\n"
            "def test_evil():\n    Path('kept.txt').unlink()\n    Path('../stolen.txt').write_text('x')\n"
        )

    attack = Attack("users/evil/pytest", ("pytest", "-q", "-p", "no:xdist", "test_evil.py"), lay, frozenset({0}))
    verdict = run_attack(attack, place)

    assert verdict.outcome.code == 0, verdict.outcome.output + verdict.outcome.errors
    assert verdict.faults == ("wrote outer/place/kept.txt, outer/stolen.txt",)
    assert (place / "kept.txt").read_text() == "kept"


def test_an_attack_that_cannot_be_prepared_is_a_fault_and_no_end_of_the_run(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def lay(copy: Path) -> None:
        raise IndexError("list index\nout of range")

    verdict = run_attack(Attack("networks/evil/predict", ("parity", "ops"), lay), place)

    assert verdict.faults == ("the attack itself breaks: IndexError: list index out of range",)


def test_what_does_not_end_is_ended(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()

    def lay(copy: Path) -> None:
        (copy / "test_evil.py").write_text("def test_evil():\n    while True:\n        pass\n")

    verdict = run_attack(Attack("users/hang/pytest", ("pytest", "-q", "test_evil.py"), lay), place, seconds=0.2)

    assert verdict.outcome.code is None


def test_every_family_has_attacks_of_its_own_and_a_sample_has_all() -> None:
    names = [attack.name for attack in all_attacks()]

    assert len(names) >= 600
    assert {name.partition("/")[0] for name in sample(names, 100)} == set(FAMILIES)
    assert len(set(sample(names, 100))) == 100


def test_the_table_counts_what_fell() -> None:
    rows = [
        Row("images/a", (), 1.0, 1 << 20),
        Row("images/b", ("exit code 0",), 2.5, 3 << 20),
        Row("models/a", (), 0.5, 2 << 20),
    ]

    lines = [line.split() for line in table(rows).splitlines()]

    assert lines[1] == ["images", "2", "1", "1", "2.5", "s", "3", "MB"]
    assert lines[2] == ["models", "1", "1", "0", "0.5", "s", "2", "MB"]
    assert lines[3] == ["all", "3", "2", "1"]
