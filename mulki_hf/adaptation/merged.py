"""An adapter from anywhere, in a folder or on the Hub, merged into its base: a plain model."""

import os
import warnings
from typing import Any

from transformers import CLIPModel

from ..errors import ConfigurationError
from ..hub.fetch import holds
from .adapters import import_peft


WEIGHTS = "adapter_model.safetensors"
_NOT_FOUND = "Found missing adapter keys"
"""How peft warns that a layer's adapter is not in the file: it would stay as it began, without effect."""


def base_of_adapter(source: str, revision: str, token: str | None, asked_by: str) -> tuple[str, str]:
    """Name and revision of the model that an adapter says it belongs to.

    Args:
        source, revision, token: where it lies: a folder, or an id on the Hub.
        asked_by: the option that names it, for messages.

    Raises:
        ConfigurationError: peft is missing, or its configuration can't be read or names no model.
    """
    peft = import_peft(f"{asked_by} {source!r}, a PEFT adapter,")
    try:
        config = peft.PeftConfig.from_pretrained(source, **_place(source, revision, token))
    except Exception as error:  # peft's are of many kinds
        raise _unusable(source, error, asked_by) from error
    if not config.base_model_name_or_path:
        raise ConfigurationError(f"{asked_by}: the adapter {source!r} names no base model; give it with --base")
    return config.base_model_name_or_path, config.revision or "main"


def merged_adapter(model: CLIPModel, source: str, revision: str, token: str | None, asked_by: str) -> CLIPModel:
    """`model`, the base, with the adapter merged into it; arguments and errors as of [`base_of_adapter`].

    Raises:
        ConfigurationError: the adapter is of another model, damaged, no safetensors, or of a kind that can't be merged.
    """
    peft = import_peft(f"{asked_by} {source!r}, a PEFT adapter,")
    there = os.path.isdir(source)
    safe = os.path.isfile(f"{source}/{WEIGHTS}") if there else holds(f"{source}@{revision}", WEIGHTS, token, asked_by)
    if not safe:
        # peft would take adapter_model.bin, a pickle.
        raise ConfigurationError(f"{asked_by}: the adapter {source!r} has no {WEIGHTS}; nothing else is read")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            changed = peft.PeftModel.from_pretrained(model, source, **_place(source, revision, token))
        if any(str(warning.message).startswith(_NOT_FOUND) for warning in said):
            raise ValueError("its file has no weights for some of its layers")
        return changed.merge_and_unload()
    except Exception as error:
        raise _unusable(source, error, asked_by) from error


def _place(source: str, revision: str, token: str | None) -> dict[str, Any]:
    return {} if os.path.isdir(source) else {"revision": revision, "token": token}


def _unusable(source: str, error: Exception, asked_by: str) -> ConfigurationError:
    reason = " ".join(str(error).split())
    if len(reason) > 300:
        reason = f"{reason[:300]}..."
    return ConfigurationError(f"{asked_by}: can't use the adapter {source!r}: {type(error).__name__}: {reason}")
