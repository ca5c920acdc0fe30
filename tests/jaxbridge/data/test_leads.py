import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbridge.data.leads import pick
from model_ports.errors import InputError

ELECTRODES = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "T7", "T8", "Cz"]
RENAMED = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
SPELLINGS = [
    lambda name: name,
    str.upper,
    str.lower,
    lambda name: f"EEG {name}",
    lambda name: f"EEG {name.upper()}-REF",
    lambda name: f"eeg_{name}",
    lambda name: f"{name}-A2",
    lambda name: f"{name}..",
    lambda name: f"EEG {RENAMED.get(name, name)}-LE",
]


@given(st.data())
def test_every_lead_is_found_whatever_both_sides_spelling(data):
    order = data.draw(st.permutations(ELECTRODES))
    spelling = data.draw(st.sampled_from(SPELLINGS))
    available = ["ECG ECG"] + [spelling(name) for name in order] + ["EEG A2-A1"]
    wanted = data.draw(st.lists(st.sampled_from(ELECTRODES), unique=True, min_size=1))
    asked = [data.draw(st.sampled_from(SPELLINGS))(name) for name in wanted]
    assert pick(available, asked) == [1 + order.index(name) for name in wanted]


@pytest.mark.parametrize(("old", "new"), [("T3", "T7"), ("T4", "T8"), ("T5", "P7"), ("T6", "P8")])
def test_old_and_new_names_are_one_electrode(old, new):
    assert pick(["EEG Cz", f"EEG {old}"], [new]) == [1]
    assert pick(["Cz", f"{new}-REF"], [old.lower()]) == [1]


@pytest.mark.parametrize("wanted", ["ECG", "ecg ecg", "ECG ECG"])
def test_ecg_of_eegmat(wanted):
    assert pick(["EEG C3", "ECG ECG"], [wanted]) == [1]


def test_numbered_ecg_lead_needs_no_prefix_but_is_not_guessed():
    assert pick(["ECG II", "ECG V"], ["ii"]) == [0]
    with pytest.raises(InputError, match="ECG II, ECG V"):
        pick(["ECG II", "ECG V"], ["ECG"])


def test_modalities_never_mix():
    with pytest.raises(InputError, match="No lead 'ECG F3'"):
        pick(["EEG F3"], ["ECG F3"])


def test_bipolar_lead_is_not_its_first_electrode():
    with pytest.raises(InputError, match="EEG Fpz-Cz"):
        pick(["EEG Fpz-Cz"], ["Fpz"])
    with pytest.raises(InputError, match="No lead 'A2'"):
        pick(["EEG A2-A1"], ["A2"])


@pytest.mark.parametrize("reference", ["REF", "AVG", "AR"])
def test_an_ear_against_a_common_reference_is_an_electrode(reference):
    assert pick([f"EEG A2-{reference}", f"EEG A1-{reference}"], ["A1"]) == [1]


def test_missing_lead_lists_what_is_there_and_names_the_recording():
    with pytest.raises(InputError, match=r"No lead 'Oz' in night1\.edf.*EEG O1, EEG O2"):
        pick(["EEG O1", "EEG O2"], ["O1", "Oz"], name="night1.edf")


@pytest.mark.parametrize(
    "available", [["EEG F3-REF", "EEG F3-LE"], ["EEG T3", "EEG T7"], ["F3", "F3"]]
)
def test_ambiguous_lead_names_all_candidates(available):
    wanted = "F3" if "F3" in available[0] else "T8" if "T4" in available[0] else "T7"
    with pytest.raises(InputError, match="ambiguous") as raised:
        pick(available, [wanted])
    assert all(repr(name) in str(raised.value) for name in available)


def test_full_name_resolves_an_ambiguity():
    assert pick(["EEG F3-REF", "EEG F3-LE"], ["eeg f3-le"]) == [1]


def test_same_lead_twice_is_refused():
    with pytest.raises(InputError, match="'T3' and 'T7'.*same lead"):
        pick(["EEG T3", "EEG T4"], ["T3", "T7"])
