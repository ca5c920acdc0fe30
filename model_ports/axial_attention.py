"""Axial attention with relative positions along one axis (Wang et al., ECCV 2020, equation 3).

As ECG-DualNet has it, which is not quite as published there: queries and keys meet only after both
were multiplied by their position embeddings.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model_ports import initialisers, torch_init
from model_ports import state_dict as sd
from model_ports.batch_norm import BatchNorm, batch_norm

# (out, in, 1) -> (in, out)
_POINTWISE = sd.Layout(lambda x: x[:, :, 0].T, lambda s: ((s[1], s[0], 1),))


class AxialAttention(nnx.Module):
    """Attention within sequences of exactly `span` positions.

    Attributes:
        relative: (2 * group features, 2 * span - 1), embeddings of query (first quarter), key and
            value (second half) for the distances -(span - 1) .. span - 1 between positions.
    """

    def __init__(self, features: int, span: int, groups: int, *, dtype: jnp.dtype,
                 rngs: nnx.Rngs):
        self.groups = groups
        self.qkv = nnx.Linear(
            features, 2 * features, use_bias=False, kernel_init=torch_init.kernel_init,
            dtype=dtype, rngs=rngs,
        )
        self.qkv_norm = BatchNorm(2 * features)
        self.relative = nnx.Param(
            initialisers.normal(1.0)(rngs.params(), (2 * features // groups, 2 * span - 1))
        )
        self.similarity_norm = BatchNorm(3 * groups)
        self.output_norm = BatchNorm(2 * features)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(sequences, span, features) -> the same shape."""
        sequences, span, features = x.shape
        width = features // self.groups
        cuts = (width // 2, width)
        qkv = self.qkv_norm(self.qkv(x)).reshape(sequences, span, self.groups, 2 * width)
        query, key, value = jnp.split(qkv, cuts, axis=-1)
        at = np.arange(span)
        table = self.relative[...].astype(x.dtype)[:, at[:, None] - at[None, :] + span - 1]
        query_position, key_position, value_position = jnp.split(table, cuts, axis=0)

        by_query = jnp.einsum("nigc,cij->ngij", query, query_position)
        by_key = jnp.einsum("nigc,cij->ngij", key, key_position)
        by_both = jnp.einsum("ngpi,ngpj->ngij", by_query, by_key)
        similarities = (by_both, by_query, by_key)
        # The norm's offset is the same for all j and cancels in the softmax.
        slope, _ = self.similarity_norm.affine(
            lambda: jnp.concatenate(similarities, axis=1).transpose(0, 2, 3, 1)
        )
        slope = slope.reshape(3, self.groups, 1, 1)
        logits = sum(
            s * similarity.astype(jnp.float32)
            for s, similarity in zip(slope, similarities, strict=True)
        )
        weights = jax.nn.softmax(logits, axis=-1).astype(x.dtype)
        by_value = jnp.einsum("ngij,njgc->nigc", weights, value)
        by_position = jnp.einsum("ngij,cij->nigc", weights, value_position)

        # Published as one norm over the two results, interleaved by feature, which are then added.
        slope, offset = self.output_norm.affine(
            lambda: jnp.stack([by_value, by_position], axis=-1).reshape(sequences, span, -1)
        )
        slope, offset = (p.reshape(self.groups, width, 2) for p in (slope, offset))
        out = slope[..., 0] * by_value + slope[..., 1] * by_position + offset.sum(axis=-1)
        return out.reshape(x.shape).astype(x.dtype)


def axial_attention(target: str, source: str) -> list[sd.Entry]:
    """The published entries of an `AxialAttention`."""
    return [
        sd.entry(f"{target}.qkv.kernel", f"{source}.query_key_value_mapping.0.weight", _POINTWISE),
        *batch_norm(f"{target}.qkv_norm", f"{source}.query_key_value_mapping.1"),
        sd.entry(f"{target}.relative", f"{source}.relative_embeddings"),
        *batch_norm(f"{target}.similarity_norm", f"{source}.similarity_normalization"),
        *batch_norm(f"{target}.output_norm", f"{source}.output_normalization"),
    ]
