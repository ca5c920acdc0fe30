"""The main job on simulated recordings: no download, no file, about two minutes.

    python -m launch.quickstart --out=DIR

Simulates EEG and ECG of people at rest and under mental load, trains a small LaBraM on the EEG's
labels, and carries it over to the ECG through a bridge that never sees a label. The ECG encoder, a
small HuBERT-ECG, has random weights: nothing is pretrained.
"""

import pathlib

from absl import flags
from flax import nnx

import model_ports as mp
from jaxbridge import BridgeSettings, HeadSettings, TransferSettings, transfer
from jaxbridge.data import simulation
from jaxbridge.data.preparation import prepare
from launch.script import run
from launch.seeds import parsed_seeds, run_seeds
from launch.shared_store import shared_store

_OUT = flags.DEFINE_string("out", "runs/quickstart", "Folder of the run.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Compute type of both encoders."
)

HEAD = HeadSettings(unfrozen=True, learning_rate=5e-4, epochs=6, batch_size=32)
BRIDGE = BridgeSettings(rank=8, num_prototypes=20, learning_rate=3e-3, epochs=40, batch_size=16)


def encoders(seed: int, dtype: str) -> tuple[mp.Encoder, mp.Encoder]:
    """Returns (LaBraM, HuBERT-ECG) of the published layout at reduced size, with random weights."""
    old = mp.create(
        "labram", rngs=nnx.Rngs(seed), leads=simulation.EEG_LEADS, depth=3, mlp_features=400,
        dtype=dtype,
    )
    new = mp.create(
        "hubert_ecg_small", rngs=nnx.Rngs(1000 + seed), depth=4, features=256, num_heads=4,
        mlp_features=1024, conv_channels=(256,) * 5, position_kernel=32, position_groups=4,
        dtype=dtype,
    )
    return old, new


def main() -> None:
    out = pathlib.Path(_OUT.value)

    def one(seed: int, folder: pathlib.Path):
        simulated = simulation.Simulated(seed=seed)
        store = shared_store(
            lambda: prepare(folder / "windows", simulated, simulated.split)[0]
        )
        old, new = encoders(seed, _DTYPE.value)
        settings = TransferSettings("eeg", "ecg", head=HEAD, bridge=BRIDGE, seed=seed)
        return transfer(store, old, new, settings, out=folder / "run")

    run_seeds(out, parsed_seeds(), one)


if __name__ == "__main__":
    run(main, together=True)
