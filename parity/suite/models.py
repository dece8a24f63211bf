"""MODEL, as users write it -> Classifier."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from conversion.files.regular_files import DIRECTORY, MISSING, why_no_file
from conversion.guards.torch_defaults import kept_torch_defaults
from conversion.guards.user_code import told_error, user_code
from conversion.sources import KINDS, is_named, named_classifier
from parity.core.errors import ParityError
from parity.core.file_kinds import tell_kind

if TYPE_CHECKING:
    from conversion import Classifier
    from parity.suite.suite import ModelEntry, Suite


# Nothing is said of what follows a module: it is as the factory has it.
NO_HEAD: Mapping[str, Any] = MappingProxyType({})


class NoClassifierError(ParityError):
    """A factory returns something else than a Classifier: `answer`."""

    def __init__(self, message: str, answer: Any) -> None:
        super().__init__(message)
        self.answer = answer


def find_classifier(model: str, suite: Path | None) -> Classifier:
    """Load MODEL as a command takes it: a name in the suite file where it has no colon, a factory otherwise."""
    if ":" in model:
        return load_classifier(model)
    read, entry = find_entry(model, suite)
    return load_model(entry, read.directory)


def find_entry(model: str, suite: Path | None) -> tuple[Suite, ModelEntry]:
    """Look a name up in a suite file."""
    from parity.suite.suite import find_suite, read_suite

    # A name that is also a file's is first of all a name, where there is a suite.
    kind = tell_kind(Path(model)) if why_no_file(model) in ("", DIRECTORY) else ""
    strange = ParityError(f"{model}: {kind}; MODEL, which comes first, is a name in the suite file, {KINDS}")
    try:
        models = read_suite(find_suite(suite))
    except ParityError:
        if kind and suite is None:
            raise strange from None
        raise
    for entry in models.models:
        if entry.name == model:
            return models, entry
    if kind:
        raise strange
    raise ParityError(f"{models.path}: no model `{model}` (models: {', '.join(e.name for e in models.models)})")


def load_model(entry: ModelEntry, directory: Path) -> Classifier:
    """Load the classifier of a suite's entry. directory: the suite's."""
    return load_classifier(entry.factory, entry.arguments, entry.name, directory, entry.head)


def load_classifier(
    factory: str,
    arguments: Mapping[str, Any] | None = None,
    name: str | None = None,
    directory: Path | None = None,
    head: Mapping[str, Any] = NO_HEAD,
) -> Classifier:
    """Call a factory and return its Classifier.

    factory: `file.py:callable` (relative to `directory`), `package.module:callable`, or one of a library's, such as
    `torchvision:NAME`, with `arguments` for the function that conversion.sources names; `torchvision:NAME@WEIGHTS`
    for short. Files and directories are relative to `directory` too.
    name: what to call the classifier; None keeps its own name. head: fields of Classifier that say what follows its
    module, in the place of the factory's: softmax, sigmoid, output.
    """
    from dataclasses import replace

    from conversion import Classifier, ConversionError

    module_name, _, attribute = factory.rpartition(":")
    if not module_name or not attribute:
        raise ParityError(f"{factory}: a model is a name in the suite file, {KINDS}")
    try:
        if is_named(factory):
            classifier: Any = named_classifier(factory, arguments or {}, directory)
        else:
            # What a user's file sets for all of PyTorch is not for us, nor for the next file.
            with kept_torch_defaults(), user_code(factory):
                classifier = load_callable(factory, directory)(**(arguments or {}))
        if isinstance(classifier, Classifier) and (name or head):
            classifier = replace(classifier, name=name or classifier.name, **head)
    except (ParityError, ConversionError):
        raise
    except Exception as error:  # the user's own code
        raise ParityError(f"{factory}: the factory fails with {told_error(error)}") from error
    if not isinstance(classifier, Classifier):
        raise NoClassifierError(
            f"{factory}: returns a {type(classifier).__name__}; a factory returns a conversion.Classifier "
            "(module, preprocessing, labels)",
            classifier,
        )
    return classifier


def load_callable(reference: str, directory: Path | None = None) -> Callable[..., Any]:
    """Import `file.py:callable`, relative to a directory, or `package.module:callable`."""
    module_name, _, attribute = reference.rpartition(":")
    with kept_torch_defaults(), user_code(reference):
        return _attribute(_module(module_name, directory or Path()), attribute, reference)


def _module(name: str, directory: Path) -> ModuleType:
    if not name.endswith(".py"):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise ParityError(
                f"{name}: cannot be imported ({error}); is it installed, or on PYTHONPATH?"
            ) from error
    if why := why_no_file(directory / name):
        raise ParityError(f"{directory / name}: {'no such file' if why == MISSING else why}")
    path = (directory / name).resolve()
    # A name of its own for each file: two suites may both have a models.py.
    unique = f"parity_models_{abs(hash(str(path)))}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    # A factory imports what lies beside it, now or when it is called. At the end of the path, because a file there
    # must not take the place of an installed package.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # the user's own code
        del sys.modules[unique]
        if isinstance(error, Exception):
            raise ParityError(f"{path}: fails on import with {told_error(error)}") from error
        raise
    return module


def _attribute(module: ModuleType, attribute: str, factory: str) -> Callable[..., Any]:
    function: Callable[..., Any] | None = getattr(module, attribute, None)
    if callable(function):
        return function
    import difflib

    public = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    near = difflib.get_close_matches(attribute, public, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ParityError(f"{factory}: no callable `{attribute}` there{hint}")
