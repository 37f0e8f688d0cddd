"""A task's training on a tiny CLIP."""

from support.tiny import rows, tiny_task

from mulki_hf import MulKIConfig, MulKITrainer


def short_run(output_dir, **overrides) -> MulKIConfig:
    """Settings of a few steps on the CPU."""
    settings = {
        "output_dir": str(output_dir),
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "dataloader_num_workers": 0,
        "logging_steps": 2,
    }
    return MulKIConfig(**settings | overrides)


def trainer_of(model, args, processor, task=None, **kwargs) -> MulKITrainer:
    """With reference images and texts for the methods that need them."""
    if args.method in ("snd", "zscl"):
        kwargs.setdefault("reference_dataset", rows(["red", "blue"], 5, seed=9).select_columns(["image"]))
    if args.method == "zscl":
        kwargs.setdefault("reference_texts", ["a red thing", "blue", "a picture of a bird"])
    return MulKITrainer(model, args, task or tiny_task(), processor, **kwargs)


def losses(trainer: MulKITrainer) -> list[dict[str, float]]:
    """Train; the named parts of every logged loss."""
    trainer.train()
    return [{k: v for k, v in entry.items() if k.startswith("loss")} for entry in trainer.state.log_history[:-1]]
