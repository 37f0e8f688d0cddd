"""One run of the comparison: its settings, its folder, and its results if it is finished."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from mulki_hf.config import StreamConfig
from mulki_hf.config.parser import parse
from mulki_hf.config.recipes import all_fields
from mulki_hf.config.training import config_class
from mulki_hf.errors import ConfigurationError
from mulki_hf.fields import check_keys, conformed
from mulki_hf.results import StreamResults
from mulki_hf.runs.resume import PROCESSES, check_unchanged


OWN = ("seed", "output_dir", "evaluate_on", "tasks")
"""What the grid gives each run itself, and no setting may."""


@dataclass(frozen=True, eq=False)
class Run:
    """One stream that is learned.

    Attributes:
        stage: `tuning`, `grid` or `ablation`.
        label: of its row.
        order: from 1.
        settings: by field, `method` included; what stands in `recipe` is not repeated.
        recipe: of the order.
        trial: what is tuned, in words; empty outside tuning.
    """

    stage: str
    label: str
    order: int
    seed: int
    settings: dict[str, Any]
    recipe: Path
    trial: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.label, self.trial, f"order {self.order}", f"seed {self.seed}")))

    def folder(self, output: Path) -> Path:
        """Where it is learned."""
        return output / self.stage / self.label / self.trial / f"order{self.order}-seed{self.seed}"

    def options(self, output: Path) -> list[str]:
        """Of `mulki_hf.train`."""
        given = self.settings | {"seed": self.seed, "output_dir": self.folder(output), "disable_tqdm": True}
        given["evaluate_on"] = "validation" if self.stage == "tuning" else "test"
        words = ["--config", str(self.recipe)]
        for name, value in given.items():
            words += [f"--{name}", *map(_word, value if isinstance(value, list) else [value])]
        return words

    def resolved(self, output: Path) -> dict[str, Any]:
        """All its settings, as `results.json` records them.

        Raises:
            ConfigurationError: a setting can't be used; names run and field.
        """
        try:
            typed(self.settings, self.settings["method"], "settings")
            stream, config = parse(self.options(output))
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.stage}, {self}: {error}") from error
        return dataclasses.asdict(stream) | config.to_dict() | {PROCESSES: config.world_size}

    def finished(self, output: Path) -> StreamResults | None:
        """Its results if it is finished.

        Raises:
            ConfigurationError: the settings can't be used, or the folder holds a run with others; names the field and
                both values.
        """
        folder, now = self.folder(output), self.resolved(output)
        if not (folder / StreamResults.FILE).exists():
            return None
        results = StreamResults.load(folder)
        try:
            check_unchanged(results, None, now, [task["name"] for task in now["tasks"]])
        except ConfigurationError as error:
            said = str(error).removeprefix("resume: ").removesuffix("; a stream can only go on as it began")
            raise ConfigurationError(
                f"{folder} is of another grid: {said}; choose another --output_dir, or move that folder away"
            ) from error
        return results if results.metrics else None


def typed(settings: dict[str, Any], method: str, where: str) -> dict[str, Any]:
    """Settings with values of their fields' types, so that a number is the same however it is written.

    Args:
        settings: by field.
        method: whose fields there are, a user's own too.
        where: they stand, for messages.

    Raises:
        ConfigurationError: there is no such method or field, or a value is of another type.
    """
    try:
        config = config_class(method)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    check_keys(settings, {f.name for f in all_fields(config)} - {*OWN}, where)
    return conformed(settings, get_type_hints(StreamConfig) | get_type_hints(config), where, strings=True)


def trial_name(settings: dict[str, Any]) -> str:
    """Settings in words that can be a folder's name: `feature_weight=6,learning_rate=0.001`."""
    return ",".join(f"{name}={_word(value)}" for name, value in sorted(settings.items())) or "default"


def _word(value: Any) -> str:
    """As on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    short = f"{value:g}" if isinstance(value, float) else ""
    # 3 and 3.0 are one number, and no digit may get lost.
    return short if short and float(short) == value else str(value)
