"""Which settings are paths, and that nothing else is changed."""

import dataclasses
import re

import pytest
from transformers import TrainingArguments

from mulki_hf import MulKIConfig, StreamConfig
from mulki_hf.config.paths import SETTING_PATHS, TASK_PATHS, shareable_settings
from mulki_hf.data.task_config import TaskConfig


NAMES = ["/m/0k4j", "/", "w /o x", "</script>", "~", "~/x", "a/../b", "https://ann:pw@host/?x", "C:\\x"]
"""That look like paths or addresses, and are class names."""


@pytest.mark.parametrize("name", NAMES)
def test_names_templates_and_patterns_pass_untouched(name):
    task = {"name": "pets", "dataset": "org/pets", "class_names": [name, "b"], "templates": [f"{name} {{}}"]}
    task |= {"image_column": name, "label_column": name, "config_name": name, "train_split": name, "revision": name}
    settings = {"tasks": [task], "templates": [f"~/{{}} {name}"], "lora_targets": f"{name}.*/x", "optim_args": name}
    settings |= {"peft_config": {"peft_type": "OFT", "target_modules": name}, "language": name, "license": name}
    assert shareable_settings(settings) == settings


def test_paths_are_cut_however_deep():
    files = {"train": ["/home/ann/a.tar", "rel/b.tar"], "test": "/home/ann/c.tar"}
    task = {"dataset": "/home/ann/pets", "data_files": files, "data_dir": "~/d", "class_names": "/home/ann/names.txt"}
    tuner = {"corda_config": {"cache_file": "/home/ann/f"}, "base_model_name_or_path": "/home/ann/clip"}
    settings = {
        "tasks": [task],
        "model_name_or_path": "/home/ann/clip",
        "reference_dataset": "../ann/pictures",
        "reference_data_files": ["https://ann:pw@host/x.tar?Signature=1"],
        "peft_config": tuner,
        "output_dir": "/home/ann/out",
    }
    cut = {"train": ["a.tar", "rel/b.tar"], "test": "c.tar"}
    assert shareable_settings(settings) == {
        "tasks": [{"dataset": "pets", "data_files": cut, "data_dir": "d", "class_names": "names.txt"}],
        "model_name_or_path": "clip",
        "reference_dataset": "pictures",
        "reference_data_files": ["https://host/x.tar"],
        "peft_config": {"corda_config": {"cache_file": "f"}, "base_model_name_or_path": "clip"},
        "output_dir": "out",
    }


def test_every_field_that_sounds_like_a_path_is_one():
    """Those of a newer `transformers` too."""
    sounds = re.compile(r"(^|_)(path|dir|file|files|folder|root|deepspeed)$")
    for cls, paths in ((TaskConfig, TASK_PATHS), (StreamConfig, SETTING_PATHS), (MulKIConfig, SETTING_PATHS)):
        names = {f.name for f in dataclasses.fields(cls) if sounds.search(f.name)}
        assert names <= set(paths)
    assert {"output_dir", "deepspeed"} <= {f.name for f in dataclasses.fields(TrainingArguments)} & set(SETTING_PATHS)
