"""`parity calibrate` from outside: the tables, TOML that a suite takes, exit codes, one line for bad input."""

from __future__ import annotations

import io
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.calibration.calibration import Calibration, ModelNoise
from parity.calibration.calibration_file import json_schema
from parity.calibration.noise import Noise
from parity.calibration.proposals import Proposal
from parity.core.environment import environment
from parity.report.calibration import print_calibration, toml_lines
from parity.report.terminal import make_console
from parity.suite.suite import read_suite
from tests.parity.commands.command import Parity, lay_out

SUITE = """
images = ["photos/*.png"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript", "mlprogram"]

[models.untrained]
factory = "models.py:untrained"
routes = ["onnx-torchscript"]
"""
SCHEMA_FILE = Path(__file__).parents[3] / "parity" / "schemas" / "calibration.schema.json"
# The smallest part of the suite.
TINY = ("calibrate", "--model", "tiny", "--route", "onnx-torchscript", "--backend", "onnxruntime")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite, a file of factories, and photos."""
    return lay_out(tmp_path_factory.mktemp("calibrate"), SUITE)


def test_what_is_proposed_can_be_pasted(place: Path, parity: Parity) -> None:
    done = parity("calibrate", "--model", "tiny", "--json", "calibration.json")

    assert (done.code, done.err) == (0, "")
    assert "from 6 image(s) the 0.999 quantile cannot be told" in done.out
    assert "2,995 images would give it with 95% confidence" in done.out
    assert "proposals made: 3 proposed, 1 unmeasured" in done.out
    assert (place / "parity.toml").read_text(encoding="utf-8") == SUITE
    content = json.loads(Path("calibration.json").read_text(encoding="utf-8"))
    assert content["schema"] == "parity-calibration/1"
    proposed = {(leg["route"], leg["backend"]): leg["tolerance"] for leg in content["legs"]}

    # What comes after the last line of the report is TOML and nothing else.
    toml = done.out.partition("1 unmeasured\n")[2]
    (place / "pasted.toml").write_text(SUITE + toml, encoding="utf-8")
    allowed = read_suite(place / "pasted.toml").models[0].tolerance

    assert {route: tolerance.probability for route, tolerance in allowed.items()} == {
        "onnx-torchscript": max(
            proposed["onnx-torchscript", "onnxruntime"], proposed["onnx-torchscript", "onnx-reference"]
        ),
        "mlprogram": proposed["mlprogram", "coreml-evaluator"],
    }
    assert "# Not measured: coreml-native." in toml
    assert "PyTorch, float64" in toml
    assert parity("run", "pasted.toml", "--model", "tiny").code == 0


def test_a_quantile_that_the_images_tell(parity: Parity) -> None:
    done = parity(*TINY, "--quantile", "0.5")

    # The sixth of six is below the median in one of 64 cases, the fifth in seven.
    assert done.code == 0
    assert "the 0.5 quantile of 6 images, bounded with 95% confidence by value 6 of 6" in done.out


def test_nothing_is_proposed_for_an_untrained_network(parity: Parity) -> None:
    done = parity("calibrate", "--model", "untrained")

    assert done.code == 3
    assert "an untrained network?" in done.out
    assert done.out.splitlines()[-1] == "nothing can be proposed: 1 unmeasured"


def test_other_images(parity: Parity) -> None:
    done = parity(*TINY, "--images", "photos/picture1.png", "--images", "photos/picture2.png")

    assert done.code == 0
    assert "from 2 image(s)" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--quantile", "1"], "1.0 is not in the range 0<x<1."),
        (["--quantile", "nan"], "nan is in no range; give a number in the range 0<x<1"),
        (["--images", "gone.jpg"], "gone.jpg does not exist"),
        (["--model", "tini"], "no model `tini`; did you mean tiny?"),
        (["--json", "gone/x.json"], "gone/x.json: the directory does not exist"),
        (["gone.toml"], "gone.toml: no such suite file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], told: str, parity: Parity) -> None:
    done = parity("calibrate", *arguments)

    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("parity: ")
    assert told in line


# The schema of what is written


def test_the_committed_schema_is_the_generated_one() -> None:
    generated = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"

    assert SCHEMA_FILE.read_text(encoding="utf-8") == generated, (
        "a calibration has changed: write json.dumps(calibration_file.json_schema(), indent=2, ensure_ascii=False) "
        "and a newline to parity/schemas/calibration.schema.json"
    )


@pytest.fixture
def written(parity: Parity, tmp_path: Path) -> Any:
    """Calibrate, and read what is written."""
    parity(*TINY, "--json", str(tmp_path / "calibration.json"))
    return json.loads((tmp_path / "calibration.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(TINY[1:], 0), (("--model", "untrained"), 3)],
)
def test_what_is_written_is_valid(
    arguments: tuple[str, ...],
    code: int,
    parity: Parity,
    validator: jsonschema.Draft202012Validator,
    tmp_path: Path,
) -> None:
    written = tmp_path / "calibration.json"

    assert parity("calibrate", *arguments, "--json", str(written)).code == code

    content = json.loads(written.read_text(encoding="utf-8"))
    validator.validate(content)
    assert content["exit_code"] == code


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-calibration/2"),
        (("exit_code",), 1),
        (("quantile",), "0.999"),
        (("another",), 1),
        (("models", 0, "images", 0), 7),
        (("models", 0, "sources", 0, "differences", 0), None),
        (("models", 0, "sources", 0, "largest"), 0.1),
        (("legs", 0, "state"), "guessed"),
        (("legs", 0, "tolerance"), "1e-5"),
        (("legs", 0, "left_out"), ["a source"]),
    ],
)
def test_the_schema_refuses(
    path: tuple[Any, ...], value: Any, written: Any, validator: jsonschema.Draft202012Validator
) -> None:
    table = written
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value

    assert not validator.is_valid(written)


@pytest.mark.parametrize("key", ["schema", "environment", "images_needed", "models", "legs"])
def test_the_schema_wants_every_key(key: str, written: Any, validator: jsonschema.Draft202012Validator) -> None:
    del written[key]

    with pytest.raises(jsonschema.ValidationError, match=key):
        validator.validate(written)


# The report


LEG = Proposal(
    "tiny",
    "onnx",
    "onnxruntime",
    "fp32",
    "proposed",
    images=8,
    sources=("PyTorch, repeated",),
    noise=3e-6,
    decided_by="PyTorch, repeated",
    tolerance=9e-6,
    allowed_today=1e-5,
    distance=2e-6,
    ties=0.0,
)
NATIVE = Proposal("tiny", "onnx", "other", "fp32", reason="not here")


def found(*legs: Proposal) -> Calibration:
    noises = (Noise("PyTorch, repeated", (3e-6,) * 8), Noise("loud", (0.5,) * 8, "a fault"))
    return Calibration(0.999, (ModelNoise(legs[0].model, ("a.png",) * 8, noises),), legs, environment())


def shown(*legs: Proposal) -> str:
    file = io.StringIO()
    print_calibration(found(*legs), make_console(file))
    return file.getvalue()


def test_a_distance_above_the_proposal_is_told() -> None:
    assert "is above the proposal" not in shown(LEG)
    told = "tiny by onnx on onnxruntime: its own distance, 2.0e-05, is above the proposal"
    assert told in shown(replace(LEG, distance=2e-5))


def test_many_ties_are_told() -> None:
    assert "would count as a tie" not in shown(replace(LEG, ties=0.1))
    assert "tiny by onnx on onnxruntime: on 25% of the images" in shown(replace(LEG, ties=0.25))


def test_what_does_not_enter_and_what_is_absent_is_told() -> None:
    told = shown(LEG, NATIVE, replace(LEG, distance=None, distance_reason="labels differ"))

    assert "tiny: does not enter: loud: a fault" in told
    assert "unmeasured: not here (tiny by onnx on other)" in told
    assert "no own distance: labels differ (tiny by onnx on onnxruntime)" in told


def test_a_tolerance_is_the_widest_of_a_routes_backends() -> None:
    toml = "\n".join(toml_lines(found(LEG, replace(LEG, backend="b", tolerance=1.2e-5), NATIVE)))

    assert tomllib.loads(toml) == {"models": {"tiny": {"tolerance": {"onnx": {"probability": 1.2e-5}}}}}
    assert "# Not measured: other." in toml


def test_no_tolerance_where_the_noise_of_one_backend_is_too_large() -> None:
    withheld = replace(LEG, backend="b", state="withheld", tolerance=None, reason="too large")

    assert list(toml_lines(found(LEG, withheld))) == []
    assert "withheld: too large (tiny by onnx on b)" in shown(LEG, withheld)


def test_what_stands_in_the_suite_is_named() -> None:
    assert "# In the place of the 0.02 that stands in the file." in list(
        toml_lines(found(replace(LEG, given=True, allowed_today=0.02)))
    )


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_is_a_key_of_toml(name: str) -> None:
    toml = "\n".join(toml_lines(found(replace(LEG, model=name))))

    assert tomllib.loads(toml) == {"models": {name: {"tolerance": {"onnx": {"probability": 9e-6}}}}}


def test_names_cannot_break_the_lines_of_the_report() -> None:
    text = shown(replace(LEG, model="two\nlines\x1b[31m", distance=1.0))

    assert "\x1b" not in text
    assert "two\\nlines\\x1b[31m by onnx" in text
