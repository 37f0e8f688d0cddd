"""Tiny dual encoders of every kind, with the tokenizers that theirs have, made in code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support.tiny import tiny_model, tiny_processor
from transformers import (
    CLIPProcessor,
    GemmaTokenizer,
    MetaClip2Config,
    MetaClip2Model,
    SiglipConfig,
    SiglipModel,
    SiglipProcessor,
    XLMRobertaTokenizer,
)
from transformers.models.clip import CLIPImageProcessorPil
from transformers.models.siglip import SiglipImageProcessorPil


LETTERS = [chr(code) for code in range(33, 127)]
LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
IMAGES = {"image_size": 16, "patch_size": 8}


def gemma_tokenizer() -> GemmaTokenizer:
    """As repositories of SigLIP 2 have it: its class keeps capitals."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS]
    vocab = {token: number for number, token in enumerate(tokens)}
    settings = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
    return GemmaTokenizer(vocab=vocab, merges=[], model_input_names=["input_ids"], **settings)


def xlm_tokenizer() -> XLMRobertaTokenizer:
    """With special tokens first, as in XLM-V, and EOS under the number that older CLIPs are told apart by."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, "<mask>"]
    return XLMRobertaTokenizer(vocab=[(token, 0.0 if token in special[:4] else -1.0) for token in special])


def tiny_siglip(seed: int = 0) -> SiglipModel:
    """Its vision tower ends in attention pooling, its text tower in a head; 64 positions, as all have."""
    torch.manual_seed(seed)
    # What its configuration says of special tokens is CLIP's and outside of the vocabulary, as with the real ones.
    text = LAYERS | {"vocab_size": len(gemma_tokenizer())}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=LAYERS | IMAGES))
    with torch.no_grad():
        model.logit_scale.fill_(2.5)
        model.logit_bias.fill_(-3.0)
    return model


def siglip_processor() -> SiglipProcessor:
    images = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    return SiglipProcessor(image_processor=images, tokenizer=gemma_tokenizer())


def tiny_metaclip(seed: int = 0) -> MetaClip2Model:
    torch.manual_seed(seed)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    text = LAYERS | ids | {"vocab_size": len(xlm_tokenizer())}
    return MetaClip2Model(MetaClip2Config(text_config=text, vision_config=LAYERS | IMAGES, projection_dim=24))


def metaclip_processor() -> CLIPProcessor:
    images = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return CLIPProcessor(image_processor=images, tokenizer=xlm_tokenizer())


KINDS: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
    "clip": (tiny_model, tiny_processor),
    "metaclip_2": (tiny_metaclip, metaclip_processor),
    "siglip": (tiny_siglip, siglip_processor),
}


def save_kind(kind: str, folder: Path) -> Path:
    """A tiny model of a kind and its processor on disk, as a repository has them."""
    model, processor = KINDS[kind]
    model().save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder
