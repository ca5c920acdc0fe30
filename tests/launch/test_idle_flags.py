"""Flags that nothing would heed are refused, before anything is read or made."""

import pytest

from tests.launch.one_process import refusals

_WITH_DATA = "is for --data: the windows of a --store are made and split already"
_STUDY = "--study=prototypes"
_CASES = {
    "transfer": [
        (["--store=/nowhere", "--split=time_block"], f"--split {_WITH_DATA}"),
        (["--store=/nowhere", "--window_s=5"], f"--window_s {_WITH_DATA}"),
        (["--store=/nowhere", "--stratify"], f"--stratify {_WITH_DATA}"),
        (["--store=/nowhere", "--head=/head", "--head_lr=0.1"], "--head_lr says how a head is fitted"),
        (["--store=/nowhere", "--head=/head", "--unfrozen"], "--unfrozen says how a head is fitted"),
        (["--store=/nowhere", "--head_dropout=0.3"], "--head_dropout counts with --unfrozen alone"),
        (["--store=/nowhere", "--temperature=0.5"], "--temperature is of --loss=info_nce"),
        (["--store=/nowhere", "--temperature=0.5", "--loss=info_nce"], "no window store at /nowhere"),
        # A preset's values are defaults: nobody typed them.
        (["--store=/nowhere", "--preset=isruc_eeg2ecg"], "no window store at /nowhere"),
        (["--data=/nowhere", "--dataset=wesad", "--ecg_normalise=window"], "is for eegmat alone"),
        # Said before windows are made.
        (["--data=/nowhere", "--old_weights=/weights"], "--old_weights=/weights is not a saved"),
        (["--data=/nowhere", "--pair_fraction=2"], "pair fraction of 2"),
        (["--data=/nowhere", "--log=wandb"], "no log wandb"),
    ],
    "prepare": [
        (["--data=/nowhere", "--ppg_encoder=papagei"], "data sets with PPG, not for eegmat"),
        (["--data=/nowhere", "--dataset=wesad", "--eeg_leads=F3"], "--eeg_leads is for eegmat alone"),
        (["--data=/nowhere", "--dataset=wesad", "--ecg_encoder=ecg_fm"], "no folder /nowhere"),
    ],
    "scan": [(["--data=/nowhere", "--rank=0"], "rank is 0")],
    "study": [
        ([_STUDY, "--folds=3"], "--folds is for recordings (--data)"),
        ([_STUDY, "--miniature", "--split=paper"], "--split is for recordings (--data)"),
        ([_STUDY, "--data=/nowhere", "--pair_fraction=0.2"], "--pair_fraction does not count"),
        ([_STUDY, "--data=/nowhere", "--sizes=train=3"], "--sizes does not count in a study"),
        ([_STUDY, "--data=/nowhere", "--dataset=wesad"], "or on described EEG and ECG"),
    ],
}


@pytest.mark.parametrize("script", list(_CASES))
def test_flags_that_nothing_heeds(tmp_path, script):
    calls = [[*given, f"--out={tmp_path / 'run'}"] for given, _ in _CASES[script]]
    for (given, wanted), told in zip(_CASES[script], refusals(script, calls), strict=True):
        assert wanted in told, given
    assert not (tmp_path / "run").exists()
