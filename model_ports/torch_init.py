"""How PyTorch initialises its linear and convolution layers when nothing else is said."""

import math

from flax import nnx

from model_ports import initialisers

# kaiming_uniform_(a=sqrt(5)), which is uniform within 1/sqrt(fan_in)
kernel_init = initialisers.variance_scaling(1 / 3, "fan_in", "uniform")


def bias_init(fan_in: int) -> nnx.initializers.Initializer:
    """Uniform within 1/sqrt(fan_in)."""
    return initialisers.uniform(1 / math.sqrt(fan_in))
