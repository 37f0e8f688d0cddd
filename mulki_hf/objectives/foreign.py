"""A method that is not part of the package: an `Objective` in a module of the user's, `my_module:MyObjective`."""

import importlib
import inspect
import os
import re
import sys
from dataclasses import MISSING, fields, is_dataclass
from operator import attrgetter
from types import ModuleType
from typing import Any

from ..errors import ConfigurationError
from .base import Objective


_NAME = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def is_foreign(method: Any) -> bool:
    """Whether `method` names a class of another module."""
    return isinstance(method, str) and ":" in method


def foreign_objective(method: str, load: bool) -> type[Objective]:
    """The class that `method` names, `module:Class`.

    Args:
        load: import the module; otherwise it has to be imported already.

    Raises:
        ConfigurationError: there is no such module or class, or it is no objective; the message has the reason.
    """
    if not _NAME.fullmatch(method):
        raise _refusal(method, "write the module as `import` has it, a colon and the class")
    name, _, path = method.partition(":")
    module = _imported(method, name) if load else sys.modules.get(name)
    if module is None:
        raise _refusal(method, f"nobody has imported {name!r} here, and a file's word is not enough to do so")
    try:
        found = attrgetter(path)(module)
    except Exception as error:  # modules may have a `__getattr__` of their own
        raise _refusal(method, _line(error)) from error
    check_objective(found, method)
    return found


def foreign_name(objective: Any) -> str:
    """`module:Class`, by which a class of the user's is found again.

    Raises:
        ConfigurationError: it is not, or it is no objective.
    """
    if not isinstance(objective, type):
        raise ConfigurationError(f"method must be a name or a class, got {objective!r}")
    name = f"{objective.__module__}:{objective.__qualname__}"
    check_objective(objective, name)
    try:
        found = attrgetter(objective.__qualname__)(sys.modules.get(objective.__module__))
    except AttributeError:
        found = None
    if found is not objective:
        raise _refusal(name, "results and checkpoints have to find the class by its name: define it at a module's top")
    return name


def check_objective(found: Any, method: str) -> None:
    """Raise `ConfigurationError` unless `found` is an objective that can be made, with arguments that can be given."""
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise _refusal(method, "it is no Objective; derive it from mulki_hf.objectives.Objective")
    if inspect.isabstract(found):
        raise _refusal(method, f"the class has no {', '.join(sorted(found.__abstractmethods__))} yet")
    arguments = found.arguments
    if arguments is None:
        return
    if not (isinstance(arguments, type) and is_dataclass(arguments)):
        raise _refusal(method, f"its arguments must be a dataclass, got {arguments!r}")
    # A configuration has all fields in one object, to which it assigns.
    if arguments.__dataclass_params__.frozen or any("__slots__" in vars(cls) for cls in arguments.__mro__[:-1]):  # type: ignore[attr-defined]
        raise _refusal(method, "its arguments must be a dataclass without frozen and slots")
    for field in fields(arguments):
        if field.init and field.default is MISSING and field.default_factory is MISSING:
            raise _refusal(method, f"its arguments need defaults, and {field.name} has none")


def _imported(method: str, name: str) -> ModuleType:
    try:
        # As `python -m` has it, also where something else was started.
        if not {"", os.getcwd()} & {*sys.path}:
            sys.path.append(os.getcwd())
        importlib.invalidate_caches()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _refusal(method, f"{name!r} can't be imported: {_line(error)}") from error
        why = f"no module {error.name!r} in the working directory or among what is installed"
        raise _refusal(method, why) from error
    except (Exception, SystemExit) as error:  # a script without a guard may leave
        raise _refusal(method, f"{name!r} can't be imported: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _refusal(method: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"method must name an objective of your own as module:Class, got {method!r}: {why}")
