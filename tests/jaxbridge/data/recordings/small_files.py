"""The same two leads, an ECG at 200 Hz and a PPG, in files of every format."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io
import wfdb

from tests.jaxbridge.data.edf_writer import write_edf

RATE = 200.0


def leads(seconds: float = 40, rate: float = RATE, seed: int = 0) -> dict[str, np.ndarray]:
    """"II" in mV and "PLETH", both with a beat of about 1 Hz."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (1.1 * time + 0.05 * np.sin(2 * np.pi * 0.2 * time))
    ecg = np.exp(6 * (np.cos(phase) - 1)) + 0.02 * rng.standard_normal(len(time))
    ppg = np.sin(phase - 1) + 0.4 * np.sin(2 * phase) + 0.02 * rng.standard_normal(len(time))
    return {"II": ecg, "PLETH": ppg}


def write(folder: Path, kind: str, signals: dict[str, np.ndarray], stem: str = "P01") -> Path:
    """Writes one file (and those it needs) and returns its path."""
    names, both = list(signals), np.stack(list(signals.values()))
    if kind in ("edf", "bdf"):
        path = folder / f"{stem}.{kind}"
        write_edf(path, signals, sampling_rate_hz=RATE, unit={"II": "mV", "PLETH": "NU"},
                  physical_max=4.0)
        return path
    if kind == "wfdb":
        wfdb.wrsamp(stem, fs=RATE, units=["mV", "NU"], sig_name=names, p_signal=both.T,
                    fmt=["16", "16"], write_dir=str(folder))
        return folder / f"{stem}.hea"
    if kind == "mat":
        path = folder / f"{stem}.mat"
        scipy.io.savemat(path, {"data": both, "fs": RATE})
    elif kind == "mat73":
        path = folder / f"{stem}.mat"
        with h5py.File(path, "w", userblock_size=512) as file:
            file["data"], file["fs"] = both.T, np.array([[RATE]])  # MATLAB's axes come reversed
        head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
        path.write_bytes(head.ljust(512, b"\0") + path.read_bytes()[512:])
    elif kind == "hdf5":
        path = folder / f"{stem}.h5"
        with h5py.File(path, "w") as file:
            for name, unit in zip(names, ("mV", "NU"), strict=True):
                made = file.create_dataset(f"signals/{name}", data=signals[name])
                made.attrs["sampling_rate"], made.attrs["unit"] = RATE, unit
    elif kind == "npz":
        path = folder / f"{stem}.npz"
        np.savez(path, fs=RATE, note=np.array(["quiet"]), people=np.array([{}]), **signals)
    else:
        path = folder / f"{stem}.{kind}"
        mark = {"csv": ",", "tsv": "\t", "txt": " "}[kind]
        np.savetxt(path, both.T, delimiter=mark, header=mark.join(names), comments="", fmt="%.9g")
    return path


# What the description must add about each format.
FILE_KEYS = {
    "edf": "", "bdf": "", "wfdb": "", "hdf5": "",
    "mat": ", array: data, rate_from: fs, lead_names: [II, PLETH]",
    "mat73": ", array: data, rate_from: fs, lead_names: [II, PLETH]",
    "npz": ", rate_from: fs", "csv": "", "tsv": "", "txt": "",
}
PATTERNS = {"wfdb": "{subject}.hea", "mat73": "{subject}.mat", "hdf5": "{subject}.h5"}


def describe(path: Path, kind: str, *, head: str = "", ecg: str = "", ppg: str = "") -> Path:
    """Writes a description of files of one format; `head` adds top-level lines."""
    pattern = PATTERNS.get(kind, f"{{subject}}.{kind}")
    tell = {"ecg": "", "ppg": ""}
    if kind in ("mat", "mat73", "npz", "csv", "tsv", "txt"):
        tell = {"ecg": ", unit: mV", "ppg": ", unit: a.u."}
    if kind in ("csv", "tsv", "txt"):
        tell = {name: f"{text}, sampling_rate_hz: {RATE:g}" for name, text in tell.items()}
    prefix = "signals/" if kind == "hdf5" else ""
    path.write_text(f"""
name: small
files: {{all: {{pattern: "{pattern}"{FILE_KEYS[kind]}}}}}
modalities:
  ecg: {{leads: {{II: {prefix}II}}, encoder: hubert_ecg_small{tell["ecg"]}{ecg}}}
  ppg: {{leads: {{PLETH: {prefix}PLETH}}, encoder: papagei{tell["ppg"]}{ppg}}}
windows: {{window_s: 10, step_s: 5}}
{head}
""")
    return path
