"""Help with examples that are shown as they are typed."""

import inspect
from typing import Any, Final

import typer
from typer.core import TyperCommand

__all__ = ["EXAMPLES", "ExamplesCommand"]

EXAMPLES: Final = {
    "run": """\
        tabagent run demo -p "Name three rivers." -n 64
        tabagent run demo --raw -p "Once upon a time" -n 64
        tabagent run model.gguf -f prompt.txt --temp 0 > answer.txt
        echo "The capital of France is" | tabagent run model.gguf -n 8
        tabagent run hf:bartowski/SmolLM2-360M-Instruct-GGUF/*Q4_K_M.gguf -p "Hello" -ngl 32
        tabagent run demo -i
        tabagent run demo --raw -p "Count: 1 2 3" -n 16 --seed 1 --json
        tabagent run demo -p "Describe a person." --json-schema person.json
        tabagent run model.gguf -f question.txt --choices yes --choices no --trigger "</think>"
    """,
    "chat": """\
        tabagent chat model.gguf
        tabagent chat model.gguf -sys "Answer in one sentence." --temp 0.3
        echo "What is a tide?" | tabagent chat model.gguf -n 64
        tabagent chat base-model.gguf --chat-template chatml
    """,
    "serve": """\
        tabagent serve demo
        tabagent serve model.gguf --port 8000 -c 16384 -np 4
        tabagent serve model.gguf --host 0.0.0.0 --api-key-file keys.txt --metrics
        tabagent serve model.gguf --host /run/tabagent.sock --alias gpt-4o-mini
    """,
    "rpc-server": """\
        tabagent rpc-server
        tabagent rpc-server --host 192.168.1.20 --threads 8
        tabagent rpc-server --host 0.0.0.0 --port 50052 -dev cuda:0 --cache
        tabagent run model.gguf -p "Hello" --rpc 192.168.1.20:50052,192.168.1.21:50052
    """,
    "embed": """\
        tabagent embed minilm.gguf "How many people live in Berlin?"
        tabagent embed minilm.gguf -f lines.txt -o vectors.npy
        cut -f2 table.tsv | tabagent embed minilm.gguf --truncate > vectors.jsonl
        tabagent embed nomic.gguf --dimensions 256 "search_query: cats"
    """,
    "info": """\
        tabagent info model.gguf
        tabagent info model.gguf --tensors
        tabagent info model.gguf --metadata tokenizer.chat_template
        tabagent info model.gguf --metadata 'llama.*'
        tabagent info model.gguf --memory -c 32768 -ctk q8_0 -ctv q8_0
        tabagent info model.gguf --json
        tabagent info hf://bartowski/SmolLM2-360M-Instruct-GGUF/SmolLM2-360M-Instruct-Q4_K_M.gguf
    """,
    "bench": """\
        tabagent bench model.gguf
        tabagent bench model.gguf -p 512,2048 -n 128 -t 1,2,4 -r 3
        tabagent bench model.gguf -p 0 -n 64 --parallel 1,2,4,8 --json
        tabagent bench model.gguf -ctk q8_0,f16 -ctv q8_0 -fa on
    """,
    "convert": """\
        tabagent convert SmolLM2-135M-Instruct smollm2.gguf
        tabagent convert Qwen3-0.6B qwen3-q8_0.gguf --outtype q8_0
        tabagent convert ggml-model-i2_s.gguf bitnet-tq2_0.gguf
    """,
    "quantize": """\
        tabagent quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M
        tabagent quantize model-f16.gguf model-iq2_m.gguf IQ2_M --imatrix imatrix.gguf
        tabagent quantize model-f16.gguf Q4_K_M --dry-run
        tabagent quantize model-f16.gguf out.gguf Q4_K_M --tensor-type "attn_v=q8_0" --output-tensor-type q8_0
        tabagent quantize model-f16.gguf out.gguf --target-size 90MB
        tabagent quantize --list
    """,
    "set-metadata": """\
        tabagent gguf set-metadata model.gguf "general.name=My model"
        tabagent gguf set-metadata model.gguf tokenizer.ggml.eos_token_id=2 --remove general.url
        tabagent gguf set-metadata model.gguf llama.rope.freq_base:f32=500000 -o changed.gguf
        tabagent gguf set-metadata model.gguf tokenizer.chat_template=@template.jinja
    """,
    "split": """\
        tabagent gguf split model.gguf model --max-size 2G
        tabagent gguf split model.gguf model --max-tensors 128 --no-tensor-first-split
    """,
    "merge-lora": """\
        tabagent gguf merge-lora model.gguf merged.gguf --lora style.gguf
        tabagent gguf merge-lora model.gguf merged.gguf --lora peft/facts=0.5 --outtype f16
    """,
    "merge": """\
        tabagent gguf merge model-00001-of-00003.gguf model.gguf
    """,
    "convert-endian": """\
        tabagent gguf convert-endian model-big.gguf model.gguf
        tabagent gguf convert-endian model.gguf model-big.gguf --to big
    """,
    "hash": """\
        tabagent gguf hash model.gguf
        tabagent gguf hash model.gguf > model.manifest
        tabagent gguf hash model.gguf --no-tensors
    """,
    "diff": """\
        tabagent gguf diff old.gguf new.gguf
    """,
    "verify": """\
        tabagent gguf verify model.gguf
        tabagent gguf verify model.gguf --manifest model.manifest
        tabagent gguf verify model.gguf --level format
    """,
    "variants": """\
        tabagent variants
        tabagent variants --json
        tabagent variants --benchmark model.gguf
        TABAGENT_LIBRARY_PATH=/opt/llama.cpp/lib tabagent variants
    """,
    "doctor": """\
        tabagent doctor
        tabagent doctor --json > report.json
    """,
}
"""What to type, by command."""


class ExamplesCommand(TyperCommand):
    """A command whose help ends with its examples, unwrapped so that they can be copied."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show typer's help, then the examples."""
        super().format_help(ctx, formatter)
        typer.echo("\n".join([" Examples:", *(f"   {line}" for line in inspect.cleandoc(EXAMPLES[self.name or ""]).splitlines()), ""]))
