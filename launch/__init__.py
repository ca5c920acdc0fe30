"""Scripts: `python -m launch.NAME --help`."""

from launch import missing_extra

# Here, because a script's own imports run before it does.
missing_extra.install()
