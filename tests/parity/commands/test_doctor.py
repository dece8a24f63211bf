"""What the doctor says of an environment, and which pairs of versions it warns of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conversion import ROUTES
from parity.backends import BACKENDS
from parity.commands.doctor import examine, warn_of_pairs
from parity.core.results import Environment
from parity.versions import examined
from tests.parity.commands.command import Parity
from tests.parity.tiny import save_pictures
from tests.parity.versions import known_bad_models

SCHEMA_FILE = Path(__file__).parents[3] / "parity" / "schemas" / "doctor.schema.json"
GOOD = {
    "numpy": "2.3.5",
    "coremltools": "9.0",
    "onnxscript": "0.5.7",
    "onnx-coreml": "1.3",
    "onnxslim": "0.1.50",
}


@pytest.mark.parametrize(
    "packages",
    [
        GOOD,
        {},
        {"numpy": "2.4.0"},
        {"coremltools": "9.0"},
        {"numpy": "2.3.99", "coremltools": "8.3.0"},
        {"numpy": "2.4.0", "coremltools": "9.1"},
        {"numpy": "1.26.4", "coremltools": "9.0"},
        {"onnxscript": "0.6.0"},
        {"onnxscript": "0.5.10"},
    ],
)
def test_nothing_is_said_of_good_pairs(packages: dict[str, str]) -> None:
    assert warn_of_pairs(packages) == []


@pytest.mark.parametrize("numpy", ["2.4.0", "2.4", "2.4.0rc1", "2.4rc1", "2.10.1", "3.0.0", "2.4.0+local.1"])
@pytest.mark.parametrize("coremltools", ["9.0", "9.0b1", "8.3.0"])
def test_numpy_2_4_with_coremltools_9_0_is_warned_of(numpy: str, coremltools: str) -> None:
    (warning,) = warn_of_pairs({**GOOD, "numpy": numpy, "coremltools": coremltools})

    assert warning.startswith(f"numpy {numpy} with coremltools {coremltools}: ")
    assert "only 0-dimensional arrays can be converted to Python scalars" in warning
    assert warning.endswith("pip install 'numpy<2.4'")


@pytest.mark.parametrize("version", ["0.5.6", "0.5.0", "0.5.6.dev20260101"])
def test_onnxscript_with_wrong_biases_is_warned_of(version: str) -> None:
    (warning,) = warn_of_pairs({**GOOD, "onnxscript": version})

    assert warning.startswith(f"onnxscript {version}: the route onnx gives residual networks the wrong biases")
    assert warning.endswith("pip install 'onnxscript>=0.5.7'")


def test_two_bad_pairs_are_two_warnings() -> None:
    assert len(warn_of_pairs({"numpy": "2.4.0", "coremltools": "9.0", "onnxscript": "0.5.6"})) == 2


COREAI = {"coreai-torch": "0.4.3", "coreai-core": "1.0.0b3"}


def found(monkeypatch: pytest.MonkeyPatch, packages: dict[str, str], system: str = "Linux") -> tuple[str, ...]:
    monkeypatch.setattr(
        "parity.core.environment.environment", lambda: Environment("3.11.4", f"{system}-1", packages)
    )
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("conversion.coreai.package_versions", lambda names: {n: COREAI[n] for n in names})
    return examine().lines


@pytest.mark.parametrize(
    ("versions", "why"),
    [
        ({}, "coreai-torch and coreai-core not installed; pip install 'coreml-parity[coreai]'"),
        ({**COREAI, "coreai-torch": "0.5.0"}, "coreai-torch 0.5.0 is installed, and 0.4.3 is what was tested; "),
    ],
)
def test_without_core_ai_its_routes_say_what_installs_it(
    versions: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, GOOD)
    monkeypatch.setattr("conversion.coreai._accepted", set())  # a tool chain of another test may take others
    monkeypatch.setattr(
        "conversion.coreai.package_versions", lambda names: {n: versions[n] for n in names if n in versions}
    )

    first, second = examine().lines[-2:]

    assert first.startswith(f"  coreai: {why}")
    assert second.startswith(f"  coreai-fp16: {why}")


def test_every_backend_is_listed_with_what_stands_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = found(monkeypatch, GOOD)

    listed = lines[lines.index("backends:") + 1 : lines.index("routes:")]
    assert listed == (
        "  onnxruntime: runs here",
        "  onnx-reference: runs here",
        "  coreml-native: cannot run here: Apple's Core ML runtime is part of macOS; this is Linux",
        "  coreml-evaluator: runs here",
        "  coreai: runs here",
    )
    assert len(listed) == len(BACKENDS)


def test_on_a_mac_apples_runtime_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "  coreml-native: runs here" in found(monkeypatch, GOOD, "Darwin")


def test_every_route_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = found(monkeypatch, GOOD)

    assert lines[lines.index("routes:") + 1 :] == tuple(f"  {route}: converts here" for route in ROUTES)


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        (("onnx-coreml",), "onnx-coreml"),
        (("onnxslim",), "onnxslim"),
        (("onnx-coreml", "onnxslim"), "onnx-coreml and onnxslim"),
    ],
)
def test_the_historic_route_says_what_it_needs(
    absent: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = found(monkeypatch, {name: version for name, version in GOOD.items() if name not in absent})

    assert lines[-3] == f"  onnx-coreml: needs {told}: pip install 'coreml-parity[legacy]'"


def test_versions_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = found(monkeypatch, GOOD)

    assert lines[:2] == ("python 3.11.4 on Linux-1", "  numpy 2.3.5")


def test_warnings_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Environment("3.11.4", "Linux", {**GOOD, "numpy": "2.4.0"})
    monkeypatch.setattr("parity.core.environment.environment", lambda: bad)

    assert examine().warnings == tuple(warn_of_pairs(bad.packages)) != ()


@pytest.fixture
def models(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out the models of the known-bad pairs and a suite of two, with coremltools 9.0 in the environment."""
    shutil.copy(known_bad_models.__file__, place / "models.py")
    save_pictures(place / "photos")
    (place / "parity.toml").write_text(
        'images = ["photos/*.png"]\n[models.transposed]\nfactory = "models.py:grouped_transpose"\n'
        'routes = ["mlprogram", "onnx"]\n'
        '[models.sound]\nfactory = "models.py:control"\nroutes = ["onnx-torchscript"]\n'
    )
    monkeypatch.setattr(examined, "installed", lambda: {"coremltools": "9.0", "onnxruntime": "1.32.0"})
    return place


def test_a_model_that_hits_a_pair_is_told_before_it_is_converted(models: Path, parity: Parity) -> None:
    done = parity("doctor", "transposed", "--json", "doctor.json")

    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        "transposed: 1 of 15 known-bad pairs, by mlprogram, onnx",
        "coremltools 9.0: the pass fuse_conv_batchnorm multiplies a ConvTranspose of several groups by the scales "
        "of other channels [coremltools-conv-transpose-groups]",
        "  at transposed; by mlprogram",
        "  do: leave common::fuse_conv_batchnorm out of the pass_pipeline, or fold the batch norm in PyTorch",
        "  see: https://github.com/pytorch/pytorch/issues/180995",
    ]
    written = json.loads((models / "doctor.json").read_text())
    assert written["schema"] == "parity-doctor/1"
    jsonschema.validate(written, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    assert [(hit["pair"], hit["routes"], hit["modules"]) for hit in written["hits"]] == [
        ("coremltools-conv-transpose-groups", ["mlprogram"], ["transposed"])
    ]
    assert not (models / ".parity").exists()


def test_a_model_that_hits_none_is_exit_code_0(models: Path, parity: Parity) -> None:
    done = parity("doctor", "sound", "--suite", "parity.toml")

    assert (done.code, done.out) == (0, "sound: none of 15 known-bad pairs, by onnx-torchscript\n")


def test_a_factory_is_looked_at_by_all_of_our_routes(models: Path, parity: Parity) -> None:
    done = parity("doctor", "models.py:ceil_average_pool")

    assert done.code == 1
    assert done.out.startswith(f"ceil_average_pool: 1 of 15 known-bad pairs, by {', '.join(ROUTES)}\n")
    assert "  at forward; by mlprogram, mlprogram-fp32, mlprogram-export" in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--suite", "parity.toml"], "--suite and --json go with a MODEL"),
        (["--json", "x.json"], "--suite and --json go with a MODEL"),
        (["transpose"], "no model `transpose`"),
        (["models.py:absent"], "no callable `absent`"),
    ],
)
def test_bad_input_is_one_clear_line(models: Path, parity: Parity, words: list[str], told: str) -> None:
    done = parity("doctor", *words)

    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert told in done.err


def test_without_a_model_the_environment_is_printed(parity: Parity) -> None:
    done = parity("doctor")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("python 3.")


# The schema of what is written


def test_the_committed_schema_is_the_generated_one() -> None:
    generated = json.dumps(examined.json_schema(), indent=2, ensure_ascii=False) + "\n"

    assert SCHEMA_FILE.read_text(encoding="utf-8") == generated, (
        "what the doctor writes has changed: write json.dumps(parity.versions.examined.json_schema(), indent=2, "
        "ensure_ascii=False) and a newline to parity/schemas/doctor.schema.json"
    )


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(examined.json_schema())
    assert examined.json_schema()["title"] == "coreml-parity doctor"


def an_examination() -> Any:
    """Write what a model would hit, and read it as JSON."""
    hit = examined.FoundPair(
        "one", "onnx", "1.16.0", "it adds", "upgrade", ("https://x.org",), ("onnx",), ("", "a")
    )
    return json.loads(examined.examined_to_json(examined.Examined("m", ("onnx", "mlprogram"), (hit,), 15)))


def test_an_examination_is_valid() -> None:
    jsonschema.Draft202012Validator(examined.json_schema()).validate(an_examination())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "parity-doctor/2"),
        (("another",), 1),
        (("model",), None),
        (("routes",), "onnx"),
        (("of",), 1.5),
        (("hits", 0, "pair"), 1),
        (("hits", 0, "links"), "https://x.org"),
        (("hits", 0, "modules"), [1]),
        (("hits", 0, "known"), True),
    ],
)
def test_the_schema_refuses(path: tuple[Any, ...], value: Any) -> None:
    content = an_examination()
    table = content
    for part in path[:-1]:
        table = table[part]
    table[path[-1]] = value

    assert not jsonschema.Draft202012Validator(examined.json_schema()).is_valid(content)


@pytest.mark.parametrize("key", ["schema", "model", "routes", "hits", "of"])
def test_the_schema_wants_every_key(key: str) -> None:
    content = an_examination()
    del content[key]

    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.Draft202012Validator(examined.json_schema()).validate(content)
