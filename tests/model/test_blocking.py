"""Calls that block, beside threads, signal handlers, forks and the end of the interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest

from child import check, run

AT_WORK = """
    import os, signal, sys, threading, time
    sys.path[:0] = ["tests", "tests/support"]
    from interrupt_child import ticks
    from waiting import until
    from tabagent import Model
    WORDS = "The quick brown fox jumps over 12 lazy dogs. "
    def when_at_work(act):
        before = ticks()
        def watch():
            until(lambda: ticks() - before >= 3)
            act()
        threading.Thread(target=watch, daemon=True).start()
"""


def test_any_exception_of_a_signal_handler_ends_a_call(smollm2_path: Path) -> None:
    program = (
        AT_WORK
        + """
    def handler(number, frame):
        raise TimeoutError(number)
    signal.signal(signal.SIGUSR1, handler)
    model = Model.load(sys.argv[1], vocab_only=True)
    when_at_work(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    try:
        model.tokenize(WORDS * 200_000)
    except TimeoutError as error:
        print(error.args == (signal.SIGUSR1,), len(model.tokenize("Hello world")))
    """
    )
    assert check(program, smollm2_path) == "True 2\n"


def test_a_signal_handler_may_use_the_model_and_the_call_goes_on(smollm2_path: Path) -> None:
    program = (
        AT_WORK
        + """
    told = []
    def handler(number, frame):
        told.append(len(model.tokenize(WORDS * 2000)))
        told.append(context.next_position())
    signal.signal(signal.SIGUSR1, handler)
    model = Model.load(sys.argv[1], context_size=64, threads=1)
    context = model.create_context(context_size=512, threads=1)
    when_at_work(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    context.decode([5] * 400)
    print(told, context.next_position())
    """
    )
    assert check(program, smollm2_path) == "[24001, 400] 400\n"


def test_other_threads_wait_while_the_main_thread_is_interrupted(smollm2_path: Path) -> None:
    program = (
        AT_WORK
        + """
    model = Model.load(sys.argv[1], vocab_only=True)
    found = []
    thread = threading.Thread(target=lambda: found.append(len(model.tokenize(WORDS * 60_000))))
    thread.start()
    when_at_work(lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        model.tokenize(WORDS * 200_000)
    except KeyboardInterrupt:
        print("interrupted")
    thread.join()
    print(found)
    """
    )
    assert check(program, smollm2_path) == "interrupted\n[720001]\n"


@pytest.mark.parametrize("ending", ["pass", "model.close()", "del model", "sys.exit(3)"])
def test_exit_after_an_interrupt_does_not_wait_for_what_cannot_be_stopped(smollm2_path: Path, ending: str) -> None:
    program = (
        AT_WORK
        + f"""
    model = Model.load(sys.argv[1], vocab_only=True)
    when_at_work(lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        model.tokenize(WORDS * 2_000_000)
    except KeyboardInterrupt:
        print("interrupted", end="")  # without a line end: what is not flushed yet is not lost
    {ending}
    """
    )
    ended = run(program, smollm2_path, timeout_s=20)
    assert (ended.code, ended.out, ended.err) == (3 if "exit" in ending else 0, "interrupted", "")


@pytest.mark.parametrize("call", ["model.tokenize(WORDS * 2_000_000)", "context.decode([5] * 2000)", "model.score(WORDS * 100, ['a', 'b'])"])
def test_exit_while_a_daemon_thread_blocks_is_clean(smollm2_path: Path, call: str) -> None:
    program = (
        AT_WORK
        + f"""
    model = Model.load(sys.argv[1], context_size=4096, threads=1)
    context = model.create_context(context_size=2048, threads=1)
    at_work = threading.Event()
    def quietly():
        try:
            {call}
        except Exception:
            pass
    when_at_work(at_work.set)
    threading.Thread(target=quietly, daemon=True).start()
    at_work.wait()
    print("end")
    """
    )
    ended = run(program, smollm2_path, timeout_s=30)
    assert (ended.code, ended.out, ended.err) == (0, "end\n", "")


DAEMONS = {
    "computing": "sum(range(1000))",
    "generating": "model.generate('Once upon', ignore_eos=True).result()",
    "scoring": "model.perplexity(WORDS * 100)",
}


@pytest.mark.parametrize("kind", DAEMONS)
def test_an_exit_handler_may_generate_beside_busy_daemon_threads(smollm2_path: Path, kind: str) -> None:
    program = (
        AT_WORK
        + f"""
    import atexit
    from tabagent import SamplerConfig
    model = Model.load(sys.argv[1], context_size=2048, threads=1)
    def handler():
        print(model.generate("Once", max_tokens=4, sampling=SamplerConfig.greedy(), ignore_eos=True).result().usage.completion_tokens)
    def busy():
        try:
            while True:
                {DAEMONS[kind]}
        except Exception:
            pass
    atexit.register(handler)
    at_work = threading.Event()
    if "model" in {DAEMONS[kind]!r}:
        when_at_work(at_work.set)
    else:
        at_work.set()
    for _ in range(4):
        threading.Thread(target=busy, daemon=True).start()
    at_work.wait()
    """
    )
    ended = run(program, smollm2_path, timeout_s=30)
    assert (ended.code, ended.out, ended.err) == (0, "4\n", "")


def test_requests_of_daemon_threads_go_on_while_other_threads_do(smollm2_path: Path) -> None:
    program = """
        import sys, threading
        from tabagent import Model
        model = Model.load(sys.argv[1], context_size=512, threads=1)
        def last():
            threading.main_thread().join()
            made = []
            for _ in range(2):
                thread = threading.Thread(target=lambda: made.append(model.generate("Once", max_tokens=4).result()), daemon=True)
                thread.start()
                thread.join()
            print([done.finish_reason for done in made])
        threading.Thread(target=last, daemon=False).start()
    """
    assert check(program, smollm2_path) == "['length', 'length']\n"


SUBINTERPRETER = """
    import sys
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
    else:
        import _xxsubinterpreters as interpreters
    make = lambda: interpreters.create("legacy") if sys.version_info >= (3, 13) else interpreters.create(isolated=False)
    code = "try:\\n from tabagent import Model\\nexcept ImportError as error:\\n print(error)"
"""


@pytest.mark.parametrize("first", ["pass", "from tabagent import Model"])
def test_subinterpreters_are_refused(first: str) -> None:
    program = f"""{SUBINTERPRETER}
    {first}
    interpreters.run_string(make(), code)
    from tabagent import Model
    """
    wanted = "tabagent works in the main interpreter alone, and this is a subinterpreter; import it in the main one, or use a process of its own\n"
    assert check(program) == wanted


def test_a_forked_child_has_workers_of_its_own(smollm2_path: Path) -> None:
    program = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import numpy as np
        from tabagent import Model, gguf
        values = np.random.default_rng(1).random(1 << 20, dtype=np.float32)
        wanted = gguf.quantize(values, "Q4_0")
        child = os.fork()
        same = np.array_equal(gguf.quantize(values, "Q4_0"), wanted)
        if child == 0:
            with Model.load(sys.argv[1], context_size=64, threads=1) as model:
                sys.exit(10 + same + len(model.tokenize_batch(["Hello world"] * 100)) // 100)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), same)
    """
    assert check(program, smollm2_path, timeout_s=30) == "12 True\n"


NO_THREADS = """
    import os, resource, sys, threading
    import numpy as np
    from tabagent import Model, SamplerConfig, TabagentError, gguf
    WORDS = "The quick brown fox jumps over 12 lazy dogs. "
    opened = os.open(sys.argv[1], os.O_RDONLY)
    path = f"/dev/fd/{opened}"
    prepare()
    os.chdir("/tmp")
    if os.geteuid() == 0:  # the limit does not hold for root
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        pass
    else:
        raise SystemExit("a thread could be started")
    few = [19556, 905]
    def use_vocabulary(model):
        print(len(model.tokenize(WORDS * 2000)), model.tokenize_batch(["Hello world"] * 500) == [few] * 500)
        print(model.detokenize_batch([few] * 500) == ["Hello world"] * 500, len(model.detokenize(few * 5000)))
        print(model.compile_grammar(json_schema={"enum": list(range(100))}).start().is_finished)
    def use_files():
        values = np.linspace(-1, 1, 1 << 20, dtype=np.float32)
        print(np.allclose(gguf.dequantize(gguf.quantize(values, "Q8_0"), "Q8_0"), values, atol=0.01))
        file = gguf.open(path, check="full")
        print(len(file.hashes().tensors) > 200, gguf.diff(file, file), len(gguf.GgufWriter.of(file).to_bytes()) == file.size)
"""
ALL_WORKS = ["24001 True", "True 55000", "False", "True", "True [] True"]


def test_where_no_thread_can_be_started_calls_do_their_work_themselves(smollm2_path: Path) -> None:
    program = (
        NO_THREADS.replace("prepare()", "from tabagent import grammar, machine; import tabagent.variants")
        + """
    with Model.load(path, vocab_only=True) as model:
        use_vocabulary(model)
    use_files()
    try:
        Model.load(path, context_size=64, threads=1)
    except TabagentError as error:
        print(type(error).__name__, error)
    """
    )
    *lines, last = check(program, smollm2_path).splitlines()
    assert lines == ALL_WORKS
    # The decode thread cannot start; some CPU modules need threads of their own before, to load weights.
    assert last.startswith(("DecodeError ", "ModelLoadError ")), last
    assert "thread" in last, last


def test_a_model_goes_on_where_no_more_threads_can_be_started(smollm2_path: Path) -> None:
    prepare = """model = Model.load(path, context_size=256, threads=1)
    context = model.create_context(context_size=256, threads=1)
    model.compile_grammar(regex="[a-z]+")"""
    program = (
        NO_THREADS.replace("prepare()", prepare)
        + """
    use_vocabulary(model)
    use_files()
    context.decode(few * 100)
    state = context.save_state()
    context.clear()
    context.load_state(state)
    print(context.next_position(), context.clone().next_position())
    print(model.create_context(context_size=64, threads=2).threads)
    print(model.generate("Once upon", max_tokens=3, sampling=SamplerConfig.greedy()).result().usage.completion_tokens)
    print([len(choice.tokens) for choice in model.score("Once upon", [" a time", " me"])])
    model.close()
    """
    )
    assert check(program, smollm2_path).splitlines() == [*ALL_WORKS, "200 200", "1", "3", "[2, 1]"]
