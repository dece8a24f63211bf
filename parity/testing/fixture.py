"""The fixture `parity`: convert and compare in a test written in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parity.core.results import Run, to_json
from parity.testing.workbench import Found, workbench

if TYPE_CHECKING:
    from conversion import Artifact, Classifier
    from conversion.shapes import Dynamic
    from parity.core.tolerance import Tolerance


class Checker:
    """Serve one test."""

    def __init__(self, node: pytest.Item) -> None:
        self._node = node
        self._bench = workbench(node.config)

    def check(
        self,
        classifier: Classifier | str,
        route: str | Sequence[str] | None = None,
        images: Any = None,
        artifacts: Sequence[Artifact | str | Path] | Artifact | str | Path | None = None,
        backends: Sequence[str] | None = None,
        tolerance: Tolerance | float | None = None,
        dynamic: Dynamic | None = None,
        bounds: Sequence[Any] | None = None,
        sizes: Sequence[Sequence[int]] | None = None,
        batch: int = 1,
        size: tuple[int, int] | None = None,
        inside: Sequence[str] | None = None,
    ) -> Run:
        """Convert by a route, or take artefacts that exist; compare on every backend, and fail unless parity holds.

        classifier: a Classifier, or `file.py:callable` and the like, as on the command line.
        images: as `parity.check` takes them; relative paths start beside the test's file, else at the rootdir.
        dynamic, bounds, sizes: as `conversion.convert` takes them. The rest is `parity.check`'s own.
        inside: what the artefacts do themselves, of normalise, softmax and labels; None: nobody says it.
        A test whose every backend cannot run here is skipped with the reasons.
        """
        __tracebackhide__ = True
        from conversion import ConversionError, convert
        from conversion.contract import state
        from conversion.guards.user_code import user_code
        from parity.core.compare import assert_parity
        from parity.core.errors import ParityError
        from parity.pipeline import check
        from parity.suite.models import load_classifier

        try:
            with user_code(str(getattr(classifier, "name", classifier))), self._bench.limited():
                if isinstance(classifier, str):
                    classifier = load_classifier(classifier, directory=self._node.path.parent)
                if (route is None) == (artifacts is None):
                    raise ParityError("parity.check takes a route to convert by, or artifacts; give one of the two")
                routes = [route] if isinstance(route, str) else route or ()
                converted = [convert(classifier, r, self._bench.artifacts, dynamic, bounds, sizes) for r in routes]
                run = check(
                    classifier,
                    converted if artifacts is None else artifacts,
                    self._beside(images),
                    backends,
                    tolerance,
                    self._bench.scale,
                    batch,
                    size,
                    contract=state(inside),
                    strict=self._bench.strict,
                )
        except (ParityError, ConversionError) as error:
            pytest.fail(str(error), pytrace=False)
        self._report(run)
        if run.subjects and all(s.verdict == "skipped" for s in run.subjects):
            pytest.skip("; ".join(dict.fromkeys(f"{s.backend}: {s.reason}" for s in run.subjects)))
        assert_parity(run)
        return run

    def _beside(self, images: Any) -> Any:
        """Let relative paths start beside the test's file, else at the rootdir."""
        if isinstance(images, list | tuple):
            return [self._beside(one) for one in images]
        if not isinstance(images, str | Path) or Path(images).is_absolute():
            return images
        homes = (self._node.path.parent, self._node.config.rootpath)
        first = Path(images).parts[:1]
        return next((h / images for h in homes if first and (h / first[0]).exists()), homes[0] / images)

    def _report(self, run: Run) -> None:
        before: tuple[Found, ...] = getattr(self._node, "parity_found", ())
        self._node.parity_found = (*before, Found("", to_json(run)))  # type: ignore[attr-defined]
        for s in run.subjects:
            name = f"parity_{s.route if s.route != '-' else s.artifact}_{s.backend}"
            figures = [("verdict", s.verdict), ("max_abs_diff", s.max_abs_diff), ("tolerance", s.tolerance)]
            self._node.user_properties += [
                (f"{name}_{kind}", value) for kind, value in figures if value is not None
            ]
