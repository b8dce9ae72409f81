"""Tests of the worker thread, and of the main thread's time that it takes."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref

import numpy as np
import pytest
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.worker.jobs import ENOUGH_S, Job, Worker
from scans import MOST_S, clinical_scan_node, middle_of, place, place_at, settle, slowed_down

from mois_core.errors import BadInput


@pytest.fixture
def a_worker():
    worker = Worker("MOISSAM2 test")
    yield worker
    assert worker.close()


def run(worker: Worker) -> None:
    end = time.monotonic() + 10
    while worker.is_busy:
        worker.pump()
        assert time.monotonic() < end


def test_results_come_back_in_order_and_on_the_main_thread(a_worker):
    seen = []
    main = threading.current_thread()
    for n in range(3):
        a_worker.submit(
            Job(
                "count",
                lambda progress, cancel, n=n: (n, threading.current_thread()),
                lambda result: seen.append((*result, threading.current_thread())),
            )
        )
    assert seen == []
    run(a_worker)

    assert [n for n, *_ in seen] == [0, 1, 2]
    assert {delivered for *_, delivered in seen} == {main}
    workers = {worked for _, worked, _ in seen}
    assert len(workers) == 1
    assert main not in workers


def test_one_thread_serves_all_jobs_of_a_lifetime(a_worker):
    threads = set()
    for _ in range(3):
        a_worker.submit(Job("who", lambda *_: threading.get_ident(), threads.add))
        run(a_worker)

    assert len(threads) == 1


def test_a_job_that_is_done_is_not_held_by_its_last_progress(a_worker):
    """It would hold what it delivers to: a panel that is closed, and the scan in it."""
    shown, last = threading.Event(), []

    def work(progress, cancel):
        progress(1, 2, "half")
        assert shown.wait(10)
        progress(2, 2, "all")

    def show(job, *_):
        if not last:
            last.append(weakref.ref(job))
            shown.set()
            end = time.monotonic() + 10
            while not a_worker._finished:
                assert time.monotonic() < end
                time.sleep(0.001)

    a_worker.progressed.connect(show)
    a_worker.submit(Job("twice", work))
    run(a_worker)
    gc.collect()
    assert last[0]() is None


def test_errors_become_messages(a_worker, caplog):
    reported = []

    def bad(progress, cancel):
        raise BadInput("the point lies outside the scan")

    def broken(progress, cancel):
        raise KeyError("pixels")

    a_worker.submit(Job("bad", bad, failed=reported.append))
    a_worker.submit(Job("broken", broken, failed=reported.append))
    with caplog.at_level(logging.ERROR):
        run(a_worker)

    assert reported[0] == "The point lies outside the scan."
    assert "KeyError" in reported[1]
    assert "pixels" not in reported[1]
    assert "pixels" in caplog.text


def test_a_job_that_is_cancelled_says_so_and_the_next_one_runs(a_worker):
    reported = []
    running = threading.Event()

    def wait(progress, cancel):
        running.set()
        while True:
            cancel.check()
            time.sleep(0.001)

    a_worker.submit(Job("wait", wait, cancelled=lambda: reported.append("cancelled")))
    a_worker.submit(Job("waits too", wait, cancelled=lambda: reported.append("never ran")))
    assert running.wait(5)
    a_worker.cancel()
    a_worker.submit(Job("next", lambda *_: "done", reported.append))
    run(a_worker)

    assert reported == ["cancelled", "never ran", "done"]


def test_background_work_makes_way_and_goes_on_afterwards(a_worker):
    done, order = set(), []
    started = threading.Event()

    def prepare(progress, cancel):
        for n in range(50):
            cancel.check()
            if n not in done:
                time.sleep(0.002)
                done.add(n)
                started.set()

    a_worker.submit(Job("prepare", prepare, lambda _: order.append("prepared"), background=True))
    assert started.wait(5)
    a_worker.submit(Job("click", lambda *_: len(done), order.append))
    run(a_worker)

    assert order[1] == "prepared"
    assert 0 < order[0] < 50
    assert len(done) == 50


def test_results_that_take_long_to_show_come_in_turns_of_their_own(a_worker):
    seen = []

    def show(name):
        time.sleep(2 * ENOUGH_S)
        seen.append(name)

    for name in ("first", "second"):
        a_worker.submit(Job(name, lambda *_, name=name: name, show))
    end = time.monotonic() + 10
    while len(a_worker._finished) < 2:
        assert time.monotonic() < end

    a_worker.pump()
    assert seen == ["first"]
    assert a_worker.is_busy
    a_worker.pump()
    assert seen == ["first", "second"]
    assert not a_worker.is_busy


def test_progress_arrives_on_the_main_thread_and_only_the_latest(a_worker):
    progressed = []
    a_worker.progressed.connect(lambda job, *progress: progressed.append((job.name, *progress)))
    waiting = threading.Event()

    def work(progress, cancel):
        for n in range(100):
            progress(n, 100, "searching slices")
        waiting.set()

    a_worker.submit(Job("search", work))
    assert waiting.wait(5)
    run(a_worker)

    assert progressed == [("search", 99, 100, "searching slices")]


def test_what_is_abandoned_is_never_delivered(a_worker):
    seen, go_on = [], threading.Event()
    owner = object()
    a_worker.submit(Job("slow", lambda *_: go_on.wait(5), seen.append, owner=owner))
    a_worker.submit(Job("other", lambda *_: "other", seen.append))

    a_worker.abandon(owner)
    go_on.set()
    run(a_worker)

    assert seen == ["other"]


def test_a_listener_that_fails_does_not_stop_the_others(a_worker, caplog):
    busy = []
    a_worker.busy_changed.connect(lambda value: 1 / 0)
    a_worker.busy_changed.connect(busy.append)

    a_worker.submit(Job("nothing", lambda *_: None))
    run(a_worker)

    assert busy == [True, False]
    assert "a listener failed" in caplog.text


@pytest.mark.alone
def test_closing_does_not_wait_for_what_cannot_be_stopped():
    worker, go_on = Worker("MOISSAM2 stubborn"), threading.Event()
    worker.submit(Job("stubborn", lambda *_: go_on.wait(10)))
    time.sleep(0.02)

    start = time.monotonic()
    assert not worker.close(timeout=0.05)
    assert time.monotonic() - start < 1
    go_on.set()
    assert worker.close()
    with pytest.raises(RuntimeError):
        worker.submit(Job("late", lambda *_: None))


@pytest.mark.alone
def test_the_main_thread_is_never_kept_while_the_engine_works(
    a_workspace, monkeypatch, record_property
):
    """On a scan of clinical size, with the stub network slowed down."""
    node = clinical_scan_node(a_workspace.scene, FIRST, SECOND)
    start = time.perf_counter()
    a_workspace.start(node)
    opening = time.perf_counter() - start
    turns = settle(a_workspace)
    assert a_workspace.is_open
    slowed_down(a_workspace.session, monkeypatch, 0.15)

    for block in (FIRST, SECOND):
        place_at(a_workspace, middle_of(a_workspace, block))
        turns += settle(a_workspace)
    a_workspace.commands.find_similar()
    turns += settle(a_workspace)
    a_workspace.commands.undo()
    turns += settle(a_workspace)

    assert a_workspace.messages == []
    assert len(a_workspace.session.lesions) == 2
    passed, worked = np.array(turns).T
    figures = {
        "start": opening,
        "longest turn by the clock": passed.max(),
        "99 of 100 turns": np.quantile(passed, 0.99),
        "longest work in a turn": worked.max(),
    }
    for what, seconds in figures.items():
        record_property(what, f"{seconds * 1000:.1f} ms")
    print({what: f"{seconds * 1000:.1f} ms" for what, seconds in figures.items()}, len(turns))
    # By the clock all but single turns have to keep to it: the machine that runs the tests has
    # other things to do as well.
    assert worked.max() < MOST_S
    assert np.quantile(passed, 0.99) < MOST_S


def test_a_click_does_not_wait_for_slices_to_be_encoded(a_workspace, a_volume_node, monkeypatch):
    from stub_network import StubNetwork

    encode = StubNetwork.encode

    def slow(self, images):
        time.sleep(0.05)
        return encode(self, images)

    monkeypatch.setattr(StubNetwork, "encode", slow)
    a_workspace.start(a_volume_node)
    while not a_workspace.is_open:
        a_workspace.pump()
    place(a_workspace, FIRST)
    while not a_workspace.session.lesions:
        a_workspace.pump()

    assert a_workspace.session.embeddings.ready < 12
    settle(a_workspace)
    assert a_workspace.session.embeddings.ready == 12
