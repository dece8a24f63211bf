"""JUnit XML: what build servers read of it, in the order that their schemas want, with any name in it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.results import KnownIssue, Part, Run, Unreadable
from parity.report.junit import to_junit
from parity.report.text import visible
from tests.parity.report.samples import case, full_run, hostile_run, run_of, streamed_run, subject


def read(run: Run) -> ElementTree.Element:
    """Parse, and check what the schemas of Jenkins and Surefire share."""
    root = ElementTree.fromstring(to_junit(run).encode("utf-8"))
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        assert set(suite.attrib) == {"name", "tests", "failures", "errors", "skipped", "time"}
        kinds = [child.tag for child in suite]
        assert set(kinds) <= {"properties", "testcase"}
        assert "properties" not in kinds[1:]
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.attrib[attribute]) == sum(case.find(kind) is not None for case in cases)
        for one in cases:
            assert set(one.attrib) == {"name", "classname", "time"}
            assert [child.tag for child in one] in ([], ["failure"], ["error"], ["skipped"], ["system-out"],
                                                    ["skipped", "system-out"])  # fmt: skip
        names = [(one.attrib["classname"], one.attrib["name"]) for one in cases]
        assert len(set(names)) == len(names)
        for entry in suite.iter("property"):
            assert set(entry.attrib) == {"name", "value"}
    for attribute in ("tests", "failures", "errors"):
        assert int(root.attrib[attribute]) == sum(int(suite.attrib[attribute]) for suite in root)
    return root


def test_a_suite_for_each_model_and_route_a_case_for_each_backend() -> None:
    root = read(full_run())

    assert {suite.attrib["name"]: [one.attrib["name"] for one in suite.findall("testcase")] for suite in root} == {
        "tiny by onnx (fp32)": ["onnxruntime", "onnx-reference"],
        "tiny by mlprogram (fp32)": ["coreml-evaluator", "coreml-native"],
        "tiny by onnx-coreml (fp32)": ["conversion"],
        "flat by onnx (fp32)": ["onnxruntime"],
        "known issues of the suite file": ["entry 1"],
    }


def test_every_verdict_has_its_element() -> None:
    found = {
        (one.attrib["classname"], one.attrib["name"]): [
            (child.tag, child.get("type"), child.get("message")) for child in one
        ]
        for one in read(full_run()).iter("testcase")
    }

    assert found == {
        ("tiny.onnx", "onnxruntime"): [],
        ("tiny.onnx", "onnx-reference"): [
            ("skipped", None, "known issue: hard swish https://example.org/1"),
            ("system-out", None, None),
        ],
        ("tiny.mlprogram", "coreml-evaluator"): [("failure", "fail", "1 flip, 1 error of 3 image(s)")],
        ("tiny.mlprogram", "coreml-native"): [("skipped", None, "no Mac")],
        ("tiny.onnx-coreml", "conversion"): [("error", "error", "HardSwish is not known")],
        ("flat.onnx", "onnxruntime"): [("error", "inconclusive", "an untrained network?")],
        ("known issues", "entry 1"): [("failure", "stale", "known issue (tiny) no longer fails; remove it")],
    }


def test_a_failure_tells_why() -> None:
    text = next(read(full_run()).iter("failure")).text or ""

    assert text.splitlines()[0] == "tiny by mlprogram on coreml-evaluator: fail: 1 flip, 1 error of 3 image(s)"
    assert text.count("  cause: channels are swapped (confirmed: PyTorch shown BGR agrees) [pre-bgr-swap]\n") == 1
    assert text.count("  fix: image = image[:, [2, 1, 0]]\n") == 1
    assert text.count("  suspect: another epsilon (not confirmed) [eps]\n") == 1
    assert text.count("  first divergence: operation 19 of 71, `conv_12` (conv)") == 1


def test_what_was_measured_is_in_the_properties() -> None:
    suite = read(full_run())[1]

    found = {entry.attrib["name"]: entry.attrib["value"] for entry in suite.iter("property")}
    assert found["python"] == "3.11.4"
    assert found["coreml-evaluator.max_abs_diff"] == "0.5"
    assert found["coreml-evaluator.tolerance"] == "0.01"
    assert found["coreml-evaluator.top1"] == "33%"
    assert found["coreml-evaluator.guilty_hop"] == "torch -> mlprogram"


def test_a_shard_is_a_property() -> None:
    names = [
        {entry.attrib["name"]: entry.attrib["value"] for entry in read(run).iter("property")}
        for run in (run_of(subject(), shard=Part(2, 3)), run_of(subject()))
    ]

    assert names[0]["shard"] == "2/3"
    assert "shard" not in names[1]


def test_artefacts_of_one_name_are_told_apart() -> None:
    (suite,) = read(run_of(subject(), subject("fail", reason="1 flip of 1 image(s)", cases=(case("flip"),))))

    assert [one.attrib["name"] for one in suite.findall("testcase")] == ["onnxruntime", "onnxruntime (1)"]


KNOWN = KnownIssue("why", "")


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (run_of(), "nothing can be concluded: nothing was run"),
        (run_of(subject("skipped", reason="no Mac")), "nothing can be concluded: 1 skipped"),
        (
            run_of(subject("fail", known_issue=KNOWN), subject("inconclusive", known_issue=KNOWN)),
            "nothing can be concluded, because nothing passed: 1 fail, 1 inconclusive (2 known)",
        ),
    ],
)
def test_a_run_in_which_nothing_passed_is_not_green(run: Run, told: str) -> None:
    (error,) = read(run).iter("error")

    assert (error.attrib["type"], error.attrib["message"]) == ("inconclusive", told)


def test_a_run_that_holds_is_green() -> None:
    root = read(run_of(subject(), subject("skipped"), subject("fail", known_issue=KnownIssue("why", ""))))

    assert (root.attrib["failures"], root.attrib["errors"]) == ("0", "0")


def test_unreadable_images_are_a_test_of_their_own() -> None:
    suites = {suite.attrib["name"]: suite for suite in read(streamed_run())}

    assert suites["images"].findtext("testcase/system-out") == (
        "2 images could not be read and were skipped: 0.004 % of all, 1 % allowed"
    )
    too_many = replace(run_of(subject()), unreadable=Unreadable(2, 0.5, 0.01))
    assert [failure.attrib["type"] for failure in read(too_many).iter("failure")] == ["unreadable"]


def test_a_hostile_run_is_xml_of_the_same_structure() -> None:
    hostile, clean = read(hostile_run()), read(hostile_run("name"))

    assert [element.tag for element in hostile.iter()] == [element.tag for element in clean.iter()]


@given(st.text(max_size=30))
@settings(max_examples=100)
def test_any_name_is_xml_and_reads_back_as_it_is_shown(name: str) -> None:
    root = read(run_of(subject("fail", model=name, reason=name)))

    assert root[0].findall("testcase")[0].attrib["classname"] == f"{visible(name)}.onnx"
