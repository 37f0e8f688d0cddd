"""A miniature of `openai/clip-vit-base-patch16`: its repository's files and their oddities, around a tiny model."""

import io
import json
import re

import torch
from transformers import CLIPConfig, CLIPModel


REPO_ID = "openai/clip-vit-base-patch16"
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
END = "</w>"
TEMPLATES = (
    "a photo of a type, of aircraft food flower pet car: number; my dirty, clean, new, old; in the an centered "
    "satellite texture pattern thing object; good bad low resolution picture rendering art toy origami"
)
WORDS = re.findall("[a-z]+", TEMPLATES)
"""Whole in the vocabulary; all else is letters."""


def byte_letters() -> dict[int, str]:
    """The sign that stands for each byte in CLIP's vocabulary, in its order: those that can be seen come first."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def merges() -> list[tuple[str, str]]:
    """Those that make [`WORDS`], each from its beginning."""
    pairs: dict[tuple[str, str], None] = {}
    for word in WORDS:
        letters = [*word[:-1], word[-1] + END]
        for n in range(1, len(letters)):
            pairs["".join(letters[:n]), letters[n]] = None
    return [*pairs]


def vocabulary() -> dict[str, int]:
    letters = [*byte_letters().values()]
    tokens = [*letters, *(letter + END for letter in letters), *map("".join, merges()), *SPECIAL]
    return {token: number for number, token in enumerate(tokens)}


def tokenizer_files() -> dict[str, str | dict]:
    """In both formats that the repository has: of the slow tokenizer, and of the fast one."""
    vocab = vocabulary()
    first, last = (vocab[token] for token in SPECIAL)
    kinds = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    told = {name: {"content": token} | kinds for name, token in zip(("bos_token", "eos_token"), SPECIAL, strict=True)}
    told["unk_token"] = told["eos_token"]
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    blanks = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
    ends = {"sep": [SPECIAL[1], last], "cls": [SPECIAL[0], first], "trim_offsets": False, "add_prefix_space": False}
    fast = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocab[token], "special": True, "content": token} | kinds | {"normalized": token == SPECIAL[0]}
            for token in SPECIAL
        ],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, blanks, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": {"type": "RobertaProcessing"} | ends,
        "decoder": level,
        "model": {
            **{"dropout": None, "unk_token": SPECIAL[1], "continuing_subword_prefix": "", "end_of_word_suffix": END},
            **{"type": "BPE", "fuse_unk": False, "vocab": vocab, "merges": [" ".join(pair) for pair in merges()]},
        },
    }
    config = {name: token | {"__type": "AddedToken"} for name, token in told.items()} | {
        **{"pad_token": SPECIAL[1], "errors": "replace", "add_prefix_space": False, "do_lower_case": True},
        **{"name_or_path": REPO_ID, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"},
        "special_tokens_map_file": "./special_tokens_map.json",
    }
    return {
        "vocab.json": vocab,
        "merges.txt": "\n".join(["#version: 0.2", *map(" ".join, merges())]) + "\n",
        "tokenizer.json": fast,
        "tokenizer_config.json": config,
        "special_tokens_map.json": told | {"pad_token": SPECIAL[1]},
    }


def config_file() -> dict:
    """With the token ids of the real one, which no text ever has: pooling at the end goes by the largest id."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    tower |= {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "attention_dropout": 0.0, "torch_dtype": None}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    # What stands here wins over what stands beside it, defaults included.
    vision = tower | {"image_size": 16, "patch_size": 8}
    size = {"vocab_size": len(vocabulary()), "max_position_embeddings": 77}
    return {
        "architectures": ["CLIPModel"],
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "model_type": "clip",
        "projection_dim": 24,
        "text_config": tower | ids | size | {"model_type": "clip_text_model", "projection_dim": 24},
        "text_config_dict": None,
        "torch_dtype": "float32",
        "transformers_version": None,
        "vision_config": vision | {"model_type": "clip_vision_model", "projection_dim": 24},
        "vision_config_dict": vision,
    }


def preprocessor_file() -> dict:
    """Sizes are numbers, and the class has the name that it had in 2022."""
    return {
        **{"crop_size": 16, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 16},
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


def weights_file(seed: int = 0) -> bytes:
    """As the repository has them: pickled by torch, with the positions that were buffers then."""
    torch.manual_seed(seed)
    weights = CLIPModel(CLIPConfig.from_dict(config_file())).state_dict()
    weights["logit_scale"] = torch.tensor(4.6052)
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    weights["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    with io.BytesIO() as file:
        torch.save(weights, file)
        return file.getvalue()


def openai_clip(seed: int = 0) -> dict[str, bytes]:
    """The files of the repository, by name."""
    files = tokenizer_files() | {"config.json": config_file(), "preprocessor_config.json": preprocessor_file()}
    files["README.md"] = "---\ntags:\n- vision\n---\n# CLIP\n"
    texts = {name: text if isinstance(text, str) else json.dumps(text, indent=2) for name, text in files.items()}
    return {name: text.encode() for name, text in texts.items()} | {"pytorch_model.bin": weights_file(seed)}
