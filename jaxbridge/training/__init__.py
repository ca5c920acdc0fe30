"""What is trained and how: the step, its losses, the epochs, and what survives a kill."""
