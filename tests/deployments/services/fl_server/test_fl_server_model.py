"""The softmax model: exact values on small cases."""

import math

import numpy as np
import pytest

from deployments.services.fl_server import model


def two_examples() -> tuple[model.Floats, model.Ints]:
    features = np.zeros((2, model.FEATURES))
    features[0, 0] = features[1, 1] = 1.0
    return features, np.array([3, 7])


def test_initial_weights_know_nothing() -> None:
    features, labels = two_examples()
    weights = model.initial_weights()
    assert model.loss(weights, features, labels) == pytest.approx(math.log(10))
    assert model.accuracy(weights, features, labels) == 0.0


def test_training_learns_and_leaves_the_given_weights_alone() -> None:
    features, labels = two_examples()
    weights = model.initial_weights()
    trained = model.train(weights, features, labels, steps=20, learning_rate=1.0)
    assert model.accuracy(trained, features, labels) == 1.0
    assert model.loss(trained, features, labels) < model.loss(weights, features, labels)
    assert not weights.any()


def test_one_step_is_the_gradient_of_the_cross_entropy() -> None:
    features, labels = two_examples()
    trained = model.train(model.initial_weights(), features, labels, steps=1, learning_rate=1.0)
    # (wanted - probability) / examples: (1 - 0.1) / 2 for the label, -0.1 / 2 for the others
    assert trained[0, 3] == pytest.approx(0.45)
    assert trained[0, 4] == pytest.approx(-0.05)
    assert not trained[2:].any()


def test_a_wrong_certainty_costs_a_finite_loss() -> None:
    features, labels = two_examples()
    weights = model.initial_weights()
    weights[:, 0] = 1e6
    assert model.loss(weights, features, labels) == pytest.approx(-math.log(1e-12))


def test_bytes_there_and_back() -> None:
    weights = np.random.default_rng(1).normal(size=(model.FEATURES, model.CLASSES))
    assert np.array_equal(model.from_bytes(model.to_bytes(weights)), weights)


def test_foreign_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="pickle"):
        model.from_bytes(b"no model at all")
