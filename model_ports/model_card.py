"""The README.md beside saved weights: what they are, where from, under which licence."""

import dataclasses
import json

from model_ports.encoder import Encoder
from model_ports.errors import InputError
from model_ports.parameters import parameters
from model_ports.sources import sources


def model_card(encoder: Encoder, weights_hash: str, origin: str | None = None) -> str:
    """Returns the card as Markdown with the front matter that the Hugging Face hub reads.

    Args:
        encoder: the encoder.
        weights_hash: its SHA-256, see `weights_hash`.
        origin: the file that the weights were converted from; None where nobody told.
    """
    config = encoder.config
    values = sum(array.size for array in parameters(encoder).values())
    rate = f"{config.sampling_rate_hz:g} Hz, " if config.sampling_rate_hz else ""
    leads = f", leads {' '.join(config.leads)}" if config.leads else ""
    rows = [
        ("encoder", config.name),
        ("layers", encoder.num_layers),
        ("stored values", f"{values:,}"),
        ("input", f"{rate}unit {config.unit}{leads}"),
        ("origin of the weights", origin or "not stated"),
        ("weights hash (SHA-256)", f"`{weights_hash}`"),
    ]
    front, licence = ["---", "library_name: flax"], ""
    try:
        source = sources(config.name)
    except InputError:
        pass  # an encoder of the user's own
    else:
        front.append(f"license: {source.licence.lower()}")
        rows += [
            ("publication", source.paper), ("original code", source.code),
            ("published weights", source.page), ("licence", source.licence),
        ]
        licence = (
            f"\nConverted published weights stay under their authors' licence, {source.licence}. "
            f"{source.note}\n"
        )
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    fields = json.dumps(dataclasses.asdict(config), indent=1)
    return f"""{chr(10).join(front)}
---
# {config.name} for JAX

An encoder as a Flax NNX module: `model.safetensors` holds the weights, `config.json` the
configuration. Loading needs no PyTorch.

```python
import model_ports as mp

encoder = mp.load("path/to/this/folder")
tokens = encoder(signal)                 # (batch, tokens, features) after the last layer
features = encoder.activations(signal)   # token means of every layer, from one pass
```

| | |
|---|---|
{table}
{licence}
## Configuration

```json
{fields}
```
"""
