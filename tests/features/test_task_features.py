"""What teachers say of a task is computed once, and is what they would have said in the step."""

import pytest
import torch
from support.tiny import rows, tiny_model, tiny_processor, tiny_task
from support.training import losses
from torch.utils.data import DataLoader

from mulki_hf import MulKITrainer
from mulki_hf.data.crops import RandomCrops
from mulki_hf.data.reference import WithImages, collate
from mulki_hf.data.tables import ArrayCache
from mulki_hf.errors import ConfigurationError


class TestTraining:
    def trainer(self, args, task=None, original=None, previous=None, crop=None, **kwargs):
        reference = rows(["red", "blue"], 9, seed=9).select_columns(["image"]) if args.method == "snd" else None
        return MulKITrainer(
            tiny_model(), args, task or tiny_task(), tiny_processor(), original_model=original or tiny_model(1),
            previous_model=previous or tiny_model(2), reference_dataset=reference, random_resized_crop=crop, **kwargs,
        )  # fmt: skip

    @pytest.mark.parametrize("method", ["mulki", "snd"])
    @pytest.mark.parametrize("images", [False, True])
    def test_loss_is_that_of_the_uncached_path(self, make_args, tmp_path, method, images):
        logged = []
        for cached in (False, True):
            options = {"cache_teachers": cached, "cache_images": cached and images, "logging_steps": 1, "max_steps": 6}
            options["views_per_sample"] = 0.5
            args = make_args(method=method, output_dir=str(tmp_path / f"{cached}"), **options)
            logged.append(losses(self.trainer(args)))
        assert len(logged[0]) == 6
        for live, cached in zip(*logged, strict=True):
            assert live == pytest.approx(cached, abs=2e-5) and len(live) >= 3

    @pytest.mark.parametrize("method", ["mulki", "snd"])
    def test_loss_in_bf16(self, make_args, tmp_path, method):
        """The teachers' features are made under the same autocast as they would be in the step."""
        logged = []
        for cached in (False, True):
            options = {"cache_teachers": cached, "logging_steps": 1, "max_steps": 3, "bf16": True}
            logged.append(
                losses(self.trainer(make_args(method=method, output_dir=str(tmp_path / f"{cached}"), **options)))
            )
        for live, cached in zip(*logged, strict=True):
            assert live == pytest.approx(cached, rel=2e-2, abs=1e-3)

    @pytest.mark.parametrize("method", ["mulki", "snd"])
    def test_workers_bring_the_same(self, make_args, tmp_path, method):
        logged = []
        for workers in (0, 2):
            options = {"dataloader_num_workers": workers, "logging_steps": 1, "cache_images": True}
            logged.append(
                losses(self.trainer(make_args(method=method, output_dir=str(tmp_path / f"{workers}"), **options)))
            )
        assert logged[0] == logged[1]

    @pytest.mark.long
    def test_workers_that_are_spawned_bring_the_same(self, make_args):
        """As on macOS, and on Linux from Python 3.14: what a sample is made of is pickled."""
        features = self.trainer(make_args(method="snd", cache_images=True)).features
        features.prepare()
        paired = features.training_samples()
        crops = RandomCrops(features.task.train, features.processor.image_processor, 0.5, seed=0)
        plain = self.trainer(make_args(cache_teachers=False)).features.training_samples()
        samples = WithImages(crops, paired, len(crops), seed=0) + WithImages(plain, paired, len(plain), seed=0)
        here = DataLoader(samples, batch_size=32, collate_fn=collate)
        spawned = DataLoader(samples, batch_size=32, num_workers=1, multiprocessing_context="spawn", collate_fn=collate)
        seen = set()
        for one, other in zip(here, spawned, strict=True):
            assert all(torch.equal(value, other[name]) for name, value in one.items()) and len(one) == len(other)
            seen |= set(one)
        assert {"reference_pixel_values", "reference_reference_original", "views_pixel_values"} <= seen

    def test_teachers_run_once_per_image_and_then_are_gone(self, make_args, monkeypatch):
        made, seen = [], []

        def load(seed):
            model = tiny_model(seed)
            original = model.get_image_features
            monkeypatch.setattr(
                model,
                "get_image_features",
                lambda pixel_values: seen.append(len(pixel_values)) or original(pixel_values),
            )
            made.append(model)
            return model

        trainer = self.trainer(make_args(merge_alpha=0.0), original=lambda: load(1), previous=lambda: load(2))
        assert made == []
        trainer.train()
        assert (len(made), sum(seen)) == (2, 2 * (len(trainer.task.train) + trainer.features.beside["views"]))
        assert all(teacher._model is None for teacher in trainer.adaptation.teachers.values())
        trainer.train()
        assert len(made) == 2

    def test_resume_finds_the_tables(self, make_args, monkeypatch):
        args = make_args(save_strategy="steps", save_steps=2)
        self.trainer(args).train()
        monkeypatch.setattr(ArrayCache, "_fill", lambda *_: pytest.fail("computed again"))
        self.trainer(args).train(resume_from_checkpoint=True)

    @pytest.mark.parametrize("change", ["teacher", "data", "processor"])
    def test_stale_tables_are_dropped(self, make_args, tmp_path, change):
        args = make_args()
        self.trainer(args).train()
        before = {path.name for path in (tmp_path / "trainer/_cache").glob("train-*")}
        if change == "teacher":
            self.trainer(args, previous=tiny_model(3)).train()
        elif change == "data":
            self.trainer(args, task=tiny_task(seed=5)).train()
        else:
            processor = tiny_processor()
            processor.image_processor.image_mean = [0.4] * 3
            MulKITrainer(
                tiny_model(), args, tiny_task(), processor, original_model=tiny_model(1), previous_model=tiny_model(2)
            ).train()
        after = {path.name for path in (tmp_path / "trainer/_cache").glob("train-*")}
        assert len(after) == len(before) == 2
        assert len(before - after) == (1 if change == "teacher" else 2)

    def test_reference_features_of_the_original_teacher_serve_every_task(self, make_args, monkeypatch):
        args = make_args(method="snd")
        self.trainer(args).train()
        filled = []
        fill = ArrayCache._fill
        monkeypatch.setattr(
            ArrayCache, "_fill", lambda self, path, *rest: filled.append(path.name) or fill(self, path, *rest)
        )
        self.trainer(args, task=tiny_task("shapes", ["stripe", "frame"]), previous=tiny_model(3)).train()
        assert [name.rpartition("-")[0] for name in filled] == ["reference-previous"]

    def test_a_transform_of_the_reference_would_be_lost(self, make_args):
        reference = rows(["red"], 3, seed=9).select_columns(["image"]).with_transform(lambda batch: batch)
        with pytest.raises(ConfigurationError, match="reference_dataset: its images have a transform .* with map"):
            MulKITrainer(
                tiny_model(), make_args(method="snd"), tiny_task(), tiny_processor(), reference_dataset=reference
            )

    def test_random_crops_ask_the_teachers_every_step(self, make_args):
        trainer = self.trainer(make_args(), crop=0.5)
        trainer.train()
        assert trainer.features._tables == {"original": {}, "previous": {}}
        assert set(trainer.features._prototypes) == {"original", "previous"}
        assert "original" not in trainer.train_dataset[0]
