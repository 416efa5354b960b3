"""The health page: nothing missing is one green sentence, a lost event is a number and says what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server
from sqlalchemy import Engine

from services.board import gauges, health
from shared.tables import LedgerRow, open_database
from tests.board_life import ledger
from tests.board_pages import column, open_page, words
from tests.board_rows import START, Rows

NOW = START + timedelta(hours=1)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An empty database that the board looks at; no service answers."""
    url = f"sqlite:///{tmp_path}/board.db"
    for name in ("RECORDER", "COLLECTOR", "PREDICTOR"):
        monkeypatch.setenv(f"LEARNBACK_BOARD_{name}_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", url)
    return open_database(url)


@pytest.fixture
def metrics() -> Iterator[str]:
    """The address of a service that shows 100 events of 0.1 s, 100 of 1 s, and 7 that nobody read."""
    registry = CollectorRegistry()
    seen = Histogram("learnback_e2e_visible_seconds", "…", buckets=(0.2, 1, 2), registry=registry)
    for _ in range(100):
        seen.observe(0.1)
        seen.observe(1)
    behind = Gauge("learnback_consumer_lag_events", "…", ["service", "topic"], registry=registry)
    behind.labels("recorder", "learnback.feedback.v1").set(7)
    Gauge("learnback_spool_events", "…", registry=registry).set(42)
    Gauge("learnback_spool_oldest_seconds", "…", registry=registry).set(90)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    assert isinstance(thread, threading.Thread)
    server.server_close()


def test_a_balanced_ledger_is_one_green_sentence(engine: Engine) -> None:
    ledger(engine, datetime.now(UTC))
    page = open_page("health")
    assert not page.exception
    assert not page.error
    assert [one.value for one in page.success] == ["Every accepted event is accounted for."]
    assert sum(column(page, "Missing")) == 0
    assert column(page, "Reason") == ["Id conflict", "Schema error"]
    assert column(page, "Feedback") == [1, 1, 1]
    assert column(page, "Records read") == [8000]
    assert column(page, "Not yet read") == ["–"]
    notes = {metric.label: metric.delta for metric in page.metric}
    assert notes["Not yet read"] == "recorder away"


def test_lost_events_are_a_number_and_say_what_to_do(engine: Engine) -> None:
    ledger(engine, datetime.now(UTC), lost=2)
    page = open_page("health")
    assert page.error[0].value.startswith("2 events are missing")
    assert "docs/operations.md" in page.error[0].value
    assert sorted(column(page, "Missing"))[-2:] == [0, 2]


def test_an_empty_installation_says_what_will_be_there(engine: Engine) -> None:
    Rows(engine).write()
    page = open_page("health")
    assert not page.exception
    for sentence in ("Nothing was accepted yet", "No record was put aside", "The recorder has read nothing yet"):
        assert sentence in words(page)


def test_without_a_database_it_says_what_to_do(engine: Engine) -> None:
    assert "Start the recorder" in open_page("health").info[0].value


def test_what_only_the_recorder_knows_comes_from_its_metrics(
    engine: Engine, metrics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEARNBACK_BOARD_RECORDER_URL", metrics)
    monkeypatch.setenv("LEARNBACK_BOARD_COLLECTOR_URL", metrics)
    ledger(engine, datetime.now(UTC))
    page = open_page("health")
    shown = {metric.label: (metric.value, metric.delta) for metric in page.metric}
    assert shown["Accepted to visible"] == ("0.2 s", "95 % in 0.9 s")
    assert shown["Not yet read"] == ("7", "events behind")
    assert shown["In the spool"] == ("42", "oldest 1.5 min")
    assert column(page, "Not yet read") == ["7"]


def test_a_refused_version_is_told_with_its_reason(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    Rows(engine).write()
    assert "not known whether it refused a version" in words(open_page("health"))
    registry = CollectorRegistry()
    told = Gauge(gauges.REFUSED, "…", gauges.REFUSED_LABELS, registry=registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        monkeypatch.setenv("LEARNBACK_BOARD_PREDICTOR_URL", f"http://127.0.0.1:{server.server_port}")
        assert not open_page("health").error
        told.labels("m", "champion", "v7", "adapter.safetensors does not match its manifest.").set(START.timestamp())
        st.cache_data.clear()
        page = open_page("health")
        assert "what served before goes on serving" in page.error[0].value
        assert column(page, "Version") == ["v7"]
        assert column(page, "Why") == ["adapter.safetensors does not match its manifest."]
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def test_a_minute_is_pending_before_it_is_missing(engine: Engine) -> None:
    rows = Rows(engine)
    rows.rows.append(LedgerRow(instance="i", bucket=START, accepted=5, arrived=3, stored=3, missing=2))
    rows.write()
    assert health.balance(engine, START + timedelta(seconds=90)) == health.Balance(0, 2, None)
    assert health.balance(engine, NOW) == health.Balance(2, 0, START)
    (minute,) = health.minutes(engine, NOW)
    assert (minute.accepted, minute.ended["stored"], minute.pending, minute.lost) == (5, 3, 0, 2)


def test_two_processes_losses_and_gains_do_not_cancel(engine: Engine) -> None:
    rows = Rows(engine)
    rows.rows += [
        LedgerRow(instance="i", bucket=START, accepted=5, arrived=4, stored=4, missing=1),
        LedgerRow(instance="j", bucket=START, accepted=5, arrived=5, stored=6, missing=-1),
    ]
    rows.write()
    assert health.balance(engine, NOW).lost == 2


def test_a_quantile_lies_where_prometheus_puts_it() -> None:
    buckets = {"0.1": 10.0, "0.5": 90.0, "+Inf": 100.0}
    assert gauges.quantile(buckets, 0.5) == pytest.approx(0.1 + 0.4 * 40 / 80)
    assert gauges.quantile(buckets, 0.05) == pytest.approx(0.05)
    assert gauges.quantile(buckets, 0.99) == 0.5
    assert gauges.quantile({}, 0.5) is None
    assert gauges.quantile({"1": 0.0, "+Inf": 0.0}, 0.5) is None
