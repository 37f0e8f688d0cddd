"""Pre-train clip-nano on the corpus that corpus.py rendered, and save it as a plain CLIP folder.

    python pretrain.py --corpus corpus.safetensors --out FOLDER [--init FOLDER_OF_AN_EARLIER_RUN]

Contrastive as CLIP, with one change: pictures of one concept in a batch are positives for each other, since a batch
holds the same digit or letter many times.
"""

import argparse
import json
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from augment import augment
from corpus import GROUPS
from safetensors.torch import load_file
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer


VOCABULARY = 3000


def train_tokenizer(captions: list[list[str]]) -> CLIPTokenizer:
    """CLIP's tokenizer with a small vocabulary. BPE training breaks ties by chance: train once, keep the files."""
    special = ["<|startoftext|>", "<|endoftext|>"]
    blank = CLIPTokenizer(vocab={token: number for number, token in enumerate(special)}, merges=[])
    backend = blank.backend_tokenizer
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - len(special) - 256,
        end_of_word_suffix="</w>",
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((caption for item in captions for caption in item), trainer=trainer)
    learnt = json.loads(backend.to_str())["model"]
    # Special tokens go last, as in CLIP, whose older checkpoints find EOS as the largest id.
    tokens = [token for token in sorted(learnt["vocab"], key=learnt["vocab"].get) if token not in special]
    # A byte inside a word and one at its end are two tokens; without all of both, a word could hold unknown tokens,
    # which are EOS here and would cut the prompt short.
    letters = sorted({token for token in tokens if len(token) == 1})
    tokens += [f"{letter}</w>" for letter in letters if f"{letter}</w>" not in learnt["vocab"]]
    vocab = {token: number for number, token in enumerate([*tokens, *special])}
    merges = [tuple(merge) if isinstance(merge, list) else merge for merge in learnt["merges"]]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A CLIP of about 3.8 M parameters for 32-pixel images."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {"vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3}
    text |= {"num_attention_heads": 4, "max_position_embeddings": 77, "hidden_act": "gelu", **special}
    vision = {"image_size": 32, "patch_size": 8, "hidden_size": 192, "intermediate_size": 768}
    vision |= {"num_hidden_layers": 6, "num_attention_heads": 3, "hidden_act": "gelu"}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def build_processor(tokenizer: CLIPTokenizer) -> CLIPProcessor:
    """Images to 32 pixels, values to -1..1."""
    square = {"height": 32, "width": 32}
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size=square, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return CLIPProcessor(image_processor=image_processor, tokenizer=tokenizer)


class Batches:
    """Random batches: groups in fixed shares, and within a group every picture equally often."""

    def __init__(self, path: Path, size: int, shares: list[float], seed: int):
        tensors = load_file(path)
        self.images = tensors["images"].permute(0, 3, 1, 2).contiguous()
        self.groups, self.concepts = tensors["groups"], tensors["concepts"]
        self.captions = json.loads(path.with_suffix(".captions.json").read_text())
        self.members = [(self.groups == number).nonzero().squeeze(1) for number in range(len(GROUPS))]
        self.counts = [round(size * share) for share in shares]
        self.counts[0] += size - sum(self.counts)
        self.generator = torch.Generator().manual_seed(seed)
        self.random = random.Random(seed)

    def __call__(self) -> tuple[Tensor, list[str], Tensor]:
        """Images `(B, 3, 32, 32)` in 0..1, a caption each, and concept numbers `(B,)`."""
        rows = torch.cat(
            [
                members[torch.randint(len(members), (count,), generator=self.generator)]
                for members, count in zip(self.members, self.counts, strict=True)
            ]
        )
        glyph = self.groups[rows] >= GROUPS.index("digits")
        images = augment(self.images[rows].float() / 255, glyph, self.generator)
        return images, [self.random.choice(self.captions[row]) for row in rows.tolist()], self.concepts[rows]


def contrastive_loss(logits: Tensor, concepts: Tensor) -> Tensor:
    """Symmetric cross-entropy of `(B, B)` logits against uniform targets over the equal concepts."""
    target = (concepts[:, None] == concepts[None]).float()
    target /= target.sum(dim=1, keepdim=True)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def save(model: CLIPModel, processor: CLIPProcessor, folder: Path) -> None:
    """Write the fp16 model folder as the package ships it."""
    state = {name: value.half() for name, value in model.state_dict().items()}
    half = CLIPModel(model.config).half()
    half.load_state_dict(state)
    half.save_pretrained(folder)
    processor.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="what corpus.py wrote")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the model, written every --save_every steps"
    )
    parser.add_argument("--init", type=Path, help="model folder to start from, tokenizer included; default: scratch")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--learning_rate", type=float, default=1.5e-3)
    parser.add_argument(
        "--shares",
        type=float,
        nargs=len(GROUPS),
        default=[0.28, 0.07, 0.20, 0.18, 0.08, 0.19],
        help=f"share of each group in a batch: {', '.join(GROUPS)}",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save_every", type=int, default=500)
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    batches = Batches(args.corpus, args.batch_size, args.shares, args.seed)
    tokenizer = CLIPTokenizer.from_pretrained(args.init) if args.init else train_tokenizer(batches.captions)
    model = CLIPModel.from_pretrained(args.init, dtype=torch.float32) if args.init else build_model(tokenizer)
    processor = build_processor(tokenizer)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=args.learning_rate,
        betas=(0.9, 0.98),
    )
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=200)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps - 200, eta_min=1e-6)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [200])
    print(f"command: pretrain.py {' '.join(a for a in sys.argv[1:] if '/' not in a)}", flush=True)
    print(f"{len(batches.images)} pairs, {model.num_parameters():,} parameters, torch {version('torch')}", flush=True)

    args.out.mkdir(parents=True, exist_ok=True)
    start, running = time.time(), 0.0
    for step in range(1, args.steps + 1):
        images, captions, concepts = batches()
        text = tokenizer(captions, padding="longest", truncation=True, max_length=77, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            outputs = model(pixel_values=(images - 0.5) / 0.5, **text)
        loss = contrastive_loss(outputs.logits_per_image.float(), concepts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6052)
        running += loss.item()
        if step % 50 == 0:
            speed = step * args.batch_size / (time.time() - start)
            scale = model.logit_scale.exp().item()
            print(
                f"step {step}/{args.steps} loss {running / 50:.3f} scale {scale:.1f} {speed:.0f} images/s "
                f"{time.time() - start:.0f} s",
                flush=True,
            )
            running = 0.0
        if step % args.save_every == 0 or step == args.steps:
            save(model, processor, args.out)
    (args.out / "pretrain.json").write_text(
        json.dumps(
            {
                "steps": args.steps,
                "batch_size": args.batch_size,
                "learning_rate": args.learning_rate,
                "seed": args.seed,
                "bf16": args.bf16,
                "pairs": len(batches.images),
                "parameters": model.num_parameters(),
                "wall_seconds": round(time.time() - start),
                "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
