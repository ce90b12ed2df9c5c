"""Live monitor of a running study, for notebooks: progress of each encoder, and the loss curves.

A thread of the kernel reads the study's files now and then, so cells run meanwhile. It only reads: a lock taken to ask whether
``sslmem run`` is at work could make a run that starts at that moment fail. So the monitor never says that a run has stopped, only for how
long no file has changed.
"""

from __future__ import annotations

import csv
import math
import threading
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

import ipywidgets as widgets
import traitlets
import zarr

from sslmem_kit import store
from sslmem_kit.errors import UserError
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.places import find_study
from sslmem_kit.statistics.caveats import caveats
from sslmem_kit.store.directory import StudyFolder
from sslmem_kit.study import Study

QUIET_SECONDS = 30
"""Seconds without a change after which the monitor gives the command that resumes."""

# The colours of candidates and independents in the figures, whose module imports three plotting libraries.
_COLOURS = {"f": "#D55E00", "g": "#0072B2"}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 220, 56, 34, 14, 14
_POINTS = 200
"""Largest number of epochs that a curve is plotted through."""
_CHANGING = "study.yaml .lock encoders/* encoders/*/* encoders/*/resume/* results.zarr results.zarr/*/c results.zarr/*/*/c/*"
_DAMAGE = (UserError, OSError, ValueError, KeyError, TypeError, RuntimeError)
"""Errors of files that are damaged or half written."""


@dataclass(frozen=True)
class EncoderProgress:
    """Progress of one encoder."""

    encoder: str
    family: str
    state: str
    """``waiting``, ``training``, ``scoring`` or ``done``."""
    epoch: int
    epochs: int
    losses: tuple[float, ...]
    """Mean loss of each finished epoch, as far as ``history.csv`` holds them."""
    seconds: float
    """Seconds of training up to the last of these epochs."""
    scored: int
    """Number of scored sample blocks, of ``blocks``."""
    blocks: int
    """Number of sample blocks."""


def read_progress(path: Path | str) -> list[EncoderProgress]:
    """Read the progress of the encoders of a study from its files; empty as long as there is no ``study.yaml``.

    Raises
    ------
    UserError
        A file is damaged or half written (read again later), or the path is an audit.
    """
    study = Study(Path(path))
    if not study.spec_path.is_file():
        return []
    if isinstance(study.read_spec(), AuditSpec):
        raise _no_study(study)
    # Pairs come first; of other designs there may be thousands.
    plans, epochs = study.spec.pairs, study.spec.training.epochs
    try:
        scored, evaluated = _completeness(study.results_path, len(plans))
    except _DAMAGE as error:
        raise UserError(f"{study.results_path}: the records of completeness cannot be read ({type(error).__name__})") from None
    progress = []
    for plan, blocks, is_evaluated in zip(plans, scored, evaluated, strict=False):
        folder = study.encoder(plan.id)
        losses, seconds = _read_history(folder / "history.csv")
        trained = (folder / "weights.safetensors").exists() or any(blocks)
        if blocks and all(blocks) and is_evaluated:
            state = "done"
        elif trained or len(losses) == epochs:
            state = "scoring"
        else:
            # A worker makes an encoder's folder when it takes the encoder up.
            state = "training" if folder.exists() else "waiting"
        epoch = epochs if state in ("scoring", "done") else len(losses)
        progress.append(EncoderProgress(plan.id, plan.family, state, epoch, epochs, losses, seconds, sum(blocks), len(blocks)))
    return progress


def _no_study(study: StudyFolder) -> UserError:
    return UserError(
        f"study_path: {str(study.path)!r} is an audit, whose encoders are not trained here; `sslmem score` shows how far it is itself"
    )


def _is_audit(study: StudyFolder) -> bool:
    try:
        return isinstance(study.read_spec(), AuditSpec)
    except _DAMAGE:  # not there yet, or half written
        return False


def _completeness(results: Path, encoders: int) -> tuple[list[list[bool]], list[bool]]:
    """Return (encoder, block) whether a block is scored, and (encoder,) whether an encoder is evaluated."""
    if not results.exists():
        return [[] for _ in range(encoders)], [False] * encoders
    group = zarr.open_group(results / "completeness", mode="r", use_consolidated=False)
    return group["scored"][:].tolist(), group["evaluated"][:].tolist()


def _read_history(path: Path) -> tuple[tuple[float, ...], float]:
    """Return the losses by epoch and the seconds of training."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines()))
        losses = tuple(float(row["loss"]) for row in rows)
        whole = text.endswith("\n") and [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
        seconds = float(rows[-1]["seconds"]) if rows else 0.0
    except FileNotFoundError:
        return (), 0.0
    except _DAMAGE:
        whole = False
    if not whole:
        raise UserError(f"{path}: this is not a whole training history")
    return losses, seconds


def seconds_left(progress: list[EncoderProgress]) -> float | None:
    """Estimate the seconds until the last encoder is trained, None before the first epoch.

    The number of remaining epochs times the mean time per epoch, shared among the encoders that are at work now.
    """
    finished = sum(len(row.losses) for row in progress)
    if not finished:
        return None
    per_epoch = sum(row.seconds for row in progress) / finished
    at_work = sum(row.state in ("training", "scoring") for row in progress)
    return sum(row.epochs - row.epoch for row in progress) * per_epoch / max(1, at_work)


def newest_change(path: Path) -> float:
    """Return the time of the newest change of the files that a run writes, in seconds since 1970; 0 where there are none."""
    newest = 0.0
    for pattern in _CHANGING.split():
        for found in path.glob(pattern):
            try:
                newest = max(newest, found.stat().st_mtime)
            except FileNotFoundError:  # a temporary file, renamed since
                continue
    return newest


def loss_curves(progress: list[EncoderProgress]) -> str:
    """Plot the loss curves of all encoders as SVG text; f and g in their colours, axes in the colour of the text around."""
    values = [loss for row in progress for loss in row.losses if math.isfinite(loss)]
    if not values:
        return ""
    epochs, low, high = max(row.epochs for row in progress), min(values), max(values)
    span = high - low or 1.0
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT

    def x(epoch: float) -> float:
        return _LEFT + (right - _LEFT) * (epoch - 1) / max(1, epochs - 1)

    def y(loss: float) -> float:
        return bottom - (bottom - _TOP) * (loss - low) / span

    parts = [f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>']
    parts += [_text(_LEFT - 6, y(loss) + 4, f"{loss:.3g}", "end") for loss in sorted({low, high})]
    parts += [_text(x(epoch), bottom + 16, str(epoch), "middle") for epoch in sorted({1, epochs})]
    parts += [_text((_LEFT + right) / 2, bottom + 28, "epoch", "middle"), _text(_LEFT + 8, _TOP + 2, "loss", "start")]
    for row in progress:
        points = [(epoch, loss) for epoch, loss in enumerate(row.losses, 1) if math.isfinite(loss)]
        kept = points[:: max(1, len(points) // _POINTS)] + points[-1:]
        path = " ".join(f"{x(epoch):.1f},{y(loss):.1f}" for epoch, loss in kept)
        colour = _COLOURS.get(row.family, "currentColor")
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linecap="round">'
            f"<title>{escape(row.encoder)}</title></polyline>"
        )
    for place, family in enumerate(sorted({row.family for row in progress})):
        colour, left = _COLOURS.get(family, "currentColor"), right - 120 + 60 * place
        parts.append(f'<path d="M{left} {_TOP + 4}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(left + 24, _TOP + 8, family, "start"))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Loss of each encoder over epochs" '
        f'style="width: 100%; max-width: {_WIDTH}px; height: auto; display: block">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="12" fill="currentColor">{escape(text)}</text>'


def _table(progress: list[EncoderProgress]) -> str:
    rows = [_row("th", ("encoder", "state", "epochs", "", "loss"))]
    for row in progress:
        bar = (
            f'<progress value="{row.epoch}" max="{row.epochs}" aria-label="epochs of {escape(row.encoder)}" '
            f'style="width: 180px; accent-color: {_COLOURS.get(row.family, "auto")}"></progress>'
        )
        state = f"scoring, {row.scored} of {row.blocks} blocks" if row.state == "scoring" else row.state
        loss = f"{row.losses[-1]:.4f}" if row.losses else "-"
        rows.append(_row("td", (escape(row.encoder), state, bar, f"{row.epoch} of {row.epochs}", loss)))
    return f"<table>{''.join(rows)}</table>"


def _row(tag: str, cells: tuple[str, ...]) -> str:
    style = "text-align: left; padding-right: 1em"
    return "<tr>" + "".join(f'<{tag} style="{style}">{cell}</{tag}>' for cell in cells) + "</tr>"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Monitor(widgets.VBox):
    """Widget of :func:`monitor`."""

    progress = traitlets.List(help="The last good reading: an EncoderProgress each encoder.")
    running = traitlets.Bool(False, help="True while the study is being watched.")

    def __init__(self, path: Path, every: float) -> None:
        self._path, self._every, self._results = path, every, StudyFolder(path).results_path
        self._status, self._body = widgets.HTML(), widgets.HTML()
        self._button = widgets.Button(
            description="Stop watching", icon="stop", tooltip="Ends this display; the study itself continues", disabled=True
        )
        self._button.on_click(lambda _: self.stop())
        self._stopped = threading.Event()
        self._changed = 0.0
        super().__init__([self._status, self._body, self._button])
        if self._update():
            return
        self.running, self._button.disabled = True, False
        threading.Thread(target=self._watch, name=f"monitor of {path}", daemon=True).start()

    def stop(self) -> None:
        """Stop watching; the study itself continues."""
        self._stopped.set()

    def close(self) -> None:
        """Remove the widget and end its thread."""
        self.stop()
        super().close()

    def _watch(self) -> None:
        ended, spent = False, 0.0
        # Where a reading takes long, four fifths of the time are left to the cells.
        while not ended and not self._stopped.wait(max(self._every, 4 * spent)):
            started = time.monotonic()
            ended = self._update()
            spent = time.monotonic() - started
        if not ended:
            self._status.value += " Watching was stopped; the study itself continues if it is running."
        self._button.disabled, self.running = True, False

    def _update(self) -> bool:
        """Read and show the progress; return True when the study is complete."""
        note, complete = "", False
        try:
            progress = read_progress(self._path)
            # The store is closed last, after what concerns all encoders.
            complete = bool(progress) and all(row.state == "done" for row in progress) and store.is_finished(self._results)
            if complete:
                note = "".join(f" Warning: {sentence}." for sentence in caveats(store.open_results(self._results)))
            if progress != self.progress:
                self.progress = progress
                self._body.value = _table(progress) + loss_curves(progress)
        except _DAMAGE as error:
            note = f" Not everything can be read at the moment: {error}."
        self._status.value = escape(self._summary(complete) + note)
        return complete

    def _summary(self, complete: bool) -> str:
        """Return one or two sentences about the study."""
        progress, path = self.progress, self._path
        if not progress:
            return f"Waiting for a study in {path}; `sslmem run SPEC --out {path}` starts one."
        done = f"{sum(row.state == 'done' for row in progress)} of {len(progress)} encoders are done"
        if complete:
            seconds = store.attributes(self._results).get("seconds")
            return f"The study is complete: {done}" + (f", which took {_duration(seconds)}." if seconds else ".")
        now, newest = time.time(), newest_change(path)
        # The clock of a network drive may be another one: what has just been seen to change is no older than this moment.
        if newest > self._changed:
            self._quiet_since = now if self._changed else min(now, newest)
            self._changed = newest
        quiet = now - self._quiet_since
        if quiet > QUIET_SECONDS:
            return (
                f"{done}. No change for {_duration(quiet)}: a long epoch is at work, or nothing is running; then "
                f"`sslmem run {path / 'study.yaml'} --out {path}` resumes it."
            )
        left = seconds_left(progress)
        about = f", about {_duration(left)} of training left" if left else ""
        return f"{done}. Running for {_duration(max(0, now - _started(path)))}{about}."

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """Return the widget, and beside it the present reading as HTML for pages in which no kernel runs."""
        shown = {"text/html": f"<p>{self._status.value}</p>{self._body.value}"}
        return {**super()._repr_mimebundle_(**kwargs), **shown}


def _started(path: Path) -> float:
    """Return the time at which the latest run took the study's lock, or the study was made where there is no lock, in seconds since 1970."""
    lock = path / ".lock"
    return (lock if lock.exists() else path / "study.yaml").stat().st_mtime


def monitor(study_path: Path | str, *, every: float = 1.0) -> Monitor:
    """Make a widget that shows the progress of a running study: each encoder's state, epochs and loss, and the loss curves.

    It waits for a study that has not started, and ends by itself when the study is complete. Cells run meanwhile.

    Parameters
    ----------
    study_path
        A study directory; it need not exist yet.
    every
        Seconds between two readings, at least 0.1.

    Raises
    ------
    UserError
        The path is a file or an audit, or ``every`` is no number of at least 0.1.

    Examples
    --------
    >>> widget = monitor("papermill_runs/digits")
    >>> [row.state for row in widget.progress[:2]]
    ['done', 'done']
    """
    if isinstance(every, bool) or not isinstance(every, int | float) or not 0.1 <= every < math.inf:
        raise UserError(f"every: a number of seconds from 0.1 on is needed, got {every!r}")
    path = find_study(study_path)
    if path.is_file():
        raise UserError(f"study_path: {str(path)!r} is a file, a study directory is needed")
    if _is_audit(StudyFolder(path)):
        raise _no_study(StudyFolder(path))
    return Monitor(path, float(every))
