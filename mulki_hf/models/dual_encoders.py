"""The dual encoders that can be trained, and all that is particular to one kind of them: nothing else asks which it is.

To the rest a model is two towers, their normalised features and a logit scale. Where signatures say [`CLIPModel`] and
[`CLIPProcessor`], the usual ones, any kind will do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from transformers import (
    CLIPModel,
    CLIPProcessor,
    GemmaTokenizer,
    MetaClip2Model,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    Siglip2Tokenizer,
    SiglipModel,
    SiglipProcessor,
)

from ..errors import ConfigurationError


@dataclass(frozen=True)
class EncoderKind:
    """A kind of dual encoder; the defaults are CLIP's.

    Attributes:
        name: what it is called.
        model, processor: its classes.
        bibtex: its paper; empty: CLIP's.
        padded_to (*optional*): tokens that every text has, padding included. None: the text tower is causal and pools
            at EOS, so that what comes behind it changes nothing, and texts are as long as the longest of them.
        width: of its configuration, the size `d` of features.
        short_text: of its text tower's configuration, token ids of a text that says nothing.
        as_trained: its tokenizer, reading as it did when the model was trained.
    """

    name: str
    model: type[PreTrainedModel]
    processor: type[ProcessorMixin]
    bibtex: str = ""
    padded_to: int | None = None
    width: Callable[[Any], int] = lambda config: config.projection_dim
    short_text: Callable[[Any], list[int]] = lambda text: [text.bos_token_id, text.eos_token_id]
    as_trained: Callable[[PreTrainedTokenizerBase], PreTrainedTokenizerBase] = lambda tokenizer: tokenizer

    @property
    def padding(self) -> str:
        """As a tokenizer's call takes it."""
        return "longest" if self.padded_to is None else "max_length"


def _siglip_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """SigLIP was trained without a mask, and SigLIP 2 on lower case.

    The repositories of SigLIP 2 that have a fixed resolution name Gemma's own tokenizer, which keeps capitals. By the
    class that it becomes a checkpoint says what it wants, so that whoever loads one reads texts as training did.
    """
    if isinstance(tokenizer, GemmaTokenizer):
        with TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            tokenizer = Siglip2Tokenizer.from_pretrained(folder)
    tokenizer.model_input_names = ["input_ids"]
    return tokenizer


SIGLIP_BIBTEX = """@inproceedings{zhai2023siglip,
  title = {Sigmoid Loss for Language Image Pre-Training},
  author = {Zhai, Xiaohua and Mustafa, Basil and Kolesnikov, Alexander and Beyer, Lucas},
  booktitle = {IEEE/CVF International Conference on Computer Vision},
  year = {2023}
}"""
METACLIP_2_BIBTEX = """@inproceedings{chuang2025metaclip2,
  title = {Meta {CLIP} 2: A Worldwide Scaling Recipe},
  author = {Chuang, Yung-Sung and Li, Yang and Wang, Dong and Yeh, Ching-Feng and Lyu, Kehan and Raghavendra, Ramya and
            Glass, James and Huang, Lifei and Weston, Jason and Zettlemoyer, Luke and Chen, Xinlei and Liu, Zhuang and
            Xie, Saining and Yih, Wen-tau and Li, Shang-Wen and Xu, Hu},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2025}
}"""

DUAL_ENCODERS = {
    "clip": EncoderKind("CLIP", CLIPModel, CLIPProcessor),
    "metaclip_2": EncoderKind("MetaCLIP 2", MetaClip2Model, CLIPProcessor, METACLIP_2_BIBTEX),
    "siglip": EncoderKind(
        "SigLIP",
        SiglipModel,
        SiglipProcessor,
        SIGLIP_BIBTEX,
        # Its text tower sees all positions and pools at the last one, padding or not. transformers' pipeline has the
        # same number. The logit bias is one for all classes and drops out of every softmax over them; like the logit
        # scale it stays as it was, for whoever takes the sigmoid.
        padded_to=64,
        width=lambda config: config.text_config.projection_size,
        short_text=lambda text: [0, 0],
        as_trained=_siglip_tokenizer,
    ),
}
"""By `model_type` of a configuration. SigLIP 2 is SigLIP where its resolution is fixed."""


def unsupported(model_type: str) -> str:
    """What a model of another type is, and which would do: the end of a sentence."""
    if model_type == "siglip2":
        return (
            "a SigLIP 2 whose images have no common size (NaFlex), which is not supported: take one of a fixed "
            "resolution, like google/siglip2-base-patch16-224"
        )
    return (
        f"a {model_type!r} model; supported are CLIP, SigLIP, SigLIP 2 of a fixed resolution and MetaCLIP 2 "
        f"({', '.join(map(repr, DUAL_ENCODERS))})"
    )


def kind_of(model: Any) -> EncoderKind:
    """The kind that a model is, or one with adapters on it; of a grown one that is none of them, CLIP."""
    return DUAL_ENCODERS.get(model.config.model_type, DUAL_ENCODERS["clip"])


def feature_width(model: Any) -> int:
    """The size `d` of a model's features."""
    return kind_of(model).width(model.config)


def check_dual_encoder(model: Any) -> None:
    """Raise `ConfigurationError` for a model that is of none of the kinds."""
    if not isinstance(model, tuple(kind.model for kind in DUAL_ENCODERS.values())):
        names = ", ".join(kind.model.__name__ for kind in DUAL_ENCODERS.values())
        raise ConfigurationError(f"model must be a {names} or a PeftModel of one, got {type(model).__name__}")


def padded_to(processor: Any) -> int | None:
    """How many tokens every text has for the models that `processor` is of; None: as many as it needs."""
    kinds = DUAL_ENCODERS.values()
    return next((kind.padded_to for kind in kinds if isinstance(processor, kind.processor)), None)


def fit_processor(processor: Any, config: Any) -> None:
    """Let `processor` read texts as the model of `config` was trained to, in place; of a grown model it is left alone.

    Raises:
        ConfigurationError: it is a processor of models that are trained otherwise.
    """
    if config.model_type not in DUAL_ENCODERS:
        return
    kind = DUAL_ENCODERS[config.model_type]
    if padded_to(processor) != kind.padded_to:
        raise ConfigurationError(
            f"the processor of a {kind.model.__name__} must be a {kind.processor.__name__}, got "
            f"{type(processor).__name__}"
        )
    processor.tokenizer = kind.as_trained(processor.tokenizer)
    # Older tokenizers name no limit, and the text tower would fail in the middle of training.
    limit = config.text_config.max_position_embeddings
    processor.tokenizer.model_max_length = min(processor.tokenizer.model_max_length, limit)
