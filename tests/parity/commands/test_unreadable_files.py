"""What is no file, or cannot be parsed, in the place of each file that a command reads: one line, no waiting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parity.cli import main
from tests.parity.commands.command import Refused, lay_out

SUITE = """
images = ["photos/*.png"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript"]
"""
LONG = "x" * 5_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite, a file of factories, photos and a converted model."""
    return lay_out(tmp_path_factory.mktemp("unreadable"), SUITE, "onnx-torchscript")


# `*` stands for the file; what its name has to end in.
READERS = [
    ("predict * photos/picture0.png", ".onnx"),
    ("predict * photos/picture0.png", ".mlmodel"),
    ("check models.py:tiny * --images photos", ".mlpackage"),
    ("explain models.py:tiny * --images photos", ".onnx"),
    ("record * --images photos --out record.json", ".onnx"),
    ("predict tiny.onnx *", ".png"),
    ("check models.py:tiny tiny.onnx --images *", ".jpg"),
    ("check models.py:tiny tiny.onnx --images photos --record *", ".json"),
    ("check *:tiny tiny.onnx --images photos", ".py"),
    ("check torchvision:resnet18@* tiny.onnx --images photos", ".pth"),
    ("run *", ".toml"),
    ("run --images photos --labels *", ".csv"),
    ("run --images photos --labels *", ".json"),
    ("judge *", ".json"),
    ("compare-runs * *", ".json"),
    ("merge *", ".cases.jsonl"),
]


@pytest.mark.parametrize(("command", "ending"), READERS)
def test_no_command_waits_at_a_pipe_or_reads_a_device(
    command: str, ending: str, place: Path, tmp_path: Path, refused: Refused
) -> None:
    os.mkfifo(tmp_path / f"pipe{ending}")
    (tmp_path / f"zeros{ending}").symlink_to("/dev/zero")
    for name, kind in (("pipe", "pipe"), ("zeros", "device")):
        path = tmp_path / f"{name}{ending}"
        line = refused(*command.replace("*", str(path)).split())
        assert f"is not a regular file but a {kind}; " in line
        assert str(path) in line


@pytest.mark.parametrize(("command", "ending"), READERS)
def test_no_command_stumbles_over_a_path(
    command: str, ending: str, place: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / f"around{ending}").symlink_to(f"around{ending}")
    for path in (tmp_path / f"around{ending}", tmp_path / f"{'x' * 5_000}{ending}", f"a\0b{ending}"):
        refused(*[word.replace("*", str(path)) for word in command.split()])


@pytest.mark.parametrize("command", ["judge results.json", "run --images photos"])
@pytest.mark.parametrize("option", ["--json", "--html", "--junit", "--markdown"])
@pytest.mark.parametrize("path", ["x" * 5_000, "x/" * 3_000, "a\0b"])
def test_nor_over_one_for_a_report(command: str, option: str, path: str, refused: Refused) -> None:
    refused(*command.split(), option, path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"schema": ' * 100_000,
        '{"schema": ' + "9" * 5_000 + "}",
        '{"schema": 1e999}',
        "\0",
        "NaN",
        "",
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        "judge *",
        "compare-runs * *",
        "merge *",
        "check models.py:tiny tiny.onnx --images photos --record *",
        "run --images photos --workers 0 --backend onnxruntime --labels *",
    ],
)
def test_json_that_cannot_be_parsed(command: str, text: str, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    line = refused(*command.replace("*", str(path)).split())
    assert line.startswith(str(path))
    assert len(line) < 400 + len(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "images = " + "9" * 5_000,
        "images = 0x" + "f" * 5_000,
        "[models.tiny]\nfactory = 0x" + "f" * 5_000,
        "images = " + "[" * 5_000 + "]" * 5_000,
        "images = " + "[" * 200 + "]" * 200,
        "images = " + "{a = " * 5_000 + "1" + "}" * 5_000,
        ".".join(["a"] * 3_000) + " = 1",
        "models." + ".".join(["a"] * 3_000) + " = 1",
        "[models.tiny.arguments]\n" + ".".join(["a"] * 3_000) + " = 1",
        "[" + ".".join(["a"] * 3_000) + "]",
        "[[" + ".".join(["models"] * 3_000) + "]]",
        'images = ["a\\u0000b.png"]\n[models.tiny]\nfactory = "a\\u0000b.py:tiny"',
        f'images = ["{LONG}"]\n[models.tiny]\nfactory = "{LONG}.py:tiny"\nrecords = ["{LONG}"]',
    ],
)
def test_suite_files_that_cannot_be_parsed(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parity.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["run", str(tmp_path / "parity.toml")])
    out, err = capfd.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert "Traceback" not in err
    for line in err.splitlines():
        assert line.startswith(f"parity: {tmp_path / 'parity.toml'}: ")
