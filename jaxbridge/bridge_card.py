"""The README.md beside a saved bridge."""

import json
from collections.abc import Mapping
from typing import Any


def bridge_card(config: Mapping[str, Any], num_old_layers: int) -> str:
    """Returns the card as Markdown.

    Args:
        config: the saved config.json.
        num_old_layers: layers of the old encoder; a position behind them is the head.
    """
    new, old, bridge = config["new"], config["old"], config["bridge"]
    values = bridge["rank"] * (bridge["in_features"] + bridge["tokens"] * bridge["num_prototypes"])
    values += bridge["num_prototypes"] * bridge["features"]
    m, l = config["position"]  # noqa: E741
    place = "the head" if l == num_old_layers else f"the input of old layer {l}"
    rows = [
        ("reads", f"{new['modality']}, windows of shape {tuple(new['signal_shape'])}"),
        ("classes", ", ".join(config["class_names"])),
        ("new encoder", _encoder(new)),
        ("old encoder", _encoder(old)),
        ("position", f"output of new layer {m} into {place}"),
        ("pooled by", config["pool"]),
        ("bridge", f"{values:,} parameters, rank {bridge['rank']}, "
                   f"{bridge['num_prototypes']} prototypes, layout {bridge['layout']}"),
    ]
    rows += [
        (f"balanced accuracy, {row['split']}", f"{row['balanced_accuracy']:.3f}")
        for row in config["metrics"] if {"split", "balanced_accuracy"} <= row.keys()
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    return f"""# Bridge from {new['config']['name']} to {old['config']['name']}

Bridge and task head alone; the two encoders come from elsewhere, and only these very weights fit.

```python
from jaxbridge import from_pretrained

model = from_pretrained("path/to/this/folder", old="weights/old", new="weights/new")
logits = model(signal)          # {new['modality']}: (batch, {', '.join(map(str, new['signal_shape']))})
```

| | |
|---|---|
{table}

## Preprocessing

```json
{json.dumps(config["preprocessing"], indent=1)}
```
"""


def _encoder(side: Mapping[str, Any]) -> str:
    return f"{side['config']['name']}, weights hash `{side['weights_hash']}`"
