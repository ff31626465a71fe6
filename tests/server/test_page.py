"""The web page, in a real browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

import needs
from server.http import ask
from support import browser as browsers
from tabagent import Model, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.browser import Browser

pytestmark = pytest.mark.model

DONE: Final = "return !document.querySelector('.writing') && document.querySelectorAll('.message.assistant .stats').length === arguments[0]"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    needs.machine(browsers.is_installed(), "there is no `chromium` with its `chromedriver`; Debian's packages are `chromium` and `chromium-driver`")
    with browsers.browser(tmp_path_factory.mktemp("chromium")) as window:
        yield window


@pytest.fixture(name="page")
def fresh_page(window: Browser, server: Server) -> Browser:
    window.resize(1100, 800)
    window.open(f"{server.url}/")
    window.run("localStorage.clear(); sessionStorage.clear()")
    window.open(f"{server.url}/")
    window.wait("return document.getElementById('model').value === 'smollm2'")
    return window


def settle(page: Browser, **settings: Any) -> None:
    """Sets settings as the dialog does."""
    page.click("#open-settings")
    for name, value in settings.items():
        page.run("const field = document.querySelector(`[data-setting=${arguments[0]}]`); field.value = arguments[1]", name, value)
    page.click("#settings button[type=submit]")
    page.wait("return !document.getElementById('settings').open")


def say(page: Browser, text: str, n_answers: int = 1) -> str:
    page.type("#input", text + "{enter}")
    page.wait(DONE, n_answers)
    return page.text(".message.assistant:last-child > .body")


def test_the_page_is_one_document_that_asks_nobody_else(server: Server) -> None:
    reply = ask(server, "GET", "/")
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    text = reply.body.decode()
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == []
    assert "/*STYLE*/" not in text
    assert "/*SCRIPT*/" not in text


def test_a_server_can_be_without_it(smollm2: Model) -> None:
    with Server(smollm2, port=0, page=False) as server:
        reply = ask(server, "GET", "/")
    assert reply.status == 404
    assert "was started without its page" in reply.json()["error"]["message"]


def test_an_answer_comes_with_its_speed(page: Browser) -> None:
    settle(page, max_tokens="24", temperature="0", seed="1")
    assert len(say(page, "What is the capital of France?")) > 10
    assert re.search(r"\d+ tokens · [\d.]+ tokens/s · first after .+ · prompt \d+", page.text(".stats"))
    assert page.console() == []


def test_it_comes_piece_by_piece_and_can_be_stopped(page: Browser) -> None:
    settle(page, max_tokens="400", temperature="0")
    page.type("#input", "Write a long story about a dragon.{enter}")
    page.wait("return (document.querySelector('.writing .body')?.innerText ?? '').length > 20")
    page.click("#stop")
    page.wait("return !document.querySelector('.writing') && !document.getElementById('send').hidden")
    assert 20 < len(page.text(".message.assistant .body")) < 4000
    page.click("#again")
    page.wait("return (document.querySelector('.writing .body')?.innerText ?? '').length > 5")
    page.type("#input", "{escape}")
    page.wait("return !document.querySelector('.writing')")
    assert page.run("return document.querySelectorAll('.message').length") == 2


def test_the_conversation_goes_on_and_stays_after_a_reload(page: Browser, server: Server) -> None:
    settle(page, max_tokens="12", temperature="0", system="Answer in one word.")
    say(page, "Say: apple")
    say(page, "Say: pear", 2)
    page.open(f"{server.url}/")
    assert page.run("return [...document.querySelectorAll('.message.user .body')].map((body) => body.innerText)") == ["Say: apple", "Say: pear"]
    page.click("#new")
    assert page.run("return document.querySelectorAll('.message').length") == 0
    page.click("#open-settings")
    assert page.run("return document.querySelector('[data-setting=system]').value") == "Answer in one word."
    page.click("#settings button[type=submit]")


def test_wrong_settings_are_said_in_the_servers_words(page: Browser) -> None:
    settle(page, tools="[1]")
    page.type("#input", "Hi{enter}")
    page.wait("return document.querySelector('.message .wrong')")
    assert "`tools[0]`: it must be an object" in page.text(".message .wrong")
    settle(page, tools="[{")
    page.type("#input", "Hi{enter}")
    assert "are no JSON" in page.text("#notice")


def test_what_a_model_writes_is_never_markup(page: Browser) -> None:
    texts = [
        "<img src=x onerror=\"document.title='broken'\">",
        "<script>document.title='broken'</script>",
        "[here](javascript:document.title='broken')",
        "```html\n<b onclick=\"document.title='broken'\">\n```",
        "**<u>bold</u>**",
    ]
    for text in texts:
        names = page.run(
            "const box = document.createElement('div'); box.append(markdown(arguments[0])); document.body.append(box);"
            "return [...box.querySelectorAll('*')].map((element) => element.localName)",
            text,
        )
        assert not {"img", "script", "u", "b", "a"} & set(names)
    assert page.run("return document.title") == "tabagent"


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("# One\ntwo *three* **four** `five`", "<h2>One</h2><p>two <em>three</em> <strong>four</strong> <code>five</code></p>"),
        ("- a\n- b\n  1. c\n  2. d\n- e", '<ul><li>a</li><li>b<ol start="1"><li>c</li><li>d</li></ol></li><li>e</li></ul>'),
        ("```rust\nfn a() {}\n\n// *b*\n```\nend", '<pre><code data-language="rust">fn a() {}\n\n// *b*</code></pre><p>end</p>'),
        ("```\nopen", "<pre><code>open</code></pre>"),
        ("> a\n> b", "<blockquote><p>a\nb</p></blockquote>"),
        (
            "| a | b |\n|---|---|\n| 1 | 2 |",
            "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
        ),
        ("2 * 3 * 4 and a_b_c", "<p>2 * 3 * 4 and a_b_c</p>"),
        ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
        (
            "see https://example.org/a.",
            '<p>see <a href="https://example.org/a" target="_blank" rel="noopener noreferrer">https://example.org/a</a>.</p>',
        ),
    ],
)
def test_markdown_is_shown(page: Browser, text: str, markup: str) -> None:
    assert page.run("const box = document.createElement('div'); box.append(markdown(arguments[0])); return box.innerHTML", text) == markup


def test_thoughts_are_folded_and_calls_are_shown(page: Browser) -> None:
    """Pieces of a stream, as the server writes them."""
    page.run(
        """
        const message = { role: "assistant", content: "" };
        const piece = (delta) => take(message, { choices: [{ delta }] });
        piece({ reasoning_content: "Let me " });
        piece({ reasoning_content: "see." });
        piece({ tool_calls: [{ index: 0, id: "call_1", function: { name: "weather", arguments: "" } }] });
        piece({ tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] });
        piece({ tool_calls: [{ index: 0, function: { arguments: '"Paris"}' } }] });
        messages.push(message);
        draw();
        """
    )
    assert page.run("return document.querySelector('details').open") is False
    assert page.run("return document.querySelector('.thought').textContent") == "Let me see."
    assert page.text(".call strong") == "weather"
    assert page.text(".call pre") == '{\n  "city": "Paris"\n}'


def test_it_fits_a_phone_and_the_dark(page: Browser) -> None:
    settle(page, max_tokens="8", temperature="0", colours="dark")
    say(page, "Say: " + "long" * 60)
    page.resize(500, 800)
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.run("return document.getElementById('send').getBoundingClientRect().bottom <= innerHeight")
    assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


def test_a_key_is_asked_for_and_used(window: Browser, smollm2: Model) -> None:
    with Server(smollm2, port=0, api_keys=["sesame"], name="smollm2") as server:
        window.open(f"{server.url}/")
        window.wait("return document.getElementById('notice').textContent.includes('key is missing or wrong')")
        settle(window, key="sesame", max_tokens="4")
        window.wait("return document.getElementById('model').value === 'smollm2'")
        assert say(window, "Hi")
        assert "sesame" not in window.run("return JSON.stringify(localStorage)")


def test_it_works_under_a_prefix(window: Browser, smollm2: Model) -> None:
    with Server(smollm2, port=0, prefix="/llm", name="smollm2") as server:
        for path in ("/llm", "/llm/"):
            window.open(f"{server.url.removesuffix('/llm')}{path}")
            window.wait("return document.getElementById('model').value === 'smollm2'", limit_s=20)
