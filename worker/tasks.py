"""The tasks. Like views they only find the one who does the work; messages hold ids (law 1)."""

from __future__ import annotations

from cxrscreen import queue
from worker import ingest, nightly, sweep

app = queue.app()


@app.task(name=queue.INGEST)
def ingest_job(job_id: int) -> None:
    ingest.run(job_id)


@app.task(name=queue.SCREEN)
def screen_batch(_batch_id: int) -> None:
    """The id says that there is work; which batch is most urgent the database decides."""
    # torch is for the screening worker alone; ingest and beat read this module too and stay small.
    from worker import screen

    screen.run()


@app.task(name=queue.HEAT)
def draw_heat(result_id: int) -> None:
    from worker import heat

    heat.run(result_id)


@app.task(name=queue.SWEEP)
def sweep_up() -> None:
    sweep.run()


@app.task(name=queue.NIGHTLY)
def open_nights() -> None:
    nightly.run()
