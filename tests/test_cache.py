"""What is computed once: the same values, at the same places, again when something changes, and not otherwise."""

import copy
import pickle

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from support.tiny import COLOURS, rows, tiny_model, tiny_processor, tiny_task
from torch import nn

from mulki_hf import MulKITrainer, StreamEvaluator
from mulki_hf.adaptation.teacher import weights_fingerprint
from mulki_hf.data.images import cached_images, image_transform
from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.data.tables import ArrayCache, Table, WithTables
from mulki_hf.models.encoding import chunked_text_tower


class Numbers:
    """Samples `{"x": [n, n]}`."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"x": torch.tensor([float(index)] * 2)}

    def __getitems__(self, indices):
        return [self[index] for index in indices]


@pytest.fixture
def cache(tmp_path):
    return ArrayCache(tmp_path / "cache", Accelerator(cpu=True), batch_size=4)


class TestTable:
    def fill(self, cache, depends_on=("a",), count=10, factor=2.0):
        calls = []

        def compute(batch):
            calls.append(len(batch["x"]))
            return factor * batch["x"]

        return cache.table("numbers", list(depends_on), Numbers(count), compute, "test"), calls

    def test_rows_are_the_samples_in_order(self, cache):
        table, calls = self.fill(cache)
        assert torch.equal(table[list(range(10))], 2 * torch.arange(10.0).repeat(2, 1).T)
        assert torch.equal(table[[7, 0]], torch.tensor([[14.0, 14.0], [0.0, 0.0]]))
        assert calls == [4, 4, 2]
        assert isinstance(table.rows, np.memmap)

    def test_is_computed_once(self, cache):
        self.fill(cache)
        again, calls = self.fill(cache)
        assert calls == [] and len(again.rows) == 10

    def test_another_dependence_takes_its_place(self, cache):
        self.fill(cache)
        table, calls = self.fill(cache, depends_on=("b",), factor=3.0)
        assert calls and table[[1]].tolist() == [[3.0, 3.0]]
        assert [path.name for path in cache.folder.iterdir()] == [table.path.name]

    def test_an_interrupted_one_is_computed_anew(self, cache):
        def fail(batch):
            if batch["x"][0, 0] >= 4:
                raise KeyboardInterrupt
            return batch["x"]

        with pytest.raises(KeyboardInterrupt):
            cache.table("numbers", ["a"], Numbers(10), fail, "test")
        assert len(self.fill(cache)[1]) == 3

    def test_what_a_crash_left_goes(self, cache):
        """Of this rank; another one may be another machine's, in the middle of writing."""
        cache.folder.mkdir()
        for key, rank in (("a", 0), ("b", 1)):
            (cache.folder / f"numbers-{key * 16}.{rank}.partial").touch()
        (cache.folder / f"numbers-old-{'c' * 16}.npy").touch()
        table, _ = self.fill(cache)
        names = {table.path.name, f"numbers-{'b' * 16}.1.partial", f"numbers-old-{'c' * 16}.npy"}
        assert {path.name for path in cache.folder.iterdir()} == names

    def test_training_after_it_draws_the_same(self, cache):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        self.fill(cache)
        assert torch.equal(torch.rand(3), expected)

    def test_workers_get_the_file_not_the_array(self, cache):
        table, _ = self.fill(cache, count=100_000)
        assert table.rows.nbytes > 500_000
        copied = pickle.dumps(table)
        assert len(copied) < 1000
        assert torch.equal(pickle.loads(copied)[[99_999]], table[[99_999]])

    def test_samples_get_their_rows(self, cache):
        table, _ = self.fill(cache)
        samples = WithTables(Numbers(10), {"double": table})
        assert [sample["double"].tolist() for sample in samples.__getitems__([3, 1])] == [[6.0, 6.0], [2.0, 2.0]]
        assert samples[9]["double"].tolist() == [18.0, 18.0] and len(samples) == 10


def test_a_table_of_texts(cache):
    """What images can do reference texts can: a row for each caption."""
    model, processor = tiny_model().eval(), tiny_processor()
    captions = Dataset.from_dict({"text": [f"a {name} thing" for name in COLOURS] + ["frame"]})
    tokens = captions.map(
        lambda batch: dict(processor.tokenizer(batch["text"], padding="longest")), batched=True, remove_columns="text"
    ).with_format("torch", columns=["input_ids"])
    depends_on = [weights_fingerprint(model), captions._fingerprint]
    table = cache.table(
        "captions", depends_on, tokens, lambda batch: model.get_text_features(**batch).pooler_output, "captions"
    )
    with torch.no_grad():
        expected = model.get_text_features(input_ids=tokens["input_ids"][:]).pooler_output
    torch.testing.assert_close(table[list(range(5))], expected, rtol=0, atol=1e-6)


class TestFingerprint:
    def test_of_equal_and_of_other_weights(self):
        assert weights_fingerprint(tiny_model()) == weights_fingerprint(copy.deepcopy(tiny_model()))
        assert weights_fingerprint(tiny_model()) != weights_fingerprint(tiny_model(1))
        nudged = tiny_model()
        with torch.no_grad():
            nudged.visual_projection.weight[0, 0] += 1e-6
        assert weights_fingerprint(nudged) != weights_fingerprint(tiny_model())


class TestImages:
    @pytest.mark.parametrize("changes", [{}, {"do_normalize": False}, {"do_rescale": False, "do_normalize": False}])
    def test_equal_the_processors(self, cache, changes):
        processor = tiny_processor().image_processor
        for name, value in changes.items():
            setattr(processor, name, value)
        data = rows(list(COLOURS), 3, 0)
        expected, found = (
            data.with_transform(image_transform(processor)),
            cached_images(data, processor, cache, "train"),
        )
        assert len(found) == len(expected)
        for one, other in zip(expected.__getitems__(list(range(12))), found.__getitems__(list(range(12))), strict=True):
            torch.testing.assert_close(
                torch.as_tensor(one["pixel_values"]).float(), other["pixel_values"], rtol=0, atol=1e-6
            )
            assert one["labels"] == other["labels"]

    def test_lie_on_disk_as_bytes(self, cache):
        table = cached_images(rows(["red"], 5, 0), tiny_processor().image_processor, cache, "train").table
        assert (table.rows.dtype, table.rows.shape) == (np.uint8, (5, 3, 16, 16))

    def test_other_data_or_processor(self, cache):
        processor = tiny_processor().image_processor
        names = [cached_images(rows(["red"], 5, seed), processor, cache, "train").table.path for seed in (0, 1)]
        processor.size = {"shortest_edge": 24}
        names.append(cached_images(rows(["red"], 5, 1), processor, cache, "train").table.path)
        assert len(set(names)) == 3


def losses(trainer) -> list[dict[str, float]]:
    trainer.train()
    return [{k: v for k, v in entry.items() if k.startswith("loss")} for entry in trainer.state.log_history[:-1]]


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
        assert (len(made), sum(seen)) == (2, 2 * len(trainer.task.train))
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
        before = {path.name for path in (tmp_path / "trainer/_cache").iterdir()}
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
        after = {path.name for path in (tmp_path / "trainer/_cache").iterdir()}
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

    def test_random_crops_ask_the_teachers_every_step(self, make_args):
        trainer = self.trainer(make_args(), crop=0.5)
        trainer.train()
        assert trainer.features._tables == {"original": {}, "previous": {}}
        assert set(trainer.features._prototypes) == {"original", "previous"}
        assert "original" not in trainer.train_dataset[0]


class TestTextChunks:
    @pytest.mark.parametrize("chunk", [1, 3, 8])
    def test_same_features_and_gradients(self, chunk):
        model, processor = tiny_model(), tiny_processor()
        prompts = tokenize_prompts(processor.tokenizer, list(COLOURS), ["a {}.", "one {}"])
        pixels = torch.rand(2, 3, 16, 16)

        def gradients():
            model.zero_grad()
            outputs = model(pixel_values=pixels, **prompts)
            outputs.logits_per_image.square().mean().backward()
            return outputs.text_embeds.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}

        whole = gradients()
        with chunked_text_tower(model.text_model, chunk):
            parts = gradients()
        torch.testing.assert_close(parts[0], whole[0], rtol=0, atol=1e-6)
        for name, gradient in whole[1].items():
            torch.testing.assert_close(parts[1][name], gradient, rtol=1e-4, atol=1e-6)
        assert "forward" not in vars(model.text_model)

    def test_memory_is_that_of_a_chunk(self):
        """What the graph holds back for the backward pass does not grow with the number of prompts."""
        model, processor = tiny_model(), tiny_processor()

        def kept(count: int, chunk: int) -> int:
            sizes = []
            prompts = tokenize_prompts(processor.tokenizer, [f"n{i:03}" for i in range(count)], ["a {}."])
            with (
                chunked_text_tower(model.text_model, chunk),
                torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t),
            ):
                model.get_text_features(**prompts)
            return sum(sizes)

        assert kept(64, chunk=64) > 6 * kept(8, chunk=8)
        assert kept(64, chunk=8) < 2 * kept(8, chunk=8)

    def test_in_bf16(self):
        model, processor = tiny_model(), tiny_processor()
        prompts = tokenize_prompts(processor.tokenizer, list(COLOURS), ["a {}."])
        gradients = []
        for chunk in (8, 2):
            model.zero_grad()
            with chunked_text_tower(model.text_model, chunk), torch.autocast("cpu", torch.bfloat16):
                model.get_text_features(**prompts).pooler_output.float().square().mean().backward()
            gradients.append(model.text_projection.weight.grad.clone())
        torch.testing.assert_close(*gradients, rtol=2e-2, atol=1e-4)

    def test_evaluation_encodes_the_classes_once(self, make_args, processor, monkeypatch):
        trainer = MulKITrainer(tiny_model(), make_args(per_device_eval_batch_size=2), tiny_task(), processor)
        prompts, seen = trainer.features.prompts["input_ids"].shape, []
        forward = trainer.model.text_model.forward
        monkeypatch.setattr(
            trainer.model.text_model,
            "forward",
            lambda input_ids, **kwargs: seen.append(input_ids.shape) or forward(input_ids=input_ids, **kwargs),
        )
        before = trainer.evaluate()
        batches = len(trainer.get_eval_dataloader())
        # Beside them the single prompt that CLIP's forward insists on, with every batch.
        assert seen.count(prompts) == 1 and len(seen) == 1 + batches > 3
        trainer.train()
        assert trainer.evaluate()["eval_loss"] != before["eval_loss"]

    def test_many_classes_train(self, make_args, processor):
        parts = []
        for chunk in (256, 2):
            args = make_args(text_chunk=chunk, logging_steps=1, output_dir=make_args().output_dir + str(chunk))
            parts.append(losses(MulKITrainer(tiny_model(), args, tiny_task(), processor)))
        assert [p["loss"] for p in parts[0]] == pytest.approx([p["loss"] for p in parts[1]], abs=1e-4)


class TestEvaluation:
    def evaluator(self, **kwargs):
        tasks = [tiny_task(), tiny_task("shapes", ["stripe", "corner", "frame"])]
        return StreamEvaluator(tasks, tiny_processor(), Accelerator(cpu=True), batch_size=5, **kwargs)

    def count(self, monkeypatch, model) -> dict[str, int]:
        counts = {"images": 0, "texts": 0}
        for name, method in (("images", "get_image_features"), ("texts", "get_text_features")):
            original = getattr(model, method)

            def counted(*args, original=original, name=name, **kwargs):
                counts[name] += len(next(iter(kwargs.values())))
                return original(*args, **kwargs)

            monkeypatch.setattr(model, method, counted)
        return counts

    def test_each_image_once_for_every_protocol(self, monkeypatch):
        evaluate, model = self.evaluator(), tiny_model()
        counts = self.count(monkeypatch, model)
        together = evaluate.by_protocol(model, 1, "test", ["til", "cil", "xtail"])
        assert counts == {"images": 12 + 9, "texts": 4 * 2 + 3 * 2}
        for protocol, accuracies in together.items():
            assert self.evaluator(protocol=protocol)(tiny_model(), 1, "test") == accuracies

    @pytest.mark.parametrize(("trained", "again"), [("vision", "texts"), ("text", "images"), ("both", None)])
    def test_a_frozen_tower_is_not_asked_again(self, monkeypatch, trained, again):
        evaluate, model = self.evaluator(trained_towers=trained), tiny_model()
        first = evaluate(model, 0, "test")
        counts = self.count(monkeypatch, model)
        assert evaluate(model, 1, "test") == first
        assert [name for name, count in counts.items() if count == 0] == ([again] if again else [])

    def test_images_of_a_frozen_tower_are_not_decoded_again(self, monkeypatch):
        evaluate, model = self.evaluator(trained_towers="text"), tiny_model()
        first = evaluate(model, 0, "test")
        # Numbers in place of batches: who looks for pixels in them fails.
        monkeypatch.setattr(evaluate, "loaders", [range(3), range(2)])
        assert evaluate(model, 1, "test") == first
        # The texts are those of the model at hand.
        assert len({tuple(evaluate(tiny_model(seed), 1, "test")) for seed in range(6)}) > 1

    def test_cached_images_give_the_same(self, cache):
        assert self.evaluator(image_cache=cache)(tiny_model(), 0, "test") == self.evaluator()(tiny_model(), 0, "test")


def test_table_reads_only_what_is_asked(tmp_path):
    np.save(tmp_path / "table.npy", np.arange(6).reshape(3, 2))
    table = Table(tmp_path / "table.npy")
    row = table[[1]]
    row += 1
    assert table.rows[1].tolist() == [2, 3] and isinstance(row, torch.Tensor) and not isinstance(row, nn.Parameter)
