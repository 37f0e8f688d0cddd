"""`mulki-hf compare`: what it takes, prints and writes, and how it ends."""

import shutil

import pytest
from support.compared import rows, three
from support.hub import connected
from support.launch import python
from support.results import as_an_older_version, seeded

from mulki_hf.compare import called, main
from mulki_hf.report.comparison.files import MARKS


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Six runs in the working directory, `runs/mulki-0` to `runs/finetune-2`."""
    monkeypatch.chdir(tmp_path)
    for name, results in (three("mulki", 0) | three("finetune", -6)).items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        results.save(tmp_path / "runs" / name)
    return tmp_path


def test_prints_rows_and_differences(folders, capsys):
    """A folder, a file in it and a path with the machine's folders are runs all the same."""
    main(
        [
            "runs/mulki-0",
            "runs/mulki-1/results.json",
            str(folders / "runs/mulki-2"),
            "runs/finetune-0",
            "runs/finetune-2",
        ]
    )
    printed = capsys.readouterr().out
    assert printed.startswith("Accuracy in percent, each among the classes of its own task (task-incremental).")
    assert "| mulki    | 3    | 34.2 ± 0.2 |" in printed and "| finetune | 2    | 32.8 ± 0.4 |" in printed
    assert "| finetune    | 2     | −1.5 ± 0.0 (0/2) |" in printed
    assert sorted(path.name for path in folders.iterdir()) == ["runs"]


def test_writes_a_page_tables_and_pictures(folders, capsys):
    runs = [str(folders / "runs" / name) for name in ("mulki-0", "finetune-0", "finetune-1")]
    for _ in range(2):  # a comparison takes the place of an older one
        main([*runs, "--against", "runs/finetune-0/", "--output_dir", "made/here"])
    assert capsys.readouterr().out.endswith("Open made/here/comparison.html in a browser\n")
    assert {path.name for path in (folders / "made/here").iterdir()} == {*MARKS}
    for name in ("comparison.html", "comparison.md", "comparison.csv"):
        text = (folders / "made/here" / name).read_text(encoding="utf-8")
        assert "finetune-1" in text and str(folders) not in text
    assert "minus finetune" in (folders / "made/here/comparison.md").read_text(encoding="utf-8")


def test_names_of_runs(folders):
    here = str(folders / "runs/mulki-0")
    names = called(["runs/mulki-0", "runs/mulki-0/results.json", here, "/x/a", "/y/a/", "/y/a", "org/m-task2@main"])
    assert [*names.values()] == ["runs/mulki-0"] * 3 + ["a", "a (2)", "a (2)", "org/m-task2@main"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["runs/mulki-0", "nowhere"], "RUN: 'nowhere' is no folder"),
        (["runs/mulki-0", "runs"], "RUN: the folder 'runs' holds no results.json"),
        (["runs/mulki-0", "--protocol", "cil"], "--protocol cil: not all runs were evaluated by it"),
        (
            ["runs/mulki-0", "--against", "runs/finetune-0"],
            "--against 'runs/finetune-0' is none of the runs: runs/mulki-0",
        ),
        (["runs/mulki-0", "--output_dir", "runs/mulki-0/results.json"], "is a file, not a folder"),
    ],
)
def test_what_is_refused(folders, capsys, options, message):
    before = sorted(folders.rglob("*"))
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        main([*options, *([] if "--output_dir" in options else ["--output_dir", "out"])])
    assert sorted(folders.rglob("*")) == before and capsys.readouterr().out == ""


def test_other_tasks_other_protocols_and_what_is_unfinished(folders, capsys):
    for name, results in {
        "other": seeded(rows(), names="xyz"),
        "cil": seeded(rows(), protocol="cil"),
        "begun": seeded(rows()[:2], 5),
    }.items():
        (folders / name).mkdir()
        results.save(folders / name)
    for name, message in (("other", "no task is in all runs"), ("cil", "different protocols")):
        with pytest.raises(SystemExit, match=f"^error: .*{message}"):
            main(["runs/mulki-0", name])
    assert capsys.readouterr().out == ""
    main(["runs/mulki-0", "begun"])
    printed = capsys.readouterr().out
    assert "Note: begun has learned 1 of its 3 tasks: only those are compared." in printed


def test_files_of_a_run_stay(folders, capsys):
    """Whose `curves.png` has the name of a comparison's."""
    (folders / "runs/mulki-0/curves.png").write_bytes(b"of the run")
    with pytest.raises(SystemExit, match="^error: runs/mulki-0/curves.png was not written by a comparison"):
        main(["runs/mulki-0", "runs/mulki-1", "--output_dir", "runs/mulki-0"])
    assert {path.name for path in (folders / "runs/mulki-0").iterdir()} == {"results.json", "curves.png"}
    main(["runs/mulki-0", "runs/mulki-1", "--output_dir", "runs/mulki-0", "--overwrite"])
    assert (folders / "runs/mulki-0/curves.png").read_bytes() != b"of the run"
    assert (folders / "runs/mulki-0/results.json").is_file()


def test_of_the_hub(published, tmp_path, capsys):
    """Where a task's repository knows the stream up to that task."""
    shutil.copytree(published.out, tmp_path / "local")
    with connected(published.env, tmp_path):
        main(["local", "org/mulki-task2", "org/mulki-task1@v1"])
    printed = capsys.readouterr().out
    assert "Note: org/mulki-task1@v1 has learned 1 of its 2 tasks" in printed
    assert "| mulki | 3    |" in printed
    assert "local and org/mulki-task2 and org/mulki-task1@v1 are of one row and one seed" in printed


def test_files_of_an_older_version(own_copy, folders, capsys):
    """They do not say their settings, which are looked up."""
    folder, _ = own_copy
    as_an_older_version(folder)
    main([str(folder), str(folder / "task2-shapes")])
    assert "| mulki | 2    |" in capsys.readouterr().out


@pytest.mark.long
def test_needs_no_torch(folders):
    """Nor, for help, anything that takes time."""
    script = """
import runpy, sys
try:
    runpy.run_module("mulki_hf.compare", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code
print("imported", *{name.partition(".")[0] for name in sys.modules})
"""
    done = python(script, "runs/mulki-0", "runs/finetune-0", "--output_dir", "out", cwd=folders)
    imported = set(done.stdout.splitlines()[-1].split())
    assert {"imported", "mulki_hf", "matplotlib", "jinja2"} <= imported
    assert not imported & {"torch", "transformers", "peft", "accelerate"}
    done = python(script, "--help", cwd=folders)
    imported = set(done.stdout.splitlines()[-1].split())
    assert not imported & {"torch", "transformers", "datasets", "pandas", "matplotlib", "huggingface_hub"}
    example = "python -m mulki_hf.compare runs/mulki-* runs/finetune-* --output_dir comparison"
    assert done.stdout.startswith(f"{example}\n")
