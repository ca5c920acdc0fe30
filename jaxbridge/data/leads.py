"""Lead names of recordings: see `model_ports.lead_names`, which the encoders share."""

from model_ports.lead_names import pick

__all__ = ["pick"]
