import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from interpix.errors import ArgumentError
from interpix.outputs import Softmax
from interpix.outputs.readout import read_logits
from interpix.terms import check_reward

LOGITS = st.lists(st.floats(-30, 30), min_size=2, max_size=6)


def score(logits, targets, reward):
    owner = np.arange(len(logits))
    return Softmax().scores(read_logits(logits, targets[:, None]), owner, targets, logits, reward)


@given(LOGITS, st.data())
def test_rewards_agree_with_the_textbook(row, data):
    target = data.draw(st.integers(0, len(row) - 1))
    logits, targets = np.array([row]), np.array([target])
    log_p = log_softmax(logits[0])[target]
    expected = {"log_probability": log_p, "probability": np.exp(log_p), "logit": row[target]}
    if np.exp(log_p) < 0.99:
        expected["log_odds"] = log_p - np.log1p(-np.exp(log_p))
    for name, value in expected.items():
        reward, probability, predicted, holds = score(logits, targets, name)
        np.testing.assert_allclose(reward[0], value, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(probability[0], np.exp(log_p), rtol=1e-9)
        assert predicted[0] == np.argmax(row)
        assert holds[0] == (np.argmax(row) == target)


def test_a_certain_model_still_has_finite_log_odds():
    reward, probability, *_ = score(np.array([[1000.0, 0.0], [0.0, 1000.0]]), np.array([0, 0]), "log_odds")
    np.testing.assert_array_equal(reward, [1000, -1000])
    np.testing.assert_array_equal(probability, [1, 0])


def test_an_unknown_reward_is_refused():
    with pytest.raises(ArgumentError, match=r"log_odds.*got 'odds'"):
        check_reward("odds")
