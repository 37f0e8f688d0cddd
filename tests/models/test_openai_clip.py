"""OpenAI's checkpoint as it lies on the Hub, in miniature: files of 2021, with their oddities."""

import pytest
import torch
from support.hub import connected, hub_environment, tiny_hub
from support.openai_clip import REPO_ID, merges, openai_clip, vocabulary
from transformers import CLIPModel, CLIPTokenizer

from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.models.loading import load_finite, load_processor, save_model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Model and processor, from the Hub."""
    with tiny_hub() as hub:
        hub.publish(REPO_ID, openai_clip())
        with connected(hub_environment(hub, tmp_path_factory.mktemp("hf-home"))):
            yield load_finite(REPO_ID, pickled=True), load_processor(REPO_ID)


def test_its_tokenizer_reads_as_the_rules_that_it_is_made_of(loaded):
    """The same ids from `tokenizer.json` as from vocabulary and merges: letters, bytes, signs, capitals, blanks."""
    _, processor = loaded
    tokenizer = processor.tokenizer
    of_rules = CLIPTokenizer(vocab=vocabulary(), merges=merges())
    for text in (
        "A photo of a DC-10,  a type of aircraft.",
        "a 707-320 is a bird's friend",
        "jalapeño 中",
        "tiger lily",
    ):
        assert tokenizer(text)["input_ids"] == of_rules(text)["input_ids"]
    first, last = len(tokenizer) - 2, len(tokenizer) - 1
    assert tokenizer("")["input_ids"] == [first, last] and tokenizer.pad_token_id == last
    assert tokenizer.convert_ids_to_tokens(tokenizer("a photograph")["input_ids"])[1:3] == ["a</w>", "phot"]
    assert tokenizer.model_max_length == 77


def test_its_text_tower_pools_at_the_end(loaded):
    """The configuration names another token as the end (2), which means the largest id: padding changes nothing."""
    model, processor = loaded
    assert model.config.text_config.eos_token_id == 2
    several = tokenize_prompts(processor, ["cat", "hummingbird hawk-moth"], ["a photo of a {}."])
    alone = tokenize_prompts(processor, ["cat"], ["a photo of a {}."])
    of_several, of_one = (model.get_text_features(**ids).pooler_output for ids in (several, alone))
    torch.testing.assert_close(of_several[:1], of_one, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(of_several[0], of_several[1], atol=1e-3)


def test_its_image_processor_has_sizes_that_are_numbers(loaded):
    _, processor = loaded
    images = processor.image_processor
    assert (images.size["shortest_edge"], images.crop_size["height"], images.crop_size["width"]) == (16, 16, 16)


def test_a_checkpoint_of_it_says_the_same(loaded, tmp_path):
    model, processor = loaded
    save_model(tmp_path, model, processor)
    again, same = CLIPModel.from_pretrained(tmp_path), load_processor(str(tmp_path))
    prompts = tokenize_prompts(processor, ["cat"], ["a photo of a {}."])
    said, told = (one.get_text_features(**prompts).pooler_output for one in (again, model))
    torch.testing.assert_close(said, told)
    assert same.tokenizer("a Photo, 10")["input_ids"] == processor.tokenizer("a Photo, 10")["input_ids"]
