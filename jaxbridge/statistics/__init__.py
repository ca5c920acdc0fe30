"""Whether a difference can be believed.

`predictions.Predictions` (logits, labels, subjects of one method, seed, fold and split) is what all
else starts from: `intervals` (bootstrap over subjects), `comparison` (paired tests against the best
baseline, Holm), `calibration` (ECE, abstention), `tidy` (one table of all numbers). `folds` makes the
windows of subject-wise cross-validation.
"""
