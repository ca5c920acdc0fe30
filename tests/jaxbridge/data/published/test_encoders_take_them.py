"""Windows have the shape that the encoders take, with the token counts of the published bridges."""

import jax
import jax.numpy as jnp
import pytest

import model_ports as mp
from jaxbridge.data.published.fog import Fog
from jaxbridge.data.published.isruc import Isruc
from jaxbridge.data.published.simulated_files import write_fog, write_isruc, write_wesad
from jaxbridge.data.published.wesad import Wesad


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    write_wesad(path / "wesad", ("S2",), minutes=1.05)
    write_isruc(path / "isruc", ("subject1",), minutes=1)
    write_fog(path / "fog", ("008/OFF_1",), tasks=1, minutes=0.2)
    return path


# Tokens at the input of layer 0, and after it where all layers have the same; EMG: 3 channels x 560.
@pytest.mark.parametrize(("name", "reader", "encoder", "modality", "tokens"), [
    ("wesad", Wesad, "hubert_ecg_small", "ecg", (93, 93)),
    ("wesad", Wesad, "hubert_ecg_base", "ecg", (93, 93)),
    ("wesad", Wesad, "hubert_ecg_large", "ecg", (93, 93)),
    ("wesad", Wesad, "ecg_fm", "ecg", (1875, 1875)),
    ("wesad", Wesad, "ecg_dualnet", "ecg", (563 * 33, None)),
    ("wesad", Wesad, "papagei", "ppg", (7500, None)),
    ("isruc", Isruc, "labram", "eeg", (181, 181)),
    ("isruc", Isruc, "hubert_ecg_small", "ecg", (46, 46)),
    ("isruc", Isruc, "ecg_fm", "ecg", (937, 937)),
    ("fog", Fog, "labram", "eeg", (19, 19)),
    ("fog", Fog, "normwear", "emg", (1680, 1680)),
])
def test_token_counts(files, name, reader, encoder, modality, tokens):
    data = reader(files / name, **{f"{modality}_encoder": encoder})
    described = data.metadata["modalities"][modality]
    windows = data.windows(next(iter(data.recordings))).arrays[modality][:1]
    first, last = tokens
    # the number of layers changes no number of tokens where all layers have the same
    abstract = mp.abstract(encoder, **({"depth": 1} if last else {}))
    assert abstract.layer_shape(0, windows.shape)[0] == first
    assert not last or abstract.layer_shape(1, windows.shape)[0] == last
    assert described["sampling_rate_hz"] == abstract.config.sampling_rate_hz


def test_ecg_dualnet_takes_isruc_epochs_with_half_as_many_windows(files):
    data = Isruc(files / "isruc", ecg_encoder="ecg_dualnet")
    windows = data.windows("subject1").arrays["ecg"]
    encoder = mp.abstract("ecg_dualnet", num_windows=40, time_span=70)
    signal = jax.ShapeDtypeStruct(windows.shape, jnp.float32)
    found = jax.eval_shape(lambda e, x: e.activations(x).final, encoder, signal)
    assert found.shape[0] == len(windows)
