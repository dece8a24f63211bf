"""The suite file: what it may say, and every way to say it wrong, each told with file, table and key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from parity import ParityError, Tolerance
from parity.suite.suite import KnownIssueEntry, ModelEntry, find_suite, read_suite
from parity.suite.suite_file import json_schema

SCHEMA_FILE = Path(__file__).parents[3] / "parity" / "schemas" / "suite.schema.json"

GOOD = """
images = ["images/*.jpg"]
routes = ["onnx"]

[models.net]
factory = "models.py:net"
arguments = { width = 0.35, weights = "net.pth" }
routes = ["mlprogram", "onnx-coreml"]
images = ["digits/*.png", "more/photo.jpg"]

[models.net.tolerance.mlprogram]
probability = 0.02

[models.other]
factory = "torchvision:resnet18"

[[known_issues]]
model = "net"
route = "onnx-coreml"
backend = "coreml-evaluator"
reason = "hard swish"
link = "https://example.org/1"

[[known_issues]]
model = "*"
reason = "everywhere"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for name in ("models.py", "a.jpg", "images/one.jpg", "digits/1.png", "more/photo.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("only looked for", encoding="utf-8")
    return tmp_path / "parity.toml"


def refused(path: Path, text: str) -> list[str]:
    """Read a suite file that is wrong and return what is said, a line per problem, without the file's name."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParityError) as raised:
        read_suite(path)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


# A good file


def test_a_good_file_is_read(path: Path) -> None:
    path.write_text(GOOD, encoding="utf-8")

    suite = read_suite(path)

    assert suite.models == (
        ModelEntry(
            "net",
            "models.py:net",
            {"width": 0.35, "weights": "net.pth"},
            ("mlprogram", "onnx-coreml"),
            ("digits/*.png", "more/photo.jpg"),
            {"mlprogram": Tolerance(0.02, "given in the suite file for mlprogram")},
        ),
        ModelEntry("other", "torchvision:resnet18", {}, ("onnx",), ("images/*.jpg",)),
    )
    assert suite.known_issues == (
        KnownIssueEntry("net", "onnx-coreml", "coreml-evaluator", "hard swish", "https://example.org/1"),
        KnownIssueEntry("*", "*", "*", "everywhere", ""),
    )


def test_paths_start_at_the_file(path: Path) -> None:
    path.write_text(GOOD, encoding="utf-8")

    assert read_suite(path).directory == path.parent


def test_without_routes_the_four_modern_ones_are_taken(path: Path) -> None:
    path.write_text('images = ["a.jpg"]\n[models.net]\nfactory = "models.py:net"', encoding="utf-8")

    (model,) = read_suite(path).models

    assert model.routes == ("onnx", "onnx-torchscript", "mlprogram", "mlprogram-fp32")


def test_the_fixtures_suite_is_good() -> None:
    suite = read_suite(Path(__file__).parents[3] / "fixtures" / "parity.toml")

    routes = {model.name: len(model.routes) for model in suite.models}
    assert routes == {"mobilenet_v2_digits": 9, "mobilenet_v2_flexible": 3, "efficientnet_lite0": 5}


# Every error


def model(more: str = "", factory: str = 'factory = "models.py:net"', images: str = 'images = ["a.jpg"]') -> str:
    return f"{images}\n[models.net]\n{factory}\n{more}"


ROUTES = "(routes: onnx, onnx-torchscript, mlprogram, mlprogram-fp32, mlprogram-export, onnx-coreml, "
ROUTES += "coreai, coreai-fp16)"
MODEL_KEYS = (
    "(keys: factory, arguments, softmax, sigmoid, output, routes, images, tolerance, dynamic, bounds, sizes, "
    "records, artifacts)"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # Files that are not there
        (model(images='images = ["a.jpg", "b.jpg"]'), "images: {home}/b.jpg does not exist: check the path"),
        (model(images='images = ["b*.png"]'), "images: pattern {home}/b*.png matches nothing: correct it"),
        (model('images = ["none/"]'), "[models.net] images: {home}/none does not exist"),
        (
            model(factory='factory = "model.py:net"'),
            "[models.net] factory: no file {home}/model.py; did you mean models.py?",
        ),
        # Open axes
        (model('dynamic = "colour"'), "[models.net] dynamic: Input should be 'batch' or 'size', not 'colour'"),
        (model("bounds = [1]"), "[models.net] bounds: bounds are [fewest, most] images, or [[height, width], ["),
        (model("bounds = [[1, 2], 3]"), "[models.net] bounds: bounds are [fewest, most] images, or [[height, "),
        (model("sizes = [[64]]"), "[models.net] sizes[0]: List should have at least 2 items"),
        # What says nothing
        *(
            (
                f'{model()}\n[[known_issues]]\nmodel = "net"\nreason = {blank!r}',
                f"[known_issues[0]] reason: {blank!r} says nothing to a reader of the report; write what does",
            )
            for blank in ("", "  ")
        ),
        (
            model() + '\n[[known_issues]]\nmodel = "net"\nreason = "\\u200b\\n"',
            "[known_issues[0]] reason: '\\u200b\\n' says nothing",
        ),
        (
            model() + '\n[[known_issues]]\nmodel = "net"\nreason = "why"\nlink = " "',
            "[known_issues[0]] link: ' ' says nothing",
        ),
        # Unknown keys, in every table
        (
            "image = []\n" + model(),
            "image: unknown key; did you mean images? "
            "(keys: images, routes, records, models, converters, known_issues, gate, toolchains)",
        ),
        (model('route = ["onnx"]'), f"[models.net] route: unknown key; did you mean routes? {MODEL_KEYS}"),
        (model("colour = 3"), f"[models.net] colour: unknown key {MODEL_KEYS}"),
        (
            model("[models.net.tolerance.onnx]\nprobabilty = 0.1\nprobability = 0.1"),
            "[models.net.tolerance.onnx] probabilty: unknown key; did you mean probability? (keys: probability)",
        ),
        (
            model('[[known_issues]]\nmodel = "net"\nreason = "r"\nlinks = "l"'),
            "[known_issues[0]] links: unknown key; did you mean link? (keys: model, route, backend, reason, link, "
            "package)",
        ),
        (
            model().replace("net]", "tolerance]") + "image = []",
            f"[models.tolerance] image: unknown key; did you mean images? {MODEL_KEYS}",
        ),
        # Unknown routes, wherever a route is named
        (
            model('routes = ["onnx", "mlprogam"]'),
            f"[models.net] routes[1]: unknown route `mlprogam`; did you mean mlprogram? {ROUTES}",
        ),
        ('routes = ["tflite"]\n' + model(), f"routes[0]: unknown route `tflite` {ROUTES}"),
        (
            model("[models.net.tolerance.onxx]\nprobability = 0.1"),
            f"[models.net.tolerance] onxx: unknown route `onxx`; did you mean onnx? {ROUTES}",
        ),
        # Missing
        (model(factory=""), "[models.net] factory: is missing; the table needs it"),
        (
            model("[models.net.tolerance.onnx]"),
            "[models.net.tolerance.onnx] probability: is missing; the table needs it",
        ),
        (model('[[known_issues]]\nmodel = "net"'), "[known_issues[0]] reason: is missing; the table needs it"),
        ("", "models: no model is given; add a table [models.NAME] with a factory"),
        ("[models]", "models: no model is given; add a table [models.NAME] with a factory"),
        (model(images=""), "[models] net: no images; give `images` there or at the top of the file"),
        (model("images = []", images=""), "[models] net: no images; give `images` there or at the top of the file"),
        # Wrong types and values
        ("models = 3", "models: should be a table, not 3"),
        ('models.net = "models.py:net"', "[models] net: should be a table, not 'models.py:net'"),
        (model("arguments = 3"), "[models.net] arguments: should be a table, not 3"),
        (model(images='images = "a.jpg"'), "images: Input should be a valid list, not 'a.jpg'"),
        (model(images="images = [3]"), "images[0]: Input should be a valid string, not 3"),
        (model(factory="factory = 3"), "[models.net] factory: Input should be a valid string, not 3"),
        (
            model(factory='factory = "models.py"'),
            "[models.net] factory: a factory is `file.py:callable`, `package.module:callable`, `torchvision:",
        ),
        (
            model('[models.net.tolerance.onnx]\nprobability = "0.1"'),
            "[models.net.tolerance.onnx] probability: Input should be a valid number, not '0.1'",
        ),
        (
            model("[models.net.tolerance.onnx]\nprobability = 0.0"),
            "[models.net.tolerance.onnx] probability: Input should be greater than 0, not 0.0",
        ),
        (
            model("[models.net.tolerance.onnx]\nprobability = 1"),
            "[models.net.tolerance.onnx] probability: Input should be less than 1, not 1",
        ),
        (
            model("[models.net.tolerance.onnx]\nprobability = nan"),
            "[models.net.tolerance.onnx] probability: Input should be",
        ),
        (
            model(images='images = ["a.jpg"]')
            + '\n[[known_issues]]\nmodel = "net"\nreason = "r"\npackage = "onnx"',
            "[known_issues[0]] package: `onnx` is no package with versions; give them as onnxruntime>=1.21,<1.25",
        ),
        (
            model(images='images = ["a.jpg"]\nknown_issues = 3'),
            "known_issues: Input should be a valid list",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: str, path: Path) -> None:
    found = refused(path, text)

    assert any(line.startswith(told.replace("{home}", str(path.parent))) for line in found), found


def test_all_mistakes_are_told_at_once(path: Path) -> None:
    text = """
    image = ["a.jpg"]
    [models.net]
    factory = 3
    routes = ["onxx"]
    [[known_issues]]
    model = "net"
    """
    found = refused(path, text)

    assert len(found) == 4
    assert {line.split(":")[0] for line in found} == {
        "image",
        "[models.net] factory",
        "[models.net] routes[0]",
        "[known_issues[0]] reason",
    }


def test_all_models_without_images_are_told(path: Path) -> None:
    tables = [f'[models.{name}]\nfactory = "models.py:{name}"\n' for name in "abc"]
    text = f'{tables[0]}{tables[1]}images = ["a.jpg"]\n{tables[2]}'

    assert refused(path, text) == ["[models] a, c: no images; give `images` there or at the top of the file"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"images = [", "not valid TOML: "),
        (b"images = []\nimages = []", "not valid TOML: Cannot overwrite a value"),
        (b"\xff\xfe", "not valid TOML: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_what_is_not_toml_is_told(content: bytes, told: str, path: Path) -> None:
    path.write_bytes(content)

    with pytest.raises(ParityError) as raised:
        read_suite(path)

    assert str(raised.value).startswith(f"{path}: {told}")


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(ParityError, match=r"parity\.toml: no such suite file"):
        read_suite(path)


# Which file


def test_the_given_file_is_taken(path: Path) -> None:
    assert find_suite(path) == path


def test_a_directory_stands_for_its_suite(path: Path) -> None:
    assert find_suite(path.parent) == path


@pytest.mark.parametrize("place", ["parity.toml", "fixtures/parity.toml"])
def test_a_suite_is_found_in_the_working_directory(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fixtures").mkdir()
    (tmp_path / place).touch()
    monkeypatch.chdir(tmp_path)

    assert find_suite(None) == Path(place)


def test_no_suite_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ParityError, match=r"no suite file: neither parity\.toml nor fixtures/parity\.toml is here"):
        find_suite(None)


def test_all_that_is_wrong_is_told_at_once_missing_files_too(path: Path) -> None:
    text = 'images = ["b.jpg"]\nroutes = ["onxx"]\n[models.net]\nfactory = "model.py:net"\ndynamc = "size"\n'

    found = refused(path, text)

    assert len(found) == 4
    for place in ("routes[0]: ", "[models.net] dynamc: ", "images: ", "[models.net] factory: "):
        assert any(line.startswith(place) for line in found), place


# Open axes


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", (None, None, None)),
        ('dynamic = "batch"\nbounds = [1, 8]', ("batch", [1, 8], None)),
        ('dynamic = "size"\nbounds = [[48, 48], [96, 128]]', ("size", [[48, 48], [96, 128]], None)),
        ('dynamic = "size"\nsizes = [[64, 64], [96, 96]]', ("size", None, [[64, 64], [96, 96]])),
    ],
)
def test_open_axes_are_read(keys: str, expected: object, path: Path) -> None:
    path.write_text(model(keys), encoding="utf-8")

    (entry,) = read_suite(path).models

    assert (entry.dynamic, entry.bounds, entry.sizes) == expected


# The schema


def test_the_committed_schema_is_the_generated_one() -> None:
    generated = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"

    assert SCHEMA_FILE.read_text(encoding="utf-8") == generated, (
        "the suite file has changed: write json.dumps(suite_file.json_schema(), indent=2, ensure_ascii=False) "
        "and a newline to parity/schemas/suite.schema.json"
    )


def test_the_schema_takes_what_the_reader_takes() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    fixtures = Path(__file__).parents[3] / "fixtures" / "parity.toml"

    for text in (GOOD, fixtures.read_text(encoding="utf-8"), model('dynamic = "size"\nbounds = [[1, 1], [9, 9]]')):
        jsonschema.validate(tomllib.loads(text), schema)


@pytest.mark.parametrize(
    "text",
    [
        model("colour = 3"),
        model('routes = ["onxx"]'),
        model('dynamic = "colour"'),
        model("bounds = [1]"),
        model("[models.net.tolerance.onnx]\nprobability = 1.5"),
        model("[models.net.tolerance.onxx]\nprobability = 0.5"),
        'images = ["a.jpg"]',
        '[models.net]\nimages = ["a.jpg"]',
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(text: str, path: Path) -> None:
    refused(path, text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), json_schema())
