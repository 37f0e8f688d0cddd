"""`MulKITrainer`: a `transformers.Trainer` for one task of a stream, one batch from inputs to loss."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset, IterableDataset
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from transformers import CLIPModel, CLIPProcessor, Trainer, TrainerState, default_data_collator
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import EvalPrediction, TrainOutput

from .adaptation import Adaptation, adapt
from .adaptation.adapters import both_towers
from .adaptation.connections import Connections
from .adaptation.towers import check_optimizer, set_text_rate, trains
from .config import MulKIConfig
from .data.captions import checked_texts
from .data.dealing import WithFillers, counted, deal_evenly
from .data.epochs import EpochCallback
from .data.images import ImageSamples, image_transform
from .data.reference import collate
from .data.tables import ArrayCache
from .data.task import Task, check_dataset, check_evaluation
from .data.workers import outlives_a_signal
from .errors import ConfigurationError
from .features.across_ranks import of_all_ranks
from .features.prompt_banks import prompt_banks
from .features.task_features import TaskFeatures
from .finite import FiniteWatch, LeftOut
from .metrics import accuracy
from .models.dual_encoders import fit_processor
from .models.encoding import TrainedText
from .objectives import FeatureBatch, check_reference, objective_of
from .objectives.batch import IMAGE_PARTS
from .objectives.losses import class_logits, task_loss
from .report.model_card import card_of_task
from .results import StreamResults
from .runs.callbacks import stopped_early
from .runs.checkpoints import chosen_checkpoint, whole_checkpoint
from .runs.one_task import describe_task
from .runs.steps import StepStop
from .runs.stopping import DEFERRAL


NOT_GIVEN = {
    "train_dataset": "the task brings it",
    "compute_loss_func": "the method is the loss",
    "model_init": "the teachers are made of the model that is given; make a trainer for each model",
}
"""Arguments of `Trainer` that contradict task or method, and why."""


class MulKITrainer(Trainer):
    """Trains a `CLIPModel` on one task, keeping what two frozen teachers know.

    `compute_loss` encodes the batch through the (wrapped) student in one forward, adds what the teachers say, and sums
    the named parts of the selected objective, every one of which is logged. What no step changes is prepared by
    [`TaskFeatures`], what is trained is decided by an [`Adaptation`]; everything else is `Trainer`'s.

    Args:
        model ([`CLIPModel`], another of `DUAL_ENCODERS`, [`peft.PeftModel`] of one or [`Adaptation`]): the student,
            trained in place. `config.train_towers` decides which parameters move. Of a model with adapters only those
            do; it teaches itself, as teacher O with its adapters off, as teacher P with the adapter named `previous`,
            if it has one.
        args ([`MulKIConfig`]): training arguments and the method's own.
        task ([`Task`]): the task to learn.
        processing_class ([`CLIPProcessor`] or `SiglipProcessor`): the model's processor, which is fitted to it; saved
            with every checkpoint.
        original_model ([`CLIPModel`] or a function that loads it, *optional*): teacher O, the pre-trained model.
            Default: the student as given. A model is frozen and put into eval mode. A function saves memory: its model
            is there only while it is needed.
        previous_model ([`CLIPModel`] or a function that loads it, *optional*): teacher P, the student after the
            previous task. Default: teacher O.
        eval_dataset ([`datasets.Dataset`] or dict of them, *optional*): as `Trainer` takes it; columns `image` and
            `label`. Default: the task's validation data or, where it has none, its evaluation data.
        reference_dataset ([`datasets.Dataset`], *optional*): column `image`; for methods that need it, refused by
            the others.
        reference_texts (sequence of `str`, *optional*): likewise, texts that belong to no image.
        earlier_tasks (sequence of [`Task`], *optional*): those that `previous_model` has learned, in order; of them
            class names and templates alone are read. Default: none.
        random_resized_crop (`float`, *optional*): train on random crops of at least this share of the image's area.
        cache_dir (`str`, *optional*): folder of what is computed once, for one trainer at a time. Default: `_cache` in
            `args.output_dir`, which `push_to_hub` leaves out.
        compute_metrics (*optional*): as `Trainer` takes it. Default: accuracy in percent.
        kwargs: passed on to `Trainer` (callbacks, optimizers, ...). A `data_collator` is given the samples without the
            reference images and views beside them.

    Raises:
        ConfigurationError: the model is not supported, the processor is not its own, reference data are missing or not
            wanted, or an argument of `Trainer` contradicts task or method.

    Example:

        task = Task("pets", class_names, ["a photo of a {}, a type of pet."], train=train, evaluation=test)
        trainer = MulKITrainer(model, MulKIConfig(output_dir="out"), task, processing_class=processor)
        trainer.train()
    """

    # The loss is a mean over the micro-batch: Trainer has to divide it by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: CLIPModel | nn.Module | Adaptation,
        args: MulKIConfig,
        task: Task,
        processing_class: CLIPProcessor,
        original_model: CLIPModel | Callable[[], CLIPModel] | None = None,
        previous_model: CLIPModel | Callable[[], CLIPModel] | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        reference_dataset: Dataset | None = None,
        reference_texts: Sequence[str] = (),
        earlier_tasks: Sequence[Task] = (),
        random_resized_crop: float | None = None,
        cache_dir: str | Path | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = accuracy,
        **kwargs: Any,
    ):
        self.task = task
        self.objective = objective_of(args)
        if self.objective.learns == "none":
            raise ConfigurationError(f"method {args.method!r} trains nothing: evaluate the model as it is")
        self.reference_texts = checked_texts(reference_texts, "reference_texts")
        texts_given = "reference_texts" if self.reference_texts else None
        check_reference(args.method, self.objective, reference_dataset is not None, texts_given)
        self.adaptation = adapt(model, args, original_model, previous_model)
        self.connections = Connections(self.adaptation, self.objective, args)
        student = self.adaptation.student
        fit_processor(processing_class, student.config)
        self.processing_class = processing_class
        check_evaluation(task, eval_dataset)
        for name, why in NOT_GIVEN.items():
            if kwargs.get(name) is not None:
                raise ConfigurationError(f"{name} can't be given: {why}")
        own = task.evaluation if task.validation is None else task.validation
        super().__init__(
            model=student,
            args=args,
            # `train` puts the samples with all that belongs to them in its place.
            train_dataset=self._transformed(task.train, "training images"),
            eval_dataset=self._transformed(own if eval_dataset is None else eval_dataset),
            processing_class=processing_class,
            compute_metrics=compute_metrics,
            **kwargs
            | {"data_collator": partial(collate, own_collator=kwargs.get("data_collator") or default_data_collator)},
        )
        check_optimizer(self.optimizer, student)
        if "inputs" in args.include_for_metrics:
            student.main_input_name = "pixel_values"  # CLIP names its texts, which no batch holds
        # CLIPModel.forward has no `labels`; Trainer concludes that evaluation has no loss.
        self.can_return_loss = True
        self.label_names = ["labels"]

        folder = cache_dir or Path(args.output_dir) / "_cache"
        cache = ArrayCache(folder, self.accelerator, args.eval_batch_size, args.dataloader_num_workers)
        asked = (self.adaptation.teachers, self.objective.needs)
        banks = prompt_banks(self.objective, processing_class, earlier_tasks, self.reference_texts, args)
        data = (args, reference_dataset, random_resized_crop, banks)
        self.features = TaskFeatures(task, *asked, processing_class, cache, *data)
        self.trains_text = trains(student, "text")
        self.trained_text = TrainedText(self.accelerator, args.text_chunk)
        # Of SigLIP's logit bias nothing is left in a softmax over classes, which have it in common.
        self.logit_scale = student.logit_scale.exp().item()
        self.step_stop = StepStop()
        for callback in (*self.connections.callbacks(), EpochCallback(), self.trained_text, self.step_stop):
            self.add_callback(callback)
        self.watch = FiniteWatch(task.name)
        self.left_out = LeftOut(self.watch)
        self._described: StreamResults | None = None
        # Sums of the loss parts since the last log and, without a name, of how many batches.
        self._parts: Counter = Counter()

    # The step

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Sum of the objective's parts; in evaluation the task loss alone, which every method shares."""
        features = self.student_features(model, inputs)
        if model.training:
            count = counted(inputs["labels"]).sum()
            if self.objective.relates_images:
                features = of_all_ranks(features, self.accelerator, bool(count))
                count = len(features.image) / self.args.world_size
            share = self._share(count, num_items_in_batch)
            parts = self.objective(features) | self.connections.anchor()
            parts = {name: share * value for name, value in parts.items()}
            loss = sum(parts.values())
            self.watch.see(self.state.global_step + 1, loss.detach(), inputs["row"])
            self._add(loss.detach(), {name: value.detach() for name, value in parts.items()})
        else:
            loss = task_loss(features)
        if not return_outputs:
            return loss
        logits = class_logits(features.image, features.text, self.logit_scale)
        if features.groups is not None:
            logits = logits.masked_fill(features.groups != features.groups[inputs["labels"]][:, None], -torch.inf)
        return loss, {"loss": loss, "logits": logits}

    def _add(self, loss: Tensor, parts: dict[str, Tensor]) -> None:
        """To what is logged; on the device until the Trainer logs, so that no step waits for them."""
        sums: dict[str, Any] = parts | {"": 1}
        if self.skips:
            finite = loss.isfinite()
            sums = {name: torch.where(finite, value, 0.0) for name, value in parts.items()} | {"": finite.float()}
        self._parts.update(sums)

    @property
    def skips(self) -> bool:
        """Whether a step that is not finite is left out."""
        return self.args.on_nonfinite == "skip"

    def training_step(self, *args, **kwargs):
        """`Trainer.training_step`; a loss that is left out is none in Trainer's sum, either."""
        loss = super().training_step(*args, **kwargs)
        return torch.where(loss.isfinite(), loss, 0.0) if self.skips else loss

    def _get_grad_norm(self, model, grad_norm=None):
        # What Trainer asks between the last backward and the optimizer's step.
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if self.skips:
            # In fp16 gradients may overflow: the scaler leaves out their step by itself, and looks for a lower scale.
            scaled = self.accelerator.scaler is not None
            step = self.state.global_step + 1
            if self.left_out.takes(step, self.state.max_steps, None if scaled else norm):
                # Optimizers change nothing of a parameter that has no gradient.
                model.zero_grad(set_to_none=True)
                return None
        return norm

    def _share(self, images: Tensor | float, num_items_in_batch: Tensor | None) -> Tensor | float:
        """The weight of a micro-batch in its step, one if all are of a size; Trainer divides by how many there are."""
        if num_items_in_batch is None:
            return 1.0
        ranks = self.args.world_size if self.args.average_tokens_across_devices else 1
        return images * ranks * self.current_gradient_accumulation_steps / num_items_in_batch.clamp(min=1)

    def student_features(self, model: nn.Module, inputs: dict[str, Tensor]) -> FeatureBatch:
        """The batch as the objective reads it: what the student says of it and, in training, what the teachers say."""
        step = self.state.global_step
        images = {"image": inputs["pixel_values"]}
        if model.training:
            columns = {part: f"{part}_pixel_values" for part in IMAGE_PARTS if part in self.objective.needs}
            # So it is in some batches.
            none = {"views_pixel_values": images["image"][:0]}
            images |= {part: (none | inputs)[name] for part, name in columns.items()}
        # Class features that no step changes are there already; forward still wants a text, and gets a short one.
        text, prompts, classes = self.features.text, self.features.prompts, self.features.classes
        if model.training:
            prompts, classes = self.features.prompts_with(step)
        if text is not None or self.trained_text.kept(model.training):
            prompts = {name: ids[:1] for name, ids in prompts.items()}
        # One call through the wrapped model: DDP synchronises only the gradients of its own forward.
        pixel_values = torch.cat([*images.values()]) if len(images) > 1 else images["image"]
        outputs = model(pixel_values=pixel_values, **prompts)
        # Forward normalises in the precision of autocast, which leaves lengths of 0.99 and 1.01.
        embeds = F.normalize(outputs.image_embeds.float(), dim=-1)
        seen = dict(zip(images, embeds.split([len(part) for part in images.values()]), strict=True))
        if text is None:
            text = self.trained_text.features(outputs, classes, model.training)
        beside = self.features.told_apart(text, step) if model.training else {"text": text}
        labels = inputs.get("labels")
        if labels is not None:
            labels = labels.clamp(min=0)  # where an image does not count, any will do
        return FeatureBatch(
            labels=labels,
            logit_scale=self.logit_scale,
            groups=self.features.groups,
            views_share=self.features.views_share,
            **seen,
            **beside,
            **(self.features.said(inputs, step) if model.training else {}),
        )

    def get_train_dataloader(self) -> DataLoader:
        """Of the task; on several ranks the batches of one process, dealt out."""
        return deal_evenly(super().get_train_dataloader())

    # Evaluation

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """Of `eval_dataset`, by default the task's; rows with `image` and `label` become samples."""
        return super().get_eval_dataloader(self._transformed(eval_dataset))

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """Of rows with `image` and, where metrics are wanted, `label`."""
        return super().get_test_dataloader(self._transformed(test_dataset, "images to predict"))

    def _get_dataloader(self, *args, **kwargs):
        loader = super()._get_dataloader(*args, **kwargs)
        makes = getattr(loader, "base_dataloader", loader)  # accelerate's has one inside, which starts the workers
        makes.worker_init_fn = partial(outlives_a_signal, makes.worker_init_fn)
        return loader

    def _transformed(self, rows: Any, what: str = "images to evaluate on") -> Any:
        """Rows that no transform has been given yet, with that of the model's processor; of a dict, each."""
        if isinstance(rows, dict):
            return {name: self._transformed(part, what) for name, part in rows.items()}
        if isinstance(rows, IterableDataset):
            check_dataset(rows, "the data to evaluate on or to predict")
        if isinstance(rows, Dataset) and "image" in rows.column_names and rows.format["type"] != "custom":
            transform = image_transform(self.processing_class.image_processor)
            return ImageSamples(rows, transform, f"task {self.task.name!r}, {what}")
        return rows

    def evaluation_loop(self, *args, **kwargs):
        """`Trainer.evaluation_loop`, with the classes encoded once; while training, of what it would return now."""
        returned = self.connections.as_returned(self.state.global_step) if self.is_in_train else nullcontext()
        with returned, self.features.hold_text(self.model):
            return super().evaluation_loop(*args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """`Trainer.prediction_step`; of images without labels the logits alone."""
        if "labels" in inputs:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        with torch.no_grad(), self.compute_loss_context_manager():
            features = self.student_features(model, self._prepare_inputs(inputs))
        return None, class_logits(features.image, features.text, self.logit_scale), None

    # Optimization

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """`Trainer.create_optimizer`, the text tower with `text_learning_rate` where that is given."""
        given = self.optimizer is not None
        optimizer = super().create_optimizer(model)
        if self.args.text_learning_rate is not None and not given:
            set_text_rate(optimizer, self.model if model is None else model, self.args.text_learning_rate)
        return optimizer

    # Logging

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add each loss part (mean over the logging interval and the ranks) to what the Trainer logs."""
        if "loss" in logs and self._parts:
            batches = torch.as_tensor(self._parts.pop("")).clamp(min=1)  # how many there were
            means = self.accelerator.reduce(torch.stack([*self._parts.values()]) / batches, reduction="mean")
            logs |= {f"loss_{name}": value for name, value in zip(self._parts, means.tolist(), strict=True)}
            self._parts.clear()
            if self.skips:
                # Trainer's own is of all steps, those that were left out included.
                logs |= {"loss": sum(means.tolist()), "left_out": self.left_out.count}
            self.watch.check_logs(logs, self.state.global_step, self.accelerator.scaler is not None)
        super().log(logs, start_time)

    # A task that was learned by itself; a stream writes its own cards

    def push_to_hub(self, *args, **kwargs):
        """`Trainer.push_to_hub`, with a card that says what was learned, and how the model it started from compares."""
        self._described = describe_task(self)
        return super().push_to_hub(*args, **kwargs)

    def create_model_card(self, *args, **kwargs) -> None:
        """Write that card, `README.md` in the output folder; arguments as `Trainer` takes them have no effect."""
        results, self._described = self._described or describe_task(self), None
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir)
            card = card_of_task(results, folder.absolute().name, self.hub_model_id)
            (folder / "README.md").write_text(card, encoding="utf-8")

    # The task: what comes before the first step and after the last, and checkpoints

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """`Trainer.train`, with the teachers' part before it and stage 4 after it.

        Raises:
            ConfigurationError: there is no complete checkpoint to resume from, or it is damaged.
        """
        averaged = bool(self.objective.average_every)
        checkpoint = chosen_checkpoint(resume_from_checkpoint, self.args.output_dir, averaged)
        self.features.prepare()
        self.train_dataset = WithFillers(self.features.training_samples())
        self._parts.clear()
        self.watch.forget()
        self.connections.begin(resumed=checkpoint is not None)
        state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME)) if checkpoint else None
        early = state is not None and self.args.restore_callback_states_from_checkpoint and stopped_early(state)
        if state is not None and (early or state.global_step >= self._steps()):
            # Trainer looks at its limit only after a step, and would take one too many.
            self.state = state
            self._load_from_checkpoint(checkpoint)
            if self.args.load_best_model_at_end and state.best_model_checkpoint is not None:
                self._load_best_model()
            output = TrainOutput(state.global_step, 0.0, {})
        else:
            # A trained text tower reads the classes once a step, a frozen one once and for all.
            trained, frozen = self.trained_text.trains, self.features.frozen_text
            with trained(self.model.text_model) if self.trains_text else frozen(self.model), DEFERRAL.possible():
                output = super().train(resume_from_checkpoint=checkpoint, **kwargs)
        self._check_weights()
        self.make_connections()
        self.watch.check_features(both_towers(self.model), self.state.global_step)
        return output

    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: `Trainer`'s makes a new model for each trial, which would have the teachers of the first.

        Raises:
            ConfigurationError: always; the message says what to do.
        """
        raise ConfigurationError(
            "hyperparameter_search can't be used: each trial needs teachers and tables of its own, so make a trainer "
            "for each, in the function that optuna's study.optimize is given, which returns trainer.evaluate()"
            "['eval_accuracy']"
        )

    def _steps(self) -> int:
        """Optimizer steps of the whole task."""
        *_, steps = self.set_initial_training_values(self.args, self.get_train_dataloader())
        return steps

    def make_connections(self) -> None:
        """The objective's stage 4: the running average becomes the student, then merges with a teacher's weights."""
        self.connections.connect(self.state.global_step)

    def _maybe_log_save_evaluate(self, tr_loss, grad_norm, model, trial, *args, **kwargs):
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *args, **kwargs)
        number = self.step_stop.due(self.state, self.control)
        if number:
            if not self.step_stop.saved(self.state) or self.args.save_only_model:
                self.args.save_only_model = False  # one could not go on from it
                self._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each writes its part
            DEFERRAL.raise_stop(number)

    def _check_weights(self) -> None:
        trained = ((name, value) for name, value in self.model.named_parameters() if value.requires_grad)
        self.watch.check_weights(trained, self.state.global_step)

    def _save_checkpoint(self, model, trial):
        """`Trainer._save_checkpoint`, see [`whole_checkpoint`]."""
        self._check_weights()
        with whole_checkpoint(self.args, self.state, self.accelerator.wait_for_everyone) as checkpoint:
            self.connections.save(checkpoint)
            if self.args.should_save:
                self.left_out.save(checkpoint)
            super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.connections.load(resume_from_checkpoint)
        self.left_out.load(Path(resume_from_checkpoint))
