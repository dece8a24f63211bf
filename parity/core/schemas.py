"""JSON schemas of the files that are written, derived from the types that they are written from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def written_schema(adapter: TypeAdapter[Any], title: str) -> dict[str, Any]:
    """Make the JSON schema of what an adapter writes: every key is there, and no other."""
    schema = adapter.json_schema(mode="serialization")
    for table in (schema, *schema["$defs"].values()):
        # One of several tables has no keys of its own.
        if "properties" in table:
            # What has a default in Python is written all the same, and nothing else is.
            table["required"] = list(table["properties"])
            table["additionalProperties"] = False
    return {"$schema": DIALECT, **schema, "title": title}


def first_problem(error: ValidationError) -> str:
    """Name the first place where a file is not as its schema says, and what is wrong there.

    A file of another schema is wrong in many places; that it is one says it all.
    """
    problem = min(error.errors(), key=lambda one: one["loc"] != ("schema",))
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    return f"{where}: {problem['msg']}"


def counts_schema(title: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Make the JSON schema of a table that counts these, all of them."""
    return {
        "title": title,
        "type": "object",
        "properties": {name: {"type": "integer", "minimum": 0} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }
