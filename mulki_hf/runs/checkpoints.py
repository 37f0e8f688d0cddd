"""Trainer's own checkpoints inside a task."""

from pathlib import Path


def last_checkpoint(folder: str) -> str | None:
    """The newest complete Trainer checkpoint; one whose writing was interrupted has no trainer state yet."""
    complete = sorted(
        (int(path.parent.name.rpartition("-")[2]), str(path.parent))
        for path in Path(folder).glob("checkpoint-*/trainer_state.json")
    )
    return complete[-1][1] if complete else None
