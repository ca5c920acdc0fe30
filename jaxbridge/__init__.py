"""Model bridging between frozen biosignal encoders (BioX-Bridge, ICLR 2026)."""

import importlib
import typing

if typing.TYPE_CHECKING:
    from jaxbridge.bridge import PrototypeBridge
    from jaxbridge.bridged_model import BridgedModel, Position
    from jaxbridge.head import TaskHead
    from jaxbridge.pipeline import TransferResult, TransferSettings, transfer
    from jaxbridge.pretrained import from_pretrained, save_pretrained
    from jaxbridge.selection.scanner import Scan, scan
    from jaxbridge.teacher import HeadSettings
    from jaxbridge.training.bridging import BridgeSettings

__all__ = [
    "BridgeSettings",
    "BridgedModel",
    "HeadSettings",
    "Position",
    "PrototypeBridge",
    "Scan",
    "TaskHead",
    "TransferResult",
    "TransferSettings",
    "from_pretrained",
    "save_pretrained",
    "scan",
    "transfer",
]

# Imported when asked for: workers that prepare recordings need none of JAX, and start in half a second.
_HOMES = {
    "BridgeSettings": "jaxbridge.training.bridging",
    "BridgedModel": "jaxbridge.bridged_model",
    "HeadSettings": "jaxbridge.teacher",
    "Position": "jaxbridge.bridged_model",
    "PrototypeBridge": "jaxbridge.bridge",
    "Scan": "jaxbridge.selection.scanner",
    "TaskHead": "jaxbridge.head",
    "TransferResult": "jaxbridge.pipeline",
    "TransferSettings": "jaxbridge.pipeline",
    "from_pretrained": "jaxbridge.pretrained",
    "save_pretrained": "jaxbridge.pretrained",
    "scan": "jaxbridge.selection.scanner",
    "transfer": "jaxbridge.pipeline",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
