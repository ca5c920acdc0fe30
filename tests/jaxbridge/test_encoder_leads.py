"""An encoder that knows leads by name refuses windows of other ones, wherever they meet."""

import types

import numpy as np
import pytest

from jaxbridge.data.memory import ArrayWindows
from jaxbridge.encoder_leads import check_leads
from jaxbridge.head_run import fit_task_head
from jaxbridge.pipeline import TransferSettings, transfer
from jaxbridge.pretraining import PretrainSettings, TaskSet
from jaxbridge.pretraining.run import pretrain_encoder
from jaxbridge.teacher import HeadSettings
from jaxbridge.training.bridging import BridgeSettings
from model_ports.errors import InputError
from tests.jaxbridge.tiny import encoders


def _windows(leads):
    return types.SimpleNamespace(metadata={"modalities": {"eeg": {"leads": leads}}})


def _encoder(*leads):
    return types.SimpleNamespace(config=types.SimpleNamespace(name="labram", leads=leads))


@pytest.mark.parametrize("leads", [["F3", "T7", "O1"], ["f3", "T3", "EEG O1-REF"]])
def test_the_same_leads_by_any_spelling_pass(leads):
    check_leads(_encoder("F3", "T7", "O1"), _windows(leads), "eeg")


@pytest.mark.parametrize("leads", [
    ["T7", "F3", "O1"], ["F3", "T7", "O2"], ["F3", "T7"], ["F3", "T7", "O1", "O2"], ["F3", "T3", "T7"],
])
def test_other_leads_and_another_order_are_refused(leads):
    with pytest.raises(InputError, match="leads F3|leads T7") as error:
        check_leads(_encoder("F3", "T7", "O1"), _windows(leads), "eeg")
    assert "is for F3, T7, O1, in this order" in str(error.value)


def test_what_has_no_names_passes():
    check_leads(_encoder("F3"), types.SimpleNamespace(), "eeg")
    check_leads(_encoder("F3"), _windows(["O1"]), "ecg")
    check_leads(encoders()[1], _windows(["O1"]), "eeg")


def test_every_run_asks(tmp_path):
    encoder, _ = encoders()
    names = encoder.config.leads
    signals = np.zeros((8, len(names), 1, 200), np.float32)
    windows = ArrayWindows(
        {"eeg": signals}, np.tile([0, 1], 4), np.repeat(["train", "val", "pair", "test"], 2), "ab",
        np.arange(8).astype(str),
    )
    windows.metadata = {"modalities": {"eeg": {"leads": names[::-1]}}}
    settings = TransferSettings(
        "eeg", "eeg", head=HeadSettings(batch_size=2), bridge=BridgeSettings(batch_size=2)
    )
    for run in (
        lambda: transfer(windows, encoder, encoder, settings, out=tmp_path / "a"),
        lambda: fit_task_head(windows, encoder, "eeg", HeadSettings(), out=tmp_path / "b"),
        lambda: pretrain_encoder(
            encoder, [TaskSet("one", windows, "eeg")], PretrainSettings(), out=tmp_path / "c"
        ),
    ):
        with pytest.raises(InputError, match="in this order"):
            run()
