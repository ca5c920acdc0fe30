import pytest

from jaxbridge.report import table


def _row(method: str, score: float, split: str = "test") -> dict:
    scores = dict.fromkeys(table.SCORES, score)
    return {
        "method": method, "modality": "ecg", "split": split, "trainable_parameters": 1234, **scores
    }


def test_mean_and_spread_over_seeds():
    runs = [[_row("bridge", 0.6), _row("oracle", 0.8)], [_row("bridge", 0.8), _row("oracle", 0.8)]]
    bridge, oracle = table.summarise(runs)
    assert bridge["balanced_accuracy"] == pytest.approx(0.7)
    assert bridge["balanced_accuracy_std"] == pytest.approx(0.1)
    assert oracle["kappa_std"] == 0
    assert bridge["seeds"] == 2


def test_text_shows_one_split_aligned():
    lines = table.text(
        table.summarise([[_row("bridge", 0.61234), _row("oracle", 0.9, split="val")]])
    ).splitlines()
    assert len(lines) == 2
    assert lines[1].split() == ["bridge", "ecg", "1,234", "0.612", "0.612", "0.612"]
    assert len(lines[0]) == len(lines[1])
