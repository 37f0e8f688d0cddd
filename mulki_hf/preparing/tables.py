"""What was found of a stream, as tables for a terminal."""

import textwrap
from collections.abc import Sequence

import torch

from ..report.tables import duration, markdown_table
from ..runs.room import gigabytes, listed
from .estimates import Estimate
from .looking import Look
from .problems import Problems
from .timing import Paces


WIDTHS = (18, 34, 52, 52)
"""Of the problems' columns, at most."""


def tasks_table(look: Look) -> str:
    """The tasks that could be loaded: images to train and to evaluate on, classes, steps."""
    rows = [["task", "dataset", "train", "evaluation", "classes", "steps"]]
    steps = {stage.name: f"{look.steps(stage):,}" for stage in look.stages}
    for task in look.tasks:
        counts = [f"{count:,}" for count in (len(task.train), len(task.evaluation), len(task.class_names))]
        rows.append([task.name, task.dataset or "in memory", *counts, steps.get(task.name, "-")])
    if look.reference is not None:
        texts = f", {len(look.reference.texts):,} texts" if look.reference.texts else ""
        rows.append(["reference", look.reference.dataset or "file", f"{look.references:,}{texts}", "-", "-", "-"])
    return markdown_table(rows)


def problems_table(problems: Problems) -> str:
    """A row a problem, in cells of several lines."""
    rows = [["task", "where", "what", "what to do"]]
    rows += [[one.subject, one.where, one.what, one.advice] for one in problems]
    widths = [min(limit, max(map(len, column))) for limit, column in zip(WIDTHS, zip(*rows, strict=True), strict=True)]
    lines = [_row(row, widths) for row in rows]
    rule = "-+-".join("-" * width for width in widths)
    return f"\n{rule}\n".join(lines)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, wrapped))
    lines = zip(*(part + [""] * (height - len(part)) for part in wrapped), strict=True)
    return "\n".join(
        " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def estimate_text(look: Look, paces: Paces, estimate: Estimate) -> str:
    """Disk, memory and time of the whole stream."""
    needed, parts = sum(look.disk.values()), listed(look.disk) or "results"
    lines = [f"disk    {gigabytes(needed)} at most, {gigabytes(look.free)} are free: {parts}"]
    memory = f"{gigabytes(paces.main_bytes)} of main memory a process"
    if paces.device_bytes is not None:
        memory = f"{gigabytes(paces.device_bytes)} on the device, {memory}"
    lines.append(f"memory  {memory}")
    device = look.accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    lines.append(
        f"time    {duration(estimate.seconds)} on {look.accelerator.num_processes} process(es), {name}: steps "
        f"{duration(estimate.steps)}, evaluations {duration(estimate.evaluations)}, tables {duration(estimate.tables)}"
    )
    timed = [f"a step of {one.stage.name} {each:.2f} s" for one, each in paces.steps]
    timed.append(f"evaluation {1 / paces.image:,.0f} images/s and {1 / paces.prompt:,.0f} prompts/s")
    return "\n".join([*lines, f"        timed: {', '.join(timed)}"])
