"""What a recipe from the Hub may name: it is somebody else's, and chooses no files and no code of this machine."""

import glob
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import registry
from ..data.builders import LOCAL_BUILDERS
from ..data.rows import EMBEDDED_PREFIX
from ..embedded import EMBEDDED_MODELS
from ..errors import ConfigurationError
from ..objectives import is_foreign
from ..results import IN_MEMORY
from .paths import NAMES, TASK_PATHS, map_paths


logger = logging.getLogger(__name__)

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# On the Hub, perhaps: `gpt2`, `cifar100`.
_NO_NAMESPACE = re.compile(r"\w[\w.-]*")
# Absolute, the home folder, upwards, an address or a chain of them, another system's separators.
_OUTSIDE = re.compile(r"[/~]|[A-Za-z]:|(?:.*/)?\.\.(?:/|$)|.*(?:://|::|\\|\0)", re.DOTALL)


def check_method(recipe: dict[str, Any], source: str, given: str | None) -> None:
    """Raise `ConfigurationError` if a recipe from the Hub chooses code to import and the user has not.

    Args:
        recipe: as its YAML says.
        source: where it came from, for messages.
        given (*optional*): the method that the user named.
    """
    if given is None and is_foreign(named := recipe.get("method")):
        raise ConfigurationError(
            f"resume_from_hub {source!r}: its recipe's method {named!r} is code that is not part of this package, and "
            f"no recipe from the Hub chooses what is imported here; to import your own, give --method {named} yourself"
        )


def confined(
    recipe: dict[str, Any], source: str, root: str | None, asked_by: str = "resume_from_hub"
) -> dict[str, Any]:
    """A recipe that came from the Hub, its local paths in the folder `root`.

    It may name what is on the Hub (`org/name`, `mtil:name`), embedded data and models, and relative paths in `root`.
    What a benchmark that is read from local files, or a YAML in `root`, says of them is taken as if the task said it.
    What is there goes before the Hub, with a warning; a folder that has a Hub id's name by chance is refused, as it
    would be read in the place of the Hub's.

    Args:
        recipe: as its YAML says.
        source: where it came from, for messages.
        root (*optional*): the folder that the user gave; None: no local path at all.
        asked_by: the option that names the source, for messages.

    Raises:
        ConfigurationError: the recipe names anything else.
    """
    try:
        # Sets, bytes and others that YAML knows have no place in a recipe.
        plain = json.loads(json.dumps(recipe))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{asked_by} {source!r}: its recipe can't be read: {error}") from error
    root = None if root is None else os.path.abspath(os.path.expanduser(root))
    change = _Confined(source, root, asked_by)
    change.check_revisions(plain, "model_revision", "reference_revision")
    if isinstance(tasks := plain.get("tasks"), list):
        for task in tasks:
            change.check_revisions(task if isinstance(task, dict) else {}, "revision")
        plain["tasks"] = [change.with_local_paths(task) if isinstance(task, dict) else task for task in tasks]
    return map_paths(plain, change)


def _where(field: str, given: Mapping[str, Any]) -> str:
    return f"{field} of task {given['name']!r}" if "name" in given else field


@dataclass
class _Confined:
    """Changes a path as [`map_paths`] wants it."""

    source: str
    root: str | None
    asked_by: str

    def with_local_paths(self, task: dict[str, Any]) -> dict[str, Any]:
        """A task and, of its benchmark, the paths on this machine, each a field of its own, to be changed as others."""
        said = self._said(task.get("dataset"), _where("dataset", task))
        if registry.is_benchmark(str(task.get("dataset"))) and said.get("dataset") not in LOCAL_BUILDERS:
            return task
        paths = {name: said[name] for name in (TASK_PATHS.keys() & said.keys()) - {"dataset"}}
        return {name: path for name, path in paths.items() if name not in NAMES or isinstance(path, str)} | task

    def __call__(self, path: str, field: str, given: Mapping[str, Any]) -> str:
        where = _where(field, given)
        kind = field.removeprefix("reference_").removeprefix("text_")
        if kind in ("dataset", "model_name_or_path"):
            return self._source(path, where, kind == "dataset", self._files(field, given))
        data = str(given.get(field.replace(kind, "dataset")))
        data = str(self._said(data, where).get("dataset", data))
        # `datasets` looks for files of a data set in it, and in data_dir.
        folders = [data] if kind in ("data_dir", "data_files") and data not in LOCAL_BUILDERS else []
        folders += [str(given["data_dir"])] if field == "data_files" and given.get("data_dir") else []
        if not folders:
            return self._inside(path, where)
        self._check(path, where)
        if not self._on_hub(data):
            self._inside("/".join([*folders, path]), where)
        return path

    def check_revisions(self, given: Mapping[str, Any], *fields: str) -> None:
        """Refuse revisions that are none: in the Hub's cache they are names of files."""
        for field in fields:
            if isinstance(revision := given.get(field), str) and _OUTSIDE.match(revision):
                raise ConfigurationError(
                    f"{self.asked_by} {self.source!r}: in its recipe {_where(field, given)} {revision!r} is no branch, "
                    "tag or commit"
                )

    def _source(self, path: str, where: str, data: bool, files: Any) -> str:
        """Data or a model: embedded, on the Hub or in the folder; or how files are read."""
        if path.startswith(EMBEDDED_PREFIX) if data else path in EMBEDDED_MODELS:
            return path
        if data and path == IN_MEMORY:
            raise ConfigurationError(
                f"{self.asked_by} {self.source!r}: {where} was given in Python, as a Task, which no recipe can "
                "load; go on in Python, with run(StreamConfig(tasks=[...], resume_from_hub=...), ...)"
            )
        if data and (said := self._said(path, where)):
            self._check_loaded(str(said["dataset"]), where, files)
            return self._inside(path, where) if registry.is_file(path) else path
        if data and path in LOCAL_BUILDERS:
            self._check_loaded(path, where, files)
            return path
        if not self._on_hub(path):
            if _HUB_ID.fullmatch(path) and self.root is not None:
                logger.warning(f"{where}: {path!r} is read from data_root {self.root!r}, not from the Hub")
            if self.root is None and _NO_NAMESPACE.fullmatch(path):
                why = "has no namespace (the recipe has to say `org/name`): a folder or file of that name would be read"
                raise self._refusal(where, path, f"{why} from this machine")
            return self._inside(path, where)
        self._check_shadow(path, where)
        return path

    def _said(self, data: Any, where: str) -> dict[str, Any]:
        """What a benchmark, or a YAML in the folder, says of a task; nothing of other data."""
        if not isinstance(data, str) or not (registry.is_benchmark(data) or registry.is_file(data)):
            return {}
        return registry.read(self._inside(data, where) if registry.is_file(data) else data, where)[0]

    def _check_loaded(self, data: str, where: str, files: Any) -> None:
        """Raise `ConfigurationError` unless `data` are on the Hub, embedded, or a builder of local `files`."""
        builder = data in LOCAL_BUILDERS
        if builder and not files:
            raise self._refusal(where, data, "names no data_files, so any in the working directory would be read")
        if not builder and not data.startswith(EMBEDDED_PREFIX) and not _HUB_ID.fullmatch(data):
            raise self._refusal(where, data, "is no name on the Hub and would be read from this machine")
        # What is saved there by `datasets` would go before a builder, anything before the Hub.
        self._check_shadow(data, where, "dataset_dict.json" if builder else "")

    def _check_shadow(self, path: str, where: str, file: str = "") -> None:
        if Path(path, file).exists():
            here = str(Path(path).absolute())
            raise self._refusal(where, path, f"would be read from {here!r}, which has that name: start elsewhere")

    def _files(self, field: str, given: Mapping[str, Any]) -> Any:
        return given.get(field.replace("dataset", "data_files")) or given.get(field.replace("dataset", "data_dir"))

    def _on_hub(self, path: str) -> bool:
        return bool(_HUB_ID.fullmatch(path)) and not (self.root and Path(self.root, path).exists())

    def _inside(self, path: str, where: str) -> str:
        """The path in the folder; neither it nor what matches it may be a link that leads out."""
        self._check(path, where)
        if self.root is None:
            raise self._refusal(where, path, "is no name on the Hub and would be read from this machine")
        full = f"{self.root.rstrip('/')}/{path}"
        folder = Path(self.root).resolve()
        for name in (full, *glob.iglob(full, recursive=True, include_hidden=True)):
            if not Path(name).resolve().is_relative_to(folder):
                raise self._refusal(where, path, f"is a link that leads out of data_root {self.root!r}")
        return full

    def _check(self, path: str, where: str) -> None:
        if _OUTSIDE.match(path):
            raise self._refusal(where, path, "is absolute, leads upwards or is an address")

    def _refusal(self, where: str, path: str, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.asked_by} {self.source!r}: in its recipe {where} {path!r} {why}; give --config with paths of your "
            "own, or --data_root, the folder with what relative paths name"
        )
