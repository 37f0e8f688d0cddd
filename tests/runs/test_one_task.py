"""The card of a task that was learned by itself."""

import re

import pytest
from accelerate import Accelerator
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model
from support.tiny import rows

from mulki_hf.adaptation import adapt
from mulki_hf.data.unlabelled import Reference
from mulki_hf.embedded import embedded_model_path
from mulki_hf.report.model_card import card_of_task
from mulki_hf.runs.one_task import results_of_task


@pytest.fixture
def card(task, make_args):
    """Makes the card of a task, settings and what else is given."""

    def make(base: str = "", repo_id: str | None = None, config=None, **fields) -> ModelCard:
        config = config or make_args(output_dir="/home/ann/out")
        results = results_of_task(task, config, base, 25.0, 87.5, Accelerator(cpu=True), **fields)
        text = card_of_task(results, "out", repo_id)
        assert not re.search(r"\bNone\b", text.replace("None.", "")) and "home/ann" not in text
        return ModelCard(text)

    return make


def test_says_what_was_learned(card, make_args):
    made = card("org/clip", "org/colours", make_args(elicit_weight=2.5, license="mit"))
    text = " ".join(made.text.split())
    assert (
        "trained on the task ***colours*** (4 classes). It started from [org/clip](https://huggingface.co/org/clip)"
        in text
    )
    assert text.count('"org/colours"') == 3 and "is the folder" not in text
    assert "changed by **+62.5 points**" in text and "| `elicit_weight` | 2.5 |" in text
    assert "called from Python, `MulKITrainer`" in text and "CPU cores" in text
    data = made.data
    assert (data.base_model, data.license, data.model_name) == ("org/clip", "mit", "colours")
    assert [(result.metric_type, result.metric_value) for result in data.eval_results] == [("accuracy", 0.875)]


def test_names_no_file_that_is_not_there(card):
    text = card().text
    assert not re.search(r"recipe\.yaml|results\.json|\.png|safetensors`|resume_from_hub|stream", text)
    assert "`out` is the folder that this card lies in" in text


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("", "a CLIP that has no name"),
        ("/home/ann/gone/tiny", "`tiny`"),
        (str(embedded_model_path("clip-nano")), "`clip-nano`, the small CLIP that ships with mulki-hf,"),
    ],
)
def test_models_that_are_not_on_the_hub(card, base, said):
    made = card(base)
    assert f"It started from {said} and trained both towers" in made.text
    assert made.data.base_model is None


def test_reference_images(card, make_args):
    pictures = Reference(rows(["red"], 5, seed=9).select_columns(["image"]), "org/pictures")
    made = card("org/clip", config=make_args(method="snd"), reference=pictures)
    assert "5 unlabelled reference images" in made.text and made.data.datasets == ["org/pictures"]


def test_of_adapters_it_is_theirs(card, model, make_args):
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    made = card("org/clip", "org/colours", adaptation=adapt(adapted, make_args()))
    assert made.data.library_name == "peft" and made.data.base_model_relation == "adapter"
    assert 'PeftModel.from_pretrained(base, "org/colours")' in made.text
    assert "`r`: `4`" in made.text and "same model with the adapter" not in made.text
    assert "licence" in made.text and "## Limitations" in made.text
