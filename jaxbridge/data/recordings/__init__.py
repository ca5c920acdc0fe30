"""Anybody's recordings: files of common formats, described by a short YAML, as windows."""
