"""Biosignal encoders in Flax NNX, converted from their published PyTorch weights."""
