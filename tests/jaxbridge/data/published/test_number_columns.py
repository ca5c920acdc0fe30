"""Numbers as Python reads them, to the bit; anything unusual is left to others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbridge.data.published import number_columns as module
from jaxbridge.data.published.number_columns import number_columns

SIGN = st.sampled_from(["", "-"])
DIGITS = st.text("0123456789", min_size=1, max_size=8)
PART = st.text("0123456789", max_size=7)
SHORT = st.builds(lambda s, a, b: f"{s}{a}.{b}", SIGN, st.text("0123456789", min_size=1, max_size=3),
                  st.text("0123456789", max_size=4))
NUMBER = st.one_of(
    st.builds(lambda s, a: s + a, SIGN, DIGITS),
    st.builds(lambda s, a, b: f"{s}{a}.{b}", SIGN, DIGITS, PART),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("table") / "table.txt"


@settings(max_examples=100)
@given(st.one_of(st.lists(NUMBER, min_size=2, max_size=24), st.lists(SHORT, min_size=2, max_size=24)),
       st.booleans(), st.integers(8, 200))
def test_numbers_as_python_reads_them(path, numbers, ended, piece):
    rows = [(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=False)]
    lines = [f"12:30:0{i % 10}.5,{a},x,{b}" for i, (a, b) in enumerate(rows)]
    path.write_text("\n".join(lines) + ("\n" if ended else ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE", piece)
        got = number_columns(path, [1, 3], 4)
    wanted = np.array(rows, float)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(wanted))


@pytest.mark.parametrize(
    "field",
    ["", ".", "-", "-.", "nan", "1e5", "+1", " 1", "1.2.3", "--1", "1-", "123456789", "1.12345678",
     "/1", ":1", "1\u00b2", "1\r"],
)
def test_other_numbers_are_left(path, field):
    path.write_text(f"a,1.5,2\na,{field},2\na,1.5,2\n", encoding="utf-8", newline="")
    assert number_columns(path, [1, 2], 3) is None


@pytest.mark.parametrize(
    "text", ["a,1\nb,2,3\n", "a,1,2\n\nb,1,2\n", "a,1,2,3\n", "a,1,2,b\n1,2\n", "", "\n"]
)
def test_other_lines_are_left(path, text):
    path.write_text(text)
    assert number_columns(path, [1, 2], 3) is None
