"""Pooled features of all layers: captured in one pass, kept on disk, checked before use."""
