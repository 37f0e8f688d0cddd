"""What would spoil a stream's results is refused before it begins."""

from support.launch import refused

from mulki_hf.train import main


BEST = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "max_steps": 4}


def test_no_model_is_chosen_on_the_split_that_is_reported(stream_yaml, tmp_path):
    refused(stream_yaml(method="finetune", **BEST), tmp_path, "load_best_model_at_end must be False, got True")


def test_for_tuning_it_may_be_chosen(stream_yaml, tmp_path, tasks_files):
    files = {split: str(tasks_files / f"colours-{split}.parquet") for split in ("train", "test")}
    task = {"name": "colours", "dataset": "parquet", "data_files": files, "validation_split": "train[:8]"}
    config = stream_yaml(method="finetune", tasks=[task], evaluate_on="validation", **BEST)
    main(["--config", str(config)])
    assert (tmp_path / "out/task1-colours").is_dir()
