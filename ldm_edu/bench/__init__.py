"""Speed, measured: ours against diffusers, and what each choice gives, as ratios of paired runs. Used in notebook 16.

pairs.py         costs in turn, their ratio and its spread
rows.py          a comparison as text and JSON
ours.py          what is measured on our side
theirs.py        what is measured on diffusers' side
comparisons.py   the comparisons
generate.py      a prompt drawn by a new process
throughput.py    training images a second
quality.py       CPU time to a quality
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from ldm_edu.readme import around_block, write_block

TABLE = ("| compared | A | B | B's cost over A's | goal |", "|---|---|---|---|---|")


def run_bench(
    what: Sequence[str] = (),
    *,
    seconds: float = 10.0,
    threads: int = 1,
    device: str = "auto",
    as_json: bool = False,
    write: Path | None = None,
) -> None:
    """Measure what is asked for, and print each row as it is there, or all of them as JSON.

    Args:
        what: structure, small, sampling, latent, options, import, generate, throughput, quality; where empty, all but
            the last two, on Windows neither import nor generate.
        seconds: to measure each row, at least.
        threads: CPU threads.
        device: auto, cpu or cuda.
        write: a Markdown file that gets the table too, between its markers, after each row: a run cut short loses none.
    Raises:
        ValueError: an unknown name, a number out of range, or diffusers is missing.
    """
    from ldm_edu.bench.comparisons import COMPARISONS, Setting, usual_comparisons
    from ldm_edu.bench.quality import quality
    from ldm_edu.bench.theirs import need_diffusers
    from ldm_edu.bench.throughput import throughput
    from ldm_edu.profile import pick_device

    known = COMPARISONS | {"throughput": throughput, "quality": quality}
    unknown = [name for name in what if name not in known]
    if unknown:
        raise ValueError(f"unknown comparison {', '.join(unknown)}; there are {', '.join(known)}")
    if not seconds > 0 or threads < 1:
        raise ValueError(f"--seconds must be positive and --threads 1 or more, got {seconds} and {threads}")
    if write is not None:
        around_block(write, "bench")  # a file that cannot take the table is told before an hour of measuring
    where = pick_device(device)
    about = {
        "device": torch.cuda.get_device_name() if where == "cuda" else platform.processor() or platform.machine(),
        "cost": "wall seconds of the GPU" if where == "cuda" else f"CPU seconds of the process, threads: {threads}",
        "torch": torch.__version__,
        "diffusers": need_diffusers(),
    }
    head = f"Cost of B over cost of A, in {about['cost']}: median [95% interval of it]."
    versions = f"torch {about['torch']}, diffusers {about['diffusers']}, {about['device']}"
    if not as_json:
        print(f"{head}\n{versions}\n")
    page = [head, f"{versions}.", "", *TABLE]
    rows, peak, before = [], 0, torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name in what or usual_comparisons():
            for row in known[name](Setting(seconds, where)):
                rows.append(row)
                if where == "cuda":
                    peak = max(peak, torch.cuda.max_memory_allocated())  # at once: throughput resets it
                if not as_json:
                    print(row.text(), flush=True)
                if write is not None:
                    page.append(row.markdown())
                    write_block(write, "bench", "\n".join(page))
    finally:
        torch.set_num_threads(before)
    if where == "cuda":
        about["peak GPU memory in MiB"] = peak // 2**20
    if as_json:
        print(json.dumps({"about": about, "rows": [row.values() for row in rows]}, indent=2, ensure_ascii=False))
    elif where == "cuda":
        print(f"\npeak GPU memory {about['peak GPU memory in MiB']} MiB")
