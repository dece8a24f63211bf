"""`parity convert`: one model by one route."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("convert")
@click.argument("model")
@click.option(
    "--route",
    required=True,
    help="One of ours (onnx, onnx-torchscript, mlprogram, mlprogram-fp32, mlprogram-export, onnx-coreml, coreai, "
    "coreai-fp16) or of the suite file; `parity routes` lists them.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory for the result."
)
@click.option("--suite", type=click.Path(path_type=Path), help="Suite file that MODEL is a name of.")
def convert(model: str, route: str, out: Path, suite: Path | None) -> int:
    """Convert MODEL by a route and print where the result is."""
    from parity.report.progress import progress_bar

    with progress_bar() as progress:
        progress("loading PyTorch", None)
        from conversion.routes import convert, find_route
        from parity.suite.models import find_classifier, find_entry

        # Only a suite file has routes of its own.
        recipe = find_route(route) if ":" in model else find_entry(model, suite)[1].recipe(route)
        classifier = find_classifier(model, suite)
        progress(f"{classifier.name}: converting by {route}", None)
        artifact = convert(classifier, recipe, out)
    if artifact.remark:
        click.echo(f"parity: {artifact.remark}", err=True)
    click.echo(artifact.path)
    return 0
