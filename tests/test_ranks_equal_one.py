"""Two gloo ranks against one process on the same global batches, method by method, at the trainer."""

import numpy as np
import pytest
from support.learned import learned
from support.tiny import tiny_model

from mulki_hf.objectives import OBJECTIVES


# Not beside others of their kind: each takes two cores.
pytestmark = pytest.mark.xdist_group("ranks")

# Last batches of 5 images, which are 3 and 2, and of one, which leaves nothing for the second rank.
FIVE_LEFT, ONE_LEFT = 21, 17

OFT = {"peft_type": "OFT", "target_modules": ["q_proj", "v_proj"], "oft_block_size": 8}

CASES = {
    "finetune": {},
    "finetune, one left": {"images": ONE_LEFT},
    "mulki": {},
    "mulki, one left": {"images": ONE_LEFT},
    "snd": {},
    "snd, the batch's gate": {"snd_gate": "batch", "images": ONE_LEFT},
    "zscl": {},
    "zscl, one left": {"images": ONE_LEFT},
    "lwf": {},
    "lwf, earlier names": {"lwf_texts": "earlier", "images": ONE_LEFT},
    "wise_ft": {},
    "joint": {},
    "mulki, LoRA": {"lora_r": 4, "average_every": 1, "images": ONE_LEFT},
    "zscl, LoRA": {"lora_r": 4, "zscl_average_every": 1},
    "finetune, OFT": {"peft_config": OFT, "images": ONE_LEFT},
    "mulki, averaged and merged": {"average_every": 1, "merge_alpha": 0.3},
    "mulki, crops": {"crop": 0.3, "num_train_epochs": 2},
    "mulki, live teachers": {"cache_teachers": False},
    "snd, live teachers, cached images": {"cache_teachers": False, "cache_images": True, "images": ONE_LEFT},
    "mulki, cached images": {"cache_images": True},
    "mulki, half batches left out": {"dataloader_drop_last": True, "per_device_eval_batch_size": 6},
    "finetune, batches split": {"accelerator_config": {"split_batches": True}},
    "mulki, accumulated": {"gradient_accumulation_steps": 2, "images": ONE_LEFT},
    "joint, accumulated": {"gradient_accumulation_steps": 2, "num_train_epochs": 2},
    "zscl, accumulated on either side": {"gradient_accumulation_steps": 2, "images": ONE_LEFT},
    "finetune, fewer images than ranks times a batch": {"images": 3},
}


@pytest.fixture(scope="module")
def start():
    return {name: value.detach().numpy() for name, value in tiny_model(seed=1).named_parameters()}


def batches(size: int) -> dict:
    return {"per_device_train_batch_size": size}


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(on_two_ranks, start, tmp_path, case):
    given = {"images": FIVE_LEFT, "method": case.partition(",")[0]} | CASES[case]
    parts = given.get("gradient_accumulation_steps", 1)
    alike = parts if case.endswith("either side") else 1
    one = learned(tmp_path / "one", **given | batches(8 // alike) | {"gradient_accumulation_steps": alike})
    whole = "split_batches" in given.get("accelerator_config", {})
    first, second = on_two_ranks(learned, tmp_path / "two", **given | batches(8 if whole else 4 // parts))
    largest = max(np.abs(one[name] - start[name]).max() for name in start)
    assert largest > 0.02, "too little was learned to tell anything"
    for name, value in one.items():
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.long
@pytest.mark.parametrize(("images", "equal"), [(16, True), (ONE_LEFT, False)])
def test_where_one_rank_reads_for_all_accelerate_fills_the_last_batch_up(on_two_ranks, tmp_path, images, equal):
    given = {"method": "finetune", "images": images, "accelerator_config": {"dispatch_batches": True}}
    one = learned(tmp_path / "one", **given | batches(8))
    two, _ = on_two_ranks(learned, tmp_path / "two", **given | batches(4))
    assert all(np.allclose(value, two[name], rtol=0, atol=1e-5) for name, value in one.items()) == equal


def test_no_method_is_left_out():
    tried = {case.partition(",")[0] for case in CASES}
    assert tried == {name for name, objective in OBJECTIVES.items() if objective.learns != "none"}
