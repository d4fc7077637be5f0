"""How a training shows where it stands: a bar on a terminal, a line now and then elsewhere. Used by run.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from ldm_edu.fit import Progress

LINE_SECONDS = 10.0  # between two lines where standard error is a file or a pipe


class StageProgress:
    """Shows loss, pictures a second and time left of each stage on standard error."""

    def __init__(self):
        self.stage, self.shown, self.bar = None, 0.0, None
        self.terminal = sys.stderr.isatty()

    def update(self, stage: str, now: Progress) -> None:
        """Take in a report of a stage."""
        first = stage != self.stage
        if first:
            self.close()
            self.stage = stage
        if self.terminal:
            self._move(now)
        elif first or now.step == now.steps or time.monotonic() - self.shown >= LINE_SECONDS:
            self.shown = time.monotonic()
            left = tqdm.format_interval(now.seconds_left)
            print(f"{stage}: step {now.step} of {now.steps}, {_figures(now)}, {left} left", file=sys.stderr, flush=True)

    def _move(self, now: Progress) -> None:
        if self.bar is None:  # it starts where the training does, so that its speed and time left are right from there
            self.bar = tqdm(total=now.steps, initial=now.step, desc=self.stage, unit="step", dynamic_ncols=True)
        self.bar.set_postfix_str(_figures(now), refresh=False)
        self.bar.update(now.step - self.bar.n)
        self.bar.refresh()

    def note(self, sentence: str) -> None:
        """Show a sentence without breaking the bar."""
        tqdm.write(sentence, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()
        self.bar = self.stage = None


def sampler_bar(total: int) -> Callable[[], object]:
    """A function to call after each step of a sampler; shows a bar on a terminal, once drawing takes a while."""
    bar = tqdm(total=total, unit="step", desc="drawing", delay=0.5, disable=None, leave=False)

    def step() -> None:
        bar.update()
        if bar.n >= total:
            bar.close()

    return step


def _figures(now: Progress) -> str:
    return f"loss {now.loss:.4f}, {now.rate:.0f} pictures/s"
