"""Every image once, whatever is asked of it."""

import pytest
from accelerate import Accelerator
from support.tiny import tiny_model, tiny_processor, tiny_task

from mulki_hf import StreamEvaluator
from mulki_hf.evaluation.confusion import ConfusionCounts


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

    @pytest.mark.parametrize("protocol", ["til", "xtail"])
    def test_which_class_each_image_was_taken_for(self, protocol):
        """In the same pass; what is counted on the diagonal is the accuracy."""
        evaluate = self.evaluator()
        counts = ConfusionCounts(evaluate, [1])
        cells = evaluate.cells(tiny_model(3), [2, 0], "test", [protocol, "cil"], seen=counts)
        (table,) = counts.tables.values()
        assert table.shape == (3, 7) and table.sum(dim=1).tolist() == [3, 3, 3]
        assert 100 * sum(table[i, 4 + i].item() for i in range(3)) / 9 == pytest.approx(cells[protocol][0][1])
        assert (table[:, :4] == 0).all() or protocol == "xtail"
