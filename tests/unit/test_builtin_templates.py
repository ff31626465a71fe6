"""The formats that llama.cpp knows by name, against llama.cpp itself."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import pytest

import needs
from tabagent import ChatTemplate

CONVERSATIONS = [
    [("user", "Hello")],
    [("system", " Be kind. "), ("user", "Hello\n"), ("assistant", "  Hi."), ("user", "Bye")],
    [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d ")],
    [("system", "s"), ("user", "a"), ("assistant", "b"), ("system", "t"), ("user", "c")],
    [("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d")],
    [("assistant", "Welcome"), ("user", "日本 <|im_end|> {{ x }}")],
    [("user", "a"), ("assistant", "b"), ("tool", "c"), ("user", "")],
    [("system", "only")],
    [],
]


class Message(ctypes.Structure):
    """`llama_chat_message`."""

    _fields_ = (("role", ctypes.c_char_p), ("content", ctypes.c_char_p))


@lru_cache
def library() -> ctypes.CDLL:
    """llama.cpp's library, which this process has loaded or loads now."""
    return ctypes.CDLL(str(needs.package_library() / "libllama.so"), mode=ctypes.RTLD_LOCAL)


def theirs(name: str, messages: list[tuple[str, str]], *, begin: bool) -> str:
    chat = (Message * max(len(messages), 1))(*(Message(role.encode(), content.encode()) for role, content in messages))
    room = ctypes.create_string_buffer(1 << 16)
    apply = library().llama_chat_apply_template
    apply.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_bool, ctypes.c_char_p, ctypes.c_int32)
    length = apply(name.encode(), chat, len(messages), begin, room, len(room))
    assert length >= 0
    return room.raw[:length].decode()


def known() -> list[str]:
    count = library().llama_chat_builtin_templates(None, ctypes.c_size_t(0))
    names = (ctypes.c_char_p * count)()
    library().llama_chat_builtin_templates(names, ctypes.c_size_t(count))
    return [name.decode() for name in names if name]


def test_all_names_of_the_library_are_known() -> None:
    assert sorted(ChatTemplate.names()) == sorted(known())


@pytest.mark.parametrize("name", ChatTemplate.names())
def test_named_templates_write_what_the_library_writes(name: str) -> None:
    template = ChatTemplate.named(name)
    for messages in CONVERSATIONS:
        given = [{"role": role, "content": content} for role, content in messages]
        for begin in (False, True):
            expected = theirs(name, messages, begin=begin)
            assert template.render(given, add_generation_prompt=begin, adapt=False) == expected, (messages, begin)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no chat template `chatmll`; there are chatml, llama2"):
        ChatTemplate.named("chatmll")
