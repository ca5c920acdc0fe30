import pytest
import yaml

from jaxbridge.data.recordings.description import parse, read_description
from jaxbridge.data.recordings.patterns import find_recordings
from model_ports.errors import InputError

GOOD = """
name: study
files: {eeg: "{subject}/{night}.edf", ppg: "{subject}/{night}.csv"}
align: start_time
modalities:
  eeg: {file: eeg, leads: [F3], encoder: labram}
  ppg: {file: ppg, leads: [BVP], encoder: papagei, unit: a.u., sampling_rate_hz: 64}
windows: {window_s: 30}
classes: [wake, sleep]
labels: {from: field, field: night, map: {1: wake, 2: sleep}}
"""


def test_defaults_are_the_strict_ones():
    found = parse(yaml.safe_load(GOOD), "study.yaml")
    assert (found.step_s, found.tolerance_s, found.folder) == (30.0, 0.1, ".")
    assert (found.gaps.interpolate_up_to_s, found.gaps.longer) == (0.0, "refuse")
    assert found.labels.map == {"1": "wake", "2": "sleep"} and found.labels.min_share == 1.0
    assert "folder" not in found.as_dict() and "where" not in found.as_dict()


@pytest.mark.parametrize(("old", "new", "message"), [
    ("name: study", "nam: study", r"unknown key 'nam'. Known: name, folder, files, .*labels\."),
    ("encoder: labram", "encoder: labram, lead: F4",
     r"unknown key 'lead' in modalities\.eeg. Known: file, leads, encoder, unit"),
    ("window_s: 30", "windows_s: 30", r"'windows_s' in windows. Known: window_s, step_s"),
    ("{from: field,", "{form: field,", r"'form' in labels. Known: from, file, column"),
    ("name: study", "", "name is missing"),
    ("encoder: labram", "encoder: labrador", r"modalities\.eeg: No preprocessing recipe"),
    ("file: eeg,", "file: egg,", r"modalities\.eeg\.file is 'egg'; name one of files: eeg, ppg"),
    ("leads: [F3]", "leads: 7", r"modalities\.eeg\.leads must be a list"),
    ("window_s: 30", "window_s: soon", r"windows\.window_s is 'soon'; give a positive number"),
    ("window_s: 30", "window_s: .inf", "give a positive number"),
    ("align: start_time", "", "come from several files. State how they are aligned"),
    ("start_time", "start", "align is 'start'; use one of start_time, sample_zero"),
    ("[wake, sleep]", "[wake, asleep]", r"labels\.map names 'sleep', but classes are wake, asleep"),
    ("classes: [wake, sleep]", "", "labels need `classes`"),
    ("{1: wake", "{no: wake", "False, which YAML made of an unquoted word"),
    ("field: night,", "", r"labels from: field needs labels\.field"),
    ("field: night,", "field: night, column: x,", r"from: field does not take labels\.column"),
    ("from: field, field: night", "from: hypnogram", r"needs labels\.file"),
    ("from: field, field: night", "from: guess", "labels.from is 'guess'; use one of annotations"),
    ("map: {1", "min_share: 2, map: {1", "min_share is 2"),
    ("encoder: labram", "encoder: labram, missing_leads: zero", "twelve ECG leads, not for labram"),
    ("encoder: labram", "encoder: labram, resampling: nearest", "Unknown resampling 'nearest'"),
    ("labels: {from: field, field: night, map: {1: wake, 2: sleep}}", "", "labels are from: none"),
    ("files: {", 'files: {extra: "x.csv", ', r"nothing reads files\.extra"),
    ("unit: a.u.", "unit: mv", r"modalities\.ppg\.unit is 'mv'; use one of uV, mV, V, a\.u\., counts"),
    ("name: study", 'name: study\nsubject: "["', "subject is no regular expression"),
    ("name: study", 'name: study\nsubject: "P"', "must have one group"),
])
def test_what_does_not_fit_is_named_with_its_place_and_what_is_known(tmp_path, old, new, message):
    assert old in GOOD
    path = tmp_path / "study.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as raised:
        read_description(path)
    assert str(raised.value).startswith(str(path))


def test_missing_file_and_broken_yaml(tmp_path):
    with pytest.raises(InputError, match="There is no description"):
        read_description(tmp_path / "no.yaml")
    (tmp_path / "bad.yaml").write_text("name: [")
    with pytest.raises(InputError, match=r"bad\.yaml is no valid YAML"):
        read_description(tmp_path / "bad.yaml")
    (tmp_path / "latin.yaml").write_bytes(GOOD.replace("a.u.", "\u00b5V").encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.yaml is not in UTF-8 \(.*\)\. Save it so"):
        read_description(tmp_path / "latin.yaml")
    (tmp_path / "twice.yaml").write_text(GOOD.replace("  ppg:", "  eeg:"))
    with pytest.raises(InputError, match="key 'eeg' is there twice"):
        read_description(tmp_path / "twice.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(InputError, match="the description must be a mapping"):
        read_description(tmp_path / "list.yaml")
    (tmp_path / "code.yaml").write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="no valid YAML"):
        read_description(tmp_path / "code.yaml")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()


def found(folder, **changes):
    return find_recordings(parse({**yaml.safe_load(GOOD), **changes}, "study.yaml"), folder)


def test_recordings_by_fields(tmp_path):
    touch(tmp_path, "b/1.edf", "b/1.csv", "a/2.edf", "a/2.csv", "a/1.edf", "a/1.csv", "a/notes.txt")
    recordings = found(tmp_path)
    assert list(recordings) == ["a_1", "a_2", "b_1"]
    assert recordings["a_2"].subject == "a" and recordings["a_2"].fields["night"] == "2"
    assert recordings["a_2"].paths["ppg"] == tmp_path / "a" / "2.csv"
    assert list(found(tmp_path, exclude=["a_1"])) == ["a_2", "b_1"]
    with pytest.raises(InputError, match="exclude names c_1, which is no recording"):
        found(tmp_path, exclude=["c_1"])


def test_missing_partner_is_named_or_excluded(tmp_path):
    touch(tmp_path, "a/1.edf", "a/1.csv", "a/2.edf")
    with pytest.raises(InputError, match=r"recording 'a_2' has no file 'a/2\.csv' \(files\.ppg\)"):
        found(tmp_path)
    assert list(found(tmp_path, exclude=["a_2"])) == ["a_1"]


def test_patterns_that_do_not_tell_files_apart_or_match_none(tmp_path):
    touch(tmp_path, "a/1.edf", "a/1.csv", "a/x1.csv")
    with pytest.raises(InputError, match=r"a/1\.csv and a/x1\.csv have the same fields"):
        found(tmp_path, files={"eeg": "{subject}/*.edf", "ppg": "{subject}/*.csv"})
    with pytest.raises(InputError, match=r"files\.eeg: no file in .* matches '\{subject\}\.bdf'. It"):
        found(tmp_path, files={"eeg": "{subject}.bdf", "ppg": "{subject}/1.csv"})
    with pytest.raises(InputError, match=r"\{subject\}, \{night\}, files.ppg \{subject\}. Give both"):
        found(tmp_path, files={"eeg": "{subject}/{night}.edf", "ppg": "{subject}/1.csv"})
    with pytest.raises(InputError, match="There is no folder"):
        found(tmp_path / "none")


def test_field_that_is_no_name(tmp_path):
    (tmp_path / "P01_eeg.edf").touch()
    text = GOOD.replace("{subject}/{night}.edf", "{subject}_{2nd}.edf")
    message = r"files\.eeg: \{2nd\} in '\{subject\}_\{2nd\}\.edf' is no field name: begin it"
    with pytest.raises(InputError, match=message):
        find_recordings(parse(yaml.safe_load(text), "x.yaml"), tmp_path)


def test_subject_by_regular_expression_and_folders_of_any_depth(tmp_path):
    touch(tmp_path, "x/y/S1n1.edf", "x/y/S1n1.csv", "S2n1.edf", "S2n1.csv")
    files = {"eeg": "**/{name}.edf", "ppg": "**/{name}.csv"}
    labels = {"from": "field", "field": "name", "map": {}}
    recordings = found(tmp_path, files=files, subject=r"(S\d)n", labels=labels)
    assert {name: files.subject for name, files in recordings.items()} == {"S1n1": "S1", "S2n1": "S2"}
    with pytest.raises(InputError, match="whose recordings are they"):
        found(tmp_path, files=files)
    with pytest.raises(InputError, match=r"finds no subject in S2n1\.edf"):
        found(tmp_path, files=files, subject=r"x/.*(S\d)")
