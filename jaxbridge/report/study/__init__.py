"""What a study shows of its table."""
