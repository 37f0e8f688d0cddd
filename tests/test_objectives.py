"""Every loss against a plain numpy reading of METHODS' equations, and what each switch takes away."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.tiny import rows, tiny_model

from mulki_hf.objectives import OBJECTIVES, FeatureBatch, Objective, Prototypes, TeacherFeatures
from mulki_hf.objectives.base import discrepancy_gate, distillation, task_loss
from mulki_hf.objectives.mulki import TEACHER_WEIGHTINGS, elicit_loss, relation_loss
from mulki_hf.objectives.snd import select_and_distill


SCALE, WIDTH = 7.0, 6
CLASSES, SHOWN = 5, [0, 2, 3]  # classes 1 and 4 have no image, hence no visual prototype
LABELS = [3, 0, 0, 2, 3, 2]


def unit(rng: np.random.Generator, rows: int) -> torch.Tensor:
    points = rng.normal(size=(rows, WIDTH))
    return torch.from_numpy(points / np.sqrt((points**2).sum(axis=1, keepdims=True)))


def make_batch(seed: int = 0) -> FeatureBatch:
    rng = np.random.default_rng(seed)

    def teacher() -> TeacherFeatures:
        prototypes = Prototypes(unit(rng, CLASSES), unit(rng, len(SHOWN)), torch.tensor(SHOWN))
        return TeacherFeatures(unit(rng, len(LABELS)), unit(rng, 8), prototypes)

    student = {"image": unit(rng, len(LABELS)), "text": unit(rng, CLASSES), "reference": unit(rng, 8)}
    student = {name: features.requires_grad_() for name, features in student.items()}
    return FeatureBatch(torch.tensor(LABELS), SCALE, **student, original=teacher(), previous=teacher())


@pytest.fixture
def batch() -> FeatureBatch:
    return make_batch()


def half(batch: FeatureBatch, which: int) -> FeatureBatch:
    """The first (0) or second (1) half of the samples, with their share of the reference images."""

    def cut(features: torch.Tensor) -> torch.Tensor:
        return features.chunk(2)[which]

    def cut_teacher(teacher: TeacherFeatures) -> TeacherFeatures:
        return replace(teacher, image=cut(teacher.image), reference=cut(teacher.reference))

    student = {name: cut(getattr(batch, name)) for name in ("labels", "image", "reference")}
    return replace(batch, **student, original=cut_teacher(batch.original), previous=cut_teacher(batch.previous))


# METHODS, read once more: one row at a time, in numpy


def numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def log_softmax(logits):
    return logits - np.log(sum(np.exp(logit) for logit in logits))


def ce(logits, label, smoothing=0.0):
    log_p = log_softmax(logits)
    return -(1 - smoothing) * log_p[label] - smoothing * np.mean(log_p)


def kd(teacher, student, temperature):
    target = np.exp(log_softmax(teacher / temperature))
    return -(temperature**2) * sum(target * log_softmax(student / temperature))


def expected_task(batch, smoothing):
    text = numbers(batch.text)
    return np.mean([ce(SCALE * text @ v, y, smoothing) for v, y in zip(numbers(batch.image), LABELS, strict=True)])


def expected_elicit(batch):
    anchors = numbers(batch.previous.prototypes.visual)
    image, text = numbers(batch.image), numbers(batch.text)
    images = [ce(SCALE * anchors @ v, SHOWN.index(y)) for v, y in zip(image, LABELS, strict=True)]
    texts = [ce(SCALE * anchors @ text[c], row) for row, c in enumerate(SHOWN)]
    return 0.5 * np.mean(images) + 0.5 * np.mean(texts)


def expected_relation(batch, teacher, temperature):
    visual, textual = numbers(teacher.prototypes.visual), numbers(teacher.prototypes.textual)

    def related(taught, learnt):
        return sum(kd(SCALE * anchors @ taught, SCALE * anchors @ learnt, temperature) for anchors in (visual, textual))

    text = np.mean([related(textual[c], numbers(batch.text)[c]) for c in range(CLASSES)])
    return np.array([related(v, w) for v, w in zip(numbers(teacher.image), numbers(batch.image), strict=True)]) + text


def expected_gate(original, previous):
    distances = np.array([np.sqrt(sum((a - b) ** 2)) for a, b in zip(original, previous, strict=True)])
    return 1 / (1 + np.exp(-6 * (distances - 0.2)))


def expected_weights(batch, weighting, kappa):
    """`(2, B)`: of the original and of the previous teacher."""
    if weighting == "uniform":
        return np.full((2, len(LABELS)), 0.5)
    if weighting == "discrepancy":
        previous = expected_gate(numbers(batch.original.image), numbers(batch.previous.image))
        return np.array([1 - previous, previous])
    trust = np.zeros((2, len(LABELS)))
    for m, teacher in enumerate((batch.original, batch.previous)):
        for x, label in enumerate(LABELS):
            logits = SCALE * numbers(teacher.prototypes.textual) @ numbers(teacher.image)[x]
            trust[m, x] = np.exp(-ce(logits, label) / kappa)
    return 0.5 * trust if weighting == "absolute" else trust / trust.sum(axis=0)


def expected_distil(batch, args, weighting):
    """The weighted relation and feature parts."""
    weights = expected_weights(batch, weighting, args.confidence_temperature)
    relation = feature = 0.0
    for w, teacher in zip(weights, (batch.original, batch.previous), strict=True):
        distances = ((numbers(batch.image) - numbers(teacher.image)) ** 2).sum(axis=1)
        relation += args.relation_weight * np.mean(w * expected_relation(batch, teacher, args.relation_temperature))
        feature += args.feature_weight * np.mean(w * distances)
    return relation, feature


def close(value) -> object:
    return pytest.approx(value, rel=1e-10)


class TestEquations:
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_task(self, batch, make_args, smoothing):
        assert task_loss(batch, smoothing).item() == close(expected_task(batch, smoothing))
        parts = OBJECTIVES["finetune"](make_args(method="finetune", label_smoothing_factor=smoothing))(batch)
        assert {name: value.item() for name, value in parts.items()} == {"task": close(expected_task(batch, smoothing))}

    def test_elicit(self, batch):
        assert elicit_loss(batch, batch.previous.prototypes).item() == close(expected_elicit(batch))

    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    def test_relation(self, batch, temperature):
        values = relation_loss(batch, batch.original, temperature)
        assert numbers(values) == close(expected_relation(batch, batch.original, temperature))

    @pytest.mark.parametrize("kappa", [0.3, 1.0])
    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_weights(self, batch, weighting, kappa):
        weights = torch.stack(TEACHER_WEIGHTINGS[weighting](batch, kappa))
        assert numbers(weights) == close(expected_weights(batch, weighting, kappa))

    def test_discrepancy_gate(self):
        points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
        others = torch.tensor([[1.0, 0.0], [0.8, 0.0], [-0.6, -0.8]], dtype=torch.float64)
        # distances 0, 0.2 and 2: sigmoid(-1.2), sigmoid(0), sigmoid(10.8)
        expected = [1 / (1 + np.exp(1.2)), 0.5, 1 / (1 + np.exp(-10.8))]
        assert discrepancy_gate(points, others).tolist() == close(expected)

    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_mulki_is_the_sum_of_its_stages(self, batch, make_args, weighting):
        args = make_args(teacher_weighting=weighting, confidence_temperature=0.7)
        relation, feature = expected_distil(batch, args, weighting)
        parts = OBJECTIVES["mulki"](args)(batch)
        assert {name: value.item() for name, value in parts.items()} == {
            "task": close(expected_task(batch, 0.0)),
            "elicit": close(0.5 * expected_elicit(batch)),
            "relation": close(relation),
            "feature": close(feature),
        }

    @pytest.mark.parametrize("gate", ["sample", "batch"])
    def test_snd(self, batch, make_args, gate):
        student, original, previous = (numbers(source.reference) for source in (batch, batch.original, batch.previous))
        share = expected_gate(original, previous)
        distances = [((student - teacher) ** 2).sum(axis=1) for teacher in (previous, original)]
        if gate == "batch":
            # The official code's shapes: (R, 1) times (R,) is (R, R).
            share = share[:, None]
        to_previous, to_original = np.mean(share * distances[0]), np.mean((1 - share) * distances[1])
        both = select_and_distill(batch.reference, batch.original, batch.previous, gate)
        assert [value.item() for value in both] == close([to_previous, to_original])
        parts = OBJECTIVES["snd"](make_args(method="snd", snd_gate=gate))(batch)
        assert {name: value.item() for name, value in parts.items()} == {
            "task": close(expected_task(batch, 0.0)),
            "previous": close(9 * to_previous),
            "original": close(0.5 * to_original),
        }

    def test_the_two_gates_differ(self, batch):
        sample, mixed = (
            select_and_distill(batch.reference, batch.original, batch.previous, gate) for gate in ("sample", "batch")
        )
        assert all(
            one.item() != pytest.approx(other.item(), rel=1e-6) for one, other in zip(sample, mixed, strict=True)
        )


class TestWeights:
    @pytest.mark.parametrize("weighting", ["confidence", "discrepancy", "uniform"])
    def test_sum_to_one(self, batch, weighting):
        original, previous = TEACHER_WEIGHTINGS[weighting](batch, 0.5)
        assert numbers(original + previous) == close(np.ones(len(LABELS)))

    def test_the_more_confident_teacher_weighs_more(self, batch):
        right = batch.original.prototypes.textual[batch.labels]  # images that lie on their own class
        batch = replace(batch, original=replace(batch.original, image=right))
        original, previous = TEACHER_WEIGHTINGS["confidence"](batch, 0.5)
        assert (original > previous).all()

    def test_absolute_shrinks_where_both_are_wrong(self, batch):
        def facing(sign: float) -> FeatureBatch:
            def turned(teacher: TeacherFeatures) -> TeacherFeatures:
                return replace(teacher, image=sign * teacher.prototypes.textual[batch.labels])

            return replace(batch, original=turned(batch.original), previous=turned(batch.previous))

        right, wrong = (sum(TEACHER_WEIGHTINGS["absolute"](facing(sign), 1.0)) for sign in (1.0, -1.0))
        assert (wrong < 0.01 * right).all()
        assert (right <= 1).all()


class TestSwitches:
    def values(self, batch, make_args, **overrides) -> dict[str, float]:
        return {name: part.item() for name, part in OBJECTIVES["mulki"](make_args(**overrides))(batch).items()}

    @pytest.mark.parametrize(
        ("overrides", "gone"),
        [
            ({"eliciting": False}, "elicit"),
            ({"elicit_weight": 0.0}, "elicit"),
            ({"adding": False}, "relation"),
            ({"relation_weight": 0.0}, "relation"),
            ({"feature_weight": 0.0}, "feature"),
        ],
    )
    def test_removes_exactly_its_part(self, batch, make_args, overrides, gone):
        full = self.values(batch, make_args)
        assert set(full) == {"task", "elicit", "relation", "feature"}
        assert self.values(batch, make_args, **overrides) == {name: full[name] for name in full if name != gone}

    def test_distinguishing_off_is_uniform(self, batch, make_args):
        off = self.values(batch, make_args, distinguishing=False)
        assert off == self.values(batch, make_args, teacher_weighting="uniform")
        on = self.values(batch, make_args)
        assert {name for name in on if on[name] != off[name]} == {"relation", "feature"}

    @pytest.mark.parametrize("overrides", [{"connecting": False}, {"average_every": 0, "merge_alpha": 0.0}])
    def test_connecting_off_leaves_the_weights_and_the_loss_alone(self, batch, make_args, overrides):
        on, off = (OBJECTIVES["mulki"](make_args(**given)) for given in ({}, overrides))
        assert (on.average_every, on.merge) == (10, ("previous", 0.1))
        assert (off.average_every, off.merge) == (0, None)
        assert self.values(batch, make_args, **overrides) == self.values(batch, make_args)

    def test_all_off_is_finetuning(self, batch, make_args):
        values = self.values(batch, make_args, eliciting=False, adding=False, feature_weight=0.0)
        assert values == {"task": OBJECTIVES["finetune"](make_args(method="finetune"))(batch)["task"].item()}

    @pytest.mark.parametrize("name", ["previous", "original"])
    def test_snd_without_one_teacher(self, batch, make_args, name):
        full = OBJECTIVES["snd"](make_args(method="snd"))(batch)
        parts = OBJECTIVES["snd"](make_args(method="snd", **{f"snd_{name}_weight": 0.0}))(batch)
        assert parts[name].item() == 0
        assert all(parts[other] == full[other] for other in full if other != name)


class TestInvariants:
    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_mulki_decomposes_over_the_batch(self, batch, make_args, weighting):
        self.check_halves(OBJECTIVES["mulki"](make_args(teacher_weighting=weighting)), batch)

    def test_snd_decomposes_over_the_batch(self, batch, make_args):
        self.check_halves(OBJECTIVES["snd"](make_args(method="snd")), batch)

    def check_halves(self, objective, batch):
        """The mean over two ranks of their halves' losses is the whole batch's loss."""
        whole, first, second = (objective(given) for given in (batch, half(batch, 0), half(batch, 1)))
        assert {name: (first[name] + second[name]).item() / 2 for name in whole} == {
            name: close(value.item()) for name, value in whole.items()
        }

    @pytest.mark.parametrize(
        ("method", "part", "reaches"),
        [
            ("mulki", "task", {"image", "text"}),
            ("mulki", "elicit", {"image", "text"}),
            ("mulki", "relation", {"image", "text"}),
            ("mulki", "feature", {"image"}),
            ("snd", "previous", {"reference"}),
            ("snd", "original", {"reference"}),
        ],
    )
    def test_gradient_reaches_the_student(self, batch, make_args, method, part, reaches):
        loss = OBJECTIVES[method](make_args(method=method))(batch)[part]
        inputs = {name: getattr(batch, name) for name in ("image", "text", "reference")}
        gradients = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
        assert {name for name, g in zip(inputs, gradients, strict=True) if g is not None and g.any()} == reaches

    @pytest.mark.parametrize("method", ["mulki", "snd"])
    def test_training_moves_the_student_and_no_teacher(self, make_args, processor, task, method):
        from mulki_hf import MulKITrainer

        models = {name: tiny_model(seed) for seed, name in enumerate(("model", "original_model", "previous_model"))}
        before = {name: {k: v.clone() for k, v in model.state_dict().items()} for name, model in models.items()}
        reference = rows(["red", "blue"], 4, 5) if method == "snd" else None
        args = make_args(method=method, connecting=False)
        trainer = MulKITrainer(args=args, task=task, processing_class=processor, reference_dataset=reference, **models)
        trainer.train()
        moved = {
            n: {k for k, v in model.state_dict().items() if (v != before[n][k]).any()} for n, model in models.items()
        }
        assert "visual_projection.weight" in moved["model"] and "logit_scale" not in moved["model"]
        assert not moved["original_model"] and not moved["previous_model"]
        teachers = (*models["original_model"].parameters(), *models["previous_model"].parameters())
        assert all(parameter.grad is None for parameter in teachers)

    def test_a_perfect_student_pays_nothing_for_features(self, batch, make_args):
        batch = replace(batch, image=batch.original.image, previous=batch.original)
        assert OBJECTIVES["mulki"](make_args())(batch)["feature"].item() == 0

    def test_relation_is_least_at_the_teacher(self, batch):
        teacher = batch.original
        image, text = (t.clone().requires_grad_() for t in (teacher.image, teacher.prototypes.textual))
        at_teacher = relation_loss(replace(batch, image=image, text=text), teacher, 2.0)
        assert (at_teacher < relation_loss(batch, teacher, 2.0)).all()
        for gradient in torch.autograd.grad(at_teacher.sum(), (image, text)):
            assert gradient.abs().max() < 1e-12

    def test_distillation_has_the_gradient_of_kl(self):
        teacher, student = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        student.requires_grad_()
        ours = torch.autograd.grad(distillation(teacher, student, 2.0).sum(), student)[0]
        p, log_q = (teacher / 2).softmax(-1), (student / 2).log_softmax(-1)
        kl = torch.autograd.grad(4 * (p * (p.log() - log_q)).sum(), student)[0]
        assert numbers(ours) == pytest.approx(numbers(kl), abs=1e-12)
        assert kl.abs().max() > 0.1

    def test_single_precision_and_large_scale_stay_finite(self, make_args):
        def single(thing):
            if isinstance(thing, torch.Tensor):
                return thing.detach().float() if thing.is_floating_point() else thing
            if isinstance(thing, (TeacherFeatures, Prototypes, FeatureBatch)):
                return type(thing)(**{name: single(value) for name, value in vars(thing).items()})
            return thing

        batch = replace(single(make_batch()), logit_scale=100.0)
        for weighting in TEACHER_WEIGHTINGS:
            args = make_args(teacher_weighting=weighting, confidence_temperature=0.01)
            for value in OBJECTIVES["mulki"](args)(batch).values():
                assert value.dtype == torch.float32 and value.isfinite()


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *((name, -0.5) for name in ("elicit_weight", "relation_weight", "feature_weight")),
            *((name, float("nan")) for name in ("elicit_weight", "relation_weight", "feature_weight")),
            ("average_every", -1),
            ("relation_temperature", 0.0),
            ("confidence_temperature", -1.0),
            ("merge_alpha", 1.0),
            ("merge_alpha", -0.1),
            ("teacher_weighting", "loudest"),
            ("snd_previous_weight", -9.0),
            ("snd_original_weight", float("nan")),
            ("reference_per_sample", 0),
            ("snd_gate", "both"),
            ("label_smoothing_factor", 1.0),
            ("learning_rate", -1e-5),
            ("method", "magic"),
            ("train_towers", "leaning"),
        ],
    )
    def test_out_of_range_names_field_and_value(self, make_args, name, value):
        with pytest.raises(ValueError, match=rf"{name} must be .*{value}"):
            make_args(**{name: value})

    def test_bounds_themselves_are_allowed(self, make_args):
        args = make_args(merge_alpha=0.0, average_every=0, elicit_weight=0.0, reference_per_sample=1)
        assert (args.merge_alpha, args.average_every, args.elicit_weight, args.reference_per_sample) == (0, 0, 0, 1)

    @pytest.mark.parametrize(("method", "towers"), [("mulki", "both"), ("snd", "vision"), ("finetune", "both")])
    def test_towers_default_to_the_methods_own(self, make_args, method, towers):
        assert make_args(method=method).train_towers == towers
        assert make_args(method=method, train_towers="text").train_towers == "text"


class TestNewMethod:
    def test_is_one_class(self, batch, make_args, monkeypatch):
        class Shrink(Objective):
            towers = "text"

            def retention(self, batch):
                return {"shrink": batch.text.square().sum()}

        monkeypatch.setitem(OBJECTIVES, "shrink", Shrink)
        args = make_args(method="shrink")
        objective = OBJECTIVES[args.method](args)
        parts = objective(batch)
        assert args.train_towers == "text"
        assert parts["task"].item() == close(expected_task(batch, 0.0))
        assert parts["shrink"].item() == close(float(CLASSES))  # unit vectors
        assert (objective.average_every, objective.merge, objective.anchor, objective.needs) == (
            0,
            None,
            0.0,
            frozenset(),
        )

    def test_must_say_what_it_keeps(self, make_args):
        with pytest.raises(TypeError, match="retention"):
            type("Nothing", (Objective,), {})(make_args())
