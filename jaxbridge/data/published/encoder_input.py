"""How the published data sets are brought to the encoders: BioX-Bridge's choices among recipes."""

import numpy as np

from jaxbridge.data.lazy_windows import CutWindows
from jaxbridge.data.recipes import Recipe, layout, recipe
from model_ports.ecg_leads import STANDARD_LEADS, arrange

_ECG_LEAD = "ECG"


def published_recipe(encoder: str) -> Recipe:
    """The encoder's recipe with BioX-Bridge's resampling, linear where ours has an anti-alias filter.

    Raises:
        InputError: unknown encoder.
    """
    found = recipe(encoder)
    return recipe(encoder, resampling="linear") if found.resampling == "polyphase" else found


class SingleLead:
    """One ECG lead for an encoder that may read twelve.

    HuBERT-ECG, whose leads lie end to end, is given the one; ECG-FM, which reads twelve together,
    gets it as lead I and zeros elsewhere, or twelve times.

    Args:
        encoder: name.
        missing_leads: for ECG-FM, "zero" or "repeat".

    Attributes:
        recipe: preprocessing.
        leads: names of the leads in the windows.

    Raises:
        InputError: unknown encoder or choice.
    """

    def __init__(self, encoder: str, missing_leads: str):
        self.recipe = published_recipe(encoder)
        rows = arrange(("I",), STANDARD_LEADS, missing_leads, "ECG-FM", can_do_without=False)
        self._rows = rows if encoder.startswith("ecg_fm") else None
        self.leads = (_ECG_LEAD,) if self._rows is None else STANDARD_LEADS

    def layout(self, windows: np.ndarray | CutWindows) -> np.ndarray | CutWindows:
        """(windows, 1, samples) -> float32 as the encoder takes it."""
        windows = layout(windows, self.recipe)
        if self._rows is None:
            return windows
        out = np.zeros((len(windows), len(self._rows), windows.shape[-1]), np.float32)
        out[:, self._rows >= 0] = windows
        return out
