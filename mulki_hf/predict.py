"""Ask a model what pictures show: `mulki-hf predict RUN pictures/`.

RUN is a run's folder, a task's folder in it or a task's repository on the Hub, of which the last model answers unless
`--checkpoint` names another; or any CLIP: a Hub id, a folder, `clip-nano`, an adapter. Without `--class_names` the
classes are those of the run's tasks. `--all_tasks` shows how the answer changed along the stream.
"""

import argparse
import sys
from pathlib import Path

from .errors import ConfigurationError
from .program import PICKLED_WEIGHTS, SWITCH, CommandParser, ends_in_a_line
from .runs.disk import check_output, disk_faults


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = CommandParser(
        command="predict",
        example="my-stream pictures/ --all_tasks --output_dir predicted",
        description=__doc__,
    )
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="a run, or a CLIP")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="pictures, and folders, in which they are looked for at any depth"
    )
    asked = parser.add_argument_group("what is asked")
    asked.add_argument("--class_names", help="a,b,c or a text file with a name a line; default: those of all tasks")
    asked.add_argument("--task", help="only the classes of this task; of one's own class names, its templates")
    asked.add_argument(
        "--templates", nargs="+", metavar="TEMPLATE", help="as 'a photo of a {}.'; default: the task's or the stream's"
    )
    whom = parser.add_argument_group("by whom")
    whom.add_argument("--base", help="the CLIP that an adapter belongs to, or that a run started from, where it is now")
    whom.add_argument("--hub_token", help="default: the one of `hf auth login` or HF_TOKEN")
    whom.add_argument("--pickled_weights", **PICKLED_WEIGHTS)
    models = whom.add_mutually_exclusive_group()
    models.add_argument(
        "--checkpoint", default="last", help="last (default), zero-shot, or a task's number or name: the model after it"
    )
    models.add_argument("--all_tasks", action="store_true", help="zero-shot and after each task, side by side")
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--top", type=int, default=5, help="classes a picture (default 5)")
    shown.add_argument(
        "--output_dir", type=Path, help="write predictions.csv, predictions.json and contact_sheet.png there"
    )
    shown.add_argument("--overwrite", action="store_true", help="also where there are some already")
    shown.add_argument(
        "--unreadable_images",
        choices=("skip", "error"),
        default="skip",
        help="what a file that can't be decoded means: left out with a warning (default), or an error",
    )
    work = parser.add_argument_group("how")
    work.add_argument("--batch_size", type=int, default=32, help="pictures a forward (default 32)")
    work.add_argument("--use_cpu", **SWITCH, default=False, help="also where there is a GPU")
    return parser


@ends_in_a_line(OSError)
def main(argv: list[str] | None = None) -> None:
    """The command: status 0, else 1 with one line on stderr."""
    args = make_parser().parse_intermixed_args(argv)
    with disk_faults(args.output_dir or ".", then="then give the same command again"):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Everything that can be checked is, before a model is loaded."""
    for name in ("top", "batch_size"):
        if getattr(args, name) < 1:
            raise ConfigurationError(f"{name} must be >= 1, got {getattr(args, name)}")
    # Here: the help page answers without torch.
    from accelerate import Accelerator

    from .prediction.classes import classes_for
    from .prediction.pictures import find_pictures
    from .prediction.predictions import CSV, JSON, predict
    from .prediction.sheet import draw_sheets, left_off, pages_in
    from .prediction.stages import find_models

    if args.output_dir is not None:
        check_output(args.output_dir)
        there = [name for name in (CSV, JSON) if (args.output_dir / name).exists()]
        there += [page.name for page in pages_in(args.output_dir)]
        if there and not args.overwrite:
            raise ConfigurationError(
                f"output_dir {str(args.output_dir)!r} holds {', '.join(there)} already; give --overwrite or another"
            )
    pictures = find_pictures(args.images)
    models = find_models(args.model, args.hub_token, args.base, args.pickled_weights)
    classes = classes_for(models.results, args.class_names, args.task, args.templates)
    if len(classes.names) == 1:
        print("warning: one class alone is always 100 %: give those to tell it from, too", file=sys.stderr)
    if args.all_tasks and models.results is None:
        raise ConfigurationError(f"all_tasks: {args.model!r} is one model, not a stream's run")
    stages = models.stages if args.all_tasks else [models.stage(args.checkpoint)]
    for reason in models.absent.values() if args.all_tasks else ():
        print(f"left out: {reason}", file=sys.stderr)
    accelerator = Accelerator(cpu=args.use_cpu)
    options = (args.batch_size, args.top, args.unreadable_images)
    predictions = predict(args.model, stages, pictures, classes, accelerator, *options)
    templates = ", ".join(map(repr, classes.templates))
    print(f"{args.model}: {', '.join(predictions.models)}; {classes.counted} in {templates}\n")
    print(predictions.table())
    if predictions.unreadable:
        print(f"\n{len(predictions.unreadable)} left out, as they can't be read")
    if args.output_dir is not None:
        predictions.save(args.output_dir)
        pages = draw_sheets(predictions, args.output_dir)
        print(f"\n{args.output_dir}: {', '.join([CSV, JSON, *(page.name for page in pages)])}")
        if off := left_off(predictions):
            print(f"{pages[-1].name} is the last page: {off} of {len(predictions.pictures)} pictures are on none")


if __name__ == "__main__":
    main()
