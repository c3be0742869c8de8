"""Argument checks: what passes comes back as Python's own, what does not is named."""

import numpy as np
import pytest

from lmlab.arguments import number, one_of, whole, whole_array


class TestWhole:
    @pytest.mark.parametrize("value", [1, 7, np.int64(7), np.uint8(1)])
    def test_a_whole_number_comes_back_as_an_int(self, value):
        assert type(whole("n", value)) is int
        assert whole("n", value) == value

    @pytest.mark.parametrize("value", [True, np.True_, 1.0, "1", None, [1]])
    def test_what_is_no_whole_number_is_a_type_error(self, value):
        with pytest.raises(TypeError, match="n must be a whole number from 1, got"):
            whole("n", value)

    @pytest.mark.parametrize(("value", "low", "high"), [(0, 1, None), (9, 0, 8)])
    def test_bounds_belong_to_the_range(self, value, low, high):
        with pytest.raises(ValueError, match=f"whole number from {low}"):
            whole("n", value, low, high)
        assert whole("n", low, low, high) == low
        assert whole("n", 8, 0, 8) == 8


class TestWholeArray:
    @pytest.mark.parametrize("values", [[0, 7], np.array([0, 7], np.uint8)])
    def test_whole_numbers_come_back_as_int64(self, values):
        found = whole_array("ids", values, 8)
        assert found.dtype == np.int64
        assert found.tolist() == [0, 7]

    @pytest.mark.parametrize("values", [[], 3, [[1]], [0.5], [True], ["1"]])
    def test_what_is_no_row_of_whole_numbers_is_a_value_error(self, values):
        with pytest.raises(ValueError, match=r"ids must be whole numbers \(N,\)"):
            whole_array("ids", values, 8)

    @pytest.mark.parametrize("values", [[0, 8], [-1, 3]])
    def test_out_of_bounds_is_a_value_error(self, values):
        with pytest.raises(
            ValueError, match=r"ids must lie in 0 … 7; got (0 … 8|-1 … 3)"
        ):
            whole_array("ids", values, 8)


class TestNumber:
    @pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5)])
    def test_a_number_comes_back_as_a_float(self, value):
        assert type(number("p", value, "[0, 1)")) is float
        assert number("p", value, "[0, 1)") == value

    @pytest.mark.parametrize("value", [True, "0.5", None, 1j])
    def test_what_is_no_number_is_a_type_error(self, value):
        with pytest.raises(TypeError, match=r"p must be a number in \[0, 1\), got"):
            number("p", value, "[0, 1)")

    @pytest.mark.parametrize("value", [-1e-9, 1.0, float("nan"), float("inf")])
    def test_out_of_bounds_or_not_finite_is_a_value_error(self, value):
        with pytest.raises(ValueError, match=r"p must be a number in \[0, 1\), got"):
            number("p", value, "[0, 1)")

    def test_the_brackets_say_whether_an_end_belongs(self):
        assert number("p", 1, "(0, 1]") == 1.0
        with pytest.raises(ValueError, match="got 0"):
            number("p", 0, "(0, 1]")
        with pytest.raises(ValueError, match="a number, got inf"):
            number("p", float("inf"))


def test_one_of_lists_the_choices():
    assert one_of("norm", "pre", ("pre", "post")) == "pre"
    with pytest.raises(ValueError, match="norm must be one of pre, post; got 'mid'"):
        one_of("norm", "mid", ("pre", "post"))
