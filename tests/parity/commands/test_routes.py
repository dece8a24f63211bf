"""`parity routes`, and variants of our routes in a suite file: what they may say, and that each is a route."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from parity.commands.routes import list_routes
from parity.versions.toolchain_side import convert_own
from tests.parity.commands.command import Parity, Refused, lay_out

SUITE = """
images = ["photos/*.png"]

[converters.ship]
convert = "tools.py:convert"
suffix = ".onnx"

[converters.script]
command = ["python", "export.py", "{output}"]
suffix = ".mlpackage"

[converters.small]
base = "mlprogram"
target = "iOS17"
keep_fp32 = ["softmax"]

[models.tiny]
factory = "models.py:tiny"
routes = ["small"]
artifacts = ["build/later.mlmodel"]
"""


@pytest.fixture
def team(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lay_out(place, SUITE)
    (place / "tools.py").write_text("def convert(path): ...\n", encoding="utf-8")
    for name in [n for n in sys.modules if n.startswith("parity_models_") or n == "models"]:
        monkeypatch.delitem(sys.modules, name)
    return place


OURS = [
    "our routes:",
    "  onnx              onnx           fp32  torch.onnx.export by torch.export",
    "  onnx-torchscript  onnx           fp32  torch.onnx.export by TorchScript, opset 17",
    "  mlprogram         mlprogram      fp16  torch.jit.trace, then coremltools",
    "  mlprogram-fp32    mlprogram      fp32  torch.jit.trace, then coremltools",
    "  mlprogram-export  mlprogram      fp16  torch.export, then coremltools",
    "  onnx-coreml       neuralnetwork  fp32  torch.onnx.export by TorchScript, opset 9, then onnx-coreml",
    "  coreai            coreai         fp32  torch.export, then coreai-torch",
    "  coreai-fp16       coreai         fp16  torch.export, then coreai-torch",
]
OWN = [
    "routes of parity.toml:",
    "  ship                 onnx                 calls tools.py:convert",
    "  script               mlprogram            runs `python export.py {output}`",
    '  small                mlprogram      fp16  as mlprogram, but target = "iOS17", keep_fp32 = ["softmax"]',
    "  build/later.mlmodel  neuralnetwork        a finished file",
]


@pytest.mark.usefixtures("team")
def test_ours_and_the_suites_own_are_listed_with_where_they_come_from(parity: Parity) -> None:
    done = parity("routes")

    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[: len(OURS)] == OURS
    assert lines[len(OURS) : len(OURS) + len(OWN)] == OWN
    assert parity("routes", "parity.toml").out == done.out


def test_without_a_suite_ours_are_listed(parity: Parity) -> None:
    done = parity("routes")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[: len(OURS)] == OURS
    assert "routes of" not in done.out


def test_a_suite_that_is_not_there_is_refused(refused: Refused) -> None:
    assert refused("routes", "none.toml") == "none.toml: no such suite file"


def test_the_options_are_those_of_a_suite_file_with_their_valid_values() -> None:
    lines = list(list_routes(None))
    options = lines[lines.index("a variant of a route of ours, in a suite file:") :]

    examples = [line.strip() for line in options if line.startswith("  ") and line[2] != " "]
    assert examples == [
        "[converters.small]",
        'base = "mlprogram"',
        'target = "iOS18"',
        'frontend = "export"',
        'weights = "palettize-6bit"',
        'keep_fp32 = ["softmax"]',
    ]
    for values in (
        "iOS15, iOS16, iOS17, iOS18, iOS26",
        "macOS12, macOS13, macOS14, macOS15, macOS26",
        "trace, export",
        "palettize-Nbit with N of 1, 2, 3, 4, 6, 8: a palette of 2^N values; 3 bits from iOS18 on",
    ):
        assert f"      {values}" in options


# Variants in a suite file


@pytest.mark.usefixtures("team")
def test_a_variant_runs_as_a_route_of_ours(parity: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    done = parity("run", "--route", "small", "--json", "results.json")

    assert (done.code, done.err) == (0, "")
    subjects = json.loads(Path("results.json").read_text(encoding="utf-8"))["subjects"]
    (ran,) = [s for s in subjects if s["verdict"] != "skipped"]
    assert (ran["route"], ran["backend"], ran["precision"], ran["verdict"]) == (
        *("small", "coreml-evaluator", "fp16", "pass"),
    )

    chosen = ("--route", "small", "--backend", "coreml-evaluator")
    assert parity("baseline", "record", "--reason", "first", *chosen).code == 0
    assert parity("baseline", "check", *chosen).code == 0
    # The cache keeps it: what is converted by hand is the same file.
    assert parity("convert", "tiny", "--route", "small", "--out", ".parity").out.startswith(".parity/tiny/small-")
    # So it is what the process of a tool chain converts, by the suite file.
    monkeypatch.setenv("PYTHONPATH", "")
    answer = convert_own("parity.toml", "tiny", "small", ".parity")
    assert (answer["remark"], answer["path"].startswith(".parity/tiny/small-")) == ("", True)
    assert len([p for p in Path(".parity/tiny").iterdir() if p.is_dir()]) == 1


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('target = "iOS19"', "[converters.small] target: unknown target `iOS19`; did you mean iOS18? (targets: "),
        ('frontend = "exprt"', "[converters.small] frontend: unknown frontend `exprt`; did you mean export?"),
        ('weights = "int3"', "[converters.small] weights: unknown compression `int3`; did you mean int4?"),
        (
            'weights = "int4"',
            "[converters.small] weights: int4 is not possible without a target, but from iOS18 on",
        ),
        ('weights = "w.yaml"', "[converters.small] weights: w.yaml: no such file"),
        ('keep_fp32 = "softmax"', "[converters.small] keep_fp32: Input should be a valid list"),
        ('keep_fp32 = [""]', "[converters.small] keep_fp32: keep_fp32 is a list of types or names of operations"),
        ("target = 18", "[converters.small] target: Input should be a valid string"),
        ('targt = "iOS18"', "[converters.small] targt: unknown key; did you mean target?"),
        (
            'suffix = ".onnx"',
            "`suffix` is of a conversion of your own (convert, command, suffix, precision, depends, ",
        ),
    ],
)
def test_what_is_wrong_with_a_variant_is_told_with_its_place(
    keys: str, told: str, place: Path, refused: Refused
) -> None:
    lay_out(place, f'[converters.small]\nbase = "mlprogram"\n{keys}\n{MODEL}')

    assert told in refused("routes")


MODEL = '[models.tiny]\nfactory = "models.py:tiny"\nimages = ["photos/*.png"]\nroutes = ["onnx"]\n'


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            'base = "onnx"\ntarget = "iOS17"',
            "[converters.small] target: the base onnx does not have it; these have: ",
        ),
        ('base = "mlprogam"', "[converters.small] base: unknown route `mlprogam`; did you mean mlprogram?"),
        ('base = "other"', "[converters.small] base: unknown route `other` (routes: onnx, "),
        ('target = "iOS17"', '`target` is of a variant; name the route that it varies: base = "mlprogram"'),
        ('convert = "x:y"\nsuffix = ".onnx"\nbase = "mlprogram"', "give the keys of one of the two"),
        (
            'command = ["x", "{output}"]',
            "`suffix` is missing, the end of the file that it writes: .onnx, .mlpackage",
        ),
        ("", "give either `convert`, a callable, or `command`, a list of words; or `base`, the route of ours"),
    ],
)
def test_what_is_no_variant_is_told(table: str, told: str, place: Path, refused: Refused) -> None:
    lay_out(place, f"[converters.small]\n{table}\n{MODEL}")

    assert told in refused("routes")
