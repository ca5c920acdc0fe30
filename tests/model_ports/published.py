"""State dicts under the published names, at any size, for tests that write weight files."""

import numpy as np

from model_ports import registry
from model_ports.parameters import parameter_shapes
from tests import recipe

TINY = {
    "labram": {"depth": 2},
    "hubert_ecg_small": {
        "depth": 2, "features": 32, "num_heads": 4, "mlp_features": 48, "position_groups": 4,
        "conv_channels": (16,) * 5, "position_kernel": 8,
    },
    "ecg_fm": {
        "depth": 2, "features": 32, "num_heads": 4, "mlp_features": 48, "position_groups": 4,
        "conv_channels": (16,) * 4, "position_kernel": 8,
    },
    # no field makes it much smaller; four classes as two of its three files have
    "ecg_dualnet": {"classes": 4},
    "normwear": {"depth": 2, "features": 24, "num_heads": 4, "mlp_features": 32},
    "papagei": {"depth": 4, "features": 8, "embedding_features": 16},
}


def state_dict(name: str, salt: str = "", **config_overrides: object) -> dict[str, np.ndarray]:
    """The published entries of the encoder so configured, filled by the recipe."""
    port = registry.port(name)
    config = port.config.override(**config_overrides)
    shapes = parameter_shapes(registry.abstract(name, config))
    return {
        source: recipe.tensor(source, shape, salt)
        for entry in port.entries(config)
        for source, shape in zip(
            entry.sources, entry.layout.published_shapes(shapes[entry.target]), strict=True
        )
    }
