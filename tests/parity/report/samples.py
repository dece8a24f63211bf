"""Runs for the tests of reports: one with everything in it, one whose every name is hostile, and large ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.core.accuracy import Accuracy, Calibration, Change, ClassAccuracy, Correctness, Share
from parity.core.distribution import Distribution
from parity.core.results import (
    Answer,
    Case,
    CaseVerdict,
    ClassPair,
    Diagnosis,
    Divergence,
    Environment,
    KnownIssue,
    Run,
    Subject,
    Unreadable,
    UnreadableImage,
    summarise,
)
from parity.suite.thumbnails import thumbnail

HOSTILE = (
    "</script><script>alert(1)</script><!-- & \"' | ` ``` **b** _i_ [x](javascript:alert(1)) <b>\u202eabc\u2066 "
    "@everyone #1 :cat: $x$ ]]> \x00\x1b[31m\r\n| a | b |\n\ufffe \ud800 猫 👩‍👧 "
    "https://example.org www.example.org"
)
HERE = Environment("3.11.4", "Linux", {"torch": "2.13.0", "coremltools": "9.0"})


def case(
    verdict: CaseVerdict = "match", image: str = "a.png", difference: float | None = 0.25, **more: Any
) -> Case:
    """Make a case of three classes: the reference says ant, and so does the candidate, unless it flips."""
    other = "bee" if verdict in ("flip", "tie") else "ant"
    top = (ClassPair("ant", 0.75, 0.5), ClassPair("bee", 0.2, 0.45), ClassPair("cat", 0.05, 0.05))
    answers = (Answer("ant", 0.75), Answer(other, 0.5))
    if verdict == "error":
        return Case(image, "error", answers[0], Answer("-", None), reason="2 of 3 probabilities are not finite")
    measured = {"kl": 0.1, "worst_label": "ant", "worst_reference": 0.75, "worst_candidate": 0.5, "top": top}
    return Case(image, verdict, *answers, difference, **{"top5_overlap": 1.0, "snr_db": 20.0, **measured, **more})


def subject(verdict: Any = "pass", backend: str = "onnxruntime", **more: Any) -> Subject:
    """Make a subject of the model tiny."""
    names = {"model": "tiny", "route": "onnx", "artifact": "tiny.onnx", "precision": "fp32", **more}
    return Subject(backend=backend, verdict=verdict, **names)


def run_of(*subjects: Subject, **more: Any) -> Run:
    """Make a run of subjects."""
    return Run(HERE, subjects, summary=summarise(subjects), **more)


FIX = "image = image[:, [2, 1, 0]]"


def full_run() -> Run:
    """Make a run in which everything that a report can show is there."""
    cases = (case("match", "good.png", 1e-3), case("flip", "bad.png", 0.5), case("error", "nan.png", None))
    measured = {"images": 3, "top1_agreement": 1 / 3, "max_abs_diff": 0.5, "tolerance": 0.01}
    failed = subject(
        "fail",
        "coreml-evaluator",
        route="mlprogram",
        reason="1 flip, 1 error of 3 image(s)",
        tolerance_reason="fp16: for the test",
        required_tolerance=0.5,
        guilty_hop="torch -> mlprogram",
        diagnoses=(
            Diagnosis("pre-bgr-swap", "channels are swapped", True, FIX, "PyTorch shown BGR agrees"),
            Diagnosis("eps", "another epsilon", fix="norm.eps = 1e-5"),
        ),
        first_divergence=Divergence("conv_12", "conv", 18, 71),
        cases=cases,
        **measured,
    )
    known = subject(
        "fail", "onnx-reference", reason="1 drift of 1 image(s)", cases=(case("drift"),), images=1, tolerance=0.01,
        known_issue=KnownIssue("hard swish", "https://example.org/1"), max_abs_diff=0.25,
    )  # fmt: skip
    passed = subject(
        cases=(case("match", "good.png", 1e-7), case("tie", "near.png", 1e-6)), images=2, top1_agreement=0.5,
        max_abs_diff=1e-6, tolerance=1e-5, required_tolerance=1e-6, recorded_by="a phone",
    )  # fmt: skip
    return run_of(
        passed,
        failed,
        known,
        subject("skipped", "coreml-native", route="mlprogram", reason="no Mac"),
        subject("error", "-", route="onnx-coreml", artifact="", reason="HardSwish is not known"),
        subject("inconclusive", "onnxruntime", model="flat", reason="an untrained network?"),
        stale_known_issues=("known issue (tiny) no longer fails; remove it",),
        thumbnails={"bad.png": thumbnail(np.full((8, 8, 3), 200, np.uint8))},
    )


def hostile_run(text: str = HOSTILE) -> Run:
    """Put a text into every place of a run that is named by somebody else."""
    pairs = (ClassPair(text, 0.75, 0.5), ClassPair(f"{text}2", 0.2, 0.45))
    bad = Case(
        text, "flip", Answer(text, 0.75), Answer(f"{text}2", 0.5), 0.25, 0.1, text, 0.75, 0.5, reason=text,
        top=pairs, truth=text,
    )  # fmt: skip
    named = {"model": text, "route": text, "artifact": text, "precision": text, "reason": text}
    failed = subject(
        "fail",
        text,
        **named,
        tolerance=0.01,
        tolerance_reason=text,
        max_abs_diff=0.25,
        images=1,
        guilty_hop=text,
        recorded_by=text,
        diagnoses=(Diagnosis(text, text), Diagnosis(text, text, True, text, text)),
        unexplained=text,
        first_divergence=Divergence(text, text, 1, 2),
        cases=(bad,),
    )
    known = subject("fail", text, **named, known_issue=KnownIssue(text, f"javascript:alert(1)//{text}"))
    subjects = (failed, known, subject("skipped", text, **named), subject("error", text, **named))
    return Run(Environment(text, text, {text: text}), subjects, (text,), summarise(subjects))


def streamed_run(subjects: int = 1, images: int = 50_000) -> Run:
    """Make a run over many images: cases of the worst only, with counts, a distribution and accuracy."""
    kept = [_wide_case(number, "flip" if number < 9 else "match") for number in range(32)]
    counts: dict[CaseVerdict, int] = {"match": images - 12, "tie": 3, "flip": 9}
    spread = Distribution().add(np.geomspace(1e-8, 0.4, images))
    share = Share(38_050, images, 0.761, 0.757, 0.765)
    side = Correctness(share, share, Calibration(0.031, ()))
    accuracy = Accuracy(
        images, side, side, Change(-0.001, -0.002, 0.0, 70, 20, 0.0004), (ClassAccuracy("label 3", 50, 9, 7),)
    )
    measured = {"images": images, "top1_agreement": 0.9997, "max_abs_diff": 0.4, "tolerance": 0.05}
    named = {"reason": f"9 flip of {images} image(s)", "counts": counts, "distribution": spread}
    made = tuple(
        subject("fail", model=f"model {n}", **measured, **named, cases=tuple(kept), accuracy=accuracy)
        for n in range(subjects)
    )
    unreadable = Unreadable(2, 4e-5, 0.01, (UnreadableImage("broken.jpg", "truncated"),))
    return run_of(*made, unreadable=unreadable, cases_file="results.cases.jsonl", thumbnails=pictures(kept))


def complete_run(subjects: int = 20, images: int = 1_000) -> Run:
    """Make a run that holds all of many cases."""
    cases = tuple(_wide_case(number, "drift" if number % 50 == 0 else "match") for number in range(images))
    measured = {"images": images, "top1_agreement": 1.0, "max_abs_diff": 0.3, "tolerance": 0.05}
    made = (subject("fail", model=f"model {n}", **measured, cases=cases) for n in range(subjects))
    return run_of(*made, thumbnails=pictures(cases))


def pictures(cases: Any, most: int = 120) -> dict[str, str]:
    """Make pictures of noise, which compress worst, up to the bound that a run has for them."""
    random = np.random.default_rng(0)
    made = {c.image: thumbnail(random.integers(0, 256, (96, 96, 3)).astype(np.uint8)) for c in cases[:most]}
    kept: dict[str, str] = {}
    for name, uri in made.items():
        if sum(map(len, kept.values())) + len(uri) <= 600_000:
            kept[name] = uri
    return kept


def _wide_case(number: int, verdict: CaseVerdict) -> Case:
    difference = 0.3 - number * 1e-4 if verdict != "match" else 0.04 / (number + 1)
    top = tuple(
        ClassPair(f"a label of some length, number {place}", 0.3 / (place + 1), 0.25 / (place + 1))
        for place in range(8)
    )
    return case(verdict, f"ILSVRC2012_val_{number:08}.JPEG", difference, top=top)
