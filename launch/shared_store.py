"""One window store for all processes of a run."""

from collections.abc import Callable

from jaxbridge import hosts
from jaxbridge.data.store import WindowStore


def shared_store(make: Callable[[], WindowStore]) -> WindowStore:
    """Returns the store that `make` writes or finds; of several processes the first one makes it.

    Raises:
        InputError: what `make` raises, in every process.
    """
    return WindowStore.open(hosts.from_first(lambda: str(make().path)))
