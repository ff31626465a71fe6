"""Ctrl-C in every call that can take long: it is heard at once, the objects still work afterwards, and the program ends well."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Final

import pytest

import tabagent
from support.interrupt_child import CASES
from tabagent import gguf

CHILD: Final = Path(__file__).parent.parent / "support" / "interrupt_child.py"
LATEST_S: Final = 1.0
"""On a quiet machine it is 0.14 s; this leaves room for one where others compute, too."""

WAITS_FOR_ANOTHER: Final = {
    # Each is one of the calls above, or reads what one has made.
    "Model.from_pretrained": "Model.load, after a download in Python",
    "Model.rerank": "Model.embed",
    "Model.close": "a worker, as Model.create_context; frees memory",
    "Context.close": "a worker, as Context.clear",
    "ContextPool.close": "Context.close",
    "ContextPool.get": "Model.create_context, or a lock of Python",
    "TokenEvents.__next__": "TokenStream.__next__",
    "Grammar.start": "a worker, as Model.compile_grammar",
    "SamplerConfig.probabilities": "a worker, as gguf.dequantize",
    "SamplerConfig.from_model": "reads metadata",
    "gguf.convert": "work on files, as gguf.quantize_model",
    "gguf.convert_lora": "work on files, as gguf.quantize_model",
    "gguf.edit_metadata": "work on files, as GgufWriter.write",
    "gguf.merge": "work on files, as GgufWriter.write",
    "gguf.merge_lora": "work on files, as gguf.quantize_model",
    "gguf.split": "work on files, as GgufWriter.write",
    "GgufWriter.write_parts": "work on files, as GgufWriter.write",
    "GgufWriter.of": "notes what will be written",
    "Imatrix.of": "a worker, as gguf.open",
    "Imatrix.write": "a worker, as gguf.open",
    "auto_select_variant": "a worker, as gguf.open",
    "get_cpu_variant": "auto_select_variant",
    "hardware": "a worker, as gguf.open",
    "GgufArray.numpy": "a worker, as gguf.dequantize",
    "GgufArray.tolist": "hears signals every 65,536 items",
    "list_available_variants": "a worker, as gguf.open",
    "Model.infill": "begins a request, as Model.generate",
    "Server.close": "a worker, as Context.clear; ends its running requests after the drain time",
    "serve": "waits for Ctrl-C itself, which tests of the command try",
    "Model.generate_batch": "begins requests, as Model.generate",
    "CompletionBatch.as_completed": "CompletionBatch.__next__",
    "CompletionBatch.results": "CompletionBatch.__next__",
    "ModelPool.get": "loads a model, as Model.load",
    "Lease.borrow": "loads a model, as Model.load",
    "Lease.give_back": "closes a model that nobody wants, which ends its running step",
    "ModelPool.unload": "closes a model, which ends its running step",
    "ModelPool.close": "closes models, which ends their running steps",
    "predict_memory": "a worker, as gguf.open",
    "Adapter.close": "frees what a worker loaded",
    "Context.set_adapters": "a worker, as Context.clear",
    "Context.set_control_vector": "a worker, as Context.clear",
    "Model.load_adapter": "a worker, as gguf.open",
    "Model.load_control_vector": "a worker, as gguf.open",
    "Model.session": "a worker, as Model.compile_grammar",
    "Model.load_session": "a worker, as gguf.open",
    "Session.append": "a worker, as Model.tokenize",
    "Session.branch": "a worker, as Model.tokenize",
    "Session.close": "a worker, as Context.clear",
    "Session.generate": "begins a request, as Model.generate",
    "Session.rewind": "a worker, as Model.tokenize",
    "Session.save": "work on files, as GgufWriter.write",
    "TokenStream.fork": "begins a request, as Model.generate",
    "TokenStream.results": "TokenStream.result",
    "TokenStream.objects": "TokenStream.__next__",
    "Model.apply_chat_template": "a worker, as Model.tokenize",
    "Model.chat": "begins a request, as Model.generate; its grammar is compiled by a worker, as Model.compile_grammar",
    "ChatEvents.__next__": "TokenStream.__next__",
    "ChatStream.__next__": "TokenStream.__next__",
    "ChatStream.close": "TokenStream.close",
    "ChatStream.result": "TokenStream.result",
    "Turn.__next__": "TokenStream.__next__; tools are Python functions",
    "Turn.result": "TokenStream.result; tools are Python functions",
    "Tool.call": "a Python function",
    "Tokenizer.detokenize": "a worker, as Tokenizer.tokenize",
    "Tokenizer.detokenize_batch": "a worker, as Tokenizer.tokenize",
    "Tokenizer.encode": "Tokenizer.tokenize",
    "Tokenizer.from_file": "a worker, as gguf.open",
    "Tokenizer.offsets": "a worker, as Tokenizer.tokenize",
    # They work on the calling thread, where the other calls' way of striking at work sees nothing.
    "ChatTemplate.parse": "hears signals between pieces of the text; tests/unit/test_hostile_templates.py",
    "ChatTemplate.render": "hears signals between steps; tests/unit/test_hostile_templates.py",
    "ChatTemplate.render_segments": "ChatTemplate.render",
}
"""Calls that wait in the same way as another one that is tried here, and which."""

SHORT: Final = {
    *("Completion.parse", "Constraint.accept", "Constraint.forced", "Constraint.mask", "Constraint.rollback", "Context.cancel"),
    *("DeviceInfo.from_json", "GgufTensor.numpy", "GgufWriter.add_tensor", "GgufWriter.remove", "GgufWriter.set", "GgufWriter.update"),
    *("GgufMetadata.type", "GgufTensors.names", "Variant.from_json"),
    *("Model.aembed", "Model.aembed_tokens", "Model.arerank", "Model.metrics", "Metrics.of", "Metrics.prometheus", "CompletionBatch.cancel"),
    *("Lease.check", "Lease.goes_on", "MemoryNeed.from_native", "MemoryPrediction.from_native", "ModelPool.names", "ModelPool.stats"),
    *("Hardware.from_json", "Model.chat_template", "Model.context_train_size", "Model.embedding_dim", "Model.is_control", "Model.is_eog"),
    *("Model.token_attributes", "Model.token_bos", "Model.token_eos", "Model.token_eot", "Model.token_fim_mid", "Model.token_fim_pad"),
    *("Model.token_fim_pre", "Model.token_fim_rep", "Model.token_fim_sep", "Model.token_fim_suf", "Model.token_mask", "Model.token_nl"),
    *("Model.token_pad", "Model.token_score", "Model.token_sep", "Model.token_text", "Model.token_to_bytes", "Model.vocab_size"),
    *("SamplerConfig.greedy", "SamplerConfig.llama_cpp", "SamplerConfig.replace", "SamplerConfig.to_dict", "Step.to_dict"),
    *("ChatMessage.as_dict", "ChatStream.aclose", "ChatStream.aresult", "ChatStream.cancel", "ChatStream.events", "ToolCall.as_dict"),
    *("ChatTemplate.named", "ChatTemplate.names"),
    *("Conversation.branch", "Conversation.load", "Conversation.save", "Conversation.send", "Conversation.undo", "Model.conversation"),
    *("Tool.acall", "Tool.as_dict", "Tool.read", "Turn.aevents", "Turn.aresult", "Turn.cancel", "Turn.events"),
    *("TokenStream.aresults", "TokenStream.beside"),
    *("Tokenizer.is_eog", "Tokenizer.token_bos", "Tokenizer.token_eos", "Tokenizer.token_nl", "Tokenizer.token_text"),
    *("Tokenizer.token_to_bytes", "Tokenizer.vocab_size"),
    *("TokenStream.aclose", "TokenStream.aresult", "TokenStream.cancel", "TokenStream.close", "TokenStream.events"),
}
"""Calls that are done in a moment, or let an event loop go on."""


@pytest.mark.parametrize("case", CASES)
def test_ctrl_c_is_heard_at_once(smollm2_path: Path, tmp_path: Path, case: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", CHILD, case, smollm2_path, tmp_path],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHILD.parents[1])},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    told = json.loads(done.stdout)
    assert told["interrupted"], "the call was over before the signal; give it more to do"
    assert told["late_s"] < LATEST_S


def test_every_public_call_is_tried_or_known_to_be_short() -> None:
    known = {*CASES, *WAITS_FOR_ANOTHER, *SHORT}
    found = set(public_calls())
    assert found - known == set(), "new calls: add a case to `interrupt_child.py`, or say here why there is none"
    assert known - found == set(), "there are no such calls"


def public_calls() -> Iterator[str]:
    """Functions, and methods of classes, that a user calls, by their names."""
    for module, prefix in ((tabagent, ""), (gguf, "gguf.")):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, FunctionType):
                yield prefix + name
            if not inspect.isclass(value) or issubclass(value, BaseException):
                continue
            for method, found in inspect.getmembers(value):
                is_own = str(getattr(found, "__module__", None)).startswith("tabagent.")
                if callable(found) and is_own and (method == "__next__" or not method.startswith("_")):
                    yield f"{value.__name__}.{method}"
