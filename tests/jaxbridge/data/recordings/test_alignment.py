import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbridge.data.recipes import prepare, recipe
from jaxbridge.data.recording import Recording
from jaxbridge.data.recordings import Recordings
from jaxbridge.data.recordings.alignment import Span, overlap
from jaxbridge.data.recordings.contents import Start
from jaxbridge.data.recordings.opening import open_file
from jaxbridge.data.recordings.options import FileOptions
from jaxbridge.data.recordings.timestamps import to_grid
from model_ports.errors import InputError
from tests.jaxbridge.data.edf_writer import write_edf
from tests.jaxbridge.data.recordings.small_files import leads

STUDY = """
name: two devices
files:
  chest: "{subject}.edf"
  wrist: {pattern: "{subject}.csv", time_column: time, time_unit: date}
align: ALIGN
modalities:
  ecg: {file: chest, leads: [II], encoder: hubert_ecg_small}
  ppg: {file: wrist, leads: [BVP], encoder: papagei, unit: a.u., sampling_rate_hz: 64}
windows: {window_s: 5}
classes: [rest, run]
labels: {from: intervals, file: marks, map: {r: rest, "1": run}}
"""
MARKS = "subject,onset,duration,label\nP01,0,12,r\nP01,12,100,1\nP02,0,50,r\n"


def study(folder, align, wrist_starts="2020-01-01T00:00:07", seconds=40.0):
    """ECG from 00:00:00 for 40 s (200 Hz); PPG at 64 Hz."""
    ecg = leads(40)["II"]
    write_edf(folder / "P01.edf", {"II": ecg}, sampling_rate_hz=200.0, unit="mV", physical_max=4.0)
    ppg = leads(seconds, 64.0, seed=1)["PLETH"]
    start = np.datetime64(wrist_starts, "us")
    times = start + (np.arange(len(ppg)) * 15625).astype("timedelta64[us]")
    rows = "\n".join(f"{time},{value:.9g}" for time, value in zip(times, ppg, strict=True))
    (folder / "P01.csv").write_text(f"time,BVP\n{rows}\n")
    (folder / "marks.csv").write_text(MARKS)
    path = folder / "study.yaml"
    text = STUDY.replace("ALIGN", align).replace("files:", 'files:\n  marks: "marks.csv"')
    path.write_text(text)
    return ecg, ppg, Recordings.from_yaml(path)


def test_by_start_time_only_the_overlap_is_used(tmp_path):
    ecg, ppg, data = study(tmp_path, "start_time")
    batch = data.windows("P01")
    # from 7 s to 40 s of the ECG: six windows; marks count from the ECG's first sample
    np.testing.assert_array_equal(batch.start_s, [0, 5, 10, 15, 20, 25])
    assert batch.labels.tolist() == [0, 1, 1, 1, 1, 1]  # 7-12 rest, from 12 on run
    whole = prepare(Recording(ecg[None, 1400:], 200.0, ("II",), "mV", "e", "s"), recipe("hubert_ecg"))
    np.testing.assert_allclose(batch.arrays["ecg"][2], whole[0, 1000:1500], atol=2e-3)
    whole = prepare(Recording(ppg[None, : 33 * 64], 64.0, ("B",), "V", "p", "s"), recipe("papagei"))
    np.testing.assert_allclose(batch.arrays["ppg"][2, 0], whole[0, 1250:1875], atol=1e-5)
    assert batch.notes["unused_s"] == {"chest": 7.0, "wrist": 7.0}


def test_times_with_a_zone_are_local_times_beside_a_file_without(tmp_path):
    _, _, data = study(tmp_path, "start_time")
    want = data.windows("P01")
    path = tmp_path / "P01.csv"
    path.write_text(re.sub(r"^(2020-\S+?),", r"\1+02:00,", path.read_text(), flags=re.MULTILINE))
    options = FileOptions(time_column="time", time_unit="date")
    assert open_file(path, options).start == Start(1577836807.0, "date", 7200.0)
    np.testing.assert_array_equal(data.windows("P01").arrays["ppg"], want.arrays["ppg"])
    assert data.windows("P01").notes["unused_s"] == {"chest": 7.0, "wrist": 7.0}


def test_times_with_zones_are_compared_as_moments():
    spans = {
        "a": Span(Start(7203.0, "date", 7200.0), 9.0, ""), "b": Span(Start(0.0, "date", 0.0), 9.0, ""),
    }
    found = overlap(spans, "start_time", 0.1, "P01")
    assert found.offsets_s == {"a": 0.0, "b": 3.0} and found.duration_s == 6.0
    spans["c"] = Span(Start(0.0, "date"), 9.0, "")
    message = r"different zones \(from UTC: a \+2 h, b \+0 h\), files\.c none"
    with pytest.raises(InputError, match=message):
        overlap(spans, "start_time", 0.1, "P01")


def test_by_sample_zero_starts_are_ignored_and_durations_compared(tmp_path):
    _, _, data = study(tmp_path, "sample_zero")
    assert len(data.windows("P01").start_s) == 7  # the one across 12 s has no class
    _, _, data = study(tmp_path, "sample_zero", seconds=40.25)
    message = (r"recording P01: wrist lasts 40\.250 s \(2576 samples at 64 Hz\), chest 40\.000 s "
               r"\(8000 samples at 200 Hz\): more than tolerance_s 0\.1 apart.*0\.993789 times")
    with pytest.raises(InputError, match=message):
        data.windows("P01")
    path = tmp_path / "study.yaml"
    path.write_text(path.read_text() + "tolerance_s: 0.3\n")
    batch = Recordings.from_yaml(path).windows("P01")
    assert len(batch.start_s) == 7 and batch.notes["unused_s"] == {"wrist": 0.25}


def test_files_without_common_time_or_clock(tmp_path):
    _, _, data = study(tmp_path, "start_time", wrist_starts="2020-01-01T00:00:40")
    message = r"P01: its files have no time in common \(chest 0\.000 to 40\.000 s, wrist 40\.000 to 80"
    with pytest.raises(InputError, match=message):
        data.windows("P01")
    spans = {"a": Span(Start(0.0, "date"), 5.0, ""), "b": Span(Start(0.0, "column"), 5.0, "")}
    with pytest.raises(InputError, match="different clocks"):
        overlap(spans, "start_time", 0.1, "P01")
    with pytest.raises(InputError, match=r"files\.b does not state when it starts"):
        overlap(spans | {"b": Span(None, 5.0, "")}, "start_time", 0.1, "P01")


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(1, 100)), min_size=2, max_size=4)
)
def test_overlap_lies_in_every_file(parts):
    spans = {str(i): Span(Start(a, "date"), d, "") for i, (a, d) in enumerate(parts)}
    common = min(a + d for a, d in parts) - max(a for a, _ in parts)
    if common <= 0:
        with pytest.raises(InputError):
            overlap(spans, "start_time", 0.1, "r")
        return
    found = overlap(spans, "start_time", 0.1, "r")
    assert found.duration_s == pytest.approx(common)
    for name, span in spans.items():
        assert -1e-9 <= found.offsets_s[name] <= span.duration_s - common + 1e-9
        assert found.outside_s[name] == pytest.approx(span.duration_s - common)


@given(
    st.integers(20, 300), st.sets(st.integers(1, 290), max_size=20), st.floats(-0.2, 0.2),
    st.sampled_from([64.0, 100.0, 128.0]),
)
def test_rows_find_their_places_though_times_are_rounded(rows, lost, drift, rate):
    keep = np.array([i for i in range(rows) if i == 0 or i not in lost])
    true_rate = rate * (1 + drift / rows)  # at most a fifth of a sample off at the end
    times = np.round(keep / true_rate, 3)
    times -= times[0]
    if len(keep) < 10 or np.median(np.diff(keep)) > 1:
        return
    places = to_grid(times, rate, 0.5, "f")
    np.testing.assert_array_equal(places, keep)
