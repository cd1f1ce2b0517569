"""Names from any text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.measurement import RESERVED
from tasks.runs.init.names import Names, plain, selector, tag_for


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("node_memory_MemFree", "node_memory_memfree"),
        ("job:requests:rate5m", "job_requests_rate5m"),
        ("_hidden__bytes_", "hidden_bytes"),
        ("http.server.duration", "http_server_duration"),
        ("5xx", "m_5xx"),
        ("größe", "grosse"),
        ("durée", "duree"),
        ("温度", "u6e29_u5ea6"),
        ("time", "time_value"),
        ("Environment", "environment_value"),
        ("___", "m"),
    ],
)
def test_plain(text: str, name: str) -> None:
    assert plain(text) == name


@given(st.text())
def test_every_text_becomes_a_name_of_the_catalogue(text: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", plain(text))
    assert plain(text) not in RESERVED
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", tag_for(text))
    assert tag_for(text) not in RESERVED


@pytest.mark.parametrize(
    ("label", "tag"),
    [
        ("instance", "instance"),
        ("Mode", "Mode"),
        ("le", "le"),
        ("environment", "exported_environment"),
        ("time", "exported_time"),
        ("_shard", "shard"),
        ("régime", "regime"),
    ],
)
def test_a_label_stays_unless_it_cannot(label: str, tag: str) -> None:
    assert tag_for(label) == tag


def test_a_name_is_given_once_whatever_its_case() -> None:
    names = Names("node")

    assert [names.take(one) for one in ("node", "Node", "go", "node")] == [
        "node_2",
        "Node_3",
        "go",
        "node_4",
    ]


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("up", "up"),
        ("job:up:avg", "job:up:avg"),
        ("sum", '{__name__="sum"}'),
        ("Inf", '{__name__="Inf"}'),
        ("http.duration", '{__name__="http.duration"}'),
        ('a"b\\c\nd', r'{__name__="a\"b\\c\nd"}'),
    ],
)
def test_selector(metric: str, text: str) -> None:
    assert selector(metric) == text


def test_selector_of_conditions() -> None:
    assert selector("rpc", 'quantile="0.5"', "") == 'rpc{quantile="0.5"}'
    assert selector("on", 'quantile="0.5"', 'job="a"') == '{__name__="on", quantile="0.5", job="a"}'
