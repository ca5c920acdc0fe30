"""What studies and the quickstart run on, and comparing ways to choose a position."""
