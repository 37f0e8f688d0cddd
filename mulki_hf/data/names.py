"""What a person calls things: tasks, classes, and the templates that classes are put into."""

from collections import Counter
from typing import Any

from ..errors import ConfigurationError, shown
from ..fields import check_text
from ..results import folder_safe


MAX_TASK_NAME = 200
"""Bytes. A file system takes 255, of which what is put before and behind a name needs some."""


def check_task_name(name: Any) -> None:
    """Raise `ConfigurationError` unless a folder can be called so."""
    if not isinstance(name, str) or not folder_safe(name):
        raise ConfigurationError(
            f"task name must be letters, digits, '_', '.', '+' and '-', folder-safe, got {shown(name)}"
        )
    if len(name.encode()) > MAX_TASK_NAME:
        raise ConfigurationError(
            f"task name must take at most {MAX_TASK_NAME} bytes, as it becomes part of a folder's name; got "
            f"{len(name.encode())}: {shown(name)}"
        )


def check_class_names(names: Any, where: str) -> None:
    """Raise `ConfigurationError` unless `names` is a non-empty list of different strings that can be seen."""
    if not isinstance(names, list) or not names:
        raise ConfigurationError(f"{where}: class_names must be a non-empty list, got {shown(names)}")
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(
                f"{where}: class name {position} must be a non-empty string, got {shown(name)} (quote it in YAML?)"
            )
        check_text(name, f"{where}: class name {position}")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        first = ", ".join(name if len(name) < 80 else shown(name) for name in repeated[:5])
        more = f" and {len(repeated) - 5} others" if len(repeated) > 5 else ""
        raise ConfigurationError(f"{where}: class_names must be unique, got {first}{more} more than once")


def check_templates(templates: Any, where: str, name: str = "templates") -> None:
    """Raise `ConfigurationError` unless `templates` is a non-empty list of strings of one line with a `{}` each.

    Args:
        templates: to be checked.
        where: the stream or task, for messages.
        name: the field that holds them.
    """
    if not isinstance(templates, list) or not templates:
        raise ConfigurationError(f"{where}: {name} must be a non-empty list, got {shown(templates)}")
    for template in templates:
        if not isinstance(template, str) or "{}" not in template:
            raise ConfigurationError(f"{where}: template {shown(template)} has no {{}} for the class name")
        check_text(template, f"{where}: template")
