from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from toy_data import pixels

from edgemate.config.options import options_model
from edgemate.data.corruption import brightness, contrast, gaussian_blur, gaussian_noise, invert
from edgemate.registry import CORRUPTIONS

BATCH = torch.from_numpy(pixels(5, 3, 12, 10))
SEEDS = list(range(5))


@pytest.mark.parametrize("name", CORRUPTIONS.names())
def test_every_corruption_changes_images_one_by_one_and_keeps_their_shape(name: str) -> None:
    corruption = CORRUPTIONS.get(name)()
    before = BATCH.clone()
    found = corruption(BATCH, SEEDS)
    assert (found.shape, found.dtype) == (BATCH.shape, torch.uint8)
    assert all(not torch.equal(after, clean) for after, clean in zip(found, BATCH, strict=True))
    assert torch.equal(BATCH, before)
    alone = torch.cat([corruption(BATCH[n : n + 1], [n]) for n in SEEDS])
    # A convolution may add in another order; no more than a rounding may come of it.
    assert (found.int() - alone.int()).abs().max() <= (name == "gaussian_blur")


@pytest.mark.parametrize("name", CORRUPTIONS.names())
def test_every_option_has_a_line(name: str) -> None:
    factory = CORRUPTIONS.get(name)
    for option in options_model(factory).model_fields:
        assert option in str(inspect.getdoc(factory))


def test_what_the_simple_ones_do() -> None:
    assert torch.equal(invert()(BATCH, SEEDS), 255 - BATCH)
    assert torch.equal(brightness(factor=0.0)(BATCH, SEEDS), torch.zeros_like(BATCH))
    gray = torch.tensor([[[[0, 100, 200]]]], dtype=torch.uint8)
    assert contrast(factor=0.5)(gray, [0]).flatten().tolist() == [50, 100, 150]


def test_the_blur_is_gaussian() -> None:
    image = pixels(1, 1, 32, 32).astype(np.float64)
    expected = gaussian_filter(image[0, 0], 1.5, mode="mirror", truncate=5 / 1.5)
    found = gaussian_blur(sigma=1.5)(torch.from_numpy(image).to(torch.uint8), [0])[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1.0)


def test_a_blur_wider_than_the_image_still_fits() -> None:
    assert gaussian_blur(sigma=20)(BATCH, SEEDS).shape == BATCH.shape


def test_noise_has_the_given_deviation_and_depends_on_the_seed() -> None:
    gray = torch.full((2, 1, 100, 100), 128, dtype=torch.uint8)
    noisy = gaussian_noise(sigma=0.1)(gray, [3, 4]).float()
    assert abs(float(noisy.mean()) - 128) < 1
    assert abs(float(noisy.std()) - 25.5) < 1
    assert not torch.equal(noisy[0], noisy[1])
    assert torch.equal(gaussian_noise(sigma=0.1)(gray, [4, 3]).float(), noisy.flip(0))
    state = torch.get_rng_state()
    gaussian_noise()(gray, [0, 1])
    assert torch.equal(torch.get_rng_state(), state)
