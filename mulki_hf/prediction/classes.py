"""Which classes a picture is told apart as: those of a stream's tasks, or a person's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.names import check_class_names, check_templates
from ..errors import ConfigurationError, shown
from ..records import TaskRecord
from ..results import StreamResults


TEMPLATES = ["a photo of a {}."]
"""Where neither a person nor a stream says others; [`DataArguments`] has the same."""


@dataclass(frozen=True)
class Classes:
    """Class names with their templates; can be a key of a dictionary.

    Attributes:
        groups: of each task the names and the templates. Equal names in several are one class, which an image belongs
            to as well as to the best of them, as in evaluation.
    """

    groups: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    @property
    def names(self) -> list[str]:
        """Each name once, in the order of the groups."""
        return [*dict.fromkeys(name for names, _ in self.groups for name in names)]

    @property
    def counted(self) -> str:
        """`1 class`, `177 classes`."""
        return "1 class" if len(self.names) == 1 else f"{len(self.names)} classes"

    @property
    def templates(self) -> list[str]:
        """Each template once."""
        return [*dict.fromkeys(template for _, templates in self.groups for template in templates)]

    @classmethod
    def of(cls, names: Sequence[str], templates: Sequence[str]) -> "Classes":
        """Names of one's own.

        Raises:
            ConfigurationError: they are no class names, or the templates none.
        """
        check_class_names([*names], "class_names")
        check_templates([*templates], "templates")
        return cls(((tuple(names), tuple(templates)),))

    @classmethod
    def of_tasks(cls, tasks: Sequence[TaskRecord], templates: Sequence[str] | None = None) -> "Classes":
        """Those of tasks with the tasks' own templates, unless others are given.

        Raises:
            ConfigurationError: the templates given are none.
        """
        if templates:
            check_templates([*templates], "templates")
        return cls(tuple((tuple(task.class_names), tuple(templates or task.evaluation_templates)) for task in tasks))


def classes_for(
    results: StreamResults | None,
    class_names: str | Sequence[str] | None,
    task: str | None,
    templates: Sequence[str] | None,
) -> Classes:
    """The classes that options ask for.

    Args:
        results (*optional*): of the stream.
        class_names (*optional*): a list, `a,b,c`, or a text file with a name a line. Default: those of the task.
        task (*optional*): whose classes, or whose templates for one's own classes. Default: all tasks' classes.
        templates (*optional*): in place of the task's or the stream's.

    Raises:
        ConfigurationError: there is no such task, or nothing says what the classes are.
    """
    if task is not None and results is None:
        raise ConfigurationError(f"task {task!r}: the model is of no run with tasks; give class_names")
    tasks = [] if results is None else results.tasks
    if task is not None:
        tasks = [record for record in tasks if record.name == task]
        if not tasks and results is not None:
            raise ConfigurationError(f"task {task!r}: the run has the tasks {', '.join(results.names)}")
    if class_names is None:
        if results is None:
            raise ConfigurationError("class_names: a model that is of no run needs them: --class_names cat,dog")
        return Classes.of_tasks(tasks, templates)
    if not templates:
        stream = None if results is None else results.config.get("templates")
        templates = tasks[0].evaluation_templates if task is not None else stream or TEMPLATES
    names = read_class_names(class_names) if isinstance(class_names, str) else class_names
    return Classes.of(names, templates)


def read_class_names(given: str) -> list[str]:
    """`a,b,c` or the lines of a text file; a name that comes again counts once.

    Raises:
        ConfigurationError: the file can't be read, or there is no name.
    """
    parts = given.split(",")
    if Path(given).is_file():
        try:
            parts = Path(given).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"class_names: can't read the file {shown(given)}: {error}") from error
    elif len(parts) == 1 and Path(given).suffix in (".txt", ".csv", ".json"):
        raise ConfigurationError(f"class_names: there is no file {shown(given)}")
    names = [*dict.fromkeys(part.strip() for part in parts if part.strip())]
    if not names:
        raise ConfigurationError(f"class_names: there is no name in {shown(given)}")
    return names
