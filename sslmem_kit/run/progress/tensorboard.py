"""TensorBoard event files of the encoders' training histories, on request. Needs the package ``tensorboard``, but no torch.

The process that receives the events of a run follows every encoder's ``history.csv``, which is whole at any time.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sslmem_kit.errors import require
from sslmem_kit.events import Completed, Event, OnEvent, Planned, Trained

FLUSH_SECONDS = 5
"""Seconds that a point is kept in memory, at most."""


@contextmanager
def logged(study_path: Path | str, on_event: OnEvent) -> Iterator[OnEvent]:
    """Yield a function for the events of a run that passes them on to ``on_event`` and writes ``encoders/<id>/tensorboard/``.

    Encoders that were trained before get their files when the run has planned what it still has to do. Of encoders that are trained
    together only the first one has events, the others get their files at the end. A file is open only while its encoder is at work.

    Raises
    ------
    UserError
        The package ``tensorboard`` is missing; before anything is trained.
    """
    require("tensorboard")
    encoders, logs = Path(study_path) / "encoders", {}

    def write(event: Event) -> None:
        on_event(event)
        if isinstance(event, Planned):
            _log_others(encoders, event.encoders)
        # Inside an epoch the file may still be that of an earlier run, which went further than its checkpoint.
        if isinstance(event, Completed) or (isinstance(event, Trained) and float(event.epochs).is_integer()):
            logs.setdefault(event.encoder, Log(encoders / event.encoder)).catch_up()
        if isinstance(event, Completed):
            logs.pop(event.encoder).close()

    try:
        yield write
        _log_others(encoders, logs)
    finally:
        for log in logs.values():
            log.close()


def _log_others(encoders: Path, at_work: Container[str]) -> None:
    """Write the files of the encoders that are not at work, where there are none of their whole history."""
    for history in encoders.glob("*/history.csv"):
        if history.parent.name not in at_work and not _is_logged(history):
            log = Log(history.parent)
            log.catch_up()
            log.close()  # each has a thread of its own


def _is_logged(history: Path) -> bool:
    """Return whether an event file was written after the last row of a history."""
    written = [file.stat().st_mtime_ns for file in (history.parent / "tensorboard").glob("events.out.tfevents.*")]
    return max(written, default=0) >= history.stat().st_mtime_ns


class Log:
    """Columns of an encoder's ``history.csv`` as scalars by epoch, in an event file in ``encoders/<id>/tensorboard``.

    The file holds the whole history and replaces those of an earlier run: from whatever checkpoint training resumed, no epoch is
    missing or shown twice.
    """

    def __init__(self, encoder_folder: Path) -> None:
        self.folder, self.history = encoder_folder / "tensorboard", encoder_folder / "history.csv"
        self._writer: Any = None
        self._seen = self._written = 0

    def catch_up(self) -> None:
        """Write the epochs that were added to the history since the last call."""
        changed = self.history.stat().st_mtime_ns if self.history.exists() else 0
        if changed == self._seen:
            return
        self._seen = changed
        with open(self.history, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        if self._writer is None:
            self._open()
        now = time.time()
        for row in rows[self._written :]:
            self._write(row, now - float(rows[-1]["seconds"]) + float(row["seconds"]))
        self._written = len(rows)

    def close(self) -> None:
        """Write the points that are still in memory and close the file."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.folder.mkdir(exist_ok=True)
        self._writer = EventFileWriter(str(self.folder), flush_secs=FLUSH_SECONDS)
        # At a start event of step 0, a reader drops all points of the files before this one. They stay: a TensorBoard that is open
        # would wait for ever for a file that is removed.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=0, session_log=start))

    def _write(self, row: Mapping[str, str], when: float) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.compat.proto.summary_pb2 import Summary

        # Values that were not recorded in an epoch are empty.
        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in row.items() if name != "epoch" and value]
        self._writer.add_event(event_pb2.Event(wall_time=when, step=int(row["epoch"]), summary=Summary(value=values)))
