"""What makes two streamed runs the same run: only then does one go on with the other's journal, or merge with it.

The header of a journal says all that decides the numbers in it. Of that, texts, and what is judged only at the end,
may change: then the journal gets the new header, and what was computed stays.

    belongs to the identity                              does not
    ---------------------------------------------------  ---------------------------------------------------------
    names and sizes of all images, and their order       where the directory lies; times of files
    the content of every image that was compared         the content of images that were not compared yet
    what the images show (--labels or directories)       the name of the file that says so
    weights, code, labels, preprocessing of each model,  where the suite file lies, and models that were not asked
    and what its answers are
    which legs run, and which are skipped or broken      the texts that say why, and remarks on files
    every artefact, by its operations, weights, contract where it is kept, when it was converted
    tolerances (`parity judge` judges by others)         the texts and costs that say where they come from
    which images a spot check sees                       --workers, --engine, --max-unreadable, the reports
    batch, PyTorch's threads, shard                      known issues of the suite: they are matched at the end
    Python, system, versions of packages                 whether the suite was run in part
                                                         the gate on accuracy
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from parity.stream.job import Job
from parity.stream.lines import Header, HeadLeg

# The beginning of a place in the header -> what it is, and what else than --fresh helps.
_TOLD: tuple[tuple[str, str, str], ...] = (
    (r"environment", "Python, the system or a package is another", "run in the environment of then"),
    (r"models\.(\d+)\.weights", "the weights of {model} changed", ""),
    (r"models\.(\d+)\.code", "code or settings that {model} reaches changed", ""),
    (r"models\.(\d+)\.preprocessing", "the preprocessing of {model} changed", ""),
    (r"models\.(\d+)\.labels", "the labels of {model} changed", ""),
    (
        r"models\.(\d+)\.(output|kind)",
        "what {model} answers is another: one label of an image, or labels that are judged apart",
        "",
    ),
    (r"models", "the models are others", "ask for the same --model"),
    (r"legs\.(\d+)\.digest", "the artefact of {leg} is another", ""),
    (r"legs\.(\d+)\.contract", "what {leg} is said to do itself changed (`inside`)", ""),
    (r"legs\.(\d+)\.tolerance", "the tolerance of {leg} changed", "`parity judge` judges results by another"),
    (r"legs\.(\d+)\.measured_on", "what rounding costs {leg} was measured on other images", ""),
    (r"legs\.(\d+)\.spots", "{leg} sees other images", "ask for the same --backend"),
    (r"legs\.(\d+)\.verdict", "{leg} ran there and does not here, or the other way round", ""),
    (r"legs", "the legs are others", "ask for the same --model, --route and --backend"),
    (r"images|digest", "the names or sizes of the images changed", "put them back"),
    (r"truth_digest", "what the images show changed", "give the same --labels"),
    (r"batch", "the size of a batch is another", "give the same --batch"),
    (r"threads", "PyTorch has another number of threads", "set OMP_NUM_THREADS as it was"),
    (r"shard", "the part of the images is another", "give the same --shard"),
)


def identity(header: Header) -> Header:
    """Leave out of a header what does not belong to the identity of its run."""
    legs = tuple(_without_texts(leg) for leg in header.legs)
    return replace(header, legs=legs, truth="", known_issues=(), partial=False, gate=None)


def tell_difference(there: Header, here: Header) -> str:
    """Say what makes two runs different ones, in a line without its end: what to do stands behind `; `.

    Empty where they are the same run.
    """
    differs = first_difference(*(json.loads(identity(one).to_json()) for one in (there, here)))
    if not differs:
        return ""
    for pattern, what, remedy in _TOLD:
        match = re.match(rf"{pattern}\b", differs)
        if match:
            return f"{_named(what, match, here)}: {differs}{f'; {remedy}' if remedy else ''}"
    return differs


def first_difference(there: Any, here: Any, place: str = "") -> str:
    """Name the first place where two JSON values differ, and what they have there; empty where they are equal."""
    if type(there) is type(here) and isinstance(there, dict) and there.keys() == here.keys():
        parts = ((f"{place}.{key}", there[key], here[key]) for key in there)
        return next(filter(None, (first_difference(a, b, where.lstrip(".")) for where, a, b in parts)), "")
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return next(filter(None, (first_difference(a, b, f"{place}.{i}") for i, (a, b) in pairs)), "")
    if there == here:
        return ""
    values = [json.dumps(value, ensure_ascii=False) for value in (there, here)]
    short = [text if len(text) <= 60 else f"{text[:60]}..." for text in values]
    return f"{place} is {short[0]} there and {short[1]} here"


def _named(what: str, match: re.Match[str], header: Header) -> str:
    if "{model}" in what:
        return what.format(model=header.models[int(match[1])].name)
    if "{leg}" in what:
        leg = header.legs[int(match[1])]
        return what.format(leg=f"{leg.model} by {leg.route} on {leg.backend}")
    return what


def kept_cases(job: Job, header: Header) -> Path:
    """Name the journal of a job: as it says, or by what it runs."""
    if job.cases is not None:
        return job.cases
    key = hashlib.sha256(identity(header).to_json()).hexdigest()[:16]
    return job.artifacts / "runs" / f"{key}.cases.jsonl"


def _without_texts(leg: HeadLeg) -> HeadLeg:
    return replace(leg, tolerance_reason="", reason="", cost=None, compressed="", remarks=())
