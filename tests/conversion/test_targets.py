from __future__ import annotations

import pytest

from conversion.guards.quiet import import_coremltools
from conversion.targets import TARGETS, is_before, nearest_target, same_year


def test_the_targets_are_those_of_coremltools_from_ios15_on() -> None:
    members = import_coremltools().target.__members__

    assert {n: t.name for n, t in members.items() if t.name not in ("iOS13", "iOS14")} == dict(TARGETS)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("iOS19", "iOS18"),
        ("iOS14", "iOS15"),
        ("ios18", "iOS18"),
        ("iOS 17", "iOS17"),
        ("iOS17.0", "iOS17"),
        ("macOS16", "macOS15"),
        ("MACOS_13", "macOS13"),
        ("tvOS30", "tvOS26"),
        ("watchOS7", "watchOS8"),
        ("iSO18", "iOS18"),
        ("android", ""),
        ("", ""),
    ],
)
def test_the_nearest_target(text: str, near: str) -> None:
    assert nearest_target(text) == near


def test_years_are_compared_across_systems() -> None:
    assert is_before("macOS12", "iOS16")
    assert is_before("iOS18", "watchOS26")
    assert not is_before("macOS13", "iOS16")
    assert same_year("iOS18", "macOS12") == "macOS15"
    assert same_year("iOS18", None) == "iOS18"
