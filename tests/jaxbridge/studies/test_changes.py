"""Changes of the shared data do what their names say, to the new modality of pairs alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbridge.methods import StudyData
from jaxbridge.studies import Case, changes
from jaxbridge.studies.changes import Change, Misaligned, Noisy, PairFraction, WrongPartners
from model_ports.errors import InputError
from tests.jaxbridge.methods import toy_study
from tests.jaxbridge.studies import toy_setup


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> StudyData:
    return toy_setup.setup().prepare(Case(0), "", tmp_path_factory.mktemp("data"))


def _features_are_of_the_windows(data: StudyData) -> None:
    rows = np.concatenate([data.pair, data.windows.indices("test")])
    signals = jnp.asarray(data.windows.read("new", rows))
    wanted = data.new.activations(signals).outputs[1]
    np.testing.assert_allclose(data.new_features.outputs(1, rows), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", [
    Change(), PairFraction(0.5), WrongPartners(0.5), Misaligned(0.5), Noisy(3.0)
])
def test_features_follow_the_windows_and_the_old_modality_stays(data, change, tmp_path):
    changed = change.apply(data, 0, tmp_path)
    _features_are_of_the_windows(changed)
    every = np.arange(len(data.windows.labels))
    np.testing.assert_array_equal(changed.windows.read("old", every), data.windows.read("old", every))
    assert set(changed.pair) <= set(data.pair)
    assert (changed.windows.hash == data.windows.hash) == isinstance(
        change, PairFraction
    ) or type(change) is Change
    same = changed.identity() == data.identity()
    assert same == (type(change) is Change)  # checkpoints of one are not those of the other


def test_a_smaller_share_of_pairs_is_part_of_a_larger_one(data, tmp_path):
    half, fifth = (PairFraction(f).apply(data, 0, tmp_path).pair for f in (0.5, 0.2))
    assert (len(half), len(fifth)) == (24, 10)
    assert set(fifth) <= set(half) <= set(data.pair)


@pytest.mark.parametrize(("fraction", "moved"), [(0, 0), (0.25, 12), (1, 48)])
def test_wrong_partners_are_other_pairs(data, fraction, moved, tmp_path):
    changed = WrongPartners(fraction).apply(data, 0, tmp_path)
    before, after = (d.windows.read("new", data.pair) for d in (data, changed))
    assert np.sum((before != after).any(axis=1)) == moved
    order = [x.tolist() for x in before]
    assert sorted(x.tolist() for x in after) == sorted(order)
    others = np.setdiff1d(np.arange(len(data.windows.labels)), data.pair)
    np.testing.assert_array_equal(
        changed.windows.read("new", others), data.windows.read("new", others)
    )


@pytest.mark.parametrize(("shift_s", "samples"), [(0, 0), (0.25, 3), (1.0, 12)])
def test_shifted_windows_are_the_recording_later(data, shift_s, samples, tmp_path):
    changed = Misaligned(shift_s).apply(data, 0, tmp_path)
    assert len(changed.pair) == 4 * 11 and len(changed.val) == 4 * 11
    for subject in np.unique(data.windows.subjects[changed.pair]):
        rows = np.flatnonzero(data.windows.subjects == subject)
        recording = data.windows.read("new", rows).reshape(-1)
        wanted = [recording[12 * i + samples : 12 * i + samples + 12] for i in range(11)]
        np.testing.assert_array_equal(changed.windows.read("new", rows[:11]), wanted)
    test = data.windows.indices("test")
    np.testing.assert_array_equal(changed.windows.read("new", test), data.windows.read("new", test))


def test_leads_are_shifted_one_by_one(tmp_path):
    windows = toy_setup.store(tmp_path / "windows")
    now, later = (windows.read("old", np.array([i])) for i in (0, 1))
    found = changes._later(now, later, 1 / 3)
    np.testing.assert_array_equal(found[:, :, :2], now[:, :, 1:])
    np.testing.assert_array_equal(found[:, :, 2:], later[:, :, :1])


def test_noise_has_the_power_asked_for_and_is_the_same_again(data, tmp_path):
    every = np.arange(len(data.windows.labels))
    clean = data.windows.read("new", every)
    noisy = Noisy(6.0).apply(data, 0, tmp_path).windows
    found = noisy.read("new", every)
    snr = 10 * np.log10(clean.var(axis=1).mean() / ((found - clean) ** 2).mean())
    assert snr == pytest.approx(6, abs=0.5)
    np.testing.assert_array_equal(noisy.read("new", every[7:9]), found[7:9])
    other = Noisy(6.0).apply(data, 1, tmp_path / "other").windows
    assert not np.allclose(other.read("new", every), found)


def test_refusals(data, tmp_path):
    with pytest.raises(InputError, match="share"):
        WrongPartners(1.5)
    with pytest.raises(InputError, match="fraction"):
        PairFraction(0)
    with pytest.raises(InputError, match="0 to 1 s"):
        Misaligned(1.5).apply(data, 0, tmp_path)
    array_windows = toy_study.prepare(tmp_path / "run", toy_study.windows())
    with pytest.raises(InputError, match="a window store"):
        Misaligned(0.1).apply(array_windows, 0, tmp_path)
