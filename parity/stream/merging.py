"""The cases files of all shards, put together: the file, to the byte, that the whole run would have written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO

from parity.core.destination import write_whole
from parity.core.errors import ParityError
from parity.core.file_kinds import results_beside
from parity.core.gate import UNCHANGED, GateChange
from parity.core.results import Run
from parity.core.unfinished import refuse_unfinished
from parity.stream.aggregate import aggregate, read_results, with_explanations
from parity.stream.cases_file import parse_header, parse_line, read_header, read_lines, read_rest
from parity.stream.cases_file_soundness import LineCheck
from parity.stream.identity import tell_difference
from parity.stream.job import Shard, cases_beside
from parity.stream.lines import Header, Line, to_explained_line


def merged_results(
    paths: Sequence[Path], json_file: Path | None, allowed_unreadable: float, gate: GateChange = UNCHANGED
) -> Run:
    """Judge the cases of all shards of a run together.

    json_file: its cases file is written beside it. gate: what of the shards' gate on accuracy is to be otherwise.
    """
    for path in paths:
        refuse_unfinished(results_beside(path))
    if json_file is None:
        lines = merged_lines(paths)
        header = parse_header(paths[0], next(lines))
        header = replace(header, gate=gate.over(header.gate))
        run = aggregate(header, read_lines(paths[0], header, lines), allowed_unreadable)
        return with_explanations(run, read_rest(paths[0], header, lines))
    target = cases_beside(json_file)
    if not is_whole(paths, json_file):
        merge_cases(paths, target)
    return read_results(target, allowed_unreadable, gate=gate)


def is_whole(paths: Sequence[Path], json_file: Path) -> bool:
    """Say whether the cases are those of a run in one piece, beside its results: they are not written again."""
    target = cases_beside(json_file)
    return [path.resolve() for path in paths] == [target.resolve()] and read_header(target).shard == Shard()


def merge_cases(paths: Sequence[Path], target: Path) -> None:
    """Write the cases of all shards of a run to a new file, which is there when it is whole."""
    for path in paths:
        if path.resolve() == target.resolve() or (target.exists() and path.samefile(target)):
            raise ParityError(f"{path}: would be overwritten by what is made of it; give another --json")
    write_whole(target, merged_lines(paths))


def merged_lines(paths: Sequence[Path]) -> Iterator[bytes]:
    """Give the lines of the whole run's cases file, the header first, from those of all its shards.

    What explains its failures is kept where the run is in one piece; a shard has none of it.
    Shards that are missing, named twice, not finished or of different runs are a ParityError.
    """
    headers = [read_header(path) for path in paths]
    first = headers[0]
    shards: dict[int, Path] = {}
    for path, header in zip(paths, headers, strict=True):
        _check_same_run(paths[0], first, path, header)
        if header.shard.number in shards:
            raise ParityError(f"{shards[header.shard.number]} and {path}: both are shard {header.shard}; give one")
        shards[header.shard.number] = path
    numbers = (number for number in range(1, first.shard.of + 1) if number not in shards)
    missing = [str(Shard(number, first.shard.of)) for number in islice(numbers, 4)]
    if missing:
        raise ParityError(
            f"no cases of shard {' and '.join(missing[:3])}{' and others' if len(missing) > 3 else ''} are given, "
            f"only of {len(shards)} of {first.shard.of}; give those of all"
        )
    whole = replace(first, shard=Shard())
    with ExitStack() as stack:
        files = {number: stack.enter_context(path.open("rb")) for number, path in shards.items()}
        for file in files.values():
            file.readline()
        yield whole.to_json()
        counts = dict.fromkeys(files, 1)  # lines of each file that were read: its header
        check = LineCheck(whole)
        for number in whole.batches:
            shard = number % first.shard.of + 1
            yield from _lines(shards[shard], files[shard], whole, number, counts[shard] + 1, check)
            counts[shard] += len(whole.places(number))
        check.end(shards[1])
        for shard, file in sorted(files.items()):
            explained = read_rest(shards[shard], replace(first, shard=Shard(shard, first.shard.of)), file)
            lines = [to_explained_line(one) for one in explained]
            yield from lines if first.shard == whole.shard else ()


def split_cases(path: Path, parts: Mapping[Shard, Path]) -> None:
    """Give each shard what the journal of the whole run has of it, as far as that goes; the reverse of merging.

    A shard that has a journal already keeps it.
    """
    header = read_header(path)
    with ExitStack() as stack, path.open("rb") as file:
        file.readline()
        written = {
            shard.number: stack.enter_context(part.open("wb")) for shard, part in parts.items() if not part.exists()
        }
        for shard in parts:
            if shard.number in written:
                written[shard.number].write(replace(header, shard=shard).to_json())
        for number in header.batches:
            lines = [file.readline() for _ in header.places(number)]
            if not all(line.startswith(b'{"index":') and line.endswith(b"\n") for line in lines):
                return
            shard_number = number % len(parts) + 1
            if shard_number in written:
                written[shard_number].writelines(lines)


def _check_same_run(one: Path, first: Header, path: Path, header: Header) -> None:
    differs = tell_difference(replace(first, shard=Shard()), replace(header, shard=Shard()))
    if not differs and header.shard.of != first.shard.of:
        differs = f"shard is {first.shard} there and {header.shard} here"
    if not differs and header.gate != first.gate:
        differs = "they ask for another gate on accuracy"
    if differs:
        raise ParityError(f"{one} and {path}: of different runs: {differs}; run the shards alike")


def _lines(
    path: Path, file: IO[bytes], header: Header, batch: int, first_line: int, check: LineCheck
) -> Iterator[bytes]:
    raw, lines = list[bytes](), list[Line]()
    for number, place in enumerate(header.places(batch), start=first_line):
        line = file.readline()
        if not line.endswith(b"\n"):
            raise ParityError(
                f"{path}: not finished: image {place} is not in it; start the same `parity run` again"
            )
        if not line.startswith(b'{"index":%d,' % place):
            raise ParityError(
                f"{path}:{number}: damaged: image {place} is not where it should be; run the shard anew"
            )
        raw.append(line)
        lines.append(parse_line(path, number, header, line, place))
    check.batch(path, first_line, lines)
    yield from raw
