"""Colour maps against Matplotlib's."""

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

import model_ports as mp
from model_ports.representations.color_maps import COLOR_MAPS, colored, table


@pytest.mark.parametrize("name", COLOR_MAPS)
def test_tables_are_those_of_matplotlib(name):
    wanted = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]
    np.testing.assert_array_equal(table(name), wanted)


def test_values_take_the_colours_that_matplotlib_gives_them():
    values = np.concatenate([np.linspace(0, 1, 1001), [0.5 / 256, 255 / 256, 1.0]])
    found = colored(jnp.asarray(values, jnp.float32)[None, None], "viridis")
    wanted = matplotlib.colormaps["viridis"](values.astype(np.float32), bytes=True)[:, :3] / 255
    np.testing.assert_allclose(found[0, :, 0].T, wanted, atol=1e-7)


def test_an_unknown_colour_map_is_refused():
    with pytest.raises(mp.InputError, match="'rainbow'.*viridis"):
        table("rainbow")
