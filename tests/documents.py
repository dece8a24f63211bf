"""What README and docs/ show: their code blocks, with the comment above each that says how it is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")))
PHOTOS = {"barn": (190, 40, 30), "lawn": (40, 150, 50), "night": (2, 3, 30), "sky": (90, 140, 230)}

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>.*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """Hold a fenced block of a page.

    note: the HTML comment on the line above, without its marks: `not run: REASON`, or `exits with N` and
        `in FILE: OLD -> NEW`, an edit before the commands; both of them with a semicolon between.
    """

    page: str
    line: int
    language: str
    text: str
    note: str

    @property
    def place(self) -> str:
        """Name the block in a message."""
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """Name the file that the block is, by the comment in its first line; empty for a part of a file."""
        named = re.match(r"# ([\w-]+\.(?:py|toml))\n", self.text)
        return named[1] if named else ""

    @property
    def not_run(self) -> str:
        """Say why the commands are not run; empty where they are."""
        return self.note.removeprefix("not run:").strip() if self.note.startswith("not run:") else ""

    @property
    def exit_code(self) -> int:
        """Return the exit code that each of the commands is to have."""
        said = re.search(r"exits with (\d+)", self.note)
        return int(said[1]) if said else 0

    @property
    def edit(self) -> tuple[str, str, str] | None:
        """Return the file, the old and the new text of an edit before the commands."""
        said = re.search(r"in (\S+): (.+) -> (.+)", self.note)
        return (said[1], said[2], said[3]) if said else None

    @property
    def steps(self) -> list[tuple[list[str], list[str]]]:
        """List the commands as words, each with the lines that the page shows as its output."""
        steps: list[tuple[list[str], list[str]]] = []
        for line in self.text.splitlines() if self.language in ("sh", "console", "text") else ():
            if self.language == "sh" or line.startswith("$ "):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                steps += [(words, [])] if words else []
            elif steps:
                steps[-1][1].append(line)
        return steps


def blocks(page: str, text: str) -> Iterator[Block]:
    """Find the fenced blocks of a page."""
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        yield Block(page, line, match["language"], match["text"], match["note"] or "")


def read(page: str) -> str:
    """Read a page by its path from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def block(page: str, first_line: str) -> str:
    """Return the text of the block that begins with a line, so that what is printed there is what runs."""
    (text,) = [one.text for one in blocks(page, read(page)) if one.text.startswith(f"{first_line}\n")]
    return text


def paint_photos(directory: Path) -> None:
    """Write the photos of README's walk into a new directory."""
    directory.mkdir()
    for name, colour in PHOTOS.items():
        Image.new("RGB", (40, 30), colour).save(directory / f"{name}.png")
