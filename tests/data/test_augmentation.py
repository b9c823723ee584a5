from __future__ import annotations

import inspect
import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from toy_data import array_source, input_spec, pixels

from edgemate.config import parse_recipe
from edgemate.data import augmentation
from edgemate.errors import UsageError
from edgemate.registry import AUGMENTATIONS
from recipes import SMALL


def spec_of(channels=3):
    source = array_source(size=(16, 12), channels=channels)
    return input_spec(source).with_normalization([0.2, 0.4, 0.6][:channels], [0.5] * channels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_every_one_gives_uint8_images_of_the_same_shape_that_differ_by_seed(name, channels):
    transform = AUGMENTATIONS.get(name)(spec_of(channels))
    assert isinstance(transform, v2.Transform)
    image = torch.from_numpy(pixels(channels, 16, 12))
    results = []
    for seed in range(12):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            results.append(transform(image.clone()))
    assert all(result.shape == image.shape and result.dtype == torch.uint8 for result in results)
    assert any(not torch.equal(results[0], result) for result in results)


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_every_one_draws_from_torchs_generator_alone(name):
    transform = AUGMENTATIONS.get(name)(spec_of())
    image = torch.from_numpy(pixels(3, 16, 12))
    for seed in range(5):
        results = []
        for other in (1, 2):
            random.seed(other)
            np.random.seed(other)  # noqa: NPY002
            python, numpy = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                results.append(transform(image.clone()))
            assert random.getstate() == python
            assert np.random.get_state()[1].tolist() == numpy  # noqa: NPY002
        assert torch.equal(*results)


@pytest.mark.parametrize(
    ("written", "options"),
    [
        ({"rand_augment": {"num_ops": 3}}, {"operations": 3, "magnitude": 9}),
        ({"name": "random_erasing", "options": {"p": 0.1, "max_area": 0.2}}, {"probability": 0.1, "max_area": 0.2}),
    ],
)
def test_options_of_older_runs_still_have_their_names(written, options):
    recipe = parse_recipe({**SMALL, "data": {**SMALL["data"], "augmentation": [written]}}, "tests")
    assert recipe.data.augmentation[0].options == options


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_every_option_has_a_default_an_annotation_and_a_line(name):
    factory = AUGMENTATIONS.get(name)
    parameters = list(inspect.signature(factory).parameters.values())
    assert parameters[0].name == "spec"
    for parameter in parameters[1:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty
        assert parameter.name in inspect.getdoc(factory)


def test_erasing_paints_what_normalization_turns_into_zero():
    transform = augmentation.random_erasing(spec_of(), probability=1.0)
    erased = transform(torch.full((3, 16, 12), 255, dtype=torch.uint8))
    for channel, mean in enumerate((0.2, 0.4, 0.6)):
        assert set(erased[channel].unique().tolist()) == {round(255 * mean), 255}


def test_padding_that_cannot_be_reflected_is_refused():
    augmentation.random_crop(spec_of(), padding=11, padding_mode="reflect")
    augmentation.random_crop(spec_of(), padding=12, padding_mode="symmetric")
    augmentation.random_crop(spec_of(), padding=40)
    with pytest.raises(UsageError, match="padding is 12; reflect padding allows at most 11"):
        augmentation.random_crop(spec_of(), padding=12, padding_mode="reflect")
    with pytest.raises(UsageError, match="padding is 13; symmetric padding allows at most 12"):
        augmentation.random_crop(spec_of(), padding=13, padding_mode="symmetric")
