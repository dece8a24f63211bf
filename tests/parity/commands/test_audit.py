"""`parity audit` from outside: what is printed and written, exit codes, and one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from parity.audit.findings import Advice, Audit, AuditLeg, MutantFinding, json_schema, summarise, to_json
from parity.core.results import Environment, KnownIssue
from parity.report.audit import print_audit
from parity.report.terminal import make_console
from tests.parity.commands.command import Parity, lay_out

SUITE = """
images = ["photos/*.png"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript"]
"""
SCHEMA_FILE = Path(__file__).parents[3] / "parity" / "schemas" / "audit.schema.json"
# Nothing agrees to within this.
STRICT = SUITE + "[models.tiny.tolerance.onnx-torchscript]\nprobability = 1e-12\n"
KNOWN = STRICT + '[[known_issues]]\nmodel = "tiny"\nreason = "it is \\u001b[31mso"\n'


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what is converted, for all tests."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Lay out a suite, a file of factories, and photos."""
    return lay_out(tmp_path, SUITE)


@pytest.fixture
def audit(parity: Parity, artifacts: Path) -> Parity:
    """Run `parity audit`."""
    return lambda *arguments: parity("audit", *arguments, "--artifacts", str(artifacts))


def test_everything_is_caught(audit: Parity) -> None:
    done = audit("--faults", "head-*", "--faults", "lab-count-mismatch")

    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == (
        "tiny by onnx-torchscript on onnxruntime: 6 image(s), 1.0e-05 allowed; before any fault: pass"
    )
    assert lines[-1] == "every fault that does anything is caught: 6 caught, 2 not applicable"
    assert "to catch what is missed" not in done.out
    assert sum("caught by 6 of 6" in line for line in lines) == 6


def test_what_is_missed_is_told_with_what_would_catch_it(place: Path, audit: Parity) -> None:
    done = audit("--faults", "pre-exif-orientation", "--json", "audit.json")

    assert (done.code, done.err) == (1, "")
    assert "missed: pre-exif-orientation (EXIF's orientation ignored)" in done.out
    assert "  add an image with an EXIF orientation: a synthetic one moves by " in done.out
    assert done.out.splitlines()[-4:] == [
        "to catch what is missed, add:",
        "  an image with an EXIF orientation: pre-exif-orientation",
        "what is pre-exif-orientation, and what to do: parity faults pre-exif-orientation",
        "not every fault is caught: 3 caught, 1 missed",
    ]
    written = json.loads((place / "audit.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    assert written["schema"] == "parity-audit/1"
    assert written["summary"] == {"caught": 3, "missed": 1, "equivalent": 0, "not applicable": 0}
    (leg,) = written["legs"]
    assert (leg["model"], leg["route"], leg["backend"], leg["audited"]) == (
        "tiny",
        "onnx-torchscript",
        "onnxruntime",
        True,
    )
    missed = next(m for m in leg["mutants"] if m["verdict"] == "missed")
    assert [(a["kind"], a["verified"]) for a in missed["advice"]] == [("exif", True)]
    assert missed["caught_by"] == []


def test_an_image_with_an_orientation_catches_it(place: Path, audit: Parity) -> None:
    from PIL import Image

    with Image.open(place / "photos" / "picture3.png") as picture:
        picture.load()
    half = picture.crop((0, 0, 32, 16)).point(lambda value: value // 4)
    picture.paste(half, (0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(place / "photos" / "turned.png", exif=exif)

    done = audit("--faults", "pre-exif-orientation")

    assert done.code == 0
    assert "caught by 1 of 7" in done.out
    assert "turned.png" in done.out


def test_nothing_that_could_be_mutated(audit: Parity) -> None:
    done = audit("--faults", "s-*")

    assert done.code == 3
    assert "not applicable: s-flexible-shape: the file takes images of 32x32 alone" in done.out
    assert done.out.splitlines()[-1] == "nothing could be mutated: 2 not applicable"


def test_a_leg_that_fails_is_said_and_not_audited(place: Path, audit: Parity) -> None:
    (place / "parity.toml").write_text(STRICT, encoding="utf-8")

    done = audit("--faults", "head-*")

    assert done.code == 1
    assert "tiny by onnx-torchscript on onnxruntime: not audited: fail: " in done.out
    assert done.out.splitlines()[-1] == "not every leg agrees in the first place: no mutants"


def test_a_known_issue_is_not_audited_and_fails_nothing(place: Path, audit: Parity) -> None:
    (place / "parity.toml").write_text(KNOWN, encoding="utf-8")

    done = audit("--faults", "head-*")

    assert done.code == 3
    assert "not audited: fail (known issue: it is \\x1b[31mso): " in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--faults", "pre_bgr"], "--faults pre_bgr: no fault has such a name (faults: pre-bgr-swap,"),
        (["--model", "tini"], "no model `tini`; did you mean tiny?"),
        (["--route", "onnx"], "no route `onnx`"),
        (["--backend", "coreml-evaluator"], "no backend `coreml-evaluator`"),
        (["--json", "absent/x.json"], "the directory does not exist"),
        (["absent.toml"], "absent.toml: no such suite file"),
    ],
)
def test_bad_input_is_one_clear_line(audit: Parity, arguments: list[str], told: str) -> None:
    done = audit(*arguments)

    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_what_comes_from_outside_is_escaped_and_shared_advice_is_told_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    advice = (Advice("unsure", "look", False), Advice("tolerance", "tighten", True, 1e-3))
    mutants = (
        MutantFinding("lab-text-mismatch", "", "label \x1b[31m", "missed", advice=advice),
        MutantFinding("g-norm-eps", "", "eps", "missed", worst="[red]", max_abs_diff=1e-4, advice=advice),
        MutantFinding("g-gelu-variant", "", "tanh", "missed"),
        MutantFinding("g-attribute", "", "x", "caught", "hidden by fp16 here", max_abs_diff=1.0),
    )
    leg = AuditLeg("m", "r", "b", "a", "onnx", "fp16", True, "pass", images=2, tolerance=0.01, mutants=mutants)
    print_audit(Audit(Environment("3", "here", {}), (leg,), summarise((leg,))), make_console())
    out = capsys.readouterr().out

    assert "\x1b" not in out
    assert "label \\x1b[31m" in out
    assert "[red]" in out
    assert "caught in fp32" in out
    assert out.count("  look (not tried)\n  or tighten\n") == 1
    assert "missed: g-gelu-variant (tanh)\n  nothing that was tried catches it\n" in out
    assert "  an image that the model is unsure of, between two classes: lab-text-mismatch, g-norm-eps\n" in out


# The schema of what is written


def test_the_committed_schema_is_the_generated_one() -> None:
    generated = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"

    assert SCHEMA_FILE.read_text(encoding="utf-8") == generated, (
        "an audit has changed: write json.dumps(parity.audit.findings.json_schema(), indent=2, ensure_ascii=False) "
        "and a newline to parity/schemas/audit.schema.json"
    )


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["title"] == "coreml-parity audit"


def an_audit() -> Any:
    """Write an audit with everything in it, and read it as JSON."""
    advice = (Advice("tolerance", "tighten", True, 1e-3),)
    mutants = (MutantFinding("g-gelu-variant", "", "tanh", "missed", "", ("a.png",), "a.png", 1e-4, advice, True),)
    audited = AuditLeg("m", "r", "b", "a", "onnx", "fp16", True, "pass", images=2, tolerance=0.01, mutants=mutants)
    known = AuditLeg("m", "r", "-", "", "", "fp16", False, "error", "broke", known_issue=KnownIssue("why", ""))
    legs = (audited, known)
    return json.loads(to_json(Audit(Environment("3", "here", {"torch": "2"}), legs, summarise(legs))))


VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_an_audit_is_valid() -> None:
    VALIDATOR.validate(an_audit())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-audit/2"),
        (("another",), 1),
        (("summary", "missed"), -1),
        (("summary", "unnoticed"), 1),
        (("environment", "packages", "torch"), 2),
        (("legs", 0, "audited"), "yes"),
        (("legs", 0, "images"), 1.5),
        (("legs", 0, "mutants", 0, "verdict"), "unnoticed"),
        (("legs", 0, "mutants", 0, "caught_by"), "a.png"),
        (("legs", 0, "mutants", 0, "advice", 0, "tolerance"), "1e-3"),
        (("legs", 1, "known_issue"), "why"),
    ],
)
def test_the_schema_refuses(path: tuple[Any, ...], value: Any) -> None:
    content = an_audit()
    table = content
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value

    assert not VALIDATOR.is_valid(content)


@pytest.mark.parametrize("key", ["schema", "environment", "legs", "summary"])
def test_the_schema_wants_every_key(key: str) -> None:
    content = an_audit()
    del content[key]

    with pytest.raises(jsonschema.ValidationError, match=key):
        VALIDATOR.validate(content)
