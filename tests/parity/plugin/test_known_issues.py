"""Known issues of a suite file: strict xfails, with their reason and link."""

from __future__ import annotations

import pytest

from tests.parity.plugin.project import ALONE, XDIST, Project

WEAK = "[models.weak]\nCOLOURS\narguments = {converted = [1.0, 0.5, 1.0]}\n"
GOOD = "[models.good]\nCOLOURS\n"


def issue(model: str, backend: str = "*", route: str = "onnx-torchscript") -> str:
    return (
        f'[[known_issues]]\nmodel = "{model}"\nroute = "{route}"\nbackend = "{backend}"\n'
        'reason = "green is halved"\nlink = "https://example.org/7"\n'
    )


def stale(model: str, backend: str, what: str, route: str = "onnx-torchscript") -> str:
    return f"*known issue (model {model}, route {route}, backend {backend}: green is halved) {what}*"


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_all_that_can_become_of_an_entry(project: Project, mode: tuple[str, ...]) -> None:
    # Two that are alive, one that names a leg and one with a wildcard; one of each that is gone; one for nothing.
    entries = [
        issue("weak", "onnxruntime"),
        issue("weak"),
        issue("good", "onnxruntime"),
        issue("good"),
        issue("nobody"),
    ]
    project.suite(WEAK + GOOD + "".join(entries))

    result = project.run("parity.toml", "-rx", mode=mode)

    # The tests of a leg can tell that it no longer fails; of a wildcard's legs only the session sees all.
    result.assert_outcomes(passed=7, xfailed=2, failed=3)
    for backend in ("onnxruntime", "onnx-reference"):
        result.stdout.fnmatch_lines_random(
            f"XFAIL parity.toml::weak[[]onnx-torchscript-{backend}-green.png[]]* - "
            "green is halved https://example.org/7"
        )
    result.stdout.fnmatch_lines(
        [
            "[[]XPASS(strict)[]]" + stale("good", "onnxruntime", "no longer fails; remove it from the suite file"),
            stale("good", "onnxruntime", "no longer fails; remove it from the suite file"),
            stale("good", "[*]", "no longer fails; remove it from the suite file"),
            stale("nobody", "[*]", "matches nothing in this suite; correct or remove it"),
            "*parity does not hold: 2 pass, 2 fail (2 known)",
        ]
    )


def test_expected_failures_alone_do_not_fail_a_run(project: Project) -> None:
    project.suite(WEAK + GOOD + issue("weak"))

    result = project.run("parity.toml")

    result.assert_outcomes(passed=10, xfailed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*parity holds: 2 pass, 2 fail (2 known)"])


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
@pytest.mark.parametrize("selection", [(), ("-k", "onnxruntime and green")], ids=["all", "part"])
def test_a_session_in_which_nothing_passes_is_no_success(
    project: Project, selection: tuple[str, ...], mode: tuple[str, ...]
) -> None:
    project.suite(WEAK + issue("*", route="*"), images="images/green.png")

    result = project.run("parity.toml", *selection, mode=mode)

    legs = 1 if selection else 2
    assert result.parseoutcomes()["xfailed"] == legs
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = f"nothing can be concluded, because nothing passed: {legs} fail ({legs} known)"
    result.stdout.fnmatch_lines([told])


def test_one_that_passes_elsewhere_in_the_session_is_a_success(project: Project) -> None:
    project.suite(WEAK + issue("*", route="*"), images="images/green.png")
    project.suite(GOOD, name="other.parity.toml")

    result = project.run()

    result.assert_outcomes(passed=6, xfailed=2)
    assert result.ret == 0


@pytest.mark.parametrize("mode", [ALONE, XDIST], ids=["alone", "xdist"])
def test_a_wildcard_that_is_stale_fails_a_run_whose_tests_all_pass(project: Project, mode: tuple[str, ...]) -> None:
    project.suite(GOOD + issue("good"), images="images/[br]*.png")

    result = project.run("parity.toml", mode=mode)

    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([stale("good", "[*]", "no longer fails; remove it from the suite file")])


@pytest.mark.parametrize("other", [issue("nobody"), issue("good", route="onnx"), issue("good", "coreml-native")])
def test_an_entry_that_matches_nothing_fails_a_run_whose_tests_all_pass(project: Project, other: str) -> None:
    project.suite(GOOD + other, images="images/[br]*.png")

    result = project.run("parity.toml")

    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*matches nothing in this suite; correct or remove it"])


def test_a_wildcard_is_alive_while_one_of_its_legs_fails(project: Project) -> None:
    project.suite(WEAK + GOOD + issue("*"))

    result = project.run("parity.toml")

    result.assert_outcomes(passed=10, xfailed=2)
    assert result.ret == 0


@pytest.mark.parametrize("entry", [issue("good"), issue("nobody"), issue("*", "onnx-reference")])
def test_a_part_of_a_suite_says_nothing_about_what_may_be_in_the_rest(project: Project, entry: str) -> None:
    project.suite(GOOD + WEAK + entry)

    result = project.run("parity.toml", "-k", "good and onnxruntime")

    result.assert_outcomes(passed=3, deselected=9)
    assert result.ret == 0


def test_a_part_of_a_suite_fails_for_an_entry_that_names_it(project: Project) -> None:
    project.suite(GOOD + WEAK + issue("good", "onnxruntime") + issue("weak"))

    result = project.run("parity.toml", "-k", "good and onnxruntime and red")

    result.assert_outcomes(failed=1, deselected=11)


def test_a_part_of_a_suite_keeps_its_xfails(project: Project) -> None:
    project.suite(GOOD + WEAK + issue("weak"))

    result = project.run("parity.toml", "-k", "weak and green")

    result.assert_outcomes(xfailed=2, deselected=10)


def test_an_expected_failure_of_a_conversion_is_an_xfail(project: Project) -> None:
    project.suite('[models.lost]\nfactory = "models.py:forgetful"\n' + issue("lost") + GOOD)

    result = project.run("parity.toml")

    result.assert_outcomes(passed=6, xfailed=6)
    assert result.ret == 0


def test_runxfail_shows_the_failure(project: Project) -> None:
    project.suite(WEAK + issue("weak"))

    result = project.run("parity.toml", "--runxfail", "-k", "green")

    result.assert_outcomes(failed=2, deselected=4)
    result.stdout.fnmatch_lines(["  a tolerance of 0.178 would have passed"])
