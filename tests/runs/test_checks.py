"""What would spoil a stream's results is refused before it begins."""

import pytest
from support.launch import refused

from mulki_hf.train import main


BEST = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "max_steps": 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (BEST, "load_best_model_at_end must not be True"),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 2},
            "lr_scheduler_type must not be reduce_lr_on_plateau",
        ),
    ],
)
def test_nothing_is_chosen_on_the_split_that_is_reported(stream_yaml, tmp_path, change, message):
    refused(stream_yaml(method="finetune", **change), tmp_path, message)


def test_for_tuning_it_may_be_chosen(stream_yaml, tmp_path, tasks_files):
    files = {split: str(tasks_files / f"colours-{split}.parquet") for split in ("train", "test")}
    task = {"name": "colours", "dataset": "parquet", "data_files": files, "validation_split": "train[:8]"}
    config = stream_yaml(method="finetune", tasks=[task], evaluate_on="validation", **BEST)
    main(["--config", str(config)])
    assert (tmp_path / "out/task1-colours").is_dir()
