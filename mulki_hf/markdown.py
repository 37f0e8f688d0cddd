"""Names, templates and settings of any kind in Markdown and in its snippets, where nothing in them is markup."""

import json
import re
from typing import Any

from .errors import printable


# An underscore within a word is none; a bar matters in tables alone, which see to it. GitHub makes links of addresses.
_MARKUP = re.compile(r"[\\`*\[\]<~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|:(?=//)|(?<=\bwww)\.", re.IGNORECASE)


def text(value: str) -> str:
    """On one line, to be read as it is."""
    return _MARKUP.sub(r"\\\g<0>", printable(" ".join(value.split())))


def code(value: str) -> str:
    """On one line, set as code."""
    value = printable(" ".join(value.splitlines()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", value)), default=0))
    pad = " " if "`" in (value[:1], value[-1:]) else ""
    return f"{fence}{pad}{value}{pad}{fence}"


def literal(value: Any) -> str:
    """A string, or a list of them, as Python."""
    return printable(json.dumps(value, ensure_ascii=False))


def hypothesis(template: str) -> str:
    """A prompt template as the pipeline takes it, which formats it; here only `{}` means anything."""
    if template.count("{") == template.count("}") == template.count("{}") == 1:
        return template
    return template.replace("{", "{{").replace("}", "}}").replace("{{}}", "{0}")
