"""Recordings, preprocessing, windows, splits and the window store."""
