"""What is compared: `grid.yaml` as runs, each with its settings and its folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from one_run import Run, trial_name, typed

from mulki_hf.errors import ConfigurationError, shown
from mulki_hf.fields import instance
from mulki_hf.results import folder_safe
from mulki_hf.strict_yaml import read_yaml


STAGES = ("tuning", "grid", "ablation")
GRID = Path(__file__).with_name("grid.yaml")


@dataclass
class Compared:
    """One row of the table.

    Attributes:
        method (*optional*): value of `--method`; by default the row's label.
        base: settings of every run, beside those of the order's recipe.
        trials (*optional*): what is tuned, settings over the base; left out where there is nothing to tune.
        chosen (*optional*): the trial that went into the grid.
        seeds, orders (*optional*): the only ones, where others would give the same.
    """

    method: str | None = None
    base: dict = field(default_factory=dict)
    trials: list[dict] | None = None
    chosen: dict | None = None
    seeds: list[int] | None = None
    orders: list[int] | None = None


@dataclass
class Tuning:
    """Where trials are compared: a position among the orders, from 1, and a seed."""

    order: int = 1
    seed: int = 0


@dataclass
class Ablation:
    """Variants of the row `of`, by label: settings over its own."""

    of: str
    variants: dict[str, dict]


@dataclass
class Grid:
    """`grid.yaml`: see the comments there.

    Raises:
        ConfigurationError: a key is missing, unknown or contradicts another; names it.
    """

    orders: list[str]
    seeds: list[int]
    methods: dict[str, Compared]
    tuning: Tuning = field(default_factory=Tuning)
    ablation: Ablation | None = None

    @classmethod
    def load(cls, path: Path = GRID) -> "Grid":
        """From a YAML file, beside which the orders' recipes lie."""
        grid = instance(cls, read_yaml(path, "--grid"), str(path))
        grid.orders = [str(path.parent / name) for name in grid.orders]
        try:
            grid.settle()
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        return grid

    def settle(self) -> None:
        """Check what can't be, and give all settings the types of their fields."""
        for name in ("orders", "seeds", "methods"):
            if not getattr(self, name):
                raise ConfigurationError(f"{name} must hold at least one")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigurationError(f"seeds must be different ones, got {self.seeds}")
        check_orders(self.orders)
        _check_among("tuning.order", [self.tuning.order], self.positions)
        for label, one in self.methods.items():
            where = f"methods.{label}"
            _check_label(label, where)
            method = one.base.get("method", one.method or label)
            typed({"method": method}, method, where)
            one.base = _settled(one.base, method, f"{where}.base")
            _check_among(f"{where}.seeds", one.seeds or [], self.seeds)
            _check_among(f"{where}.orders", one.orders or [], self.positions)
            if one.trials is not None and not one.trials:
                raise ConfigurationError(f"{where}.trials must hold at least one; without the key it is not tuned")
            names: list[str] = []
            for position, trial in enumerate(one.trials or []):
                one.trials[position] = _settled(trial, method, f"{where}.trials[{position}]")
                name = trial_name(one.trials[position])
                if "/" in name:
                    raise ConfigurationError(f"{where}.trials[{position}] can't be a folder's name: {name}")
                if name in names:
                    raise ConfigurationError(f"{where}.trials[{position}] is there already: {name}")
                names.append(name)
            if one.chosen is not None:
                one.chosen = _settled(one.chosen, method, f"{where}.chosen")
                if trial_name(one.chosen) not in names:
                    raise ConfigurationError(f"{where}.chosen must be one of its trials, got {shown(one.chosen)}")
        if self.ablation is not None:
            _check_among("ablation.of", [self.ablation.of], list(self.methods))
            whole = self.methods[self.ablation.of]
            method = whole.base.get("method", whole.method or self.ablation.of)
            for label, settings in self.ablation.variants.items():
                _check_label(label, "ablation.variants")
                self.ablation.variants[label] = _settled(settings, method, f"ablation.variants.{label}")

    @property
    def positions(self) -> list[int]:
        """The orders' numbers."""
        return [*range(1, len(self.orders) + 1)]

    def runs(
        self,
        stage: str,
        labels: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        orders: Sequence[int] | None = None,
    ) -> list[Run]:
        """The runs of a stage, in an order that gives whole comparisons early: all rows of a seed and an order first.

        Args:
            stage: `tuning` has one seed and order; `ablation` has the row that it is of, too, with the grid's runs.
            labels (*optional*): of rows; all by default, in tuning all that have something to tune.
            seeds, orders (*optional*): of these alone.

        Raises:
            ConfigurationError: there is no such row, seed or order, or nothing is left; names the option.
        """
        _check_among("--methods", labels or [], self.labels(stage))
        _check_among("--seeds", seeds or [], self.seeds)
        _check_among("--orders", orders or [], self.positions)
        if stage == "tuning":
            if seeds or orders:
                raise ConfigurationError("--seeds and --orders: tuning has those of grid.yaml alone")
            places = [(self.tuning.seed, self.tuning.order)]
        else:
            places = [(seed, order) for seed in seeds or self.seeds for order in orders or self.positions]
        runs = [run for place in places for run in self._place(stage, labels or self.labels(stage), *place)]
        if not runs:
            raise ConfigurationError(f"{stage}: nothing to run with these --methods, --seeds and --orders")
        return runs

    def labels(self, stage: str) -> list[str]:
        """The rows of a stage: the methods, or the variants of one."""
        if stage == "ablation":
            return [*self.ablation.variants] if self.ablation else []
        return [*self.methods]

    def _place(self, stage: str, labels: Sequence[str], seed: int, order: int) -> list[Run]:
        recipe, place = Path(self.orders[order - 1]), (order, seed)
        if stage == "tuning":
            return [
                Run(stage, label, *place, self._settings(label, trial), recipe, trial_name(trial))
                for label in labels
                for trial in self.methods[label].trials or []
            ]
        if stage == "ablation":
            of, variants = self.ablation.of, self.ablation.variants
            whole = self.chosen(of)
            runs = [Run(stage, label, *place, whole | variants[label], recipe) for label in labels]
            return [Run("grid", of, *place, whole, recipe), *runs]
        rows = [(label, self.methods[label]) for label in labels]
        return [
            Run(stage, label, *place, self.chosen(label), recipe)
            for label, row in rows
            if seed in (row.seeds or self.seeds) and order in (row.orders or self.positions)
        ]

    def chosen(self, label: str) -> dict[str, Any]:
        """Settings of a row in the grid."""
        row = self.methods[label]
        if row.trials is not None and row.chosen is None:
            raise ConfigurationError(
                f"methods.{label}.chosen is missing: run tuning first (`run.py tuning`), then write the choice that "
                "`table.py` prints of it into grid.yaml"
            )
        return self._settings(label, row.chosen or {})

    def _settings(self, label: str, more: dict[str, Any]) -> dict[str, Any]:
        row = self.methods[label]
        return {"method": row.method or label} | row.base | more


def check_orders(paths: list[str]) -> None:
    """Raise `ConfigurationError` unless the orders' recipes differ in the order of their tasks alone."""
    recipes = [read_yaml(path, "orders") for path in paths]
    first = recipes[0]
    for path, recipe in zip(paths, recipes, strict=True):
        if not isinstance(recipe, dict) or not isinstance(recipe.get("tasks"), list):
            raise ConfigurationError(f"orders: {path} must be a recipe with tasks")
        for name in sorted(first.keys() | recipe.keys()):
            was, now = first.get(name), recipe.get(name)
            if name == "tasks":
                was, now = (sorted(tasks, key=json.dumps) for tasks in (was, now))
            if was != now:
                raise ConfigurationError(
                    f"orders: {name} must be the same but for the tasks' order, got {shown(was)} in {paths[0]} and "
                    f"{shown(now)} in {path}"
                )


def _check_label(label: str, where: str) -> None:
    if not folder_safe(label):
        raise ConfigurationError(f"{where}: a label must be a folder's own name, got {shown(label)}")


def _settled(settings: dict[str, Any], method: str, where: str) -> dict[str, Any]:
    """With values of the fields' types; what else the fields say of them is asked of each run."""
    for name, value in settings.items():
        if value is None or isinstance(value, dict):
            raise ConfigurationError(f"{where}.{name} must be a plain value or a list of them, got {shown(value)}")
    return typed(settings, settings.get("method", method), where)


def _check_among(name: str, given: Sequence[Any], known: Sequence[Any]) -> None:
    for value in given:
        if value not in known:
            raise ConfigurationError(f"{name}: {value} is none of {', '.join(map(str, known)) or 'what is there'}")
