"""Progress as a table with bars in the output of a notebook's cell.

Plain HTML that is replaced in place, no widget: a saved notebook shows the last state wherever it is opened.
"""

from __future__ import annotations

from html import escape

from IPython.display import display

from sslmem_kit.events import Event, Scored, Trained
from sslmem_kit.run.progress.state import DETAILS, RunProgress, duration, loss_text, position_text, rate_text

UPDATE_SECONDS = 0.25
"""Seconds between replacements of the output while encoders train, at least."""

WARNINGS = 8
"""Number of warnings that are shown, the latest."""


class Cell:
    """Display in the notebook cell that enters it; it may be called from any thread."""

    def __init__(self, state: RunProgress | None = None) -> None:
        self.state = state or RunProgress()
        self.updated = self.state.clock()

    def __enter__(self) -> Cell:
        self.handle = display(self._bundle(), raw=True, display_id=True)
        return self

    def __exit__(self, error: type | None, *_: object) -> None:
        ended = "" if error is None else "interrupted" if issubclass(error, KeyboardInterrupt) else "stopped by an error"
        self.handle.update(self._bundle(ended=ended or "finished"), raw=True)

    def __call__(self, event: Event) -> None:
        self.state.update(event)
        now = self.state.clock()
        if not isinstance(event, Trained | Scored) or now - self.updated >= UPDATE_SECONDS:
            self.updated = now
            self.handle.update(self._bundle(), raw=True)

    def _bundle(self, ended: str = "") -> dict[str, str]:
        """Return the state as HTML and as plain text."""
        state = self.state
        summary = state.counts
        if state.details:
            summary += f"; {DETAILS}: {state.details[0]} of {state.details[1]}"
        if ended:
            summary += f"; {ended} after {duration(state.elapsed())}"
        return {
            "text/plain": "\n".join([*state.messages, summary, *map(_warning, state.warnings)]),
            "text/html": page(state, summary, bool(ended)),
        }


def page(state: RunProgress, summary: str, ended: bool) -> str:
    """Return the HTML of the table of encoders at work, the summary of all, and the warnings."""
    rows = []
    for encoder in state.at_work:
        scoring = encoder.state == "scoring"
        done, total = (encoder.scored, state.blocks) if scoring else (encoder.epoch, state.epochs)
        rows.append(
            _row(
                encoder.name,
                done / total,
                position_text(encoder, state.epochs),
                loss_text(encoder.loss) if state.epochs else "",
                "scoring" if scoring else rate_text(encoder.images_per_second),
                "" if ended else state.left(encoder.ends),
            )
        )
    headings = "".join(f"<th>{name}</th>" for name in ("encoder", "", "epoch", "loss", "images/s", "left")) if rows else ""
    if state.encoders:
        left = state.left(state.ends) if rows and not ended else ""
        rows.append(_row("all", state.share, f"{state.share:.0%}", "", state.total_rate, left))
    table = f"<table><tr>{headings}</tr>{''.join(rows)}</table>" if rows else ""
    warnings = [_warning(text) for text in state.warnings[-WARNINGS:]]
    if len(state.warnings) > WARNINGS:
        warnings.append(f"and {len(state.warnings) - WARNINGS} earlier warnings")
    warned = "".join(f'<p style="color: #D55E00"><b>{escape(text)}</b></p>' for text in warnings)
    messages = "".join(f"<p>{escape(text)}</p>" for text in state.messages)
    return f"{messages}{table}<p>{escape(summary)}</p>{warned}"


def _row(name: str, share: float, *numbers: str) -> str:
    label = escape(name)
    bar = f'<progress value="{share:.4f}" max="1" aria-label="{label}"></progress>'
    return f"<tr><td>{label}</td><td>{bar}</td>{''.join(f'<td>{number}</td>' for number in numbers)}</tr>"


def _warning(text: str) -> str:
    return f"WARNING: {text}"
