"""`parity contract`: what the app must do around an artefact, in words and as code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.commands.options import TIME_LIMIT, contract_options

if TYPE_CHECKING:
    from conversion.contract import Contract


@click.command("contract")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model that it was made from, as `parity check` takes it.")
@click.option("--images", multiple=True, help="To measure what nobody states on: image, directory or glob.")
@click.option("--suite", type=click.Path(path_type=Path), help="Suite file that the model is a name of.")
@click.option("--language", type=click.Choice(["python", "swift"]), multiple=True, help="Only this; repeatable.")
@contract_options
@TIME_LIMIT
def contract(
    artifact: Path,
    model: str,
    images: tuple[str, ...],
    suite: Path | None,
    language: tuple[str, ...],
    contract: Contract,
) -> int:
    """Say what the app must do before and behind an artefact, and write the lines that do it.

    Exit codes: 0 it is known, 2 the input is bad, 3 it is not: nobody states it, and there are no --images, or no
    contract restores parity on them.
    """
    from conversion.artifact import open_artifact
    from parity.contract.code import deployment, python_lines, swift_lines
    from parity.contract.settle import agreed
    from parity.contract.words import app_part, inside_shown, known_told
    from parity.suite.models import find_classifier

    opened = open_artifact(artifact, contract)
    classifier = find_classifier(model, suite)
    settled, holds = agreed(opened, classifier, list(images))
    if not holds:
        click.echo(
            f"parity: {artifact}: what the app must do is not known: "
            + (
                "no contract restores parity on these images"
                if images
                else "state it by --inside, or give --images"
            ),
            err=True,
        )
        return 3
    click.echo(f"{inside_shown(settled.contract)}, {known_told(settled.contract)}")
    click.echo(f"the app must: {app_part(settled.contract, classifier.preprocessing)}")
    what = deployment(settled, classifier.preprocessing)
    written = {"python": ("Python", python_lines), "swift": ("Swift", swift_lines)}
    for name in language or written:
        title, lines = written[name]
        click.echo(f"\n{title}:\n")
        for line in lines(what):
            click.echo(f"    {line}" if line else "")
    return 0
