"""The commands of README and docs/ run and do what is said, or say why not; their options exist."""

from __future__ import annotations

import linecache
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import pytest

from parity.cli import cli
from parity.plugin import pytest_addoption
from tests.documents import PAGES, blocks, paint_photos, read
from tests.parity.commands.command import exit_code
from tests.parity.tiny import converted, save_pictures

# One worker lays the directory out, once.
pytestmark = pytest.mark.xdist_group("docs")

TINY = Path(__file__).parent / "parity" / "tiny.py"
FLOWERS = """

def flowers() -> Classifier:
    return replace(tiny(), name="flowers")
"""
SUITE = """images = ["photos/*.png"]

[models.flowers]
factory = "my_models.py:flowers"
routes = ["onnx-torchscript", "mlprogram"]
"""
NAMING = (*PAGES, "CONTRIBUTING.md")


# Commands that run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what the guides speak of: a model with its suite, photos, converted files, a record, results."""
    place = tmp_path_factory.mktemp("docs")
    (place / "my_models.py").write_text(TINY.read_text(encoding="utf-8") + FLOWERS, encoding="utf-8")
    (place / "parity.toml").write_text(SUITE, encoding="utf-8")
    paint_photos(place / "photos")
    save_pictures(place / "val")
    shutil.copytree(converted("mlprogram").path, place / "Flowers.mlpackage")
    shutil.copy(converted("onnx-torchscript").path, place / "flowers.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("platform.system", lambda: "Linux")
        assert exit_code("run", "--json", "results.json") == 0
        assert exit_code("record", "Flowers.mlpackage", "--images", "photos/", "--out", "mac.json") == 0
    shutil.copy(place / "results.json", place / "before.json")
    return place


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a copy of that directory, on a system without Apple's runtime."""
    shutil.copytree(prepared, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    return tmp_path / "place"


def run_page(page: str, text: str, output: Callable[[], str]) -> list[str]:
    """Run a page's commands in this directory, one after the other, and name what is not as the page says.

    output: what was printed since the last call.
    """
    faults = []
    for block in blocks(page, text):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.edit:
            edit(*block.edit)
        for words, shown in block.steps if not block.not_run else ():
            assert words[0] == "parity", (
                f"{block.place}: only `parity` can be run, not {words[0]}; say why it is not"
            )
            code = exit_code(*(name for word in words[1:] for name in matching(word)))
            printed = output()
            if code != block.exit_code:
                faults.append(f"{block.place}: {' '.join(words)}: exit code {code}: {printed}")
            lines = {without_numbers(line) for line in printed.splitlines()}
            wanted = [line for line in shown if line.strip() not in ("", "...")]
            faults += [
                f"{block.place}: not printed: {line}" for line in wanted if without_numbers(line) not in lines
            ]
    return faults


def edit(file: str, old: str, new: str) -> None:
    """Put another line end into a file, as a user does between two commands: the next one reads it anew."""
    path = Path(file).resolve()
    text = path.read_text(encoding="utf-8")
    assert f"{old}\n" in text, f"{file} has no line that ends in {old}"
    path.write_text(text.replace(f"{old}\n", f"{new}\n"), encoding="utf-8")
    linecache.checkcache()
    for name in [name for name, module in sys.modules.items() if getattr(module, "__file__", None) == str(path)]:
        del sys.modules[name]


def matching(word: str) -> list[str]:
    """Return what a shell makes of a word: the files that match it, or the word itself."""
    files = sorted(map(str, Path().glob(word))) if "*" in word else []
    return files or [word]


def without_numbers(line: str) -> str:
    """Take numbers and spaces out of a line: they are of a machine and of a terminal."""
    return " ".join(re.sub(r"\d[\d.]*(?:e[-+]\d+)?", "#", line).split())


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.steps and not b.not_run for b in blocks(page, read(page)))]
)
def test_the_commands_of_a_page_do_what_it_says(page: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def output() -> str:
        return "".join(capfd.readouterr())

    assert run_page(page, read(page), output) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```sh\nparity convert my_models.py:flowers --route nowhere --out build\n```", "p:1: parity convert"),
        (
            "<!-- exits with 1 -->\n```sh\nparity judge results.json\n```",
            "p:2: parity judge results.json: exit code 0",
        ),
        (
            "```console\n$ parity judge results.json\nparity holds: on Mars\n```",
            "p:1: not printed: parity holds: on",
        ),
    ],
)
def test_a_command_that_does_something_else_is_named(
    text: str, fault: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (named,) = run_page("p", f"{text}\n", lambda: "".join(capfd.readouterr()))
    assert named.startswith(fault)


# Commands that do not run


def test_what_is_not_run_has_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    every = [block for page in PAGES for block in blocks(page, read(page)) if block.steps]
    left = [block for block in every if block.not_run]
    with capsys.disabled():
        print(f"\n{len(left)} of {len(every)} blocks with commands are not run:")
        for block in left:
            print(f"  {block.place}: {block.not_run}")

    assert len(every) - len(left) > len(left)
    assert [b.place for b in every if not b.not_run and any(words[0] != "parity" for words, _ in b.steps)] == []


def hidden_commands(page: str, text: str) -> Iterator[str]:
    """Name commands in blocks that are indented: nobody collects those."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    usage = re.compile(r"\[[A-Z]+\]|^    parity \w+$")
    yield from (
        f"{page}: {line.strip()}"
        for line in re.findall(r"^ {4}(?:\$ )?(?:parity|make|pytest|pip) .*$", outside, flags=re.MULTILINE)
        if not usage.search(line)
    )


@pytest.mark.parametrize("page", NAMING)
def test_commands_stand_in_fenced_blocks(page: str) -> None:
    assert list(hidden_commands(page, read(page))) == []


def test_an_indented_command_is_named() -> None:
    assert list(hidden_commands("p", "    parity run --json x\n\n    parity doctor\n")) == [
        "p: parity run --json x"
    ]


# Options


def find_command(words: Sequence[str]) -> tuple[click.Command, int] | None:
    """Return the command that words begin with, after `parity`, and how many words name it."""
    command: click.Command | None = cli
    context = click.Context(cli)
    for count, word in enumerate(words):
        if not isinstance(command, click.Group) or word.startswith("-"):
            return (command, count) if command else None
        command = command.get_command(context, word)
    return (command, len(words)) if command else None


def option_names(command: click.Command) -> set[str]:
    """List the long options of a command."""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return {name for option in options for name in option.opts if name.startswith("--")}


def plugin_options() -> set[str]:
    """List the options that the pytest plugin adds."""
    parser = pytest.Parser(_ispytest=True)
    pytest_addoption(parser)
    return {name for group in parser._groups for option in group.options for name in option.names()}


def unknown_options(place: str, words: Sequence[str]) -> Iterator[str]:
    """Name the command and the options of a command line that do not exist; those of other tools are theirs."""
    options = {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}
    known = options
    if words[0] == "parity" and len(words) > 1:
        found = find_command(words[1:])
        if found is None:
            yield f"{place}: parity {words[1]}: no such command"
            return
        known = option_names(found[0]) | {"--help", "--version"}
    elif words[0] == "pytest":
        known = plugin_options() | {option for option in options if not option.startswith("--parity")}
    elif words[0] == "make":
        phony = re.search(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)
        targets = phony[1].split() if phony else []
        yield from (
            f"{place}: make {word}: no such target" for word in words[1:] if "=" not in word and word not in targets
        )
    yield from (f"{place}: {words[0]}: no option {option}" for option in sorted(options - known))


def command_lines(page: str, text: str) -> Iterator[tuple[str, list[str]]]:
    """List the commands of blocks, and those in the middle of a sentence."""
    for block in blocks(page, text):
        for words, _ in block.steps:
            named = [word for word in words if not re.match(r"\w+=", word)] if "=" in words[0] else words
            yield block.place, [Path(named[0]).name, *named[1:]]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for inline in re.findall(r"`((?:parity|make|pytest) [a-z-][^`]*)`", prose):
        yield page, inline.replace("'", "").replace('"', "").split()
    for option in re.findall(r"`(--parity-[\w-]+)", prose):
        yield page, ["pytest", option]


@pytest.mark.parametrize("page", NAMING)
def test_every_option_exists(page: str) -> None:
    lines = list(command_lines(page, read(page)))
    assert [fault for place, words in lines for fault in unknown_options(place, words)] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("`parity run --colour`", "p: parity: no option --colour"),
        ("`parity baseline record --tolerance 1`", "p: parity: no option --tolerance"),
        ("`parity runn`", "p: parity runn: no such command"),
        ("`pytest --parity-jsn x`", "p: pytest: no option --parity-jsn"),
        ("`make tset`", "p: make tset: no such target"),
        ("<!-- not run: x -->\n```sh\nA=1 make tset\n```", "p:2: make tset: no such target"),
        ("<!-- not run: x -->\n```sh\nparity ops --json x\n```", "p:2: parity: no option --json"),
    ],
)
def test_an_option_that_does_not_exist_is_named(text: str, fault: str) -> None:
    lines = command_lines("p", f"{text}\n")
    assert [named for place, words in lines for named in unknown_options(place, words)] == [fault]


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    """List the commands of a group with their whole names."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        elif command:
            yield " ".join((*path, name)), command


def documented_options(text: str) -> dict[str, set[str]]:
    """Return command -> options, as the reference has them."""
    sections = re.findall(r"^## parity (.+?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return {name: set(re.findall(r"^\| `(--[\w-]+)` \|", section, re.MULTILINE)) for name, section in sections}


def test_the_reference_has_every_command_with_every_option() -> None:
    assert documented_options(read("docs/reference/commands.md")) == {
        name: option_names(command) for name, command in commands(cli)
    }


def test_the_reference_of_an_option_is_read() -> None:
    text = "## parity a b\n\n| `--x` | y |\n\n## parity c\n\nNo options, not even `--x`.\n"
    assert documented_options(text) == {"a b": {"--x"}, "c": set()}
