"""`make bench` keeps what every measurement prints, and fails where one is beyond its aim."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import every


@pytest.mark.parametrize(("first", "code"), [("", 0), ("raise SystemExit(1)", 1)])
def test_what_is_printed_is_shown_and_kept(
    first: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(every, "HERE", tmp_path)
    monkeypatch.setattr(every, "TABLE", tmp_path / "bench.md")
    monkeypatch.setattr(every, "MEASUREMENTS", ("one.py", "two.py"))
    (tmp_path / "one.py").write_text(f"print('loading 1.0 x')\n{first}\n", encoding="utf-8")
    (tmp_path / "two.py").write_text("print('streaming 1.1 x')\n", encoding="utf-8")

    assert every.main() == code

    printed = "loading 1.0 x\nstreaming 1.1 x\n"
    assert capsys.readouterr().out == printed
    assert (tmp_path / "bench.md").read_text(encoding="utf-8").endswith(f"```text\n{printed}```\n")
