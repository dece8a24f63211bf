"""The zoo as a page: how many agree by each route, a line a network, and each failure with whose fault it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from conversion import ROUTES
from tests.zoo.one import Line

GOOD = ("pass", "inconclusive")
# The ways that a user chooses from: of each, one has to do.
WAYS = {
    "ONNX by torch.export": ("onnx",),
    "ML Program, by trace or by export": ("mlprogram-fp32", "mlprogram-export"),
}
_LONGEST = 160
# So many names are listed.
_FEW = 5


def written(lines: Sequence[Line], zoo: Sequence[str] = ()) -> str:
    """Write the page; the last line of a network, a route and a backend counts.

    zoo: the names of all networks; the page says which of them were not run, and by which routes.
    """
    latest = {(line.network, line.route, line.backend): line for line in lines}
    kept = list(latest.values())
    parts = [_head(kept), _not_run(kept, zoo), _routes(kept), _networks(kept), _failures(kept)]
    return "\n".join(part for part in parts if part) + "\n"


def _head(lines: Sequence[Line]) -> str:
    networks = {line.network for line in lines}
    libraries = {
        name: sum(n.startswith(f"{name}/") for n in networks) for name in ("torchvision", "timm", "transformers")
    }
    listed = ", ".join(f"{number} of {name}" for name, number in libraries.items())
    return (
        "# The zoo\n\n"
        "<!-- not run: it converts some 200 networks, for hours -->\n"
        "```sh\nmake zoo\n```\n\n"
        f"It converts {len(networks)} networks ({listed}) and writes this page.\n"
        "Each was trained for some seconds to tell the eight photos of fixtures/images/photos apart. Without\n"
        "that, answers to all photos are nearly the same, and stretching them magnifies rounding with them.\n"
    )


def _not_run(lines: Sequence[Line], zoo: Sequence[str]) -> str:
    """Say what the table lacks: networks without a line, and routes that some networks were not run by."""
    networks = {line.network for line in lines}
    absent = sorted(set(zoo) - networks)
    parts = [f"By no route was run: {_few(absent)}."] if absent else []
    routes_of: dict[tuple[str, ...], list[str]] = {}
    for route in ROUTES:
        if lacking := tuple(sorted(networks - {line.network for line in lines if line.route == route})):
            routes_of.setdefault(lacking, []).append(f"`{route}`")
    for lacking, routes in routes_of.items():
        ran = f"{len(networks) - len(lacking)} of the {len(networks)} networks"
        parts.append(f"By {' and '.join(routes)} {ran} were run, not {_few(lacking)}.")
    return "\n".join(parts) + "\n" if parts else ""


def _few(networks: Sequence[str]) -> str:
    """Name networks, or say where the table shows them."""
    if len(networks) <= _FEW:
        return ", ".join(networks)
    return f"the {len(networks)} whose cells are empty below"


def _routes(lines: Sequence[Line]) -> str:
    rows = ["| way | converted | agree | of |", "|---|---|---|---|"]
    ways = {f"`{route}`": (route,) for route in ROUTES} | WAYS
    for title, routes in ways.items():
        own = [line for line in lines if line.route in routes]
        converted = {line.network for line in own if line.backend != "-"}
        agree = {line.network for line in own if line.verdict == "pass"}
        rows.append(f"| {title} | {len(converted)} | {len(agree)} | {len({line.network for line in own})} |")
    return "\n".join(rows) + "\n"


def _networks(lines: Sequence[Line]) -> str:
    rows = [
        "## Each network\n",
        "The largest |Δp| where a route agrees; else its verdict; `-` where the conversion failed; nothing where\n"
        "it was not run. Loss is that of the training, 2.3 for none at all; seconds are of all routes.\n",
        f"| network | pixels | loss | {' | '.join(f'`{route}`' for route in ROUTES)} | s |",
        f"|---|---|---|{'---|' * len(ROUTES)}---|",
    ]
    for name in sorted({line.network for line in lines}):
        own = {line.route: line for line in lines if line.network == name}
        cells = [_cell(own.get(route)) for route in ROUTES]
        seconds = sum(line.seconds for line in own.values())
        size = max(line.size for line in own.values())
        loss = next((f"{line.loss:.2f}" for line in own.values() if line.loss is not None), "")
        rows.append(f"| {name} | {size or ''} | {loss} | {' | '.join(cells)} | {seconds:.0f} |")
    return "\n".join(rows) + "\n"


def _cell(line: Line | None) -> str:
    if line is None:
        return ""
    if line.backend == "-":
        return "-"
    apart = "" if line.apart is None else f"{line.apart:.0e}"
    return apart if line.verdict == "pass" else f"{line.verdict} {apart}".strip()


def _failures(lines: Sequence[Line]) -> str:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for line in lines:
        if line.verdict != "pass":
            groups.setdefault((line.route, line.whose or line.verdict, _shortened(line)), []).append(line.network)
    if not groups:
        return ""
    return "\n".join(["## What does not agree, and whose fault it is\n", *_listed(groups)]) + "\n"


def _listed(groups: dict[tuple[str, str, str], list[str]]) -> Iterator[str]:
    yield "| route | whose | networks | what |"
    yield "|---|---|---|---|"
    for (route, whose, reason), networks in sorted(groups.items(), key=lambda group: (group[0], group[1])):
        yield f"| `{route}` | {whose} | {', '.join(sorted(networks))} | {reason} |"


def _shortened(line: Line) -> str:
    """Say what went wrong without what differs from network to network: its name, places of files, numbers."""
    text = re.sub(r"^.*?: the conversion failed with ", "", line.reason)
    text = re.sub(r"; what the converters said is in .*$", "", text)
    text = re.sub(r"\S*/\S+/\S*", "...", text).replace("|", "\\|")
    named = f" ({', '.join(line.faults)})" if line.faults else ""
    if line.verdict in ("fail", "inconclusive"):
        text = re.sub(r"(?<![\w.-])\d+ (\w+)", r"\1", text)
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...") + named
