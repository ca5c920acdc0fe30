"""Which windows are kept, against counting label by label."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbridge.data.published.labelled_windows import labelled_windows


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 90)), min_size=1, max_size=12),
    share=st.sampled_from([0.6, 0.8, 1.0]),
    window_s=st.integers(1, 4), step_tenths=st.integers(2, 30), shorter=st.integers(0, 25),
)
def test_windows_and_labels(runs, share, window_s, step_tenths, shorter):
    label_hz, rate, step_s = 20.0, 30.0, step_tenths / 10
    labels = np.concatenate([np.full(length, label) for label, length in runs])
    samples = max(0, int(len(labels) / label_hz * rate) - shorter)
    signal = np.arange(2 * samples, dtype=float).reshape(2, samples)
    got = labelled_windows(
        {"x": (signal, rate)}, labels, label_hz, wanted=(3, 1), share=share,
        window_s=window_s, step_s=step_s,
    )
    windows, classes, starts = [], [], []
    index = 0
    while True:
        a, c = round(index * step_s * label_hz), round(index * step_s * rate)
        b, d = a + round(window_s * label_hz), c + round(window_s * rate)
        if b > len(labels) or d > samples:
            break
        for position, label in enumerate((3, 1)):
            if sum(there == label for there in labels[a:b].tolist()) >= share * (b - a) - 1e-9:
                windows.append(signal[:, c:d])
                classes.append(position)
                starts.append(index * step_s)
        index += 1
    assert got.arrays["x"].shape == (len(windows), 2, round(window_s * rate))
    assert all((a == b).all() for a, b in zip(got.arrays["x"], windows, strict=True))
    assert got.labels.tolist() == classes
    np.testing.assert_allclose(got.start_s, starts)
