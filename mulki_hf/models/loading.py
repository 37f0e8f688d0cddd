"""Load the model to start from or to go on from, and write it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, CLIPModel, CLIPProcessor, PreTrainedConfig

from ..embedded import EMBEDDED_MODELS, embedded_model_path
from ..errors import ConfigurationError
from ..finite import not_finite
from ..hub.shareable import PATH
from .dual_encoders import DUAL_ENCODERS, EncoderKind, fit_processor, unsupported


FIELD = "model_name_or_path"
"""Who mostly asks, for messages."""


@dataclass
class ModelArguments:
    """The model that a stream starts from."""

    model_name_or_path: Annotated[str, PATH] = field(
        default="clip-nano",
        metadata={
            "help": "CLIP to start from: a Hub id, a folder, or `clip-nano`, the small one inside the package. SigLIP, "
            "SigLIP 2 of a fixed resolution and MetaCLIP 2 will do, too."
        },
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub model."})

    def __post_init__(self):
        if not isinstance(self.model_name_or_path, str) or not self.model_name_or_path:
            raise ConfigurationError(f"model_name_or_path must be a string, got {self.model_name_or_path!r}")


def resolve_model(name_or_path: str) -> str:
    """The folder of an embedded model; any other name as it is."""
    return str(embedded_model_path(name_or_path)) if name_or_path in EMBEDDED_MODELS else name_or_path


def on_hub(name_or_path: str) -> bool:
    """Whether a model of that name comes from the Hub."""
    return name_or_path not in EMBEDDED_MODELS and not Path(name_or_path).exists()


def load_processor(name_or_path: str, revision: str = "main", asked_by: str = FIELD) -> CLIPProcessor:
    """The model's own processor; `asked_by` is the field or option, for messages.

    Raises:
        ConfigurationError: `name_or_path` is of no kind that is supported, or can't be loaded.
    """
    try:
        config, kind = _described(name_or_path, revision, asked_by)
        processor = kind.processor.from_pretrained(resolve_model(name_or_path), revision=revision)
        fit_processor(processor, config)
    except ImportError as error:
        raise ConfigurationError(
            f'{asked_by}: the tokenizer of {name_or_path!r} needs sentencepiece: run pip install "mulki-hf[siglip]"'
        ) from error
    except (OSError, ValueError) as error:
        raise _unusable(name_or_path, error, asked_by) from error
    return processor


def load_model(name_or_path: str | Path, revision: str = "main", asked_by: str = FIELD) -> CLIPModel:
    """The model in fp32, whatever precision its file has: training keeps fp32 weights, autocast does the rest.

    Raises:
        ConfigurationError: it is of no kind that is supported, or can't be loaded.
    """
    try:
        _, kind = _described(str(name_or_path), revision, asked_by)
        return kind.model.from_pretrained(resolve_model(str(name_or_path)), revision=revision, dtype=torch.float32)
    except (OSError, ValueError, SafetensorError) as error:
        raise _unusable(name_or_path, error, asked_by) from error


def _described(name_or_path: str, revision: str, asked_by: str) -> tuple[PreTrainedConfig, EncoderKind]:
    config = AutoConfig.from_pretrained(resolve_model(name_or_path), revision=revision)
    if config.model_type not in DUAL_ENCODERS:
        raise ConfigurationError(f"{asked_by}: {name_or_path!r} is {unsupported(config.model_type)}")
    return config, DUAL_ENCODERS[config.model_type]


def load_finite(name_or_path: str | Path, revision: str = "main", asked_by: str = FIELD) -> CLIPModel:
    """[`load_model`], its weights looked at.

    Raises:
        ConfigurationError: it can't be loaded, or has weights that are not finite.
    """
    model = load_model(name_or_path, revision, asked_by)
    check_finite(model, name_or_path, asked_by)
    return model


def check_finite(model: CLIPModel, name_or_path: str | Path, asked_by: str = FIELD) -> None:
    """Raise `ConfigurationError` for weights that are not finite."""
    odd = not_finite(model.named_parameters())
    if odd is not None:
        raise ConfigurationError(
            f"{asked_by}: {str(name_or_path)!r} has weights that are not finite, {odd} is the first"
        )


def _unusable(name_or_path: str | Path, error: Exception, asked_by: str) -> ConfigurationError:
    if isinstance(error, ConfigurationError):
        return error
    return ConfigurationError(f"{asked_by}: can't load {name_or_path!r}: {error}")


def save_model(folder: str | Path, model: CLIPModel, processor: CLIPProcessor) -> None:
    """Write a task's final model: a plain folder of its own class, as [`CLIPModel`] is, with its processor.

    The image processor is also written by itself (`preprocessor_config.json`), for libraries that look for it there.
    """
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
