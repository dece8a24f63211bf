"""Options and arguments that mean the same in every command that has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from parity.core.gate import Decides
    from parity.pipeline import Progress
    from parity.suite.suite import Selection, Suite

_Command = TypeVar("_Command", bound=Callable[..., Any])

SUITE = click.argument("suite", type=click.Path(path_type=Path), required=False)
MODEL = click.option("--model", "models", multiple=True, help="Only this model of the suite; repeatable.")
ROUTE = click.option("--route", "routes", multiple=True, help="Only this route; repeatable.")
BACKEND = click.option("--backend", "backends", multiple=True, help="Only this backend; repeatable.")
ARTIFACTS = click.option(
    "--artifacts",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".parity"),
    show_default=True,
    help="Where converted models are kept between runs.",
)


def selection_options(command: _Command) -> _Command:
    """Give a command --model, --route and --backend; it gets them as one `selection`."""

    @MODEL
    @ROUTE
    @BACKEND
    @wraps(command)
    def with_selection(
        models: tuple[str, ...], routes: tuple[str, ...], backends: tuple[str, ...], **options: Any
    ) -> Any:
        from parity.suite.suite import Selection

        return command(selection=Selection(models, routes, backends), **options)

    return with_selection  # type: ignore[return-value]


NO_EXPLAIN = click.option("--no-explain", is_flag=True, help="Do not look for the causes of what fails.")


def _three(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...]:
    """Read a number for each channel."""
    if text is None:
        return ()
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(map(isfinite, numbers)) or (parameter.name == "std" and min(numbers) <= 0):
        raise click.BadParameter(f"{text!r}: give three numbers, red, green and blue, as 0.485,0.456,0.406")
    return numbers


def contract_options(command: _Command) -> _Command:
    """Give a command what states a file's contract; it gets that as one `contract`."""

    @click.option(
        "--inside",
        metavar="STEPS",
        help="What the file does itself: of normalise,softmax,labels, or `none`; the rest is done as the app must. "
        "Where nobody says it, the file's own declaration does, or else a measurement.",
    )
    @click.option("--range", "range_", metavar="RANGE", help="Of what goes in: 0..255, 0..1 or -1..1.")
    @click.option("--mean", metavar="R,G,B", callback=_three, help="What the app subtracts from pixels 0..1.")
    @click.option("--std", metavar="R,G,B", callback=_three, help="What the app divides by then.")
    @click.option("--layout", metavar="LAYOUT", help="Of an array that goes in: NCHW or NHWC.")
    @click.option("--input", "input_", metavar="NAME", help="What the file calls the image.")
    @click.option("--output", "output_", metavar="NAME", help="Which of the file's outputs is the answer.")
    @wraps(command)
    def with_contract(
        inside: str | None,
        range_: str | None,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        layout: str | None,
        input_: str | None,
        output_: str | None,
        **options: Any,
    ) -> Any:
        from conversion.contract import parse_inside, state

        steps = None if inside is None else parse_inside(inside)
        return command(contract=state(steps, range_, layout, input_, output_, mean, std), **options)

    return with_contract  # type: ignore[return-value]


STRICT = click.option(
    "--strict", is_flag=True, help="Do not pass what a file does itself where nobody states it: inconclusive."
)


class Finite(click.FloatRange):
    """Take a number of a range; click's own lets NaN pass, which is in none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no number, then what is outside."""
        number = click.FLOAT.convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is in no range; give a number in the range {self._describe_range()}.")
        return super().convert(value, param, ctx)


def gate_options(command: _Command) -> _Command:
    """Give a command the gate on accuracy; it gets what is wanted of it as one `gate`."""
    from parity.core.gate import DECIDES

    @click.option(
        "--accuracy-loss", type=Finite(0, 1, True, True), help="Share of right answers that may be lost: a gate."
    )
    @click.option(
        "--confidence",
        type=Finite(0.5, 1, True, True),
        help="With which the loss is to be smaller, one-sided.  [default: the suite's, else 0.95]",
    )
    @click.option(
        "--threshold", type=Finite(0, 1, True, True), help="Probability from which on the app takes an answer."
    )
    @click.option(
        "--gate",
        "decides",
        type=click.Choice(DECIDES),
        help="Which question decides the exit code.  [default: both]",
    )
    @wraps(command)
    def with_gate(
        accuracy_loss: float | None,
        confidence: float | None,
        threshold: float | None,
        decides: Decides | None,
        **options: Any,
    ) -> Any:
        from parity.core.gate import GateChange

        return command(gate=GateChange(accuracy_loss, confidence, threshold, decides), **options)

    return with_gate  # type: ignore[return-value]


@contextmanager
def open_suite(path: Path | None, selection: Selection) -> Iterator[tuple[Suite, Progress]]:
    """Read the suite that was named, refuse a selection of nothing, and show the progress of what follows."""
    from parity.report.progress import progress_bar
    from parity.suite.suite import find_suite, read_suite

    place = find_suite(path)
    with progress_bar() as progress:
        progress("loading PyTorch", None)
        suite = read_suite(place)
        from parity.backends.selection import check_selection

        check_selection(suite, selection)
        yield suite, progress


def _scale(context: click.Context, parameter: click.Parameter, factor: float) -> float:
    """Refuse a factor before the work, also where nothing would have been multiplied by it."""
    from parity.core.tolerance import check_scale

    check_scale(factor)
    return factor


SCALE = click.option(
    "--tolerance-scale",
    type=float,
    default=1.0,
    callback=_scale,
    help="Multiply every tolerance: 0.5 looks twice as close.",
)


def _limit_time(context: click.Context, parameter: click.Parameter, seconds: float | None) -> None:
    """Let the limit hold for as long as the command works."""
    from parity.backends import limited

    context.with_resource(limited.time_limit(limited.DEFAULT if seconds is None else seconds))


TIME_LIMIT = click.option(
    "--time-limit",
    type=float,
    metavar="SECONDS",
    expose_value=False,
    callback=_limit_time,
    help="What an artefact may take on a backend before it is ended, and an error: to be loaded and to answer, "
    "with `run --images` a batch at a time.  [default: 600, and 10 for each image]",
)
# As parity.formats.feeding.MOST_AT_ONCE.
AT_ONCE = click.IntRange(1, 2**31 - 1)
IMAGES = click.option("--images", multiple=True, required=True, help="Image, directory or glob; repeatable.")
SOME_IMAGES = click.option(
    "--images", multiple=True, help="Image, directory or glob; repeatable. Of a route by default the suite's own."
)
