"""`parity merge` from outside: the results of the whole run, or one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.cli import main
from tests.parity.commands.command import Parity
from tests.parity.stream.jobs import save_pictures, save_suite

RUN = (
    "run",
    "--model",
    "tiny",
    "--backend",
    "onnxruntime",
    "--workers",
    "0",
    "--batch",
    "4",
    "--images",
    "pictures",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a suite and pictures, one of them damaged, and run them: whole, and in three shards."""
    place = tmp_path_factory.mktemp("cli")
    save_suite(place)
    (save_pictures(place / "pictures") / "005.png").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        (place / "whole").mkdir()
        shards = [("--shard", f"{number}/3", "--json", f"{number}.json") for number in (1, 2, 3)]
        for options in (("--json", "whole/results.json"), *shards):
            with pytest.raises(SystemExit):
                main([*RUN, *options])
    return place


SHARDS = tuple(f"{number}.cases.jsonl" for number in (1, 2, 3))


def test_the_shards_together_are_the_whole_run(parity: Parity, place: Path, tmp_path: Path) -> None:
    code, out, err = parity("merge", *SHARDS, "--json", str(tmp_path / "results.json"))

    # One of 23 images is more than 1 %.
    assert (code, err) == (1, "")
    assert " 22 " in out
    for name in ("results.json", "results.cases.jsonl"):
        assert (tmp_path / name).read_bytes() == (place / "whole" / name).read_bytes()


def test_why_a_leg_fails_is_left_to_a_run(parity: Parity, tmp_path: Path) -> None:
    run = ("run", "--model", "swapped", *RUN[3:], "--max-unreadable", "0.1")
    parity(*run, "--json", str(tmp_path / "whole.json"))
    for number in ("1", "2"):
        parity(*run, "--shard", f"{number}/2", "--json", str(tmp_path / f"{number}.json"))
    shards = [str(tmp_path / f"{number}.cases.jsonl") for number in (1, 2)]
    (tmp_path / "merged").mkdir()
    merged = tmp_path / "merged" / "whole.json"

    code, out, err = parity("merge", *shards, "--max-unreadable", "0.1", "--json", str(merged))

    assert code == 1
    assert err == (
        "parity: why 1 leg fails was not looked for; `parity run` looks for it, without --shard and with the "
        "--json that `parity merge` was given\n"
    )
    assert "cause" not in out
    assert merged.read_bytes() != (tmp_path / "whole.json").read_bytes()
    assert parity(*run, "--json", str(merged))[0] == 1
    for name in ("whole.json", "whole.cases.jsonl"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_without_a_place_for_them_nothing_is_written(parity: Parity, place: Path) -> None:
    before = sorted(place.rglob("*"))

    assert parity("merge", *SHARDS, "--max-unreadable", "0.1")[0] == 0
    assert sorted(place.rglob("*")) == before


def test_the_cases_of_a_whole_run_are_judged_again(parity: Parity, place: Path) -> None:
    cases = place / "whole" / "results.cases.jsonl"
    before = cases.read_bytes()

    given = ("merge", str(cases), "--json", str(place / "whole" / "results.json"))

    assert parity(*given, "--max-unreadable", "0.1")[0] == 0
    assert parity(*given)[0] == 1
    assert cases.read_bytes() == before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "CASES"),
        (SHARDS[:2], "no cases of shard 3/3 are given, only of 2 of 3"),
        ((*SHARDS, SHARDS[0]), "both are shard 1/3"),
        ((*SHARDS[:2], "whole/results.cases.jsonl"), "of different runs"),
        (("parity.toml",), "parity.toml: a suite file, which `parity run` takes; a cases file is what"),
        (("gone.jsonl",), "gone.jsonl: cannot be read"),
        ((*SHARDS, "--json", "1.json"), "1.cases.jsonl: would be overwritten"),
        ((*SHARDS, "--json", "nowhere/r.json"), "the directory does not exist"),
    ],
)
def test_bad_input_is_one_clear_line(parity: Parity, given: tuple[str, ...], told: str) -> None:
    code, out, err = parity("merge", *given)

    assert (code, out) == (2, "")
    assert err.startswith("parity: ")
    assert err.count("\n") == 1
    assert told in err
