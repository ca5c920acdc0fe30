"""Which windows train, validate, pair and test.

`dealing` deals names out, `rules` applies a split rule to windows, `leakage` checks the result,
`pair_fraction` keeps a share of the pair windows.
"""

from jaxbridge.data.splits.dealing import SPLITS, check_classes, split_subjects
from jaxbridge.data.splits.pair_fraction import PairSubset, kept_pairs
from jaxbridge.data.splits.rules import RULES, SplitRule, WindowIndex

__all__ = [
    "RULES",
    "SPLITS",
    "PairSubset",
    "SplitRule",
    "WindowIndex",
    "check_classes",
    "kept_pairs",
    "split_subjects",
]
