"""Known-bad pairs with the releases that are bad: environments are built for them, from the package index."""

from __future__ import annotations

import shutil

import pytest

from parity.entries import load_entry
from parity.suite.suite import Suite, read_suite
from parity.suite.toolchain import ToolChain
from parity.versions.bench import opened, runtime_for
from parity.versions.known_bad import KnownBad
from parity.versions.side import Side
from parity.versions.suite_route import SuiteRoute
from parity.versions.toolchain_packages import installed
from parity.versions.toolchains import why_not
from tests.parity.tiny import save_pictures
from tests.parity.versions import known_bad_models
from tests.parity.versions.test_known_bad import PAIRS, shown_by

OTHERS = [pair for pair in PAIRS.values() if pair.bad[-1] != installed()[pair.package]]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    home = tmp_path_factory.mktemp("known-bad")
    shutil.copy(known_bad_models.__file__, home / "models.py")
    save_pictures(home / "photos")
    models = (
        f'[models.{p.id}]\nfactory = "models.py:{p.reproduction}"\nroutes = ["{shown_by(p)}"]' for p in OTHERS
    )
    (home / "parity.toml").write_text('images = ["photos/*.png"]\n' + "\n".join(models))
    return read_suite(home / "parity.toml")


@pytest.mark.parametrize("pair", OTHERS, ids=lambda pair: pair.id)
def test_the_release_is_bad(pair: KnownBad, suite: Suite) -> None:
    (entry,) = (entry for entry in suite.models if entry.name == pair.id)
    wanted = f"{pair.package}=={pair.bad[-1]}"
    chain = ToolChain(wanted, (wanted,))
    if reason := why_not(chain):
        pytest.skip(reason)
    with opened(Side(wanted, chain), suite.directory / "artifacts", 600) as bench:
        if bench.failure:
            pytest.skip(f"the package index cannot be reached, or has no {wanted}: {bench.failure}")
        tried = SuiteRoute(suite, entry, load_entry(suite, entry), shown_by(pair))
        outcome = bench.judge(tried, bench.convert(tried), runtime_for(tried.recipe))

    assert outcome.state in ("wrong", "refused", "nonsense"), outcome.subject.reason
