"""Models with a task: a classifier is one whose task follows from its labels."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch

from conversion import Classifier, ConversionError, Model, OutputSpec, Preprocessing, Task
from conversion.deployed import deployed_module, example_pixels
from conversion.task import CLASS_PROBABILITIES, PROBABILITIES

SETTINGS = Preprocessing(size=(4, 4), resize=(4, 4), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
MASK = OutputSpec("mask", "dense")


def classifier() -> Classifier:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)).eval()
    return Classifier("tiny", module, SETTINGS, ("ant", "bee"))


def test_a_classifier_is_a_model_whose_task_has_its_labels() -> None:
    found = classifier()

    assert isinstance(found, Model)
    assert found.task.outputs == (OutputSpec(CLASS_PROBABILITIES, PROBABILITIES, ("ant", "bee")),)
    assert replace(found, labels=("cat", "dog")).task.labels == ("cat", "dog")


def test_a_classifier_needs_labels_and_takes_no_task() -> None:
    incomplete: Any = Classifier

    with pytest.raises(TypeError, match="labels"):
        incomplete("tiny", torch.nn.Identity(), SETTINGS)
    with pytest.raises(TypeError, match="task"):
        incomplete("tiny", torch.nn.Identity(), SETTINGS, ("ant", "bee"), task=Task((MASK,)))


def test_a_model_has_the_labels_of_its_task() -> None:
    labelled = Task((MASK, OutputSpec("scene", "scores", ("in", "out"))))

    assert Model("toy", torch.nn.Identity(), SETTINGS, labelled).labels == ("in", "out")
    assert Model("toy", torch.nn.Identity(), SETTINGS, Task((MASK,))).labels == ()


@pytest.mark.parametrize("name", ["", " ", None, 3])
def test_a_name_is_text(name: Any) -> None:
    with pytest.raises(ConversionError, match="Model: name is .*; give it a name as text"):
        Model(name, torch.nn.Identity(), SETTINGS, Task((MASK,)))


def test_the_head_follows_the_module_and_is_no_head_where_there_is_none() -> None:
    pixels = example_pixels(classifier())
    normalised = (pixels / 255 - 0.5) / 0.5
    plain = Model("toy", torch.nn.Identity(), SETTINGS, Task((MASK,)))
    squashed = replace(plain, task=Task((MASK,), torch.sigmoid))

    torch.testing.assert_close(deployed_module(plain)(pixels), normalised, rtol=0, atol=1e-6)
    torch.testing.assert_close(deployed_module(squashed)(pixels), torch.sigmoid(normalised), rtol=0, atol=1e-6)


def test_a_task_can_be_copied_and_sent() -> None:
    task = classifier().task

    assert copy.deepcopy(task) == task
    assert pickle.loads(pickle.dumps(task)) == task
