"""Models with adapters."""

import torch
from support.tiny import tiny_processor
from transformers import CLIPModel

from mulki_hf.data.prompts import tokenize_prompts


DEVICE = torch.device("cpu")

LORA = {"lora_r": 2, "average_every": 1, "merge_alpha": 0.2, "learning_rate": 1e-2}
"""Of a stream."""


def merged_model(model) -> CLIPModel:
    return model.merge_and_unload(adapter_names=["default"])


def features(model: CLIPModel) -> torch.Tensor:
    """What both towers say of three images and three texts, behind one another."""
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    prompts = tokenize_prompts(tiny_processor(), ["red", "blue", "frame"], ["a {}."])
    with torch.no_grad():
        images = model.get_image_features(pixel_values=pixels).pooler_output
        return torch.cat([images, model.get_text_features(**prompts).pooler_output])


def logits(model: CLIPModel) -> torch.Tensor:
    images, texts = (torch.nn.functional.normalize(side, dim=-1) for side in features(model).chunk(2))
    return model.logit_scale.exp().detach() * images @ texts.T
