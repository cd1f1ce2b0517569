"""The simulated edge devices, one a client.

Load and packet loss (logarithmic) wander around a usual level (autoregression of order 1);
temperature follows the load with a lag; a battery drains with it and is charged once low.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployments.services.fl_server.model import Floats

MEBIBYTE = 2**20
DEVICES = ("gateway", "phone", "single-board", "tablet")
DEVICE_MEMORY_MEBIBYTES = (512.0, 6144.0, 4096.0, 3072.0)

LOAD_MEMORY = 0.9
LOAD_STEP = 4.0
IDLE_DEGREES = 31.0
DEGREES_AT_FULL_LOAD = 32.0
THERMAL_LAG = 0.15
DRAIN_IDLE = 0.05
DRAIN_AT_FULL_LOAD = 0.5
CHARGE_STEP = 1.5
FULL = 97.0
MEMORY_STEP = 0.01
USUAL_LOSS = 0.006
LOSS_MEMORY = 0.92
LOSS_STEP = 0.1
LOSS_OF_LOSSY = 0.2


@dataclass(frozen=True)
class EdgeReading:
    """One device's reading: percent, degrees Celsius, bytes, and a ratio (0 to 1)."""

    client: str
    device: str
    battery_percent: float
    temperature_celsius: float
    cpu_percent: float
    memory_bytes: float
    packet_loss_ratio: float


class Fleet:
    """All devices; step() is one tick. Arrays have one entry a client."""

    def __init__(self, clients: tuple[str, ...], seed: int, lossy: int = 0) -> None:
        rng = np.random.default_rng(seed)
        count = len(clients)
        self._rng = rng
        self._clients = clients
        self._kinds = rng.integers(0, len(DEVICES), count)
        self._usual_load = rng.uniform(15.0, 55.0, count)
        self._load = self._usual_load.copy()
        self._temperature = IDLE_DEGREES + DEGREES_AT_FULL_LOAD * self._load / 100
        self._battery = rng.uniform(45.0, 100.0, count)
        self._low = rng.uniform(25.0, 40.0, count)
        self._charging: NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        self._memory_share = rng.uniform(0.3, 0.6, count)
        self._usual_loss = np.log(USUAL_LOSS) + rng.normal(0.0, 0.25, count)
        self._usual_loss[:lossy] = np.log(LOSS_OF_LOSSY)
        self._loss = self._usual_loss.copy()

    def step(self) -> None:
        """Advance every device by one tick."""
        self._step_load()
        self._step_battery()
        wandered = self._memory_share + self._noise(MEMORY_STEP)
        self._memory_share = np.clip(wandered, 0.15, 0.9)
        self._loss = self._usual_loss + LOSS_MEMORY * (self._loss - self._usual_loss)
        self._loss = self._loss + self._noise(LOSS_STEP)

    def readings(self) -> tuple[EdgeReading, ...]:
        """Return the present reading of every device, in the order of the clients."""
        memory = self._memory_share * np.take(DEVICE_MEMORY_MEBIBYTES, self._kinds) * MEBIBYTE
        loss = np.minimum(1.0, np.exp(self._loss))
        kinds = (DEVICES[kind] for kind in self._kinds)
        numbers = np.stack([self._battery, self._temperature, self._load, memory, loss], axis=1)
        rows = zip(self._clients, kinds, numbers.tolist(), strict=True)
        return tuple(EdgeReading(client, kind, *row) for client, kind, row in rows)

    def _step_load(self) -> None:
        wandered = self._usual_load + LOAD_MEMORY * (self._load - self._usual_load)
        self._load = np.clip(wandered + self._noise(LOAD_STEP), 0.0, 100.0)
        target = IDLE_DEGREES + DEGREES_AT_FULL_LOAD * self._load / 100
        self._temperature = self._temperature + THERMAL_LAG * (target - self._temperature)

    def _step_battery(self) -> None:
        drain = DRAIN_IDLE + DRAIN_AT_FULL_LOAD * self._load / 100
        change = np.where(self._charging, CHARGE_STEP, -drain)
        self._battery = np.clip(self._battery + change, 0.0, 100.0)
        starts, ends = self._battery < self._low, self._battery > FULL
        self._charging = (self._charging | starts) & ~ends

    def _noise(self, scale: float) -> Floats:
        return self._rng.normal(0.0, scale, len(self._clients))
