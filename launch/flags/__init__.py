"""Flags that scripts share, and what they stand for."""
