"""One clear line and exit code 2 where a package of an extra is not installed."""

import sys
from types import TracebackType

# Top-level modules and the extra of setup.cfg that brings them.
EXTRAS = {
    "mne": "data", "wfdb": "data", "h5py": "data", "pandas": "data", "yaml": "data",
    "matplotlib": "report", "jinja2": "report", "markupsafe": "report",
}


def install() -> None:
    """Makes a script that lacks such a package end with the command that installs it."""
    usual = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        name = (getattr(error, "name", None) or "").partition(".")[0]
        if not issubclass(kind, ModuleNotFoundError) or name not in EXTRAS:
            usual(kind, error, at)
            return
        print(
            f"error: {name} is not installed: pip install 'jaxbridge[{EXTRAS[name]}]' "
            "(scripts that read recordings and write reports need jaxbridge[data,report]).",
            file=sys.stderr,
        )
        sys.exit(2)

    sys.excepthook = told
