"""The files for `accelerate launch --config_file` in `recipes/accelerate`."""

import os
import subprocess
import sys

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from support.launch import ACCELERATE, free_port

from mulki_hf.resources import shipped_recipes
from mulki_hf.train import main


FILES = {path.stem: path for path in sorted(ACCELERATE.glob("*.yaml"))}

REFUSED = {
    "fsdp2": "asks for FSDP: .*get_input_embeddings.*0-D logit scale.*use DDP",
    "deepspeed_zero2": "asks for DeepSpeed: its checkpoints are its own.*use DDP",
}
"""What can't be done yet, and what is said instead."""

ADDRESS = ["--machine_rank", "1", "--main_process_ip", "10.0.0.1"]


def launched(name: str, *options: str):
    """What `accelerate launch` makes of a file and of options before it starts anything."""
    words = ["--config_file", str(FILES[name]), *options, "-m", "mulki_hf.train", "--config", "quickstart"]
    return _validate_launch_command(launch_command_parser().parse_args(words))[0]


def test_every_file_is_described_and_none_is_a_recipe():
    readme = (ACCELERATE / "README.md").read_text()
    assert FILES.keys() == {"one_gpu", "several_gpus", "several_nodes", "cpu_ranks", *REFUSED}
    for path in FILES.values():
        assert f"| `{path.name}` |" in readme and path.read_text().startswith("# ")
    assert not any(name.startswith("accelerate") for name in shipped_recipes())


@pytest.mark.parametrize("name", FILES)
def test_accelerate_reads_it(name):
    """Its own loader refuses keys that it does not know."""
    config = load_config_from_file(str(FILES[name]))
    assert config.mixed_precision == "no" and config.parallelism_config == {}


@pytest.mark.parametrize(
    ("name", "options", "ranks_each", "machines"),
    [("several_gpus", [], 8, 1), ("several_gpus", ["--num_processes", "2"], 2, 1), ("several_nodes", ADDRESS, 8, 2)],
)
def test_torchrun_starts_a_rank_for_each_gpu(name, options, ranks_each, machines):
    args = launched(name, "--main_process_port", "0", *options)
    assert args.multi_gpu and not (args.use_fsdp or args.use_deepspeed or args.use_megatron_lm)
    env = prepare_multi_gpu_env(args)
    assert args.nproc_per_node == str(ranks_each) and env["ACCELERATE_MIXED_PRECISION"] == "no"
    if machines > 1:
        assert (args.nnodes, args.node_rank, args.rdzv_endpoint) == ("2", 1, f"10.0.0.1:{args.main_process_port}")


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_what_can_not_be_done_is_refused_with_the_reason(name, reason, stream_yaml, tmp_path, monkeypatch):
    """By what a launcher makes of the file; DeepSpeed's own needs DeepSpeed, which is not installed, and one switch."""
    args = launched(name, "--main_process_port", "0")
    env = prepare_multi_gpu_env(args) if args.use_fsdp else {"ACCELERATE_USE_DEEPSPEED": str(args.use_deepspeed)}
    for switch in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        monkeypatch.setenv(switch, env.get(switch, "false"))
    with pytest.raises(SystemExit, match=f"error: .*{reason}"):
        main(["--config", str(stream_yaml())])
    assert not (tmp_path / "out").exists()


def test_one_gpu_needs_no_torchrun():
    args = launched("one_gpu")
    assert args.num_processes == 1 and not args.multi_gpu


@pytest.mark.long
@pytest.mark.xdist_group("ranks")
def test_two_nodes_find_each_other(stream_yaml, tmp_path):
    """Two launchers on this machine, of a rank each, as if they were two machines."""
    config, port = stream_yaml(max_steps=1, save_strategy="no"), free_port()
    words = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", FILES["several_nodes"]]
    words += ["--num_processes", 2, "--main_process_ip", "127.0.0.1", "--main_process_port", port]
    tail = ["-m", "mulki_hf.train", "--config", config, "--per_device_train_batch_size", 4]
    nodes = [
        subprocess.Popen(
            [*map(str, [*words, "--machine_rank", rank, *tail])], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=os.environ | {"HF_HOME": str(tmp_path / "hf")},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        printed = [node.communicate(timeout=240)[0] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(printed)
    # Each machine has its own terminal.
    assert all("on 2 process(es)" in said for said in printed)
    assert (tmp_path / "out/task2-shapes/model.safetensors").is_file()
