"""The suite file as users write it, in tables of pydantic; suite.py turns it into the Suite that the rest reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from conversion.compression import SCHEMES
from conversion.contract import RANGES, STEPS, Contract, Layout, state
from conversion.errors import ConversionError
from conversion.frontends import FRONTENDS
from conversion.heads import Place
from conversion.own import FORMATS
from conversion.routes import ROUTES
from conversion.shapes import Dynamic
from conversion.targets import TARGETS
from conversion.variants import OPTIONS, bases
from parity.suite.suite_values import (
    CONVERTER_NAME,
    about,
    has_colon,
    is_callable,
    is_command,
    is_model_file,
    is_new_route,
    is_range,
    known_route,
    says_something,
    two_ends,
)

RouteName = Annotated[
    str,
    AfterValidator(known_route),
    WithJsonSchema({"type": "string", "examples": list(ROUTES), "description": "Or a converter of this file."}),
]
_ROUTE = WithJsonSchema({"type": "string", "pattern": CONVERTER_NAME})
ConverterName = Annotated[str, AfterValidator(is_new_route), _ROUTE]
Said = Annotated[str, AfterValidator(says_something), WithJsonSchema({"type": "string", "pattern": r"\S"})]
Size = Annotated[list[int], Field(min_length=2, max_length=2)]


class Table(BaseModel):
    """A table of the file: nothing but the keys below, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ToleranceTable(Table):
    """[models.NAME.tolerance.ROUTE]"""

    probability: Annotated[float, Field(gt=0, lt=1)]


class ContractTable(Table):
    """What a file does itself, and how it is fed; see conversion.contract."""

    inside: Annotated[
        list[str] | None,
        WithJsonSchema({"type": "array", "items": {"enum": list(STEPS)}}),
        Field(description="What the file does itself: the app does the rest. Measured where nobody says it."),
    ] = None
    range: Annotated[
        str | None,
        WithJsonSchema({"enum": list(RANGES)}),
        Field(description="Of the numbers that go in, where the file normalises them itself."),
    ] = None
    layout: Annotated[
        str | None, WithJsonSchema({"enum": list(get_args(Layout))}), Field(description="Of an array that goes in.")
    ] = None
    input: Annotated[str | None, Field(description="What the file calls the image.")] = None
    output: Annotated[str | None, Field(description="Which of its outputs is the answer.")] = None

    @model_validator(mode="after")
    def _states_a_contract(self) -> Self:
        try:
            self.contract()
        except ConversionError as error:
            raise ValueError(str(error)) from error
        return self

    def contract(self) -> Contract:
        """Return what is stated."""
        return state(self.inside, self.range, self.layout, self.input, self.output)


class ArtifactTable(ContractTable):
    """An entry of `artifacts` that says what its files do themselves."""

    path: Annotated[str, AfterValidator(is_model_file), Field(description="A file, or a glob.")]


def _named_alone(entry: Any) -> Any:
    return {"path": entry} if isinstance(entry, str) else entry


# Keys of [models.NAME] that are fields of Classifier.
HEAD = ("softmax", "sigmoid", "output")


class ModelTable(Table):
    """[models.NAME]"""

    factory: Annotated[
        str,
        AfterValidator(has_colon),
        Field(
            description="file.py:callable beside this file, package.module:callable, torchvision:name, timm:name "
            "or transformers:directory"
        ),
    ]
    arguments: Annotated[dict[str, Any], Field(description="What the factory is called with.")] = {}
    softmax: Annotated[
        Place | None, Field(description="Whether the conversion adds softmax, or it is inside the module.")
    ] = None
    sigmoid: Annotated[
        Place | None, Field(description="The same, where each label is right or wrong by itself.")
    ] = None
    output: Annotated[
        str | int | None, Field(description="Which of a module's answers counts: a key, or a place in a tuple.")
    ] = None
    routes: Annotated[list[RouteName], Field(description="How this model is converted.")] = []
    images: Annotated[list[str], Field(description="Files, directories or globs, relative to this file.")] = []
    tolerance: Annotated[
        dict[RouteName, ToleranceTable], Field(description="Route -> the largest difference allowed.")
    ] = {}
    dynamic: Annotated[
        Dynamic | None, Field(description="Which axes of the converted model's input stay open.")
    ] = None
    bounds: Annotated[
        list[Any] | None,
        AfterValidator(two_ends),
        WithJsonSchema({"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": ["integer", "array"]}}),
        Field(description="[1, 8] images, or the smallest and the largest [height, width]."),
    ] = None
    sizes: Annotated[list[Size] | None, Field(description="Every [height, width], in the place of bounds.")] = None
    records: Annotated[list[str], Field(description="Predictions made elsewhere: files or globs of records.")] = []
    artifacts: Annotated[
        list[Annotated[ArtifactTable, BeforeValidator(_named_alone)]],
        Field(description="Finished files, or globs, or tables of them; each file is a route of its own."),
    ] = []


# Keys of [converters.NAME] that belong together: a conversion of one's own, and a variant of a route of ours.
_OWN = ("convert", "command", "suffix", "precision", "depends", "timeout", *ContractTable.model_fields)
_VARIANT = ("base", *OPTIONS)
_KINDS: Any = [{"required": ["convert", "suffix"]}, {"required": ["command", "suffix"]}, {"required": ["base"]}]


class ConverterTable(ContractTable):
    """[converters.NAME]: a route of your own, by `convert` or `command`; or a variant of one of ours, by `base`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _KINDS})

    convert: Annotated[
        str | None,
        AfterValidator(is_callable),
        Field(description="file.py:callable beside this file, or package.module:callable."),
    ] = None
    command: Annotated[
        list[str] | None,
        AfterValidator(is_command),
        Field(description="Program and arguments; {output}, {weights} and {labels} stand for files."),
    ] = None
    suffix: Annotated[
        Literal[".onnx", ".mlpackage", ".mlmodel", ".aimodel"] | None,
        Field(description="Of the file that it writes."),
    ] = None
    precision: Annotated[
        Literal["fp16", "fp32"] | None, Field(description="Of its arithmetic; the file says it where nobody does.")
    ] = None
    depends: Annotated[list[str], Field(description="Files and globs that decide the result too.")] = []
    timeout: Annotated[float, Field(gt=0, description="Seconds that the command may take.")] = 900
    base: Annotated[
        str | None,
        WithJsonSchema({"enum": list(ROUTES)}),
        Field(description="The route that this is a variant of."),
    ] = None
    target: Annotated[str | None, WithJsonSchema({"enum": list(TARGETS)}), Field(description=about("target"))] = (
        None
    )
    frontend: Annotated[
        str | None, WithJsonSchema({"enum": list(FRONTENDS)}), Field(description=about("frontend"))
    ] = None
    weights: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "examples": [scheme.example for scheme in SCHEMES]}),
        Field(description=about("weights")),
    ] = None
    keep_fp32: Annotated[list[str], Field(description=about("keep_fp32"))] = []

    @model_validator(mode="after")
    def _is_one(self) -> ConverterTable:
        own, variant = ([key for key in keys if key in self.model_fields_set] for keys in (_OWN, _VARIANT))
        if own and variant:
            raise ValueError(
                f"`{own[0]}` is of a conversion of your own ({', '.join(_OWN)}), `{variant[0]}` of a variant of a "
                f"route ({', '.join(_VARIANT)}); give the keys of one of the two"
            )
        if variant and self.base is None:
            raise ValueError(
                f'`{variant[0]}` is of a variant; name the route that it varies: base = "{bases(variant[0])[0]}"'
            )
        if not variant and (self.convert is None) == (self.command is None):
            raise ValueError(
                "give either `convert`, a callable, or `command`, a list of words; or `base`, the route of ours "
                "that it is a variant of"
            )
        if not variant and self.suffix is None:
            raise ValueError(f"`suffix` is missing, the end of the file that it writes: {', '.join(FORMATS)}")
        return self


class KnownIssueTable(Table):
    """[[known_issues]]; `*` stands for all."""

    model: str
    route: str = "*"
    backend: str = "*"
    reason: Annotated[Said, Field(description="What goes wrong, and in which versions.")]
    link: Annotated[Said, Field(description="The issue at the project that it is of.")] = ""
    package: Annotated[
        str | None,
        AfterValidator(is_range),
        Field(description="Only with these versions: onnxruntime>=1.21,<1.25. With others the entry says nothing."),
    ] = None


class GateTable(Table):
    """[gate]: how much accuracy a candidate may lose."""

    accuracy_loss: Annotated[float, Field(gt=0, lt=1, description="The share of right answers that may be lost.")]
    confidence: Annotated[
        float, Field(gt=0.5, lt=1, description="With which the loss is to be smaller, one-sided.")
    ] = 0.95
    threshold: Annotated[
        float | None, Field(gt=0, lt=1, description="The probability from which on the app takes an answer.")
    ] = None


class ToolChainTable(Table):
    """[toolchains.NAME]"""

    packages: Annotated[
        list[str], Field(min_length=1, description="Requirements: coremltools==8.3.0, protobuf<3.21 and so on.")
    ]
    python: Annotated[
        str | None,
        Field(
            pattern=r"^\d+\.\d+(\.\d+)?$",
            description="An environment of its own with this Python; without it, one over the running environment.",
        ),
    ] = None


class SuiteFile(Table):
    """The whole file."""

    images: Annotated[list[str], Field(description="Files, directories or globs, relative to this file.")] = []
    routes: Annotated[list[RouteName], Field(description="How models are converted that do not say.")] = []
    records: Annotated[list[str], Field(description="Records for the models that name none themselves.")] = []
    models: Annotated[dict[str, ModelTable], Field(min_length=1)]
    converters: Annotated[
        dict[ConverterName, ConverterTable], Field(description="Routes of your own, by their names.")
    ] = {}
    known_issues: list[KnownIssueTable] = []
    gate: Annotated[
        GateTable | None, Field(description="How much accuracy may be lost, where images have labels.")
    ] = None
    toolchains: Annotated[
        dict[str, ToolChainTable], Field(description="Other versions of converters, for `parity upgrade`.")
    ] = {}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the suite file (committed as parity/schemas/suite.schema.json), for editors."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    # A file without converters has our routes alone.
    ours = {"enum": list(ROUTES)}
    model = {"routes": {"items": ours}, "tolerance": {"propertyNames": ours}}
    without = {"routes": {"items": ours}, "models": {"additionalProperties": {"properties": model}}}
    schema = SuiteFile.model_json_schema()
    listed = schema["$defs"]["ModelTable"]["properties"]["artifacts"]
    listed["items"] = {"anyOf": [{"type": "string"}, listed["items"]]}
    return {
        "$schema": dialect,
        **schema,
        "title": "coreml-parity suite",
        "if": {"not": {"required": ["converters"]}},
        "then": {"properties": without},
    }
