"""What a data set offers: recordings with subjects, and the windows of one recording at a time.

`preparation.prepare` makes a window store of it: it applies a split rule, reads recordings in a
process pool, and goes on where it was stopped. So a data set is small, picklable (a frozen
dataclass) and knows nothing of splits.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from jaxbridge.data.lazy_windows import LazyWindows
from jaxbridge.data.store import WindowBatch


class Dataset(Protocol):
    """Recordings that become windows.

    Attributes:
        metadata: JSON-able; with the split rule it decides the windows. Needed: "dataset" (name),
            "modalities" (name -> {"sampling_rate_hz", "unit", "leads", "preprocessing"}),
            "class_names", "labels" (the rule in words), "window_s", "step_s" and "sources"
            (relative file name -> SHA-256; empty for simulated windows). No path of this machine is
            in it. Signals are digested for it, at most.
        recordings: recording -> subject, sorted by recording. No signal is read for it.
    """

    @property
    def metadata(self) -> dict: ...

    @property
    def recordings(self) -> Mapping[str, str]: ...

    def sources_of(self, recording: str) -> Sequence[str]:
        """Names in `metadata["sources"]` of the files that this recording is read from.

        A file that changed means that its recordings, and no others, are prepared anew.
        """
        ...

    def windows(self, recording: str) -> WindowBatch:
        """Reads one recording.

        Args:
            recording: a key of `recordings`.

        Returns:
            Its windows in time order, with `start_s` and without `split`; perhaps none.

        Raises:
            InputError: a file that is damaged or does not fit, by name, lead and sample range.
        """
        ...


class SourceDataset(Dataset, Protocol):
    """A data set some of whose windows lie in its files as they are, but for their order and scale.

    They are not kept beside the store until it is finished, but read again when it is written.
    """

    def source_windows(self, recording: str) -> Mapping[str, LazyWindows]:
        """Modality -> all its windows, where `windows` gives these."""
        ...
