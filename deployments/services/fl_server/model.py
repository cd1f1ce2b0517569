"""The model: multinomial logistic regression (softmax) in plain numpy.

Shapes: n examples, FEATURES columns (64 pixels and a constant 1), CLASSES digits.
"""

import io

import numpy as np
from numpy.typing import NDArray

FEATURES = 65
CLASSES = 10
NAME = "digits-softmax"
LEAST_PROBABILITY = 1e-12

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def initial_weights() -> Floats:
    """Return all zeros, shape (FEATURES, CLASSES): every class is equally likely."""
    return np.zeros((FEATURES, CLASSES))


def probabilities(weights: Floats, features: Floats) -> Floats:
    """Return the softmax of the scores, shape (n, CLASSES); each row sums to 1."""
    scores = features @ weights
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def predict(weights: Floats, features: Floats) -> Ints:
    """Return the likeliest class of each example, shape (n,)."""
    return np.asarray((features @ weights).argmax(axis=1), dtype=np.int64)


def accuracy(weights: Floats, features: Floats, labels: Ints) -> float:
    """Return the share of examples predicted right, 0 to 1; NaN without examples."""
    return float(np.mean(predict(weights, features) == labels))


def loss(weights: Floats, features: Floats, labels: Ints) -> float:
    """Return the mean cross-entropy in nats; initially ln(CLASSES) = 2.303."""
    chosen = probabilities(weights, features)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, LEAST_PROBABILITY)).mean())


def train(
    weights: Floats, features: Floats, labels: Ints, *, steps: int, learning_rate: float
) -> Floats:
    """Train by full-batch gradient descent on the cross-entropy; return new weights."""
    wanted = np.eye(CLASSES)[labels]
    trained = weights.copy()
    for _ in range(steps):
        gradient = features.T @ (probabilities(trained, features) - wanted) / len(labels)
        trained -= learning_rate * gradient
    return trained


def to_bytes(weights: Floats) -> bytes:
    """Return the weights in numpy's own file format (no pickle)."""
    buffer = io.BytesIO()
    np.save(buffer, weights, allow_pickle=False)
    return buffer.getvalue()


def from_bytes(content: bytes) -> Floats:
    """Parse the weights that to_bytes wrote; raise ValueError for other content."""
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), dtype=np.float64)
