"""`parity envelope`, and `--envelope` of `parity run`, from outside."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from parity.core.results import read_run
from parity.envelope.envelope_file import json_schema
from tests.parity.commands.command import Parity, Refused, lay_out
from tests.parity.envelope import deciding

ENVELOPE = ("envelope", "models.py:tiny", "tiny.mlpackage", "--images", "photos")
SUITE = """
images = ["photos/*.png"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript", "mlprogram"]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out converted files, a file of factories, a suite and photos."""
    return lay_out(tmp_path_factory.mktemp("envelope"), SUITE, "mlprogram", "onnx-torchscript", "onnx-coreml")


def test_a_sound_file_is_safe(parity: Parity) -> None:
    done = parity(*ENVELOPE, "--json", "envelope.json")

    assert (done.code, done.err) == (0, "")
    last = done.out.splitlines()[-1]
    assert last.startswith("tiny as tiny.mlpackage: safe: ")
    assert "a model of risk" in last
    content = json.loads(Path("envelope.json").read_text(encoding="utf-8"))
    jsonschema.validate(content, json_schema())
    assert (content["schema"], content["exit_code"]) == ("parity-envelope/1", 0)
    assert [case["image"] for case in content["envelope"]["cases"]] == [f"picture{n}.png" for n in range(6)]
    assert [one["name"] for one in content["envelope"]["variants"]] == ["coarse", "neural-engine"]


def test_a_page_and_a_summary_say_the_same(parity: Parity) -> None:
    reports = ("--json", "envelope.json", "--html", "page.html", "--markdown", "summary.md")

    done = parity(*ENVELOPE, "--tolerance", "1e-5", *reports)

    assert (done.code, done.err) == (0, "")
    told = next(line.strip() for line in done.out.splitlines() if "  to do: keep in fp32: " in line)
    page, summary = (Path(name).read_text(encoding="utf-8") for name in ("page.html", "summary.md"))
    for text in (page, summary):
        assert "hardware sensitive" in text
        assert "a model of risk: no record from a device has confirmed it so far" in text.replace("&#58;", ":")
        assert told in text
    assert all(f"<bdi>picture{n}.png</bdi>" in page for n in range(6))
    # A band for each of five classes of six images, each with the line of what the evaluator answers.
    assert page.count('<rect class="range"') == page.count('<rect class="said"') == 30


def test_reports_of_an_envelope_are_written_over_and_other_files_are_not(parity: Parity, refused: Refused) -> None:
    written = ("--json", "envelope.json", "--html", "page.html", "--markdown", "summary.md")

    assert [parity(*ENVELOPE, *written).code for _ in range(2)] == [0, 0]
    Path("page.html").write_text("a letter", encoding="utf-8")
    assert "page.html" in refused(*ENVELOPE, *written)


def test_the_schema_is_the_committed_one() -> None:
    committed = Path(deciding.ROOT / "parity" / "schemas" / "envelope.schema.json").read_text(encoding="utf-8")

    assert committed == json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def test_a_sensitive_file_says_so_and_exits_with_0(parity: Parity) -> None:
    done = parity(*ENVELOPE, "--tolerance", "1e-5")

    assert done.code == 0
    assert "tiny.mlpackage: sensitive: a probability may move" in done.out
    assert "  to do: keep in fp32: " in done.out
    assert "(linear): |Δp| " in done.out


def test_all_names_every_arithmetic(parity: Parity) -> None:
    done = parity(*ENVELOPE, "--all")

    assert done.code == 0
    assert {line.split()[0] for line in done.out.splitlines() if line.strip()} >= {"sums-8", "products", "table-4"}


def test_a_neural_network_is_inconclusive(parity: Parity) -> None:
    done = parity("envelope", "models.py:tiny", "tiny.mlmodel", "--images", "photos")

    assert done.code == 3
    assert "computed in fp16, as an assumption" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("envelope", "models.py:tiny", "tiny.onnx", "--images", "photos"), "which does not run onnx"),
        (("envelope", "models.py:tiny", "tiny.mlpackage"), "--images is missing"),
        ((*ENVELOPE, "--tolerance", "2"), "a tolerance is a difference of probabilities between 0 and 1"),
        ((*ENVELOPE, "--record", "photos/picture0.png"), "an image"),
        (("run", "--envelope", "--images", "photos"), "--envelope goes without --images"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], told: str, refused: Refused) -> None:
    assert told in refused(*arguments)


def test_a_record_that_is_inside_is_told(parity: Parity) -> None:
    parity("record", "tiny.mlpackage", "--images", "photos", "--out", "phone.json")

    done = parity(*ENVELOPE, "--record", "phone.json")

    assert done.code == 0
    assert "inside, on all of 6 images; nearest are round-once (0)" in done.out


def test_a_record_that_is_outside_is_a_sign_of_a_fault(parity: Parity) -> None:
    parity("record", "tiny.mlpackage", "--images", "photos", "--out", "phone.json")
    content = json.loads(Path("phone.json").read_text(encoding="utf-8"))
    probabilities = content["records"][0]["predictions"][4]["probabilities"]
    label = max(probabilities, key=probabilities.get)
    probabilities[label] -= 0.1
    content["records"][0] |= {"device": "iPhone16,1", "system": "iOS 18.2", "unit": "Neural Engine"}
    Path("phone.json").write_text(json.dumps(content), encoding="utf-8")

    done = parity(*ENVELOPE, "--record", "phone.json")

    assert done.code == 1
    assert "on iPhone16,1, iOS 18.2, computed on Neural Engine: outside at 1 of 6 images, picture4.png" in done.out
    assert "the strongest sign of a fault in the app or in the runtime" in done.out


def test_a_run_shows_the_range_behind_the_answers(parity: Parity) -> None:
    done = parity(
        *("run", "--envelope", "--route", "mlprogram", "--route", "onnx-torchscript"),
        *("--json", "results.json", "--html", "page.html", "--markdown", "summary.md"),
    )

    assert done.code == 0
    told = "on hardware safe, by a model of risk: no record from a device has confirmed it so far"
    assert f"tiny by mlprogram on coreml-evaluator: {told}" in done.out
    assert "on hardware safe" in Path("summary.md").read_text(encoding="utf-8")
    page = Path("page.html").read_text(encoding="utf-8")
    assert '<rect class="band"' in page
    assert page.count("</span>on hardware 0.") == page.count('<rect class="band" x=') > 0
    found = {s.backend: s.envelope for s in read_run(Path("results.json")).subjects}
    assert found.pop("coreml-evaluator") is not None
    assert set(found.values()) == {None}


def test_a_run_shows_no_range_unless_it_is_asked_for(parity: Parity) -> None:
    done = parity("run", "--route", "mlprogram", "--html", "page.html")

    assert "on hardware" not in done.out
    page = Path("page.html").read_text(encoding="utf-8")
    assert '<rect class="band"' not in page
    assert "on hardware" not in page
