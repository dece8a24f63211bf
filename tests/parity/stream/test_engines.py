"""Engines: the same results wherever the shards run."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from conversion import ConversionError
from parity import ParityError
from parity.core.results import to_json
from parity.stream import running
from parity.stream.engines import ENGINES, shards_of, stream
from parity.stream.job import Job, Shard, cases_beside, default_workers, parse_shard
from tests.parity.stream.jobs import job_over, save_pictures, save_suite


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("engines")
    save_suite(place)
    save_pictures(place / "pictures")
    return place


def test_an_unknown_engine_is_refused(place: Path) -> None:
    with pytest.raises(ParityError, match=r"unknown engine `slurm` \(engines: local, ray\)"):
        stream(job_over(place / "pictures", place), "slurm")


def test_ray_gives_the_same_results(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'coreml-parity[cluster]'")
    pictures = place / "pictures"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as few as leave room for two tasks
    try:
        here = stream(job_over(pictures, place, cases=tmp_path / "here" / "r.cases.jsonl"))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        there = stream(job_over(pictures, place, cases=tmp_path / "there" / "r.cases.jsonl"), "ray")
        with pytest.raises(ParityError, match=r"unknown model|no model `gone`"):
            stream(job_over(pictures, place, models=("gone",)), "ray")
    finally:
        ray.shutdown()
        torch.set_num_threads(threads)

    assert to_json(there.run) == to_json(here.run)
    (one,), (other,) = ((tmp_path / name).iterdir() for name in ("here", "there"))
    assert other.read_bytes() == one.read_bytes()


def test_without_ray_its_engine_says_how_to_get_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *given: Any, **more: Any) -> Any:
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return found(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(ParityError, match=r"ray is not installed .* pip install 'coreml-parity\[cluster\]'"):
        stream(job_over(place / "pictures", place), "ray")


def test_ray_makes_shards_of_its_own(place: Path) -> None:
    with pytest.raises(ParityError, match="--shard 1/2 and --engine ray"):
        ENGINES["ray"](job_over(place / "pictures", place, shard=Shard(1, 2)), lambda *_: None)


def test_shards_of_a_job_have_files_of_their_own_and_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job(Path("parity.toml"), Path("pictures"), labels=Path("l.csv"), cases=Path("r.cases.jsonl"))

    one, two = shards_of(job, 2)

    assert (one.shard, two.shard) == (Shard(1, 2), Shard(2, 2))
    assert (one.cases, two.cases) == (tmp_path / "r.1-of-2.cases.jsonl", tmp_path / "r.2-of-2.cases.jsonl")
    assert (one.suite, one.images, one.labels) == (
        tmp_path / "parity.toml",
        tmp_path / "pictures",
        tmp_path / "l.csv",
    )
    assert [part.cases for part in shards_of(Job(Path("s"), Path("p")), 2)] == [None, None]
    assert shards_of(job, 1)[0].shard == Shard()


# What a job is made of


def test_a_shard_is_read_as_it_is_written() -> None:
    assert parse_shard("3/16") == Shard(3, 16)
    assert str(Shard(3, 16)) == "3/16"


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/2/3", "1 / 2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ParityError, match=r"no shard; give its number and how many there are, `3/16`"):
        parse_shard(text)


def test_every_batch_is_one_shards() -> None:
    for total in range(12):
        for of in range(1, 6):
            batches = [list(Shard(number, of).batches(total)) for number in range(1, of + 1)]
            assert sorted(number for batch in batches for number in batch) == list(range(total))


@pytest.mark.parametrize(
    ("json", "cases"),
    [("r.json", "r.cases.jsonl"), ("a/b.c.json", "a/b.c.cases.jsonl"), ("out", "out.cases.jsonl")],
)
def test_the_cases_lie_beside_the_results(json: str, cases: str) -> None:
    assert cases_beside(Path(json)) == Path(cases)


def test_there_is_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_workers() >= 1


# Ray, as far as it is asked anything, so that what is gone on with is tested where it is not installed


class FakeRay:
    """Run tasks where they are asked for. kills: how many may end before the cluster goes away."""

    exceptions = SimpleNamespace(RayError=type("RayError", (Exception,), {}))

    def __init__(self, processors: int, kills: int | None = None, error: BaseException | None = None) -> None:
        self.processors, self.kills, self.error = processors, kills, error
        self.shards: list[str] = []

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": float(self.processors)}}]

    def remote(self, num_cpus: int) -> Any:
        def decorate(function: Any) -> Any:
            def start(job: Job) -> Any:
                if self.kills is not None and len(self.shards) == self.kills:
                    raise KeyboardInterrupt
                self.shards.append(str(job.shard))
                return None if self.error else function(job)

            return SimpleNamespace(remote=start)

        return decorate

    def wait(self, waiting: list[Any]) -> tuple[list[Any], list[Any]]:
        return waiting[:1], waiting[1:]

    def get(self, every: list[Any]) -> list[Any]:
        if self.error:
            raise self.error
        return every


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List the batches that are computed."""
    numbers: list[int] = []
    lines_of = running.lines_of

    def counting(work: Any, ways: Any, number: int, decoded: Any) -> Any:
        numbers.append(number)
        return lines_of(work, ways, number, decoded)

    monkeypatch.setattr(running, "lines_of", counting)
    return numbers


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_finished_run_on_ray_computes_nothing_again(
    place: Path, tmp_path: Path, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay(2))
    job = job_over(place / "pictures", place, cases=tmp_path / "r.cases.jsonl")
    first = stream(job, "ray")
    assert sorted(batches) == list(range(6))
    written = (tmp_path / "r.cases.jsonl").read_bytes()
    batches.clear()

    again = stream(job, "ray")

    assert batches == []
    assert to_json(again.run) == to_json(first.run)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("r.cases.jsonl", written)]
    stream(replace(job, fresh=True), "ray")
    assert sorted(batches) == list(range(6))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("processors", [2, 3])
def test_a_run_on_ray_that_was_stopped_keeps_the_shards_that_were_done(
    place: Path, tmp_path: Path, batches: list[int], monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    job = job_over(place / "pictures", place, cases=tmp_path / "r.cases.jsonl")
    monkeypatch.setitem(sys.modules, "ray", FakeRay(2, kills=1))
    with pytest.raises(KeyboardInterrupt):
        stream(job, "ray")
    assert batches == [0, 2, 4]

    # Also on a cluster that became larger meanwhile.
    monkeypatch.setitem(sys.modules, "ray", FakeRay(processors))
    found = stream(job, "ray")

    assert sorted(batches) == list(range(6))
    here = stream(replace(job, cases=tmp_path / "here" / "r.cases.jsonl"))
    assert to_json(found.run) == to_json(here.run)
    assert (tmp_path / "r.cases.jsonl").read_bytes() == (tmp_path / "here" / "r.cases.jsonl").read_bytes()
    assert {one.name for one in tmp_path.iterdir()} == {"r.cases.jsonl", "here"}


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_was_begun_here_goes_on_on_ray(
    place: Path, tmp_path: Path, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.cases.jsonl"
    job = job_over(place / "pictures", place, cases=path)
    stream(job)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[: 1 + 3 * 4 + 1]))
    batches.clear()
    ray = FakeRay(2)
    monkeypatch.setitem(sys.modules, "ray", ray)

    stream(job, "ray")

    assert ray.shards == ["1/2", "2/2"]
    assert sorted(batches) == [3, 4, 5]
    assert path.read_bytes() == whole


def test_a_process_of_ray_that_ends_and_an_error_in_one_are_a_line(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = FakeRay.exceptions.RayError("The worker died:\nit exited with code 0")
    failed = FakeRay.exceptions.RayError("a traceback from there")
    failed.cause = ConversionError("models.py:net: raises SystemExit: 0")
    job = job_over(place / "pictures", place, cases=tmp_path / "r.cases.jsonl")

    for error, told in (
        (died, "ended early .The worker died: it exited with code 0."),
        (failed, "^models.py:net: "),
    ):
        monkeypatch.setitem(sys.modules, "ray", FakeRay(2, error=error))
        with pytest.raises(ParityError, match=told):
            stream(job, "ray")
