"""What a single run shows of itself."""
