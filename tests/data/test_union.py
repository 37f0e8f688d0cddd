"""All tasks as one."""

from support.tiny import tiny_task

from mulki_hf.data.labels import labels_of
from mulki_hf.data.union import union


def test_classes_and_images_of_all_tasks_follow_one_another():
    tasks = [tiny_task("one"), tiny_task("two", per_class=3, seed=5), tiny_task("shapes", ["circle", "square"])]
    together = union(tasks)
    count = len(tasks[0].class_names)
    assert together.class_names[0] == f"one: {tasks[0].class_names[0]}"
    assert together.class_names[count] == f"two: {tasks[0].class_names[0]}"
    assert together.parts == tuple(tasks)
    start = row = 0
    for task in tasks:
        own = labels_of(task.train)
        assert labels_of(together.train)[row : row + len(own)].tolist() == (own + start).tolist()
        assert together.train[row]["image"].tobytes() == task.train[0]["image"].tobytes()
        start, row = start + len(task.class_names), row + len(own)
    assert len(together.train) == row
