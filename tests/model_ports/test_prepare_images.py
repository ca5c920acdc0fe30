"""Tiny-BioMoE's pictures."""

import numpy as np
import pytest

import model_ports as mp


@pytest.fixture(scope="module")
def encoder() -> mp.Encoder:
    return mp.abstract("tiny_biomoe")


def _pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=shape).astype(np.uint8)


def test_pictures_of_the_right_size_are_scaled_only(encoder):
    pictures = _pictures(2, 224, 224, 3)
    want = pictures.transpose(0, 3, 1, 2) / 255
    for given, value_range in (
        (pictures, None), (pictures.transpose(0, 3, 1, 2), None), (pictures / 255, (0, 1)),
        (pictures / 255 * 2 - 1, (-1, 1)), (pictures.astype(np.float32), (0, 255)),
    ):
        got = encoder.prepare(given, value_range=value_range)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("size", [(300, 400), (64, 500), (100, 90)])
def test_resized_as_pillow_does_it(encoder, size):
    image = pytest.importorskip("PIL.Image", reason="Pillow comes with matplotlib")
    pictures = _pictures(2, *size, 3)
    got = encoder.prepare(pictures)
    for one, ours in zip(pictures, np.asarray(got), strict=True):
        # without Pillow's rounding to 8 bits after each of its two passes
        exact = [
            image.fromarray(one[..., c].astype(np.float32), mode="F").resize(
                (224, 224), image.Resampling.BILINEAR
            )
            for c in range(3)
        ]
        np.testing.assert_allclose(ours, np.stack(exact) / 255, atol=5e-5)
        rounded = image.fromarray(one).resize((224, 224), image.Resampling.BILINEAR)
        rounded = np.asarray(rounded).transpose(2, 0, 1) / 255
        assert np.abs(ours - rounded).max() < 1.1 / 255


def test_signals_are_refused_with_an_explanation(encoder):
    signal = np.random.default_rng(0).normal(size=(2, 4, 1000))
    for match, options in (
        (r"RGB pictures.*not \(2, 4, 1000\)\. A signal has to be made a picture", {}),
        ("no sampling rate, leads or unit", {"sampling_rate_hz": 250.0}),
        ("no sampling rate, leads or unit", {"leads": ("F3",), "unit": "uV"}),
        ("no sampling rate, leads or unit", {"unit": "uV"}),
    ):
        with pytest.raises(mp.InputError, match=match):
            encoder.prepare(signal, **options)


@pytest.mark.parametrize("shape", [(2, 8, 8, 4), (8, 8, 3), (2, 3, 8, 3), (2, 1, 8, 8)])
def test_what_is_no_rgb_picture_is_refused(encoder, shape):
    with pytest.raises(mp.InputError, match="takes RGB pictures"):
        encoder.prepare(_pictures(*shape))


def test_the_range_of_floats_must_be_stated_and_hold(encoder):
    pictures = _pictures(1, 8, 8, 3) / 255
    with pytest.raises(mp.InputError, match=r"float64: state.*value_range=\(0, 1\)"):
        encoder.prepare(pictures)
    for value_range in ((0, 0.5), (1, 0), (0.1, 1)):
        with pytest.raises(mp.InputError, match="do not lie in value_range"):
            encoder.prepare(pictures, value_range=value_range)
    pictures[0, 3, 3, 1] = np.nan
    with pytest.raises(mp.InputError, match="nan"):
        encoder.prepare(pictures, value_range=(0, 1))
    with pytest.raises(mp.InputError, match="no pixels"):
        encoder.prepare(_pictures(0, 8, 8, 3))


def test_whole_numbers_do_not_overflow_on_the_way_to_0_and_1(encoder):
    pictures = np.full((1, encoder.config.image_size, encoder.config.image_size, 3), 32767, np.int16)
    pictures[0, 0, 0] = -32768
    out = np.asarray(encoder.prepare(pictures, value_range=(-32768, 32767)))
    assert (out.min(), out.max()) == (0, 1)
