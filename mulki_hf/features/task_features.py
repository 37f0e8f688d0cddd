"""All of a task that no step changes: its samples, its prompts, and what frozen models say of both."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import Dataset as Samples
from transformers import CLIPModel, CLIPProcessor

from ..adaptation.teacher import Teacher, weights_fingerprint
from ..data.crops import RandomCrops
from ..data.epochs import check_crops, data_seed
from ..data.images import ImageSamples, cached_images, image_transform
from ..data.labels import labels_of
from ..data.prompts import tokenize_prompts
from ..data.reference import WithImages
from ..data.tables import ArrayCache, Table, WithTables
from ..data.task import Task, check_dataset, check_no_transform
from ..data.views import MADE_AS, Views
from ..models.dual_encoders import feature_width
from ..models.encoding import encode_classes, encode_images
from ..objectives import Prototypes, TeacherFeatures
from ..objectives.batch import IMAGE_PARTS
from .prompt_banks import PromptBank, joined
from .prototypes import compute_prototypes


STUDENT = "student"


class TaskFeatures:
    """The samples of a task's steps, and what frozen models say of them; depends on data and teachers alone.

    Args:
        task ([`Task`]): the task to learn.
        teachers: `original` and `previous`; in the first task one teacher under both names.
        needs: what the objective reads, see [`Objective`]. Nothing else is computed.
        processor ([`CLIPProcessor`]): the student's.
        cache ([`ArrayCache`]): where tables of features and images lie, for one trainer at a time.
        args ([`MulKIConfig`]): `cache_teachers`, `cache_images`; how many images there are beside the task's own, data
            seed, device.
        reference ([`datasets.Dataset`], *optional*): column `image`.
        crop_area (`float`, *optional*): train on random crops of at least this share of the image's area; then no
            features of single images are kept.
        banks ([`PromptBank`] by part, *optional*): what is read beside the task's own prompts.

    Raises:
        ConfigurationError: workers would outlive an epoch and repeat its crops, or the reference images are
            no dataset whose rows are read by number, or have a transform, which the model's own would replace.

    Attributes:
        prompts: of the classes, tokenised, on the device.
        classes: how they make classes, see [`class_features`].
        groups (`(C,)`, *optional*): which task each class belongs to, where there are several.
        views_share: views that there are for each image, on average; see [`FeatureBatch`].
        text (`(C, d)`, *optional*): class features of the student while no step changes them; see `hold_text`.
    """

    def __init__(
        self,
        task: Task,
        teachers: dict[str, Teacher],
        needs: frozenset[str],
        processor: CLIPProcessor,
        cache: ArrayCache,
        args: Any,
        reference: Dataset | None = None,
        crop_area: float | None = None,
        banks: Mapping[str, PromptBank] | None = None,
    ):
        check_crops(args, crop_area)
        if reference is not None:
            check_dataset(reference, "reference_dataset")
            check_no_transform(reference, "reference_dataset: its images")
        self.task = task
        # By role, the parts that are read of the teacher in it.
        self.reads = {
            role: {path.partition(".")[2] for path in needs if path.startswith(f"{role}.")} for role in teachers
        }
        self.wants_prototypes = any("prototypes" in parts for parts in self.reads.values())
        self.teachers = {role: teacher for role, teacher in teachers.items() if self.reads[role]}
        # By a teacher's own name: in the first task two roles are one teacher.
        self.asked = {teacher.name: teacher for teacher in self.teachers.values()}
        self._prototypes: dict[str, Prototypes] = {}
        self._tables: dict[str, dict[str, Table]] = {}
        self._text: dict[str, Tensor] = {}
        self._width = 0
        self.processor = processor
        self.cache = cache
        self.args = args
        self.reference = reference
        # Kinds of images beside the task's own, and how many an epoch brings.
        self.beside: dict[str, int] = {}
        if reference is not None:
            self.beside["reference"] = args.reference_per_sample * len(task.train)
        if any(path.rpartition(".")[2] == "views" for path in needs):
            self.beside["views"] = max(1, round(args.views_per_sample * len(task.train)))
        self.views_share = self.beside.get("views", 0) / len(task.train)
        self.crop_area = crop_area
        self.padding = processor.tokenizer.pad_token_id or 0
        parts = [tokenize_prompts(processor, part.class_names, part.templates)["input_ids"] for part in task.parts]
        self.prompts = {"input_ids": joined(parts, self.padding).to(args.device)}
        self.classes = [(len(ids), len(part.class_names)) for ids, part in zip(parts, task.parts, strict=True)]
        self.groups = None
        if len(parts) > 1:
            counts = torch.tensor([count for _, count in self.classes])
            self.groups = torch.arange(len(parts)).repeat_interleave(counts).to(args.device)
        self.banks = dict(banks or {})
        # Of these the student reads what a step draws, too.
        self.along = [part for part in self.banks if part in needs]
        self.read_along = {part: self.banks[part] for part in self.along if len(self.banks[part].input_ids)}
        self.text: Tensor | None = None

    def parts_of(self, teacher: Teacher) -> set[str]:
        """What is read of a teacher, in whichever role."""
        return {part for role, asked in self.teachers.items() if asked is teacher for part in self.reads[role]}

    # Before the first step

    def prepare(self) -> None:
        """Compute what the teachers say of the task, unless that was done: prototypes and, when cached, features."""
        for name, teacher in self.asked.items():
            if name not in self._tables:
                self._prepare(teacher, self.args.cache_teachers and self.crop_area is None)

    def _prepare(self, teacher: Teacher, cached: bool) -> None:
        reads, tables = self.parts_of(teacher), {}
        with teacher.active(self.args.device) as model:
            fingerprint, self._width = teacher.fingerprint(), feature_width(model)
            if "prototypes" in reads or (cached and "image" in reads):
                name = f"train-{teacher.name}"
                tables["image"] = self.table(model, fingerprint, self.task.train, self.training_images, name)
            if "prototypes" in reads:
                self._prototypes[teacher.name] = self._prototypes_from(model, tables["image"])
            # In one order on all ranks, which compute together.
            for part in sorted(self.banks.keys() & reads):
                self.banks[part].said[teacher.name] = self._of_bank(model, fingerprint, part, teacher.name)
            for part in self.beside if cached else ():
                if part in reads:
                    rows, samples = self.images_beside(part)
                    tables[part] = self.table(model, fingerprint, rows, samples, f"{part}-{teacher.name}")
            if "text" in reads:
                self._text[teacher.name] = self.class_features(model).to(self.args.device)
        self._tables[teacher.name] = tables if cached else {}
        if cached or not reads & {"image", *IMAGE_PARTS}:
            teacher.release()

    def _of_bank(self, model: CLIPModel, fingerprint: str, part: str, name: str) -> Tensor:
        """The model's features `(N, d)` of a bank's prompts, computed once for all tasks that have the same."""
        ids = self.banks[part].input_ids
        if not len(ids):
            return torch.empty(0, feature_width(model), device=self.args.device)
        table = self.cache.table(
            f"{part}-{name}",
            [part, fingerprint, ids.tolist(), self.cache.accelerator.mixed_precision],
            [{"input_ids": row} for row in ids.cpu()],
            lambda batch: encode_classes(model, batch, len(batch["input_ids"])),
            f"{self.task.name}: {part} features",
        )
        return table[:].to(self.args.device)

    def training_samples(self) -> Samples:
        """What a step is made of: images, the teachers' features of them where cached, those beside them likewise."""
        samples = self.training_images
        if self.crop_area is not None:
            cut = (self.processor.image_processor, self.crop_area, data_seed(self.args))
            samples = RandomCrops(self.task.train, *cut, self._named("training images"))
        # Where a batch came from, should its loss turn out not to be finite.
        samples = WithTables(self._with_features(samples, "image"), {"row": torch.arange(len(self.task.train))})
        for part, count in self.beside.items():
            others = self._with_features(self.images_beside(part)[1], part)
            samples = WithImages(samples, others, count, data_seed(self.args), part)
        return samples

    def _with_features(self, samples: Samples, part: str) -> Samples:
        tables = {name: tables[part] for name, tables in self._tables.items() if part in tables}
        return WithTables(samples, tables) if tables else samples

    @cached_property
    def training_images(self) -> Samples:
        """The training images without crops: `pixel_values` and `labels`."""
        return self._images(self.task.train, "train", self._named("training images"))

    def images_beside(self, part: str) -> tuple[Any, Samples]:
        """The images beside the task's own of one kind: what they are made of, and samples of `pixel_values`."""
        return self._reference_images if part == "reference" else self._views

    @cached_property
    def _reference_images(self) -> tuple[Dataset, Samples]:
        return self.reference, self._images(self.reference, "reference", self._named("reference images"))

    @cached_property
    def _views(self) -> tuple[Dataset, Samples]:
        # As many as an epoch brings: the next one has the same, beside other images.
        return self.task.train, Views(self.training_images, self.beside["views"], data_seed(self.args))

    def _images(self, rows: Dataset, name: str, what: str) -> Samples:
        image_processor = self.processor.image_processor
        if self.args.cache_images:
            return cached_images(rows, image_processor, self.cache, name, what)
        return ImageSamples(rows, image_transform(image_processor), what)

    def _named(self, images: str) -> str:
        return f"task {self.task.name!r}, {images}"

    # In every step

    def prompts_with(self, step: int) -> tuple[dict[str, Tensor], list[tuple[int, int]]]:
        """The task's prompts and those beside them that the student reads in `step`, and how they make classes."""
        drawn = [bank.of_step(bank.input_ids, step) for bank in self.read_along.values()]
        ids = joined([self.prompts["input_ids"], *drawn], self.padding)
        return {"input_ids": ids}, [*self.classes, *((len(part), len(part)) for part in drawn)]

    def told_apart(self, text: Tensor, step: int) -> dict[str, Tensor]:
        """The student's features of a batch, by part, of those in [`prompts_with`] or of the task's classes alone."""
        counts = [sum(count for _, count in self.classes)]
        if len(text) == counts[0]:
            # No step changes what the text tower says.
            beside = [bank.of_step(bank.said[STUDENT], step) for bank in self.read_along.values()]
        else:
            text, *beside = text.split(counts + [bank.drawn for bank in self.read_along.values()])
        nothing = text.new_empty(0, text.shape[-1])
        return dict.fromkeys(self.along, nothing) | {"text": text} | dict(zip(self.read_along, beside, strict=True))

    def said(self, inputs: dict[str, Tensor], step: int) -> dict[str, TeacherFeatures]:
        """What the teachers say of a batch, by role: from its columns or, where nothing is cached, asked now."""
        told = {name: self._told(teacher, inputs, step) for name, teacher in self.asked.items()}
        return {
            role: TeacherFeatures(**{part: told[teacher.name][part] for part in self.reads[role]}, role=role)
            for role, teacher in self.teachers.items()
        }

    def _told(self, teacher: Teacher, inputs: dict[str, Tensor], step: int) -> dict[str, Any]:
        if teacher.name not in self._tables:
            raise RuntimeError("what the teachers say is prepared when training starts: call train(), or prepare()")
        reads = self.parts_of(teacher)
        told: dict[str, Any] = {"prototypes": self._prototypes[teacher.name]} if "prototypes" in reads else {}
        if "text" in reads:
            told["text"] = self._text[teacher.name]
        for part in self.banks.keys() & reads:
            told[part] = self.banks[part].of_step(self.banks[part].said[teacher.name], step)
        prefixes = {"image": ""} | {part: f"{part}_" for part in self.beside}
        shown = {part: at for part, at in prefixes.items() if part in reads}
        if "views" in shown and "views_pixel_values" not in inputs:
            # So it is in some batches.
            del shown["views"]
            told["views"] = torch.empty(0, self._width, device=self.args.device)
        if not shown:
            return told
        if self._tables[teacher.name]:
            return told | {part: inputs[f"{at}{teacher.name}"] for part, at in shown.items()}
        with self.cache.accelerator.autocast(), teacher.active(self.args.device) as model:
            return told | {part: encode_images(model, inputs[f"{at}pixel_values"]) for part, at in shown.items()}

    # Of any model

    def class_features(self, model: CLIPModel) -> Tensor:
        """Features `(C, d)` of the task's classes, without gradient; the model is in eval mode meanwhile."""
        training = model.training
        model.eval()
        with self.cache.accelerator.autocast():
            features = encode_classes(model, self.prompts, self.classes)
        model.train(training)
        return features

    @contextmanager
    def hold_text(self, model: CLIPModel) -> Iterator[None]:
        """Inside the block `text` holds the model's class features, which nothing there changes."""
        # The model may be moved to the device later than this.
        before, self.text = self.text, self.class_features(model).to(self.args.device)
        try:
            yield
        finally:
            self.text = before

    @contextmanager
    def frozen_text(self, model: CLIPModel) -> Iterator[None]:
        """[`hold_text`] for a frozen tower while steps are taken; it holds the prompts beside the task's, too."""
        fingerprint = weights_fingerprint(model) if self.read_along else ""
        training = model.training
        model.eval()
        for part, bank in self.read_along.items():
            bank.said[STUDENT] = self._of_bank(model, fingerprint, part, STUDENT)
        model.train(training)
        with self.hold_text(model):
            yield

    def prototypes(self, model: CLIPModel) -> Prototypes:
        """Prototypes of the task's classes under `model`, in eval mode; one pass over the training images."""
        model.eval()
        fingerprint = weights_fingerprint(model)
        table = self.table(model, fingerprint, self.task.train, self.training_images, "train-student")
        return self._prototypes_from(model, table)

    def _prototypes_from(self, model: CLIPModel, features: Table) -> Prototypes:
        labels = torch.from_numpy(labels_of(self.task.train))
        return compute_prototypes(features, labels, self.class_features(model))

    def table(self, model: CLIPModel, fingerprint: str, rows: Dataset, samples: Samples, name: str) -> Table:
        """The model's features of images made of `rows`, a table of `(N, d)`; from disk if it is there."""
        made = [samples.count, samples.seed, MADE_AS] if isinstance(samples, Views) else []
        processor = self.processor.image_processor.to_json_string()
        precision = self.cache.accelerator.mixed_precision
        return self.cache.table(
            name,
            ["image features", fingerprint, processor, rows._fingerprint, precision, *made],
            samples,
            lambda batch: encode_images(model, batch["pixel_values"]),
            f"{self.task.name}: {name} features",
            # Prototypes are made of it, too.
            None if samples is self.training_images and self.wants_prototypes else "cache_teachers: false",
        )
