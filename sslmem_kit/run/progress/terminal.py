"""Progress as bars in a terminal: the encoders at work, and one bar for all."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from sslmem_kit.events import Event, Message, Warned
from sslmem_kit.run.progress.state import DETAILS, RunProgress, duration, loss_text, position_text, rate_text


class Bars:
    """Bars that are updated in place on standard error from the first event; messages and warnings are printed above and stay."""

    def __init__(self, console: Console | None = None, state: RunProgress | None = None) -> None:
        self.state = state or RunProgress()
        self.live = Live(self, console=console or Console(stderr=True), refresh_per_second=4)

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        self.state.update(event)
        # Not before: of several ranks on one terminal only the first gets any events.
        self.live.start()
        if isinstance(event, Message):
            self.live.console.print(Text(event.text, style="dim"))
        elif isinstance(event, Warned):
            self.live.console.print(Text(f"WARNING: {self.state.warnings[-1]}", style="bold yellow"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state = self.state
        # Beside them: a heading, the bar of all, the counts, and a line for the cursor.
        working = state.at_work[: max(1, console.size.height - 4)]
        if state.encoders:
            yield self._table(working, options.max_width)
        if state.details:
            done, total = state.details
            yield Text(f"{DETAILS}: {done} of {total}", no_wrap=True, overflow="ellipsis")
        else:
            yield Text(state.counts, style="dim", no_wrap=True, overflow="ellipsis")

    def _table(self, working: list, width: int) -> Table:
        state = self.state
        # Where there is no room for a bar and all numbers, images/s are dropped.
        rates = width >= 50
        numbers = ["loss", *(["images/s"] if rates else []), "left"]
        table = Table(
            Column("encoder", no_wrap=True, overflow="ellipsis", max_width=max(7, width // 4)),
            Column("", ratio=1),
            # Wide enough for 9.9 of 60 as for 10 of 60, so that the bars keep their place.
            Column("epoch", justify="right", no_wrap=True, min_width=2 * len(str(state.epochs)) + 3),
            *(Column(name, justify="right", no_wrap=True) for name in numbers),
            box=None,
            expand=True,
            padding=(0, 2, 0, 0) if width >= 70 else (0, 1, 0, 0),
            pad_edge=False,
            show_header=bool(working),
            header_style="dim",
        )
        for encoder in working:
            scoring = encoder.state == "scoring"
            bar = ProgressBar(state.blocks, encoder.scored) if scoring else ProgressBar(state.epochs, encoder.epoch)
            rate = "scoring" if scoring else rate_text(encoder.images_per_second)
            table.add_row(
                encoder.name,
                bar,
                position_text(encoder, state.epochs),
                loss_text(encoder.loss) if state.epochs else "",
                *([rate] if rates else []),
                state.left(encoder.ends),
            )
        time = state.left(state.ends) if working else duration(state.elapsed())
        table.add_row("all", ProgressBar(1.0, state.share), f"{state.share:.0%}", "", *([state.total_rate] if rates else []), time)
        return table
