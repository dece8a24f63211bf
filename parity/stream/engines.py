"""ENGINES: where a job is run. An engine is a function that makes the cases files of a job's shards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

from conversion.errors import ConversionError
from conversion.guards.torch_defaults import with_torch_defaults
from parity.backends.limited import current_limit
from parity.core.errors import ParityError
from parity.core.results import Run
from parity.stream.aggregate import read_results
from parity.stream.cases_file import read_header
from parity.stream.causes import explain_run
from parity.stream.identity import kept_cases
from parity.stream.job import Job, Shard
from parity.stream.journal import is_finished
from parity.stream.merging import merge_cases, split_cases
from parity.stream.running import Done, Progress, run_shard
from parity.stream.stamps import forget

_SUFFIX = ".cases.jsonl"

Engine = Callable[[Job, Progress], list[Done]]


@dataclass(frozen=True)
class Streamed:
    """Hold the results of a streamed run; remarks: what the user should know beside them."""

    run: Run
    remarks: tuple[str, ...] = ()


@with_torch_defaults
def stream(
    job: Job,
    engine: str = "local",
    allowed_unreadable: float = 0.01,
    progress: Progress = lambda message, done, total: None,
    explain: bool = True,
) -> Streamed:
    """Compare a directory of images, of any number, with every model, route and backend of a job.

    engine: a name of ENGINES. allowed_unreadable: the share of images above which the run fails if it cannot read
        them. explain: look for the causes of what fails, on a few images.
    """
    if engine not in ENGINES:
        raise ParityError(f"unknown engine `{engine}` (engines: {', '.join(ENGINES)})")
    parts = ENGINES[engine](job, progress)
    path = parts[0].cases
    if len(parts) > 1:
        path = kept_cases(job, replace(read_header(path), shard=Shard()))
        merge_cases([part.cases for part in parts], path)
        for part in parts:
            part.cases.unlink()
            forget(job.artifacts, part.cases)
    progress("summing up", 0, None)
    run = read_results(path, allowed_unreadable, named=job.cases is not None, explained=explain)
    remarks = dict.fromkeys(remark for part in parts for remark in part.remarks)
    if explain:
        run, more = explain_run(job, path, run, progress)
        remarks |= dict.fromkeys(more)
    if job.cases is None:
        path.unlink()
        forget(job.artifacts, path)
    return Streamed(run, tuple(remarks))


def run_here(job: Job, progress: Progress) -> list[Done]:
    """Run a job, which may be a shard, in this process."""
    return [run_shard(job, progress)]


def run_on_ray(job: Job, progress: Progress) -> list[Done]:
    """Cut a job into shards and run them as tasks of Ray, on the cluster that RAY_ADDRESS names or on a local one.

    As many shards as the cluster has room for tasks with as many threads as a run here would have, or as many as an
    earlier start made, which are gone on with. All machines have to see the same directories, and should be alike:
    the last bits of an answer depend on the processor.
    """
    if job.shard != Shard():
        raise ParityError(f"--shard {job.shard} and --engine ray: Ray makes shards of its own; give one of the two")
    import torch

    try:
        import ray
    except ImportError as error:
        raise ParityError(f"ray is not installed ({error}); pip install 'coreml-parity[cluster]'") from error
    with ExitStack() as stack:
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False)
            stack.callback(ray.shutdown)
        nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        # Ray would never start a task with more than a machine has.
        threads = max(1, min(_threads_before(job) or torch.get_num_threads(), *nodes)) if nodes else 1
        count = max(1, sum(processors // threads for processors in nodes))
        job = replace(job, threads=threads, time_limit=current_limit())
        if job.cases is not None and not job.fresh and is_finished(job.cases):
            return [_run_with_threads(job, progress)]
        task: Any = ray.remote(num_cpus=threads)(run_shard)
        waiting = [task.remote(part) for part in _begun(job, count)]
        every = list(waiting)
        progress("shards on Ray", 0, len(every))
        while waiting:
            _, waiting = ray.wait(waiting)
            progress("shards on Ray", len(every) - len(waiting), len(every))
        try:
            done: list[Done] = ray.get(every)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)  # what the task raised
            if isinstance(cause, ParityError | ConversionError):
                raise ParityError(str(cause)) from error
            if cause is None:
                reason = " ".join(str(error).split())
                raise ParityError(
                    f"a process of Ray that ran a shard ended early ({reason}); start again: what is done is kept"
                ) from error
            raise
        return done


def _parts(cases: Path) -> dict[Shard, Path]:
    """Find the journals of a run's shards that are there."""
    stem = cases.name.removesuffix(_SUFFIX)
    parts: dict[Shard, Path] = {}
    for path in cases.parent.glob(f"{escape(stem)}.*-of-*{_SUFFIX}"):
        match = re.fullmatch(r"(\d+)-of-(\d+)", path.name.removeprefix(f"{stem}.").removesuffix(_SUFFIX))
        if match:
            parts[Shard(int(match[1]), int(match[2]))] = path
    return parts


def _threads_before(job: Job) -> int | None:
    """Return how many threads PyTorch had in what is done of a job; None where nothing is."""
    if job.cases is None or job.fresh:
        return None
    there = [path for path in (job.cases, *_parts(job.cases).values()) if path.is_file() and path.stat().st_size]
    return read_header(there[0]).threads if there else None


def _begun(job: Job, count: int) -> list[Job]:
    """Cut a job into shards so that what an earlier start has done of it stays done."""
    if job.cases is None:
        return shards_of(job, count)
    parts = _parts(job.cases)
    if job.fresh:
        for path in parts.values():
            path.unlink()
        return shards_of(job, count)
    # Another number of shards would begin again.
    counts = Counter(shard.of for shard in parts)
    shards = shards_of(job, counts.most_common(1)[0][0] if counts else count)
    if len(shards) > 1 and job.cases.is_file() and job.cases.stat().st_size:
        split_cases(job.cases, {part.shard: part.cases for part in shards if part.cases is not None})
    return shards


def _run_with_threads(job: Job, progress: Progress) -> Done:
    """Run here, and leave PyTorch as it was."""
    import torch

    before = torch.get_num_threads()
    try:
        return run_shard(job, progress)
    finally:
        torch.set_num_threads(before)


def shards_of(job: Job, count: int) -> list[Job]:
    """Cut a job into shards, each with a cases file of its own; paths become absolute."""
    whole = replace(
        job,
        suite=job.suite.absolute(),
        images=job.images.absolute(),
        labels=job.labels and job.labels.absolute(),
        artifacts=job.artifacts.absolute(),
        cases=job.cases and job.cases.absolute(),
    )
    if count == 1:
        return [whole]
    shards = [Shard(number, count) for number in range(1, count + 1)]
    return [replace(whole, shard=shard, cases=_part(whole.cases, shard)) for shard in shards]


def _part(cases: Path | None, shard: Shard) -> Path | None:
    if cases is None:
        return None
    return cases.with_name(f"{cases.name.removesuffix(_SUFFIX)}.{shard.number}-of-{shard.of}{_SUFFIX}")


ENGINES: Mapping[str, Engine] = {"local": run_here, "ray": run_on_ray}
