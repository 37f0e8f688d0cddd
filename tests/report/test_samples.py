"""What is said of tasks that were learned or measured on some of their images."""

from support.results import empty_results

from mulki_hf.report.metadata import eval_results
from mulki_hf.report.model_card import stream_table
from mulki_hf.report.samples import images_text, samples_text
from mulki_hf.report.tables import results_table
from mulki_hf.results import StreamResults


def sampled(finished: int = 3, method: str = "mulki") -> StreamResults:
    """10 training and 5 evaluation images a task."""
    results = empty_results("one", "two", "three", method=method)
    results.measured({"til": [50.0, 50.0, 50.0]})
    results.tasks[0].limits = {"shots": 5, "sample_seed": 0, "training_images": 90}
    results.tasks[1].limits = {"shots": 5, "max_eval_samples": 5, "training_images": 70, "evaluation_images": 8}
    results.tasks[2].limits = {
        "max_train_samples": 99,
        "max_eval_samples": 5,
        "training_images": 10,
        "evaluation_images": 60,
    }
    for _ in range(finished):
        results.add({"til": [60.0, 60.0, 60.0]})
    return results


def test_each_limit_with_its_tasks():
    assert samples_text(sampled()) == (
        "Trained on at most 5 images of each class: one, two.\nEvaluated on a sample of at most 5 images: two, three."
    )
    # One that left nothing out is not worth a word.
    assert [images_text(task, "training_images") for task in sampled().tasks] == ["10 of 90", "10 of 70", "10"]


def test_of_tasks_to_come_what_was_measured_alone():
    assert samples_text(sampled(1)).startswith("Trained on at most 5 images of each class: one.\nEvaluated on")
    assert samples_text(sampled(0)).startswith("Evaluated on a sample")


def test_of_all_tasks():
    results = sampled()
    for task in results.tasks:
        task.limits = {"max_eval_samples": 1, "evaluation_images": 60, "max_train_samples": 7, "training_images": 80}
    assert samples_text(results) == (
        "Trained on a sample of at most 7 images: every task.\nEvaluated on a sample of at most 1 image: every task."
    )


def test_where_it_is_said():
    results = sampled()
    assert samples_text(results) in results_table(results).split("\n\n")
    assert [line.split("|")[5:7] for line in stream_table(results).splitlines()[2:]] == [
        [" 10 of 90        ", " 5                 "],
        [" 10 of 70        ", " 5 of 8            "],
        [" 10              ", " 5 of 60           "],
    ]
    names = [entry.dataset_name for entry in eval_results(results, "til")][:3]
    assert names == [
        "one, learned",
        "two, learned, a sample of 5 of 8 images",
        "three, learned, a sample of 5 of 60 images",
    ]


def test_nothing_without_limits():
    results = empty_results("one")
    assert samples_text(results) == "" and "Trained" not in results_table(results)
