"""/metrics for Prometheus: the state in the database and of what stands around it; with a token, as any address.

Of the state, not of this process: several processes serve the pages, and each gives the same answer.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cxrscreen import db, gauges, queue
from cxrscreen.gauges import Gauge, Values
from cxrscreen.settings import get_settings
from dashboard.system import QUEUES, store_answers

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def show() -> Response:
    registry = CollectorRegistry()
    registry.register(_State())
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


class _State(Collector):
    def collect(self) -> Iterator[Metric]:
        start = time.perf_counter()
        with db.read() as session:
            of_rows = (gauges.of_work, gauges.of_workers, gauges.of_nights, gauges.of_model)
            found = [gauge for ask in of_rows for gauge in ask(session)]
        for gauge in (*found, *_around()):
            yield _metric(gauge)
        yield _metric(Gauge("scrape_seconds", "What this answer took.", (), {(): time.perf_counter() - start}))

    def describe(self) -> list[Metric]:
        return []  # told without asking the database


def _around() -> Iterator[Gauge]:
    """The broker, the store, the disk, and which release this is."""
    answers = queue.answers()
    yield Gauge("broker_up", "Whether Redis answers.", (), {(): float(answers)})
    if answers:
        waiting: Values = {(name,): float(queue.length(task)) for name, task in QUEUES.items()}
        yield Gauge("queue_messages", "Messages that wait for a worker.", ("queue",), waiting)
    yield Gauge("store_up", "Whether the store answers.", (), {(): float(store_answers())})
    folder = get_settings().data_dir
    if folder.exists():
        disk = shutil.disk_usage(folder)
        yield Gauge("disk_free_bytes", "Free on the disk of the data folder.", (), {(): disk.free})
        yield Gauge("disk_bytes", "The size of that disk.", (), {(): disk.total})
    yield Gauge("build_info", "The release: 1.", ("release",), {(version("cxrscreen"),): 1})


def _metric(gauge: Gauge) -> Metric:
    told = GaugeMetricFamily(f"cxrscreen_{gauge.name}", gauge.says, labels=gauge.labels)
    for labels, value in gauge.values.items():
        told.add_metric(labels, value)
    return told
