"""Anybody's recordings: files of common formats, described by a short YAML, as windows."""

from jaxbridge.data.recordings.dataset import Recordings

__all__ = ["Recordings"]
