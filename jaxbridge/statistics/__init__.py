"""Whether a difference can be believed: folds, intervals, paired tests, calibration, tidy tables."""
