"""scikit-learn's fits are timed at a distance to the minimum that is known, not guessed."""

import numpy as np
import pytest

from jaxbridge.selection.folds import stratified_folds
from jaxbridge.selection.probe import probe_layers
from launch.benchmarks.scan_inputs import probe_inputs
from launch.benchmarks.scan_probes import ARRIVED, Fits


@pytest.mark.parametrize("classes", [2, 3])
def test_bounds_and_gaps(classes):
    x, y = probe_inputs(3, 120, 8, "power_law")
    y = y % classes
    fits = Fits(x, y, 5)
    assert fits.chosen == [(0, 0), (2, 1)]
    ours = probe_layers(x, y, stratified_folds(y), num_classes=classes).objective
    for (layer, fold), minimum in zip(fits.chosen, fits.minima, strict=True):
        # A bound from below, and a tight one; the folds and the objective are ours.
        np.testing.assert_allclose(minimum, ours[layer, fold], rtol=1e-6)
    loose, tight = (fits.gaps(fits.solve(tolerance)) for tolerance in (1e-1, 1e-7))
    assert max(tight) <= ARRIVED < max(loose)
    assert min(tight) >= -1e-12


def test_features_of_a_file(tmp_path):
    file = tmp_path / "given.npz"
    np.savez(file, features=np.ones((2, 5, 3)), labels=np.arange(5))
    x, y = probe_inputs(12, 2000, 768, str(file))
    assert x.shape == (2, 5, 3) and y.tolist() == [0, 1, 2, 3, 4]
