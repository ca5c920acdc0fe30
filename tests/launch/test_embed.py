"""launch.embed on a folder of recordings, with a small encoder."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import model_ports as mp
from jaxbridge.features.embedding_table import EmbeddingTable, check_writable
from launch.benchmarks.representations_worker import pulses
from tests.jaxbridge import tiny

ROOT = Path(__file__).parents[2]


def embed(*flags):
    return subprocess.run(
        [sys.executable, "-m", "launch.embed", *flags], cwd=ROOT, capture_output=True, text=True,
        check=False, env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
    )


def write(path, signals, **columns):
    rate = "# Sampling Rate (Hz):= 100\n"
    np.savetxt(path, signals.T, delimiter=",", header=",".join(columns), comments=rate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("embed")
    mp.save(tiny.pictures(), root / "weights")
    (root / "data" / "p1").mkdir(parents=True)
    write(root / "data" / "p1" / "rest.csv", pulses(2, 950), EDA=0, BVP=0)
    write(root / "data" / "p2.csv", pulses(2, 950)[:1, :600], EDA=0)
    return root


@pytest.mark.slow
def test_a_folder_becomes_a_table_and_a_picture(folder):
    out, picture = folder / "made" / "table.npz", folder / "made" / "seen.png"
    done = embed(
        f"--data={folder}/data", f"--weights={folder}/weights", "--window_s=3", "--step_s=3",
        "--representations=waveform,recurrence", f"--out={out}", f"--picture={picture}",
    )
    assert done.returncode == 0, done.stderr
    table = np.load(out)
    rows = [("p1/rest.csv", lead, s) for lead in ("EDA", "BVP") for s in (0, 3, 6)]
    rows += [("p2.csv", "EDA", s) for s in (0, 3)]
    wanted = [(*row, name) for row in rows for name in ("waveform", "recurrence")]
    names = ("recording", "lead", "start_s", "representation")
    assert list(zip(*(table[name].tolist() for name in names), strict=True)) == wanted
    assert table["embedding"].shape == (16, 8) and table["embedding"].dtype == np.float32
    # the same samples in both files, whatever was embedded beside them
    same = (table["lead"] == "EDA") & (table["start_s"] == 0)
    first, second = np.split(table["embedding"][same], 2)
    np.testing.assert_allclose(first[0], second[0], atol=1e-2)
    assert "embedding 1/2, p1/rest.csv" in done.stderr and "16 embeddings of 8" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_wrong_input_ends_with_one_line_and_code_2(folder):
    done = embed(
        f"--data={folder}/data", f"--weights={folder}/weights", "--representations=fourier",
        f"--out={folder}/t.npz",
    )
    assert done.returncode == 2
    assert "'fourier'" in done.stderr and "Traceback" not in done.stderr


def test_only_two_kinds_of_table_are_written(tmp_path):
    with pytest.raises(mp.InputError, match=r"\.npz or \.parquet"):
        check_writable(tmp_path / "table.csv")


def test_a_parquet_table_holds_the_same(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    embedding = np.arange(6, dtype=np.float32).reshape(2, 3)
    names = np.array(["a", "b"])
    EmbeddingTable(names, names, names, np.array([0.0, 1.5]), embedding).write(tmp_path / "t.parquet")
    found = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert found["start_s"] == [0.0, 1.5] and found["lead"] == ["a", "b"]
    np.testing.assert_array_equal(found["embedding"], embedding)
