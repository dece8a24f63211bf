"""`parity upgrade` from outside: what it compares, what it prints, and one clear line for every bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from conversion.contract import ASSUMED, Contract
from parity.cli import main
from parity.core.results import Diagnosis, Environment, Subject
from parity.versions import bisect, matrix, upgrade
from parity.versions.bench import Bench, Conversion
from parity.versions.side import Side
from parity.versions.suite_route import SuiteRoute
from parity.versions.toolchains import ToolChain, ToolChainFailure
from parity.versions.upgrade import Upgrade, UpgradeLeg
from tests.parity.commands.command import lay_out
from tests.parity.tiny import converted, shifted

SUITE = """
images = ["photos/*.png"]
routes = ["onnx-torchscript"]
[models.tiny]
factory = "models.py:tiny"
[models.other]
factory = "models.py:tiny"
[toolchains.spring]
packages = ["onnx==1.17.0"]
"""
CRASH = ToolChainFailure("convert", ("Segmentation fault", "the process was killed by SIGSEGV"), died=True)
FAILURES = {
    "1.16.0": CRASH,
    "1.14.0": ToolChainFailure("convert", ("RuntimeError: no such operation",)),
    "1.13.0": ToolChainFailure("load", ("ImportError: cannot import name 'runtime_version'",)),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite, a file of factories, and photos."""
    return lay_out(tmp_path_factory.mktemp("upgrade"), SUITE)


@pytest.fixture(autouse=True)
def opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[Side]:
    """Put stand-ins in the place of tool chains.

    onnx 1.17.0 is wrong, 1.16.0 crashes, 1.14.0 refuses, 1.13.0 cannot be loaded, all else is right.
    """
    monkeypatch.chdir(place)
    sides: list[Side] = []

    class Making(Bench):
        def convert(self, tried: SuiteRoute, held: Contract = ASSUMED) -> Conversion:
            for version, failure in FAILURES.items():
                if version in str(self.side.toolchain):
                    return Conversion(failure=failure)
            wrong = "1.17.0" in str(self.side.toolchain) and tried.entry.name == "tiny"
            return Conversion(converted(tried.route, shifted) if wrong else converted(tried.route))

    def open_one(side: Side, directory: Path, timeout: float) -> Any:
        sides.append(side)
        return nullcontext(Making(side, directory, timeout))

    monkeypatch.setattr(upgrade, "opened", open_one)
    monkeypatch.setattr(bisect, "opened", open_one)
    monkeypatch.setattr(matrix, "opened", open_one)
    return sides


Said = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Run `parity upgrade`; returns its exit code, the lines of stdout, and stderr."""

    def run(*arguments: str) -> tuple[int, list[str], str]:
        with pytest.raises(SystemExit) as stop:
            main(["upgrade", *arguments])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), [line.rstrip() for line in out.splitlines()], err

    return run


def test_with_compares_old_versions_with_what_is_installed(said: Said, opened: list[Side]) -> None:
    code, lines, err = said("--with", "onnx==1.17.0")

    assert (code, err) == (0, "")
    assert opened == [Side("onnx==1.17.0", ToolChain("onnx==1.17.0", ("onnx==1.17.0",))), Side("installed")]
    assert lines[-1] == "onnx==1.17.0 -> installed: nothing got worse: 1 better, 1 same"
    (row,) = [line.split() for line in lines if line.startswith((" tiny", "tiny  "))]
    assert row[:4] == ["tiny", "onnx-torchscript", "onnxruntime", "better"]


def test_what_got_worse_is_exit_code_1_and_the_file_is_looked_into(said: Said) -> None:
    code, lines, _ = said("--to", "spring", "--model", "tiny")

    assert code == 1
    assert lines[-1] == "installed -> spring: something got worse: 1 worse"
    assert "tiny by onnx-torchscript: in the file" in lines
    assert any(line.startswith("  Gemm input[1]: other numbers") for line in lines)
    assert any(line.startswith("tiny by onnx-torchscript: worse: ") for line in lines)


def test_a_crash_is_told_with_its_last_lines(said: Said) -> None:
    code, lines, _ = said("--from", "installed", "--to", "onnx==1.16.0", "--model", "other")

    assert code == 1
    told = lines.index("other by onnx-torchscript: broken: convert: the process was killed by SIGSEGV")
    assert lines[told + 1 : told + 3] == [
        "  onnx==1.16.0: Segmentation fault",
        "  onnx==1.16.0: the process was killed by SIGSEGV",
    ]


def test_wrong_numbers_in_the_place_of_an_error_are_worse(said: Said) -> None:
    code, lines, _ = said("--from", "onnx==1.14.0", "--to", "onnx==1.17.0", "--model", "tiny")

    assert code == 1
    (row,) = [line.split() for line in lines if line.startswith((" tiny", "tiny  "))]
    assert row[3:5] == ["worse", "refused"]
    assert lines[-1] == "onnx==1.14.0 -> onnx==1.17.0: something got worse: 1 worse"
    assert any(line.startswith("  after: cause: ") and "(confirmed: " in line for line in lines)


def test_two_sides_that_break_alike_are_told_and_fail_nothing(said: Said) -> None:
    code, lines, _ = said("--from", "onnx==1.16.0", "--to", "onnx<1.16.1,>=1.16.0", "--model", "tiny")

    assert code == 0
    told = "tiny by onnx-torchscript: same: both sides crash or hang: convert: the process was killed by SIGSEGV"
    assert told in lines
    assert lines[-1].endswith(": nothing got worse: 1 same")


def test_a_tool_chain_that_cannot_be_loaded_is_untried(said: Said) -> None:
    code, lines, _ = said("--with", "onnx==1.13.0", "--model", "tiny")

    assert code == 3
    told = "tiny by onnx-torchscript: untried: load: ImportError: cannot import name 'runtime_version'"
    assert told in lines
    assert lines[-1] == "onnx==1.13.0 -> installed: nothing can be concluded: 1 untried"


def test_bisect_tells_a_crash_a_refusal_and_wrong_numbers_apart(
    said: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    releases = ("1.14.0", "1.15.0", "1.13.0", "1.16.0", "1.17.0")
    monkeypatch.setattr(bisect, "list_releases", lambda *given: releases)

    code, lines, _ = said(
        *("--bisect", "onnx", "--from", "1.14.0", "--to", "1.17.0", "--model", "tiny"),
        *("--json", str(tmp_path / "b.json")),
    )

    assert code == 1
    assert lines[0] == "onnx: 5 releases from 1.14.0 to 1.17.0, 4 tried, 1 cannot be tried here"
    assert lines[1] == (
        "tiny by onnx-torchscript on onnxruntime: fixed in 1.15.0, refused in 1.14.0; "
        "first crashed 1.16.0, good in 1.15.0 (between them, not to be judged: 1.13.0); "
        "first bad 1.17.0, crashed in 1.16.0"
    )
    assert [line.split()[1].rstrip(":") for line in lines[2:7]] == ["refused", "good", "untried", "crashed", "bad"]
    (history,) = json.loads((tmp_path / "b.json").read_text())["histories"]
    assert (history["first_bad"], history["first_fixed"]) == ("1.16.0", "1.15.0")


def test_files_that_are_the_same_are_said_to_be(said: Said) -> None:
    _, lines, _ = said("--with", "onnx==1.17.0", "--model", "other")

    assert "the same file but for notes: other by onnx-torchscript" in lines


def test_json_has_what_the_terminal_leaves_out(said: Said, tmp_path: Path) -> None:
    said("--with", "onnx==1.17.0", "--json", str(tmp_path / "upgrade.json"))

    written = json.loads((tmp_path / "upgrade.json").read_text())
    assert [(leg["model"], leg["verdict"]) for leg in written["legs"]] == [("tiny", "better"), ("other", "same")]
    assert written["legs"][0]["old"]["cases"]


def test_bisect_names_the_first_bad_and_the_first_fixed_release(
    said: Said, opened: list[Side], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, ...]] = []
    releases = ("1.15.0", "1.17.0", "1.18.0")
    monkeypatch.setattr(bisect, "list_releases", lambda *given: asked.append(given) or releases)

    code, lines, _ = said(
        "--bisect", "onnx", "--from", "onnx==1.15.0", "--to", "1.18.0", "--json", str(tmp_path / "b.json")
    )

    assert code == 0
    assert asked == [("onnx", "1.15.0", "1.18.0")]
    assert lines[0] == "onnx: 3 releases from 1.15.0 to 1.18.0, 3 tried"
    assert lines[1] == (
        "tiny by onnx-torchscript on onnxruntime: first bad 1.17.0, good in 1.15.0; fixed in 1.18.0, bad in 1.17.0"
    )
    assert lines[2] == "  1.15.0 good"
    assert lines[3].startswith("  1.17.0 bad: ")
    assert lines[5] == "other by onnx-torchscript on onnxruntime: good in every release that was tried"
    written = json.loads((tmp_path / "b.json").read_text())
    assert [history["first_bad"] for history in written["histories"]] == ["1.17.0", None]


def test_a_matrix_is_shown_at_a_glance_and_written_in_every_format(
    said: Said, opened: list[Side], tmp_path: Path
) -> None:
    names = ("json", "html", "junit", "markdown")
    words = ("--matrix", "onnx==1.18.0,1.17.0,1.16.0", "--matrix", "onnxslim==0.1.97,0.1.98", "--model", "tiny")

    code, lines, err = said(
        *words,
        *("--artifacts", str(tmp_path / "kept")),
        *(part for name in names for part in (f"--{name}", str(tmp_path / name))),
    )

    assert (code, err) == (1, "")
    assert lines[:2] == ["   1  onnx 1.18.0, onnxslim 0.1.97", "   2  onnx 1.18.0, onnxslim 0.1.98"]
    (signs,) = [line.split()[3:] for line in lines if line.startswith((" tiny", "tiny  "))]
    assert signs == ["✓", "=", "✗", "✗", "!", "!"]
    assert "  with onnx 1.17.0, onnxslim 0.1.98" in lines
    assert any(line.endswith("[because of onnx 1.17.0, alone]") for line in lines)
    assert lines[-1] == "matrix of 3 of onnx by 2 of onnxslim: something got worse: 2 same, 2 worse, 2 broken"
    assert len(opened) == 6
    assert len(json.loads((tmp_path / "json").read_text())["legs"]) == 6
    assert all((tmp_path / name).stat().st_size for name in names)

    opened.clear()
    assert said(*words, "--artifacts", str(tmp_path / "kept"))[0] == 1
    assert opened == []


def test_a_matrix_of_a_range_asks_for_the_releases(
    said: Said, opened: list[Side], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(bisect, "list_releases", lambda *given: asked.append(given) or ("1.18.0", "1.19.0"))

    code, _, _ = said(
        *("--matrix", "onnx", "--from", "1.18", "--to", "1.19", "--matrix", "onnxslim==0.1.98"),
        *("--model", "other", "--artifacts", str(tmp_path)),
    )

    assert (code, asked) == (0, [("onnx", "1.18", "1.19")])
    assert [side.name for side in opened] == [f"onnx=={v} onnxslim==0.1.98" for v in ("1.18.0", "1.19.0")]


def test_a_finished_file_is_compared_by_runtimes(
    said: Said, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(converted("onnx-torchscript").path, tmp_path / "theirs.onnx")
    monkeypatch.setattr(upgrade, "opened", lambda side, directory, timeout: nullcontext(Bench(side, directory, 60)))

    code, lines, err = said(
        *(str(tmp_path / "theirs.onnx"), "--model", "models.py:tiny", "--images", "photos"),
        *("--from", "onnxruntime==1.20.1", "--to", "installed", "--artifacts", str(tmp_path / "kept")),
    )

    assert (code, err) == (0, "")
    assert lines[-1] == "onnxruntime==1.20.1 -> installed: nothing got worse: 1 same"
    assert not (tmp_path / "kept").exists()


def test_a_finished_file_is_no_converters_work(said: Said, place: Path, tmp_path: Path) -> None:
    found = shutil.copy(converted("onnx-torchscript").path, tmp_path / "theirs.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upgrade, "opened", lambda side, directory, timeout: nullcontext(Bench(side, directory, 60)))
        code, lines, _ = said(str(found), "--model", "tiny", "--from", "onnx==1.17.0", "--to", "installed")

    assert code == 3
    assert any("is a finished file, which no converter makes anew" in line for line in lines)


def test_bisect_goes_up_to_what_is_installed(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(bisect, "list_releases", lambda *given: asked.append(given) or ("1.15.0",))
    monkeypatch.setattr(bisect, "installed_version", lambda package: "9.9")

    said("--bisect", "onnx", "--from", "1.15.0")

    assert asked == [("onnx", "1.15.0", "9.9")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give either --with, or --from and --to"),
        (["--with", "onnx==1.17.0", "--to", "onnx==1.18.0"], "give either --with, or --from and --to"),
        (["--with", "onnx"], "parity: onnx: neither PACKAGE==VERSION nor a tool chain (tool chains: 2020, spring,"),
        (["--with", "onnx==1..0"], "`onnx==1..0` is no requirement"),
        (["--with", "installed"], "both sides are installed"),
        (["--with", "onnx==1.17.0", "--model", "tini"], "no model `tini`; did you mean tiny?"),
        (["--with", "onnx==1.17.0", "--route", "onnx"], "no route `onnx`"),
        (["--with", "onnx==1.17.0", "--timeout", "0"], "Invalid value for '--timeout'"),
        (["--with", "onnx==1.17.0", "--json", "absent/x.json"], "the directory does not exist"),
        (["--bisect", "onnx", "--with", "onnx==1.17.0"], "--bisect onnx goes from one release to another"),
        (["--bisect", "onnx"], "--bisect onnx starts at a release that is good: --from onnx==VERSION"),
        (["--bisect", "onnx", "--from", "onnxslim==1.0"], "takes one version of onnx on each side"),
        (["--bisect", "onnx", "--from", "1.0", "--from", "2.0"], "takes one version of onnx on each side"),
        (["--bisect", "onnx", "--from", "latest"], "Invalid version: 'latest'"),
        (["--bisect", "no-such-package", "--from", "1.0"], "--bisect no-such-package: not installed here"),
        (["absent.toml", "--with", "onnx==1.17.0"], "absent.toml: no such suite file"),
        (["--matrix", "onnx==1.17.0,1.18.0", "--with", "onnx==1.17.0"], "goes with neither --with nor --bisect"),
        (["--matrix", "onnx"], "--matrix onnx: give its versions, onnx==1.0,2.0, or --from and --to"),
        (["--matrix", "onnx==1.17.0", "--matrix", "onnx==1.18.0"], "--matrix onnx: named twice"),
        (["--matrix", "onnx==1.17.0"], "a matrix compares at least two versions of a package"),
        (["--matrix", "onnx==1.17.0,1.18.0", "--from", "1.0"], "--from and --to go with a --matrix PACKAGE"),
        (["--with", "onnx==1.17.0", "--html", "x.html"], "--html goes with --matrix"),
        (["--with", "onnx==1.17.0", "--images", "photos"], "--images goes with a finished file"),
        (["absent.onnx", "--with", "onnxruntime==1.17.0", "--model", "tiny"], "absent.onnx: no such file"),
        (["a.onnx", "--with", "onnxruntime==1.17.0", "--route", "onnx"], "is a finished file, of no route"),
    ],
)
def test_bad_input_is_one_clear_line(said: Said, arguments: list[str], told: str) -> None:
    code, lines, err = said(*arguments)

    assert (code, lines) == (2, [])
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            '[toolchains.old]\npackages = ["torch==2.9"]\npython = "3.7"',
            "[toolchains.old]: tool chain old: with a Python of its own it starts from ONNX and has no torch",
        ),
        ('[toolchains.old]\npackages = ["onnx=1"]', "[toolchains.old]: `onnx=1` is no requirement"),
        ('[toolchains.installed]\npackages = ["onnx==1.0"]', "[toolchains.installed]: the name stands for what is"),
        ("[toolchains.old]\npackages = []", "[toolchains.old] packages:"),
        ('[toolchains.old]\npackages = ["onnx==1.0"]\npython = "three"', "[toolchains.old] python:"),
        ('[toolchains.old]\npython = "3.7"', "[toolchains.old] packages: is missing; the table needs it"),
        ('[toolchains.old]\npackage = ["onnx==1.0"]', "did you mean packages?"),
    ],
)
def test_a_tool_chain_that_cannot_be_is_told_with_its_table(
    said: Said, tmp_path: Path, table: str, told: str
) -> None:
    suite = tmp_path / "parity.toml"
    shutil.copytree("photos", tmp_path / "photos")
    shutil.copy("models.py", tmp_path)
    suite.write_text(f"{SUITE}{table}\n", encoding="utf-8")

    code, _, err = said(str(suite), "--with", "old")

    assert code == 2
    assert f"{suite}: " in err
    assert told in err


def test_a_diagnosis_is_told_where_there_is_one(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Subject(
        "tiny", "onnx", "", "onnxruntime", "fp32", "fail", diagnoses=(Diagnosis("shared-bias", "two share one"),)
    )
    legs = (UpgradeLeg("tiny", "onnx", "onnxruntime", "worse", "flips", wrong, wrong),)
    found = Upgrade("old", "installed", legs, Environment("3.11", "here", {}), {"old": {}, "installed": {}})
    monkeypatch.setattr(upgrade, "upgrade", lambda *given, **options: found)

    _, lines, _ = said("--with", "onnx==1.17.0")

    assert "  after: suspect: two share one (not confirmed) [shared-bias]" in lines


def test_legs_that_were_skipped_for_one_reason_share_a_line(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("tiny", "onnx", "", "onnxruntime", "fp32", "skipped", "no Python 3.7 here")
    leg = UpgradeLeg("tiny", "onnx", "onnxruntime", "skipped", subject.reason, subject, subject)
    found = Upgrade("2020", "installed", (leg, leg), Environment("3.11", "here", {}), {"2020": {"onnx": "1.6.0"}})
    monkeypatch.setattr(upgrade, "upgrade", lambda *given, **options: found)

    code, lines, _ = said("--with", "2020")

    assert code == 3
    assert "skipped 2 ×: no Python 3.7 here" in lines
    assert lines[0] == "2020: onnx 1.6.0"
