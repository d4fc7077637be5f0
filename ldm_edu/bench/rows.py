"""A measured comparison as a row of a table. Used in notebook 16."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ldm_edu.bench.pairs import Ratio


@dataclass(frozen=True)
class Row:
    """One comparison: the cost of B over the cost of A.

    Args:
        group: what it belongs to: structure, small, ….
        name: what is compared.
        a, b: what A and B are.
        ratio: cost(B) / cost(A).
        parameters: parameters of A's and of B's network; None where there is no network.
        goal: what the ratio is to reach; None has none.
        at_most: the goal is the largest ratio allowed, not the least.
    """

    group: str
    name: str
    a: str
    b: str
    ratio: Ratio
    parameters: tuple[int, int] | None = None
    goal: float | None = None
    at_most: bool = False

    @property
    def met(self) -> str:
        """Whether the goal is met: yes or no where the whole interval says so, else open."""
        if self.goal is None:
            return ""
        low, high = self.ratio.low, self.ratio.high
        if self.at_most:
            return "yes" if high <= self.goal else "no" if low > self.goal else "open"
        return "yes" if low >= self.goal else "no" if high < self.goal else "open"

    def text(self) -> str:
        """The row in words: the ratio first, then what it is a ratio of."""
        r = self.ratio
        goal = "" if self.goal is None else f"; goal {'≤' if self.at_most else '≥'} {self.goal:g}: {self.met}"
        size = "" if self.parameters is None else f" ({self.parameters[0]:,} and {self.parameters[1]:,} parameters)"
        return (
            f"{r.median:7.2f}×  [{r.low:.2f}, {r.high:.2f}]  {self.name}{goal}\n"
            f"          A: {self.a}\n"
            f"          B: {self.b}{size}\n"
            f"          quartiles {r.lower_quartile:.2f} to {r.upper_quartile:.2f}, {r.pairs} pairs, "
            f"{r.seconds:.1f} s measured"
        )

    def markdown(self) -> str:
        """The row of a Markdown table."""
        r = self.ratio
        goal = "" if self.goal is None else f"{'≤' if self.at_most else '≥'} {self.goal:g}: {self.met}"
        return f"| {self.name} | {self.a} | {self.b} | {r.median:.2f}× [{r.low:.2f}, {r.high:.2f}] | {goal} |"

    def values(self) -> dict:
        """The row as plain values."""
        return asdict(self) | {"met": self.met or None}


@dataclass(frozen=True)
class Gap:
    """A comparison that could not be measured.

    Args:
        group, name, a, b: as in Row.
        why: what was in the way.
    """

    group: str
    name: str
    a: str
    b: str
    why: str

    def text(self) -> str:
        """The row in words."""
        return f"      –   {self.name}: {self.why}\n          A: {self.a}\n          B: {self.b}"

    def markdown(self) -> str:
        """The row of a Markdown table."""
        return f"| {self.name} | {self.a} | {self.b} | {self.why} | |"

    def values(self) -> dict:
        """The row as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Reach:
    """How long one training took to a share of right pictures.

    Args:
        group, name: as in Row.
        recipe: what was trained, and how.
        wanted: the share aimed at.
        curve: (cost, share recognised, share that the exact reader accepts) of every judgement.
        goal: what is asked, in words.
        met: yes or no; empty where nothing is asked.
    """

    group: str
    name: str
    recipe: str
    wanted: float
    curve: tuple[tuple[float, float, float], ...]
    goal: str = ""
    met: str = ""

    @property
    def seconds(self) -> float:
        """Training cost up to the last judgement."""
        return self.curve[-1][0]

    @property
    def share(self) -> float:
        """Pictures recognised then."""
        return self.curve[-1][1]

    def text(self) -> str:
        """The row in words."""
        goal = f"; goal {self.goal}: {self.met}" if self.goal else ""
        curve = ", ".join(f"{seconds:.0f} s: {share:.0%} ({strict:.0%})" for seconds, share, strict in self.curve)
        return (
            f"{self.share:7.0%}   of pictures right after {self.seconds:.1f} s, {self.name}{goal}\n"
            f"          {self.recipe}\n"
            f"          {curve}; in brackets what the exact reader accepts"
        )

    def markdown(self) -> str:
        """The row of a Markdown table."""
        reached = f"{self.share:.0%} right after {self.seconds:.0f} s"
        return f"| {self.name} | {self.recipe} | | {reached} | {self.goal}: {self.met} |"

    def values(self) -> dict:
        """The row as plain values."""
        return asdict(self) | {"seconds": self.seconds, "share": self.share}
