"""`parity predict`: what any artefact answers, anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import TIME_LIMIT, contract_options
from parity.commands.process import tell

if TYPE_CHECKING:
    from conversion.contract import Contract


@click.command("predict")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many classes to print.")
@click.option("--backend", help="By default the first that runs here.")
@contract_options
@TIME_LIMIT
def predict(artifact: Path, images: tuple[str, ...], top: int, backend: str | None, contract: Contract) -> int:
    """Run any artefact on images, on any system, and print the most probable classes.

    Of a file that judges each label by itself these are the most probable labels, which need not sum to 1. Where
    the numbers are no probabilities, or the file has no labels, that is said: beside the image, and below.
    An image whose numbers are not finite has no answer: that is told, and exit code 1.
    """
    from parity.artifacts.answers import predict_top

    remarks: dict[str, None] = {}
    code = 0
    for answer in predict_top(artifact, images, top, backend, contract):
        if answer.no_answer:
            tell(f"parity: {answer.image} on {answer.backend}: no answer: {answer.no_answer}")
            code = 1
            continue
        what = ": each label by itself, as a probability of its own" if answer.apart else ""
        what = f": no probabilities: {answer.no_probabilities}" if answer.no_probabilities else what
        click.echo(f"{answer.image}  ({answer.backend}){what}")
        for label, probability in answer.top:
            click.echo(f"  {probability:8.4f}  {label if label.isprintable() else repr(label)}")
        remarks.update(dict.fromkeys(answer.remarks))
    for remark in remarks:
        click.echo(f"note: {remark}")
    return code
