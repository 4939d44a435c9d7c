"""A two-layer random Llama on disk in about a second, and small data files: enough for every flow, good for nothing.

Its tokenizer and chat template are real, so masks, stops and prompts behave as with a grown model. Knows no test.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

TOPICS = ("billing", "delivery", "account", "returns")
WORDS = {
    "billing": ("invoice", "charge", "refund", "card"),
    "delivery": ("parcel", "courier", "tracking", "late"),
    "account": ("password", "login", "email", "profile"),
    "returns": ("exchange", "broken", "size", "label"),
}


def tiny_llama(folder: Path, *, seed: int = 0) -> Path:
    """Writes the model as a Hugging Face folder (bf16 safetensors, about 0.4 MB) and returns the folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = Tokenizer(models.BPE())
    vocabulary.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocabulary.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    vocabulary.train_from_iterator([question for question, _ in rows(400)] + ["system user assistant", *TOPICS], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=vocabulary, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ground(base: Path, recipe: Any, *, name: str = "tiny") -> Any:
    """What a method stands on when it tunes a model of this folder without a run around it."""
    from adapters.bases import open_tokenizer
    from adapters.methods.contract import Ground

    return Ground(recipe, base, name, open_tokenizer(base), None, ())


def rows(count: int) -> list[tuple[str, str]]:
    """(question, topic) pairs, all questions different, topics in turn."""
    made = []
    for number in range(count):
        topic = TOPICS[number % len(TOPICS)]
        words = WORDS[topic]
        made.append((f"ticket {number}: my {words[number % 4]} and {words[(number // 4 + 1) % 4]}", topic))
    return made


def write_pairs(path: Path, count: int = 40) -> Path:
    """A prompt/completion JSONL file."""
    path.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in rows(count)))
    return path


def write_messages(path: Path, count: int = 40) -> Path:
    """The same rows in OpenAI's `messages` form."""
    said = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in rows(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    return path


def write_csv(path: Path, count: int = 40, header: tuple[str, str] = ("prompt", "completion")) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows(count))
    return path
