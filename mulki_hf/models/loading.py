"""Load the model to start from or to go on from, and write it."""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, CLIPModel, CLIPProcessor, PreTrainedConfig
from transformers.utils import WEIGHTS_INDEX_NAME, WEIGHTS_NAME, has_file

from ..embedded import EMBEDDED_MODELS, embedded_model_path
from ..errors import ConfigurationError
from ..finite import not_finite
from ..hub.shareable import PATH
from ..program import PICKLED_WEIGHTS
from .dual_encoders import DUAL_ENCODERS, EncoderKind, fit_processor, unsupported


FIELD = "model_name_or_path"
"""Who mostly asks, for messages."""
ADAPTER_CONFIG = "adapter_config.json"


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
    pickled_weights: bool = field(default=False, metadata={"help": PICKLED_WEIGHTS["help"]})

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
        processor = kind.processor.from_pretrained(
            resolve_model(name_or_path), revision=revision, trust_remote_code=False
        )
        fit_processor(processor, config)
    except ImportError as error:
        raise ConfigurationError(
            f'{asked_by}: the tokenizer of {name_or_path!r} needs sentencepiece: run pip install "mulki-hf[siglip]"'
        ) from error
    except (OSError, ValueError) as error:
        raise _unusable(name_or_path, error, asked_by) from error
    return processor


def load_model(
    name_or_path: str | Path, revision: str = "main", asked_by: str = FIELD, pickled: bool = False
) -> CLIPModel:
    """The model in fp32, whatever precision its file has: training keeps fp32 weights, autocast does the rest.

    Args:
        name_or_path, revision: a folder, an embedded model or a Hub id.
        asked_by: the field or option, for messages.
        pickled: see [`ModelArguments`], `pickled_weights`.

    Raises:
        ConfigurationError: it is of no kind that is supported, can't be loaded, or has pickled weights alone.
    """
    place = resolve_model(str(name_or_path))
    try:
        _, kind = _described(str(name_or_path), revision, asked_by)
        with _nobody_converts():
            return kind.model.from_pretrained(
                place,
                revision=revision,
                dtype=torch.float32,
                use_safetensors=None if pickled else True,
            )
    except pickle.UnpicklingError as error:
        # torch's own message advises to load it all the same.
        raise ConfigurationError(
            f"{asked_by}: can't load {str(name_or_path)!r}: its pickle holds more than tensors, or is damaged"
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        if not pickled and (_has(place, WEIGHTS_NAME, revision) or _has(place, WEIGHTS_INDEX_NAME, revision)):
            raise ConfigurationError(
                f"{asked_by}: {str(name_or_path)!r} has its weights as a pickle alone ({WEIGHTS_NAME}), not as "
                "safetensors: take another model or revision or, if you trust who made it, give --pickled_weights"
            ) from error
        raise _unusable(name_or_path, error, asked_by) from error


def _described(name_or_path: str, revision: str, asked_by: str) -> tuple[PreTrainedConfig, EncoderKind]:
    # What is not said, transformers asks in a terminal.
    config = AutoConfig.from_pretrained(resolve_model(name_or_path), revision=revision, trust_remote_code=False)
    if config.model_type not in DUAL_ENCODERS:
        raise ConfigurationError(f"{asked_by}: {name_or_path!r} is {unsupported(config.model_type)}")
    # Either makes transformers load other files than the model's.
    if _has(resolve_model(name_or_path), ADAPTER_CONFIG, revision):
        raise ConfigurationError(f"{asked_by}: {name_or_path!r} has an adapter beside its weights: merge it first")
    if hasattr(config, "transformers_weights"):
        raise ConfigurationError(f"{asked_by}: config.json of {name_or_path!r} names a file of weights: take that out")
    return config, DUAL_ENCODERS[config.model_type]


def _has(place: str, file: str, revision: str) -> bool:
    try:
        return has_file(place, file, revision)
    except OSError:
        return False


@contextmanager
def _nobody_converts() -> Iterator[None]:
    """Inside, transformers asks no Space to make safetensors of a pickle, and takes none that somebody proposes."""
    name = "DISABLE_SAFETENSORS_CONVERSION"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def load_finite(
    name_or_path: str | Path, revision: str = "main", asked_by: str = FIELD, pickled: bool = False
) -> CLIPModel:
    """[`load_model`], its weights looked at.

    Raises:
        ConfigurationError: it can't be loaded, or has weights that are not finite.
    """
    model = load_model(name_or_path, revision, asked_by, pickled)
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
