"""What is no CLIP is refused before anything is written."""

from support.launch import refused
from transformers import BertConfig


def test_broken_weights(stream_yaml, tiny_folder, tmp_path):
    weights = tiny_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(stream_yaml(), tmp_path, "model_name_or_path: can't load")


def test_model_is_no_clip(stream_yaml, tmp_path):
    BertConfig().save_pretrained(tmp_path / "bert")
    config = stream_yaml(model_name_or_path=str(tmp_path / "bert"))
    refused(config, tmp_path, "is a 'bert' model; supported are CLIP, SigLIP, SigLIP 2 of a fixed resolution")
