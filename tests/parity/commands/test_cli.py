"""The command from outside: exit codes, what goes to stdout, and one clear line for every bad input."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import pytest
import torch
from PIL import Image

from parity.cli import COMMANDS as LAZY
from parity.cli import cli, main
from parity.commands.doctor import examine
from parity.core.results import json_schema, read_run
from tests.parity.commands.command import Done, Parity, lay_out
from tests.parity.tiny import LABELS

# The smallest part of the suite.
TINY = ("--model", "tiny", "--route", "onnx-torchscript", "--backend", "onnxruntime")
COMMANDS = (
    *("run", "check", "contract", "convert", "predict", "ops", "doctor"),
    *("baseline", "record", "upgrade", "calibrate", "judge", "compare-runs", "merge", "explain", "audit", "faults"),
    *("routes", "init", "clean", "envelope"),
)
NESTED = (("baseline", "record"), ("baseline", "check"))

SUITE = """
images = ["photos/*.png"]

[models.tiny]
factory = "models.py:tiny"
routes = ["onnx-torchscript", "mlprogram-fp32"]

[models.untrained]
factory = "models.py:untrained"
routes = ["onnx-torchscript"]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what a user has, and files that somebody converted."""
    return lay_out(tmp_path_factory.mktemp("cli"), SUITE, "onnx-torchscript", "mlprogram-fp32")


# Help


@pytest.mark.parametrize("command", [*((name,) for name in COMMANDS), *NESTED])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(command: tuple[str, ...], option: str, parity: Parity) -> None:
    done = parity(*command, option)

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: parity {' '.join(command)}")


def test_the_help_names_every_command_and_the_exit_codes(parity: Parity) -> None:
    done = parity("--help")

    assert (done.code, done.err) == (0, "")
    assert all(f"\n  {command} " in done.out for command in COMMANDS)
    assert set(cli.list_commands(click.Context(cli))) == set(COMMANDS)
    told = " ".join(done.out.split())
    assert "0 parity holds, 1 it does not, 2 the input is bad, 3 nothing can be concluded" in told


def test_a_command_of_a_file_is_loaded_when_it_is_asked_for() -> None:
    loaded = "{name.split('.')[-1] for name in sys.modules if name.startswith('parity.commands.')}"
    probe = (
        "import sys\nfrom parity.cli import cli, main\n"
        f"before = {loaded}\n"
        "try:\n    main(['record', '--help'])\nexcept SystemExit:\n"
        f"    print(sorted(before), sorted({loaded} & {{'record', 'run', 'check'}}))"
    )
    done = subprocess.run([sys.executable, "-c", probe], text=True, capture_output=True, check=True)

    assert done.stdout.splitlines()[-1] == ("['outputs', 'process'] ['record']")


@pytest.mark.parametrize("name", LAZY)
def test_a_command_has_one_name(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert command.name == name
    assert name not in cli.commands


def test_the_version_is_the_distributions(parity: Parity) -> None:
    done = parity("--version")

    assert (done.code, done.out) == (0, f"parity, version {examine_version()}\n")


def examine_version() -> str:
    from importlib.metadata import version

    return version("coreml-parity")


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy = "torch torchvision onnx onnxruntime onnxscript coremltools numpy PIL pydantic rich jinja2 scipy"
    probe = (
        "import sys\nfrom parity.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as stop:\n"
        f"    print(stop.code, *(name for name in {heavy.split()!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], text=True, capture_output=True, check=True)

    assert done.stdout.splitlines()[-1] == "0"


# Exit code 0


def test_a_suite_that_holds(place: Path, parity: Parity) -> None:
    done = parity("run", "--model", "tiny", "--json", "results.json")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "parity holds: 3 pass, 1 skipped"
    written = json.loads((place / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, json_schema())
    assert [(s["model"], s["route"], s["backend"], s["verdict"]) for s in written["subjects"]] == [
        ("tiny", "onnx-torchscript", "onnxruntime", "pass"),
        ("tiny", "onnx-torchscript", "onnx-reference", "pass"),
        ("tiny", "mlprogram-fp32", "coreml-native", "skipped"),
        ("tiny", "mlprogram-fp32", "coreml-evaluator", "pass"),
    ]
    assert {c["image"] for c in written["subjects"][0]["cases"]} == {f"picture{i}.png" for i in range(6)}


def test_the_selected_route_and_backend_alone_are_run(parity: Parity) -> None:
    done = parity(
        *(
            "run",
            "--model",
            "tiny",
            "--route",
            "onnx-torchscript",
            "--backend",
            "onnxruntime",
            "--json",
            "some.json",
        )
    )

    assert done.code == 0
    assert [(s.route, s.backend) for s in read_run(Path("some.json")).subjects] == [
        ("onnx-torchscript", "onnxruntime")
    ]


def test_a_suite_runs_from_anywhere(
    place: Path, parity: Parity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    # Its factories and images lie beside it; what is converted lands where the command runs.
    assert parity("run", str(place), *TINY).code == 0
    assert (tmp_path / ".parity" / "tiny").is_dir()


def test_artefacts_that_hold(parity: Parity) -> None:
    done = parity("check", "tiny", "tiny.onnx", "tiny.mlpackage", "--images", "photos", "--json", "checked.json")

    assert (done.code, done.err) == (0, "")
    assert read_run(Path("checked.json")).summary["pass"] == 3


def test_a_model_may_be_a_factory(parity: Parity) -> None:
    assert parity("check", "models.py:tiny", "tiny.onnx", "--images", "photos/*.png").code == 0


def test_images_may_be_given_one_by_one(parity: Parity) -> None:
    done = parity(
        "check", "tiny", "tiny.onnx", *("--images", "photos/picture0.png", "--images", "photos/picture1.png")
    )

    assert done.code == 0


def test_a_given_tolerance_is_the_one_that_counts(parity: Parity) -> None:
    assert parity("check", "tiny", "tiny.onnx", "--images", "photos", "--tolerance", "0.25").code == 0
    assert "2.5e-01" in parity("check", "tiny", "tiny.onnx", "--images", "photos", "--tolerance", "0.25").out


def test_a_scaled_tolerance_counts(parity: Parity) -> None:
    given = ("check", "tiny", "tiny.onnx", "--images", "photos", "--tolerance", "0.25")

    assert "1.2e-01" in parity(*given, "--tolerance-scale", "0.5").out
    # fp32 differs in the eighth digit at least somewhere.
    assert parity("run", "--model", "tiny", "--tolerance-scale", "1e-7").code == 1


def test_several_images_at_once_and_another_size(parity: Parity) -> None:
    given = ("check", "tiny", "tiny.onnx", "--images", "photos")

    assert parity(*given, "--batch", "4").code == 0
    # Its linear layer takes what a picture of 32 x 32 leaves.
    assert "tiny: the module fails on an image of 32x40 (height x width): mat1 and mat2" in one_line(
        parity(*given, "--size", "32x40")
    )


def test_an_image_of_one_pixel_shows_a_model_nothing(place: Path, parity: Parity) -> None:
    Image.new("RGB", (1, 1), (250, 20, 20)).save(place / "one.png")

    for command in (("check", "tiny", "tiny.onnx", "--images", "photos", "--images"), ("predict", "tiny.onnx")):
        done = parity(*command, "one.png")

        assert done.code == 2
        assert done.err == (
            "parity: one.png has 1x1 pixels and shows a model nothing; give a photo, of at least 2 pixels\n"
        )


def test_an_image_of_two_pixels_is_an_image(place: Path, parity: Parity) -> None:
    Image.new("RGB", (1, 2), (250, 20, 20)).save(place / "two.png")

    assert parity("check", "tiny", "tiny.onnx", "--images", "photos", "--images", "two.png").code == 0


def test_conversion_prints_where_the_result_is(parity: Parity) -> None:
    done = parity("convert", "models.py:tiny", "--route", "onnx-torchscript", "--out", "converted")

    assert (done.code, done.err) == (0, "")
    assert Path(done.out.strip()).is_file()
    assert parity("check", "tiny", done.out.strip(), "--images", "photos").code == 0


def test_prediction_prints_the_most_probable_classes(parity: Parity) -> None:
    done = parity("predict", "tiny.mlpackage", "photos/picture0.png", "photos/picture1.png", "--top", "2")

    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert (lines[0], lines[3]) == ("picture0.png  (coreml-evaluator)", "picture1.png  (coreml-evaluator)")
    assert len(lines) == 6
    probability, label = lines[1].split()
    assert 0 < float(probability) <= 1
    assert label in LABELS


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript-based ONNX export")
def test_prediction_says_what_numbers_from_elsewhere_are(place: Path, parity: Parity) -> None:
    """The classic export: logits, no labels, no note of how images are made ready."""
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    with torch.no_grad():
        module[2].weight.copy_(torch.tensor([[-0.5, 0.0, 0.0], [0.0, -1.0, 0.0]]))
        module[2].bias.zero_()
    torch.onnx.export(module, (torch.zeros(1, 3, 8, 8),), str(place / "logits.onnx"), dynamo=False)
    Image.new("RGB", (8, 8), (57, 51, 0)).save(place / "even.png")
    Image.new("RGB", (8, 8), (2, 4, 0)).save(place / "dark.png")

    done = parity("predict", "logits.onnx", "even.png", "dark.png")

    assert (done.code, done.err) == (0, "")
    told = done.out.splitlines()
    # -0.5 * 57 and -51; -0.5 * 2 and -4. Images come sorted.
    assert told[:6] == [
        "dark.png  (onnxruntime): no probabilities: the smallest is -4 and their sum is -5",
        "   -1.0000  class 0",
        "   -4.0000  class 1",
        "even.png  (onnxruntime): no probabilities: the smallest is -51 and their sum is -79.5",
        "  -28.5000  class 0",
        "  -51.0000  class 1",
    ]
    # Each once, however many images there are.
    assert [line.partition(":")[0] for line in told[6:]] == ["note"] * 4
    assert told[6] == "note: the file has no labels: classes are indices of its output, from 0"
    assert told[8].startswith("note: the pixels went in as float32 0..255, red, green, blue; the file declares")


def test_the_doctor_reports(parity: Parity) -> None:
    done = parity("doctor")

    assert (done.code, done.err) == (0, "")
    assert "  coreml-native: cannot run here: Apple's Core ML runtime is part of macOS; this is Linux" in done.out
    assert done.out.splitlines()[: len(examine().lines)] == list(examine().lines)


def test_the_doctor_warns(parity: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "parity.commands.doctor.warn_of_pairs", lambda packages: ["numpy 2.4.0 with coremltools 9.0: no"]
    )

    assert parity("doctor").out.splitlines()[-1] == "warning: numpy 2.4.0 with coremltools 9.0: no"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "tiny.onnx", "猫.png"], rb"\u732b.png  (onnxruntime)"),
        (["check", "tiny", "tiny.onnx", "--images", "photos"], rb"max |\u0394p|"),
    ],
)
def test_what_the_terminal_cannot_show_is_escaped(
    arguments: list[str], told: bytes, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(place / "photos" / "picture0.png", place / "猫.png")
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "latin-1", write_through=True))

    with pytest.raises(SystemExit) as stop:
        main(arguments)

    assert stop.value.code == 0
    assert told in written.getvalue()


# Exit codes 1 and 3


def test_another_model_does_not_hold(parity: Parity) -> None:
    done = parity("check", "models.py:shifted", "tiny.onnx", "--images", "photos", "--json", "failed.json")

    assert (done.code, done.err) == (1, "")
    assert "worst image picture" in done.out
    assert done.out.splitlines()[-1] == "parity does not hold: 2 fail"
    assert read_run(Path("failed.json")).exit_code == 1


def test_an_untrained_network_concludes_nothing(parity: Parity) -> None:
    done = parity("run", "--model", "untrained")

    assert (done.code, done.err) == (3, "")
    assert "about 1/8 for every class of every image (an untrained network?)" in done.out
    assert done.out.splitlines()[-1] == "nothing can be concluded: 2 inconclusive"


def test_what_cannot_run_here_concludes_nothing(parity: Parity) -> None:
    done = parity("check", "tiny", "tiny.mlpackage", "--images", "photos", "--backend", "coreml-native")

    assert (done.code, done.err) == (3, "")
    assert "skipped 1 × coreml-native: Apple's Core ML runtime is part of macOS" in done.out


def test_a_known_issue_holds_until_it_is_gone(place: Path, parity: Parity) -> None:
    issue = '[[known_issues]]\nmodel = "untrained"\nreason = "not trained yet"\n'
    (place / "known.toml").write_text(SUITE + issue, encoding="utf-8")
    (place / "stale.toml").write_text(SUITE + issue.replace("untrained", "tiny"), encoding="utf-8")

    known, stale = parity("run", "known.toml"), parity("run", "stale.toml")

    assert known.code == 0
    assert "known issue: not trained yet" in known.out
    assert stale.code == 1
    assert "(model tiny, route *, backend *: not trained yet) no longer fails" in stale.out


def test_known_issues_alone_conclude_nothing_whoever_judges(place: Path, parity: Parity) -> None:
    issue = '[[known_issues]]\nmodel = "*"\nreason = "the reference is another model"\n'
    models = '[models.shifted]\nfactory = "models.py:swapped"\nroutes = ["onnx-torchscript"]\n'
    (place / "all_known.toml").write_text(f'images = ["photos/*.png"]\n{models}{issue}', encoding="utf-8")
    streamed = ("--images", "photos", "--workers", "0", "--json", "streamed.json")
    told = "nothing can be concluded, because nothing passed: 2 fail (2 known)"

    for command in (
        ("run", "all_known.toml", "--no-explain", "--json", "all_known.json"),
        ("judge", "all_known.json"),
        ("run", "all_known.toml", "--no-explain", *streamed),
        ("merge", "streamed.cases.jsonl"),
        ("judge", "streamed.json"),
    ):
        done = parity(*command)

        assert (command, done.code, done.out.splitlines()[-1]) == (command, 3, told)


# Exit code 2: one line


@pytest.fixture(scope="module")
def broken(place: Path) -> Path:
    """Break a file of each kind."""
    broken = place / "broken"
    (broken / "empty").mkdir(parents=True)
    (broken / "text.jpg").write_text("not a photo", encoding="utf-8")
    (broken / "nothing.png").touch()
    Image.open(place / "photos" / "picture0.png").resize((200, 200)).save(broken / "whole.jpeg")
    whole = (broken / "whole.jpeg").read_bytes()
    (broken / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    onnx = (place / "tiny.onnx").read_bytes()
    (broken / "truncated.onnx").write_bytes(onnx[: len(onnx) // 2])
    (broken / "nothing.onnx").touch()
    (broken / "nothing.mlmodel").touch()
    (broken / "empty.mlpackage").mkdir()
    shutil.copytree(place / "tiny.mlpackage", broken / "weightless.mlpackage")
    shutil.rmtree(broken / "weightless.mlpackage" / "Data" / "com.apple.CoreML" / "weights")
    (broken / "model.pth").touch()
    misspelt = SUITE.replace("routes =", "route =", 1).replace("models.py", "../models.py")
    (broken / "misspelt.toml").write_text(misspelt.replace("photos/", "../photos/"), encoding="utf-8")
    (broken / "raises.py").write_text("def model():\n    raise OSError('disk is full')\n", encoding="utf-8")
    return broken


def one_line(done: Done) -> str:
    """Check that a command was refused in one line and return that line."""
    assert done.code == 2, done
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("parity: ")
    assert "Traceback" not in line
    return line.removeprefix("parity: ")


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ("gone.jpg", "gone.jpg"),
        ("broken/empty", "broken/empty"),
        ("nothing/*.jpg", "nothing/*.jpg"),
        ("broken/text.jpg", "text.jpg is not an image"),
        ("broken/truncated.jpg", "truncated.jpg"),
        ("broken/nothing.png", "nothing.png"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_bad_images(images: str, told: str, parity: Parity) -> None:
    assert told in one_line(parity("check", "tiny", "tiny.onnx", "--images", "photos", "--images", images))
    assert told in one_line(parity("predict", "tiny.onnx", images))


@pytest.mark.usefixtures("broken")
def test_bad_images_of_a_suite(place: Path, parity: Parity) -> None:
    text = SUITE.replace('"photos/*.png"', '"broken/text.jpg"')
    (place / "bad_images.toml").write_text(text, encoding="utf-8")

    assert "text.jpg is not an image" in one_line(parity("run", "bad_images.toml"))


@pytest.mark.parametrize(
    ("artifact", "told"),
    [
        ("gone.onnx", "gone.onnx: no such file"),
        ("broken/truncated.onnx", "truncated.onnx"),
        ("broken/nothing.onnx", "nothing.onnx"),
        ("broken/nothing.mlmodel", "nothing.mlmodel"),
        ("broken/empty.mlpackage", "empty.mlpackage"),
        ("broken/weightless.mlpackage", "weightless.mlpackage"),
        ("broken/model.pth", ".pth"),
        ("photos", "photos"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_bad_artefacts(artifact: str, told: str, parity: Parity) -> None:
    assert told in one_line(parity("check", "tiny", "tiny.onnx", artifact, "--images", "photos"))
    assert told in one_line(parity("predict", artifact, "photos"))


CHECK = ("check", "tiny", "tiny.onnx", "--images", "photos")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        # Suites
        (["run", "missing.toml"], "missing.toml: no such suite file"),
        (["run", "photos"], "photos/parity.toml: no such suite file"),
        (
            ["run", "broken/misspelt.toml"],
            "misspelt.toml: [models.tiny] route: unknown key; did you mean routes?",
        ),
        (
            ["check", "tiny", "tiny.onnx", "--images", "photos", "--suite", "missing.toml"],
            "missing.toml: no such suite file",
        ),
        # Models
        (
            ["run", "--model", "tinny"],
            "parity.toml: no model `tinny`; did you mean tiny? (models: tiny, untrained)",
        ),
        (["check", "tinny", *CHECK[2:]], "parity.toml: no model `tinny` (models: tiny, untrained)"),
        (
            ["convert", "tinny", "--route", "onnx", "--out", "x"],
            "parity.toml: no model `tinny` (models: tiny, untrained)",
        ),
        (["check", "gone.py:net", *CHECK[2:]], "gone.py: no such file"),
        (["check", "models.py:tinny", *CHECK[2:]], "no callable `tinny` there; did you mean tiny?"),
        (["check", "broken/raises.py:model", *CHECK[2:]], "the factory fails with OSError: disk is full"),
        # Routes
        (["run", "--route", "onx"], "unknown route `onx`; did you mean onnx?"),
        (["convert", "tiny", "--route", "tflite", "--out", "x"], "unknown route `tflite` (routes: onnx, "),
        (
            ["run", "--route", "mlprogram"],
            "no route `mlprogram`; did you mean mlprogram-fp32? (routes: onnx-torchscript, mlprogram-fp32)",
        ),
        (
            ["run", "--model", "untrained", "--route", "mlprogram-fp32"],
            "parity.toml: no model `untrained` with route mlprogram-fp32 (models: tiny)",
        ),
        # Backends
        (["run", "--backend", "onnxruntim"], "unknown backend `onnxruntim`; did you mean onnxruntime?"),
        ([*CHECK, "--backend", "tflite"], "unknown backend `tflite` (backends: onnxruntime, onnx-reference, "),
        (["predict", "tiny.onnx", "photos", "--backend", "tflite"], "unknown backend `tflite`"),
        (
            ["run", "--route", "onnx-torchscript", "--backend", "coreml-evaluator"],
            "parity.toml: no route `onnx-torchscript` with backend coreml-evaluator (routes: mlprogram-fp32)",
        ),
        (
            ["run", *("--model", "untrained", "--backend", "onnxruntime", "--backend", "coreml-evaluator")],
            "no backend `coreml-evaluator` with model untrained (backends: onnxruntime, onnx-reference)",
        ),
        (
            [*CHECK, "--backend", "coreml-evaluator"],
            "tiny.onnx: coreml-evaluator cannot run onnx; backends that can: onnxruntime, onnx-reference",
        ),
        (
            ["check", "tiny", "tiny.onnx", "tiny.mlpackage", "--images", "photos", "--backend", "onnxruntime"],
            "tiny.mlpackage: onnxruntime cannot run mlprogram; backends that can: coreml-native, coreml-evaluator",
        ),
        (
            [*CHECK, "--backend", "onnxruntime", "--backend", "coreml-evaluator"],
            "backend `coreml-evaluator` runs mlprogram and neuralnetwork, and no such artefact is given",
        ),
        # Places
        (
            ["run", "--json", "gone/results.json"],
            "gone/results.json: the directory does not exist; create it first",
        ),
        ([*CHECK, "--json", "photos"], "photos: is a directory; give the name of a file"),
        (["run", "--artifacts", "tiny.onnx"], "Directory 'tiny.onnx' is a file. (see `parity run --help`)"),
        (["run", *TINY, "--json", "x" * 300 + ".json"], "File name too long"),
        (["convert", "tiny", "--route", "onnx", "--out", "tiny.onnx"], "Directory 'tiny.onnx' is a file."),
        # Numbers
        *(
            (
                [*CHECK, "--tolerance", number],
                f"a tolerance is a difference of probabilities between 0 and 1, not {told}",
            )
            for number, told in (
                ("0", "0.0"),
                ("1", "1.0"),
                ("-0.5", "-0.5"),
                ("nan", "nan"),
                ("1e9", "1000000000.0"),
            )
        ),
        ([*CHECK, "--tolerance", "small"], "'small' is not a valid float. (see `parity check --help`)"),
        (["predict", "tiny.onnx", "photos", "--top", "0"], "0 is not in the range x>=1."),
        ([*CHECK, "--batch", "0"], "0 is not in the range 1<=x<=2147483647."),
        ([*CHECK, "--batch", str(2**63)], "9223372036854775808 is not in the range 1<=x<=2147483647."),
        ([*CHECK, "--batch", "many"], "'many' is not a valid integer range."),
        ([*CHECK, "--size", "32"], "'32' is no size; give height and width as 96x128"),
        ([*CHECK, "--size", "0x32"], "'0x32' is no size"),
        ([*CHECK, "--tolerance-scale", "0"], "a tolerance is multiplied by a number above 0, not 0.0"),
        # Usage
        (["check"], "Missing argument 'MODEL'. (see `parity check --help`)"),
        (["check", "tiny"], "Missing argument 'ARTIFACTS...'."),
        (["check", "tiny", "tiny.onnx"], "Missing option '--images'."),
        (["predict", "tiny.onnx"], "Missing argument 'IMAGES...'."),
        (["runn"], "No such command 'runn'."),
        (["run", "--rout", "onnx"], "No such option"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_bad_input_is_one_line(arguments: list[str], told: str, parity: Parity) -> None:
    assert told in one_line(parity(*arguments))


def test_several_mistakes_in_a_suite_are_a_line_each(place: Path, parity: Parity) -> None:
    text = SUITE.replace("factory", "factori").replace('"mlprogram-fp32"', '"mlprogam"')
    (place / "mistakes.toml").write_text(text, encoding="utf-8")

    done = parity("run", "mistakes.toml")

    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 5
    assert all(line.startswith("parity: mistakes.toml: [models.") for line in done.err.splitlines())


def test_no_suite_at_all_is_one_line(tmp_path: Path, parity: Parity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert one_line(parity("run")).startswith("no suite file: ")


def test_without_a_command_the_help_is_shown(parity: Parity) -> None:
    done = parity()

    assert "Usage: parity" in done.out + done.err
    assert "Traceback" not in done.err


def test_an_error_of_our_own_is_a_line_and_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("parity.commands.doctor.examine", fail)
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 2
    assert capfd.readouterr().err.startswith("parity: ZeroDivisionError: (unforeseen; ")

    monkeypatch.setenv("PARITY_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_nothing_is_converted_before_the_selection_is_checked(parity: Parity) -> None:
    assert parity("run", "--backend", "tflite", "--artifacts", "fresh").code == 2
    assert not Path("fresh").exists()
