"""Predictions that `submit` refuses to write."""

from __future__ import annotations

import math

import pytest

from peftbench.data.examples import Example
from peftbench.errors import PeftbenchError
from peftbench.study.submission import ExpectedFile, all_finite
from peftbench.training.predictor import TextPrediction
from tests.factories import FIVE_CLASSES as FIVE
from tests.factories import SIMILARITY as SIMILAR

EXAMPLES = [Example(f"id-{n}", ("a text",), math.nan) for n in range(3)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_predictions_that_are_not_finite_are_refused_with_the_first_id(bad: float) -> None:
    wanted = ExpectedFile("sts-test-output.csv", SIMILAR, "test", EXAMPLES)
    with pytest.raises(PeftbenchError) as refused:
        all_finite(wanted, [TextPrediction(1.0, None), TextPrediction(bad, None), TextPrediction(bad, None)])
    assert refused.value.message == (
        "sts-test-output.csv: 2 of 3 predictions are not finite numbers, the first of id id-1"
    )
    assert refused.value.hint and refused.value.exit_code == 1


def test_a_class_that_was_read_from_no_number_is_refused() -> None:
    """The argmax of NaN logits is the first class, with a NaN probability."""
    wanted = ExpectedFile("sst-dev-output.csv", FIVE, "dev", EXAMPLES)
    all_finite(wanted, [TextPrediction(0.0, 0.9)] * 3)
    with pytest.raises(PeftbenchError, match="1 of 3 predictions"):
        all_finite(wanted, [TextPrediction(0.0, 0.9), TextPrediction(0.0, 0.9), TextPrediction(0.0, math.nan)])
