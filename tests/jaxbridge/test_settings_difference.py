"""What differs between two runs' settings is told by name, however deep it lies."""

from jaxbridge.settings_difference import differences


def test_lines_name_what_differs_and_nothing_else():
    there = {"seed": 0, "rank": 8, "head": {"epochs": 20, "rate": 0.1, "of": {"x": 1}}, "gone": None}
    now = {"seed": 7, "rank": 8, "head": {"epochs": 21, "rate": 0.1, "of": {"x": 2}}, "new": 1}
    assert differences(there, now) == [
        "  head.epochs: 20 there, 21 now",
        "  head.of.x: 1 there, 2 now",
        "  new: None there, 1 now",
        "  seed: 0 there, 7 now",
    ]
    assert differences(there, there) == []


def test_a_group_in_place_of_a_value_is_told_whole():
    assert differences({"head": None}, {"head": {"epochs": 1}}) == [
        "  head: None there, {'epochs': 1} now"
    ]
