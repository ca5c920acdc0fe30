"""Model bridging between frozen biosignal encoders (BioX-Bridge, ICLR 2026)."""

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
