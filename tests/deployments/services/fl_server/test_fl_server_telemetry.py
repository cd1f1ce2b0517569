"""The edge devices: plausible over many ticks, repeatable."""

import numpy as np

from deployments.services.fl_server.telemetry import DEVICES, EdgeReading, Fleet

CLIENTS = tuple(f"client-{number:02d}" for number in range(20))
TICKS = 400


def readings_over_time(seed: int, lossy: int = 0) -> list[tuple[EdgeReading, ...]]:
    fleet = Fleet(CLIENTS, seed, lossy)
    seen = []
    for _ in range(TICKS):
        fleet.step()
        seen.append(fleet.readings())
    return seen


def test_every_reading_stays_plausible() -> None:
    for readings in readings_over_time(1):
        assert tuple(reading.client for reading in readings) == CLIENTS
        for reading in readings:
            assert reading.device in DEVICES
            assert 0 <= reading.battery_percent <= 100
            assert 25 <= reading.temperature_celsius <= 70
            assert 0 <= reading.cpu_percent <= 100
            assert 50e6 < reading.memory_bytes < 6.5e9
            assert 0 < reading.packet_loss_ratio <= 1


def test_batteries_drain_and_are_charged_again() -> None:
    levels = np.array(
        [[reading.battery_percent for reading in row] for row in readings_over_time(1)]
    )
    changes = np.diff(levels, axis=0)
    assert (changes < 0).any()
    assert (changes > 0).any()
    # a device is charged long before it is empty
    assert levels.min() > 5


def test_only_a_client_with_a_lossy_network_is_beyond_the_limits_of_the_catalogue() -> None:
    rows = readings_over_time(1, lossy=1)
    over = {r.client for row in rows for r in row if r.packet_loss_ratio > 0.05}
    assert over == {CLIENTS[0]}
    assert all(row[0].packet_loss_ratio > 0.05 for row in rows)
    assert min(r.battery_percent for row in rows for r in row) > 20
    usual = [r.packet_loss_ratio for row in readings_over_time(1) for r in row]
    assert max(usual) < 0.05


def test_temperature_follows_the_load() -> None:
    rows = readings_over_time(1)
    load = np.array([[reading.cpu_percent for reading in row] for row in rows]).ravel()
    degrees = np.array([[reading.temperature_celsius for reading in row] for row in rows]).ravel()
    assert np.corrcoef(load, degrees)[0, 1] > 0.5


def test_equal_seeds_repeat_and_others_do_not() -> None:
    assert readings_over_time(1)[-1] == readings_over_time(1)[-1]
    assert readings_over_time(1)[-1] != readings_over_time(2)[-1]
