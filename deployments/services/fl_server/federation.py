"""Federated averaging over simulated clients, pure but for one measured duration.

Each round draws connected clients with probability sampling_rate; updates in time are clipped to
clip_norm and summed, Gaussian noise of noise_multiplier * clip_norm is added, and the sum divided
by the expected number of clients (McMahan et al. 2018): the actual number would make the sensitivity
depend on the clients that came. A lost or late client can only lower epsilon. The noise comes from
numpy's seedable generator: right for a simulation, not for secrets.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from deployments.services.fl_server import model, privacy
from deployments.services.fl_server.data import deal, label_distance, label_mix
from deployments.services.fl_server.errors import DivergedError
from deployments.services.fl_server.model import Floats
from deployments.services.fl_server.settings import FederationSettings

ClientState = Literal["reported", "late", "dropped"]

CONVERGENCE_WINDOW = 5
LEAVE_RATE = 0.02
RETURN_RATE = 0.25
USUAL_SHARE_OF_DEADLINE = 0.35
SPEED_SPREAD = 0.25
JITTER_SPREAD = 0.1
STRAGGLER_FACTORS = (3.0, 6.0)


@dataclass(frozen=True)
class ClientRound:
    """One drawn client in one round; a late one's update is not used.

    accuracy is that of the model it received, on its own examples; seconds are simulated; both are
    None for a dropped client, which never answered.
    """

    id: str
    examples: int
    accuracy: float | None
    seconds: float | None
    state: ClientState
    data_quality: float


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats) on usable examples, accuracy (0 to 1) on held-out ones."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class RoundResult:
    """The result of a round; equal runs give equal results.

    seconds is simulated; epsilon is the total so far; data_drift the Jensen-Shannon distance of the
    labels trained on from all; convergence_rate the mean relative fall of the loss a round over
    CONVERGENCE_WINDOW rounds; noise_scale the standard deviation of the noise on each weight.
    """

    round: int
    loss: float
    accuracy: float
    epsilon: float
    seconds: float
    clients: tuple[ClientRound, ...]
    connected_clients: int
    data_quality: float
    data_drift: float
    convergence_rate: float
    noise_scale: float
    aggregation_seconds: float = field(compare=False)

    @property
    def updates(self) -> int:
        """Return the number of clients whose update went into the model."""
        return sum(client.state == "reported" for client in self.clients)

    @property
    def dropped(self) -> int:
        """Return the number of drawn clients whose update was lost or late."""
        return len(self.clients) - self.updates


class Federation:
    """The server's and the clients' side of one run; step() is one round."""

    def __init__(self, settings: FederationSettings) -> None:
        data_rng, self._client_rng, self._noise_rng = _generators(settings.seed)
        self.settings = settings
        self.population = deal(settings.clients, settings.label_concentration, data_rng)
        self.ids = client_ids(settings.clients)
        self.weights = model.initial_weights()
        self.round = 0
        self.mechanism = privacy.Mechanism(
            settings.sampling_rate, settings.noise_multiplier, settings.delta
        )
        self._features, self._labels = self.population.features, self.population.labels
        usual = RETURN_RATE / (RETURN_RATE + LEAVE_RATE)
        self._online = self._client_rng.random(settings.clients) < usual
        self._slowness = self._slowness_of_clients()
        self._losses = deque([self.evaluate().loss], maxlen=CONVERGENCE_WINDOW + 1)

    @property
    def connected_clients(self) -> int:
        """Return the number of clients that can be reached at the moment."""
        return int(self._online.sum())

    @property
    def data_quality(self) -> float:
        """Return the mean quality over all clients, 0 to 1."""
        return float(np.mean([shard.quality for shard in self.population.shards]))

    def can_go_on(self) -> bool:
        """Return whether a round is left, in number and in privacy budget."""
        rounds, budget = self.settings.rounds, self.settings.epsilon_budget
        return self.round < rounds and privacy.affords(self.mechanism, self.round + 1, budget)

    def evaluate(self) -> Evaluation:
        """Measure the current model."""
        population = self.population
        return Evaluation(
            model.loss(self.weights, self._features, self._labels),
            model.accuracy(self.weights, population.test_features, population.test_labels),
        )

    def step(self) -> RoundResult:
        """Run one round; raise DivergedError when the model is no longer finite."""
        self.round += 1
        self._come_and_go()
        is_drawn = self._client_rng.random(self.settings.clients) < self.settings.sampling_rate
        drawn = np.flatnonzero(self._online & is_drawn).tolist()
        visits = [self._visit(index) for index in drawn]
        reported = [i for i, v in zip(drawn, visits, strict=True) if v.state == "reported"]
        aggregation_seconds = self._learn(reported)
        return self._result(tuple(visits), reported, aggregation_seconds)

    def _come_and_go(self) -> None:
        change = self._client_rng.random(self.settings.clients)
        self._online = np.where(self._online, change >= LEAVE_RATE, change < RETURN_RATE)

    def _slowness_of_clients(self) -> Floats:
        sizes = np.array([len(shard.labels) for shard in self.population.shards], dtype=np.float64)
        spread = self._client_rng.lognormal(0.0, SPEED_SPREAD, len(sizes))
        # half of the time is work that grows with the examples, half is the network
        return np.asarray(spread * (0.5 + 0.5 * sizes / sizes.mean()))

    def _visit(self, index: int) -> ClientRound:
        shard = self.population.shards[index]
        seconds = self._duration(index)
        name, examples, quality = self.ids[index], len(shard.labels), shard.quality
        if self._client_rng.random() < self.settings.dropout_rate:
            return ClientRound(name, examples, None, None, "dropped", quality)
        state: ClientState = "reported" if seconds <= self.settings.deadline_seconds else "late"
        accuracy = model.accuracy(self.weights, shard.features, shard.labels)
        return ClientRound(name, examples, accuracy, seconds, state, quality)

    def _duration(self, index: int) -> float:
        rng = self._client_rng
        usual = USUAL_SHARE_OF_DEADLINE * self.settings.deadline_seconds * self._slowness[index]
        straggles = rng.random() < self.settings.straggler_rate
        factor = rng.uniform(*STRAGGLER_FACTORS) if straggles else 1.0
        return float(usual * factor * rng.lognormal(0.0, JITTER_SPREAD))

    def _learn(self, reported: list[int]) -> float:
        try:
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                updates = [self._update(index) for index in reported]
                start = time.perf_counter()
                self.weights = self.weights + self._aggregate(updates)
                return time.perf_counter() - start
        except FloatingPointError as error:
            raise DivergedError(self.round) from error

    def _update(self, index: int) -> Floats:
        shard = self.population.shards[index]
        trained = model.train(
            self.weights,
            shard.features,
            shard.labels,
            steps=self.settings.local_steps,
            learning_rate=self.settings.learning_rate,
        )
        update = trained - self.weights
        # clipping would turn an update of infinite length into zero, and hide it
        if not np.isfinite(np.linalg.norm(update)):
            raise FloatingPointError
        return update

    def _aggregate(self, updates: list[Floats]) -> Floats:
        settings = self.settings
        total = self._noise_rng.normal(
            0.0, settings.noise_multiplier * settings.clip_norm, self.weights.shape
        )
        for update in updates:
            total += clip(update, settings.clip_norm)
        return np.asarray(total / settings.expected_clients)

    def _result(
        self, clients: tuple[ClientRound, ...], reported: list[int], aggregation_seconds: float
    ) -> RoundResult:
        evaluation = self.evaluate()
        self._losses.append(evaluation.loss)
        return RoundResult(
            round=self.round,
            loss=evaluation.loss,
            accuracy=evaluation.accuracy,
            epsilon=privacy.epsilon_after(self.mechanism, self.round),
            seconds=_round_seconds(clients, self.settings.deadline_seconds),
            clients=clients,
            connected_clients=self.connected_clients,
            data_quality=self._quality_of(reported),
            data_drift=self._drift_of(reported),
            convergence_rate=convergence_rate(list(self._losses)),
            noise_scale=self.settings.noise_scale,
            aggregation_seconds=aggregation_seconds,
        )

    def _quality_of(self, reported: list[int]) -> float:
        if not reported:
            return self.data_quality
        return float(np.mean([self.population.shards[index].quality for index in reported]))

    def _drift_of(self, reported: list[int]) -> float:
        if not reported:
            return 0.0
        seen = np.concatenate([self.population.shards[index].labels for index in reported])
        return label_distance(label_mix(seen), label_mix(self._labels))


def run(settings: FederationSettings) -> Iterator[RoundResult]:
    """Yield all rounds of a run, unpaced, until the rounds or the privacy budget end."""
    federation = Federation(settings)
    while federation.can_go_on():
        yield federation.step()


def client_ids(clients: int) -> tuple[str, ...]:
    """Return client-00, client-01, …: numbers of equal width, at least two digits."""
    width = max(2, len(str(clients - 1)))
    return tuple(f"client-{number:0{width}d}" for number in range(clients))


def clip(update: Floats, norm: float) -> Floats:
    """Return the update, scaled down to the given L2 norm if it is longer."""
    length = float(np.linalg.norm(update))
    return update if length <= norm else update * (norm / length)


def convergence_rate(losses: list[float]) -> float:
    """Return the mean relative fall of the loss a round, from first to last."""
    steps = len(losses) - 1
    return (losses[0] - losses[-1]) / (losses[0] * steps) if steps else 0.0


def _round_seconds(clients: tuple[ClientRound, ...], deadline: float) -> float:
    # the server cannot distinguish a lost client from a slow one until the deadline
    if any(client.state != "reported" for client in clients):
        return deadline
    return max((client.seconds or 0.0 for client in clients), default=0.0)


def _generators(seed: int) -> list[np.random.Generator]:
    # separate generators, so that more noise never changes participation
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]
