"""`MulKITrainer`: a `transformers.Trainer` for one task of a stream."""

import copy
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Samples
from transformers import CLIPModel, CLIPProcessor, Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from .averaging import AveragingCallback, WeightAverage, merge_weights
from .cache import ArrayCache, Table, WithTables, weights_fingerprint
from .config import MulKIConfig
from .errors import ConfigurationError
from .images import cached_images, encode_images, image_transform
from .lora import PREVIOUS, STUDENT, AdapterAverage, AdapterTeacher, check_adapted, connect_adapters, is_adapted
from .objectives import OBJECTIVES, FeatureBatch, Prototypes, TeacherFeatures
from .objectives.base import class_logits, task_loss
from .prototypes import compute_prototypes
from .reference import PairingCallback, WithReference
from .tasks import Task
from .teachers import Teacher
from .text import chunked_text_tower, class_features, encode_classes, tokenize_prompts


TRAINED_PARTS = {
    "vision": ("vision_model", "visual_projection"),
    "text": ("text_model", "text_projection"),
    "both": ("vision_model", "visual_projection", "text_model", "text_projection"),
}


class MulKITrainer(Trainer):
    """Trains a `CLIPModel` on one task, keeping what two frozen teachers know.

    `compute_loss` encodes the batch through the (wrapped) student in one forward, adds what the teachers say, and sums
    the named parts of the selected objective, every one of which is logged. Everything else is `Trainer`'s.

    The teachers' features of every training image are computed before the first step and come with the batch from a
    table on disk; with `--no_cache_teachers` and with random crops the teachers run in every step.

    Args:
        model ([`CLIPModel`] or [`peft.PeftModel`] of one): the student, trained in place. `config.train_towers` decides
            which parameters move. Of a model with adapters only those do; it teaches itself, as teacher O with its
            adapters off, as teacher P with the adapter named `previous`, if it has one.
        args ([`MulKIConfig`]): training arguments and the method's own.
        task ([`Task`]): the task to learn.
        processing_class ([`CLIPProcessor`]): the model's processor; saved with every checkpoint.
        original_model ([`CLIPModel`] or a function that loads it, *optional*): teacher O, the pre-trained model.
            Default: the student as given. A model is frozen and put into eval mode. A function saves memory: its model
            is there only while it is needed.
        previous_model ([`CLIPModel`] or a function that loads it, *optional*): teacher P, the student after the
            previous task. Default: teacher O.
        reference_dataset ([`datasets.Dataset`], *optional*): column `image`; for methods that need it, refused by
            the others.
        random_resized_crop (`float`, *optional*): train on random crops of at least this share of the image's area.
        cache_dir (`str`, *optional*): folder of what is computed once, for one trainer at a time. Default: `_cache` in
            `args.output_dir`, which `push_to_hub` leaves out.
        kwargs: passed on to `Trainer` (callbacks, optimizers, ...).

    Raises:
        ConfigurationError: the model is not a CLIP, or reference data are missing or not wanted.

    Example:

        task = Task("pets", class_names, ["a photo of a {}, a type of pet."], train=train, evaluation=test)
        trainer = MulKITrainer(model, MulKIConfig(output_dir="out"), task, processing_class=processor)
        trainer.train()
    """

    # The loss is a mean over the micro-batch: Trainer has to divide it by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: CLIPModel,
        args: MulKIConfig,
        task: Task,
        processing_class: CLIPProcessor,
        original_model: CLIPModel | Callable[[], CLIPModel] | None = None,
        previous_model: CLIPModel | Callable[[], CLIPModel] | None = None,
        reference_dataset: Dataset | None = None,
        random_resized_crop: float | None = None,
        cache_dir: str | Path | None = None,
        **kwargs,
    ):
        adapted = is_adapted(model)
        if not isinstance(model.get_base_model() if adapted else model, CLIPModel):
            raise ConfigurationError(f"model must be a CLIPModel or a PeftModel of one, got {type(model).__name__}")
        if adapted and (original_model is not None or previous_model is not None):
            raise ConfigurationError(
                "a model with adapters is its own teacher: leave original_model and previous_model"
            )
        if args.lora_r is not None and not adapted:
            raise ConfigurationError("lora_r: the model has no adapters; make them with mulki_hf.lora.add_lora")
        if not adapted and any("lora_" in name for name, _ in model.named_parameters()):
            raise ConfigurationError("the model has adapters but is no PeftModel: make them with peft.get_peft_model")
        self.task = task
        self.reference_dataset = reference_dataset
        self.random_resized_crop = random_resized_crop
        self.adapted = adapted
        self.objective = OBJECTIVES[args.method](args)
        check_reference(args.method, reference_dataset is not None)
        if adapted:
            check_adapted(model, connects=bool(self.objective.average_every or self.objective.merge))
            # peft loads adapters frozen, and leaves active which one came first.
            model.set_adapter(STUDENT)
        else:
            train_towers(model, args.train_towers)

        transform = image_transform(processing_class.image_processor)
        super().__init__(
            model=model,
            args=args,
            # `train` puts the samples with all that belongs to them in its place.
            train_dataset=task.train.with_transform(transform),
            eval_dataset=task.evaluation.with_transform(transform),
            processing_class=processing_class,
            compute_metrics=kwargs.pop("compute_metrics", accuracy),
            **kwargs,
        )
        # For the card of a user who calls `push_to_hub`; a stream writes its own.
        model.add_model_tags(["clip", "continual-learning", "mulki-hf", args.method])
        # CLIPModel.forward has no `labels`; Trainer concludes that evaluation has no loss.
        self.can_return_loss = True
        self.label_names = ["labels"]

        prompts = tokenize_prompts(processing_class.tokenizer, task.class_names, task.templates)
        self.prompts = {name: ids.to(self.args.device) for name, ids in prompts.items()}
        self.trains_text = any(p.requires_grad and "text_" in name for name, p in model.named_parameters())
        if adapted:
            self.original = AdapterTeacher("original", model)
            self.previous = AdapterTeacher("previous", model) if PREVIOUS in model.peft_config else self.original
        else:
            # A teacher that is the student itself would freeze it: teach with a copy.
            original_model = snapshot(model) if original_model is None or original_model is model else original_model
            previous_model = snapshot(model) if previous_model is model else previous_model
            self.original = Teacher("original", original_model)
            self.previous = self.original if previous_model is None else Teacher("previous", previous_model)
        self.logit_scale = model.logit_scale.exp().item()
        self.cache = ArrayCache(
            cache_dir or Path(args.output_dir) / "_cache",
            self.accelerator,
            args.eval_batch_size,
            args.dataloader_num_workers,
        )

        # With adapters: the largest relative error of cutting a layer's weight change back to their rank.
        self.lora_error: float | None = None
        self.weight_average = None
        if self.objective.average_every:
            on_disk = args.average_on_disk
            if on_disk is None:
                # Files of many small tensors take longer to open than to read.
                large = sum(p.numel() for p in model.parameters()) >= 2**24
                on_disk = large and (adapted or args.device.type == "cpu")
            folder = Path(args.output_dir) / f"_weight_average-{args.process_index}" if on_disk else None
            average = AdapterAverage if adapted else WeightAverage
            self.weight_average = average(model, self.objective.average_every, folder)
            self.add_callback(AveragingCallback(self.weight_average))
        if reference_dataset is not None:
            self.add_callback(PairingCallback())
        self._evaluated_text: Tensor | None = None
        self._parts: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.args.device))
        self._parts_steps = 0

    # What is constant over the task

    @property
    def teachers(self) -> dict[str, Teacher]:
        """The teachers that the objective asks; in the first task both are the same."""
        return {name: getattr(self, name) for name in ("original", "previous") if name in self.objective.teachers}

    @cached_property
    def training_images(self) -> Samples:
        """The training images without crops: `pixel_values` and `labels`."""
        return self._samples(self.task.train, "train")

    @cached_property
    def reference_images(self) -> Samples:
        """The reference images: `pixel_values`."""
        return self._samples(self.reference_dataset, "reference")

    def _samples(self, rows: Dataset, name: str) -> Samples:
        image_processor = self.processing_class.image_processor
        if self.args.cache_images:
            return cached_images(rows, image_processor, self.cache, name)
        return rows.with_transform(image_transform(image_processor))

    def _features(self, model: CLIPModel, fingerprint: str, rows: Dataset, samples: Samples, name: str) -> Table:
        """The model's image features of `rows`, a table of `(N, d)`."""
        processor = self.processing_class.image_processor.to_json_string()
        precision = self.accelerator.mixed_precision
        return self.cache.table(
            name,
            ["image features", fingerprint, processor, rows._fingerprint, precision],
            samples,
            lambda batch: encode_images(model, batch["pixel_values"]),
            f"{self.task.name}: {name} features",
        )

    def prepare_teachers(self) -> None:
        """Compute what the teachers say of the task, unless that was done: prototypes and, when cached, features."""
        for teacher in {id(teacher): teacher for teacher in self.teachers.values()}.values():
            if teacher.prototypes is None and not teacher.tables:
                self._prepare(teacher)

    def _prepare(self, teacher: Teacher) -> None:
        reads = self.objective.teacher_inputs
        cached = self.args.cache_teachers and self.random_resized_crop is None
        with teacher.active(self.args.device) as model:
            fingerprint, tables = teacher.fingerprint(), {}
            if "prototypes" in reads or (cached and "image" in reads):
                tables["image"] = self._features(
                    model, fingerprint, self.task.train, self.training_images, f"train-{teacher.name}"
                )
            if "prototypes" in reads:
                teacher.prototypes = self._prototypes(model, tables["image"])
            if cached and "reference" in reads:
                tables["reference"] = self._features(
                    model, fingerprint, self.reference_dataset, self.reference_images, f"reference-{teacher.name}"
                )
        if cached:
            teacher.tables = tables
            teacher.release()

    def prototypes_of(self, model: CLIPModel) -> Prototypes:
        """Prototypes of the task's classes under `model`, in eval mode; one pass over the training images."""
        model.eval()
        table = self._features(
            model, weights_fingerprint(model), self.task.train, self.training_images, "train-student"
        )
        return self._prototypes(model, table)

    def _prototypes(self, model: CLIPModel, features: Table) -> Prototypes:
        labels = torch.tensor(self.task.train.with_format("numpy")["label"][:])
        return compute_prototypes(features, labels, self._classes_under(model))

    def _training_samples(self) -> Samples:
        """What a step is made of: images, the teachers' features of them where cached, reference images likewise."""
        samples = self.training_images
        if self.random_resized_crop is not None:
            image_processor = self.processing_class.image_processor
            samples = self.task.train.with_transform(image_transform(image_processor, self.random_resized_crop))
        samples = self._with_features(samples, "image")
        if self.reference_dataset is None:
            return samples
        reference = self._with_features(self.reference_images, "reference")
        return WithReference(samples, reference, self.args.reference_per_sample, self.args.seed)

    def _with_features(self, samples: Samples, which: str) -> Samples:
        teachers = {teacher.name: teacher for teacher in self.teachers.values()}
        tables = {name: teacher.tables[which] for name, teacher in teachers.items() if which in teacher.tables}
        return WithTables(samples, tables) if tables else samples

    @cached_property
    def frozen_text(self) -> Tensor:
        """Class features `(C, d)` of a student whose text tower is not trained."""
        return self._classes_under(self.model)

    def _classes_under(self, model: CLIPModel) -> Tensor:
        training = model.training
        model.eval()
        with self.accelerator.autocast():
            features = encode_classes(model, self.prompts, len(self.task.class_names))
        model.train(training)
        return features

    # The step

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """Of `eval_dataset`, by default the task's; rows with `image` and `label` become samples."""
        return super().get_eval_dataloader(self._transformed(eval_dataset))

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """Of rows with `image` and, where metrics are wanted, `label`."""
        return super().get_test_dataloader(self._transformed(test_dataset))

    def _transformed(self, rows):
        """Rows that no transform has been given yet, with that of the model's processor."""
        if isinstance(rows, Dataset) and "image" in rows.column_names and rows.format["type"] != "custom":
            return rows.with_transform(image_transform(self.processing_class.image_processor))
        return rows

    def evaluation_loop(self, *args, **kwargs):
        """`Trainer.evaluation_loop`, with the classes encoded once."""
        self._evaluated_text = self._classes_under(self.model)
        try:
            return super().evaluation_loop(*args, **kwargs)
        finally:
            self._evaluated_text = None

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """`Trainer.prediction_step`; of images without labels the logits alone."""
        if "labels" in inputs:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        with torch.no_grad(), self.compute_loss_context_manager():
            features = self._encode(model, self._prepare_inputs(inputs))
        return None, class_logits(features.image, features.text, self.logit_scale), None

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Sum of the objective's parts; in evaluation the task loss alone, which every method shares."""
        features = self._encode(model, inputs)
        if model.training:
            parts = self.objective(features)
            self._record(parts)
            loss = sum(parts.values())
        else:
            loss = task_loss(features)
        if not return_outputs:
            return loss
        return loss, {"loss": loss, "logits": class_logits(features.image, features.text, self.logit_scale)}

    def _encode(self, model: nn.Module, inputs: dict[str, Tensor]) -> FeatureBatch:
        pixel_values = inputs["pixel_values"]
        reference = inputs.get("reference_pixel_values")
        images = pixel_values
        if reference is not None:
            reference = reference.flatten(0, 1)
            images = torch.cat([images, reference])
        # Class features that no step changes: of a frozen text tower for the whole task, of a trained one for an
        # evaluation. Forward still wants a text, and gets the shortest batch there is.
        text = self._evaluated_text if self.trains_text else self.frozen_text
        prompts = self.prompts if text is None else {name: ids[:1] for name, ids in self.prompts.items()}
        # One call through the wrapped model: DDP synchronises only the gradients of its own forward.
        outputs = model(pixel_values=images, **prompts)
        embeds = outputs.image_embeds.float().split([len(pixel_values), len(images) - len(pixel_values)])
        if text is None:
            text = class_features(outputs.text_embeds.float(), len(self.task.class_names))

        teachers = {}
        if model.training:
            said = {}
            for name, teacher in self.teachers.items():
                if teacher.name not in said:
                    said[teacher.name] = self._ask(teacher, inputs, reference)
                teachers[name] = said[teacher.name]
        return FeatureBatch(
            labels=inputs.get("labels"),
            logit_scale=self.logit_scale,
            image=embeds[0],
            text=text,
            reference=None if reference is None else embeds[1],
            **teachers,
        )

    def _ask(self, teacher: Teacher, inputs: dict[str, Tensor], reference: Tensor | None) -> TeacherFeatures:
        reads = self.objective.teacher_inputs
        if teacher.tables:
            image = inputs.get(teacher.name)
            told = inputs.get(f"reference_{teacher.name}")
            return TeacherFeatures(image, None if told is None else told.flatten(0, 1), teacher.prototypes)
        with self.accelerator.autocast(), teacher.active(self.args.device) as model:
            return TeacherFeatures(
                image=encode_images(model, inputs["pixel_values"]) if "image" in reads else None,
                reference=encode_images(model, reference) if "reference" in reads else None,
                prototypes=teacher.prototypes,
            )

    # Logging: parts stay on the device until the Trainer logs, so that no step waits for them

    def _record(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            self._parts[name] += value.detach()
        self._parts_steps += 1

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each loss part (mean over the logging interval and the ranks) to what the Trainer logs."""
        if "loss" in logs and self._parts_steps:
            names = list(self._parts)
            means = torch.stack([self._parts[name] for name in names]) / self._parts_steps
            means = self.accelerator.reduce(means, reduction="mean")
            logs |= {f"loss_{name}": value for name, value in zip(names, means.tolist(), strict=True)}
            self._forget_parts()
        super().log(logs, start_time)

    def _forget_parts(self) -> None:
        self._parts.clear()
        self._parts_steps = 0

    # Stage 4 and checkpoints

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs) -> TrainOutput:
        """`Trainer.train`, with the teachers' part before it and stage 4 after it.

        Raises:
            ConfigurationError: there is no complete checkpoint to resume from.
        """
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            # Trainer would also take one whose writing was interrupted.
            checkpoint = last_checkpoint(self.args.output_dir)
        if resume_from_checkpoint and not (checkpoint and (Path(checkpoint) / TRAINER_STATE_NAME).is_file()):
            folder = checkpoint or self.args.output_dir
            raise ConfigurationError(f"no complete checkpoint in {folder}: leave resume_from_checkpoint")
        self.prepare_teachers()
        self.train_dataset = self._training_samples()
        self._forget_parts()
        if self.weight_average is not None:
            self.weight_average.start()
        state = TrainerState.load_from_json(Path(checkpoint) / TRAINER_STATE_NAME) if checkpoint else None
        if state is not None and state.global_step >= self._steps():
            # Trainer looks at its limit only after a step, and would take one too many.
            self.state = state
            self._load_from_checkpoint(checkpoint)
            output = TrainOutput(state.global_step, 0.0, {})
        else:
            text_model, chunk = self.model.text_model, self.args.text_chunk
            with chunked_text_tower(text_model, chunk) if self.trains_text else nullcontext():
                output = super().train(resume_from_checkpoint=checkpoint, **kwargs)
        self.make_connections()
        return output

    def _steps(self) -> int:
        """Optimizer steps of the whole task."""
        *_, steps = self.set_initial_training_values(self.args, self.get_train_dataloader())
        return steps

    def make_connections(self) -> None:
        """The objective's stage 4: the running average becomes the student, then merges with a teacher's weights."""
        average = self.weight_average
        teacher, alpha = self.objective.merge or ("original", 0.0)
        if teacher == "previous" and self.previous is self.original:
            # The first task has no previous weights to merge with.
            alpha = 0.0
        if self.adapted and (average is not None or alpha > 0):
            changes = average.average if average is not None else {}
            self.lora_error = connect_adapters(self.model, changes, alpha, teacher)
        elif not self.adapted:
            if average is not None:
                average.apply()
            if alpha > 0:
                merge_weights(self.model, self.teachers[teacher].model, alpha)
                self.teachers[teacher].release()
        if average is not None:
            average.clear()

    def _save_checkpoint(self, model, trial):
        # Written first: a checkpoint counts as complete once it has the trainer state, which Trainer writes last.
        if self.weight_average is not None and self.args.should_save:
            self.weight_average.save(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.weight_average is not None:
            self.weight_average.load(resume_from_checkpoint)


def last_checkpoint(folder: str) -> str | None:
    """The newest complete Trainer checkpoint; one whose writing was interrupted has no trainer state yet."""
    complete = sorted(
        (int(path.parent.name.rpartition("-")[2]), str(path.parent))
        for path in Path(folder).glob("checkpoint-*/trainer_state.json")
    )
    return complete[-1][1] if complete else None


def check_reference(method: str, given: bool) -> None:
    """Raise `ConfigurationError` unless reference data are there exactly when `method` reads them."""
    wanted = OBJECTIVES[method].needs_reference()
    if wanted and not given:
        raise ConfigurationError(f"method {method!r} needs reference images: set reference_dataset")
    if given and not wanted:
        raise ConfigurationError(
            f"method {method!r} uses no data beyond the task's own: remove reference_dataset, or choose a method that "
            f"reads it"
        )


def train_towers(model: CLIPModel, towers: str) -> None:
    """Set `requires_grad`: the named towers with their projections, never the logit scale."""
    model.requires_grad_(False)
    for part in TRAINED_PARTS[towers]:
        getattr(model, part).requires_grad_(True)


def snapshot(model: CLIPModel) -> CLIPModel:
    """An independent copy of a model's weights, free of whatever wraps the model."""
    twin = CLIPModel(copy.deepcopy(model.config))
    twin.load_state_dict(model.state_dict())
    return twin


def accuracy(prediction) -> dict[str, float]:
    """`compute_metrics` of the Trainer: share of correct predictions, in percent."""
    logits = prediction.predictions
    return {"accuracy": 100.0 * float((logits.argmax(-1) == prediction.label_ids).mean())}
