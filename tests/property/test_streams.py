"""Laws of streams, with a real model."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabagent import Model, SamplerConfig


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    stops=st.lists(st.text(st.sampled_from("etaoin hsr,.\n"), min_size=1, max_size=3), max_size=3),
    read_first=st.integers(0, 12),
    max_tokens=st.integers(0, 16),
)
def test_joined_stream_is_the_result_whatever_stops_it(smollm2: Model, seed: int, stops: list[str], read_first: int, max_tokens: int) -> None:
    sampling = SamplerConfig(seed=seed, temperature=1.2)
    options = {"max_tokens": max_tokens, "sampling": sampling}
    free = smollm2.generate("The weather today is", **options).result().text  # type: ignore[arg-type]
    stream = smollm2.generate("The weather today is", stop=stops, **options)  # type: ignore[arg-type]
    pieces = [piece for piece, _ in zip(stream, range(read_first), strict=False)]
    rest = stream.result()
    assert rest.text.startswith("".join(pieces))
    again = "".join(smollm2.generate("The weather today is", stop=stops, **options))  # type: ignore[arg-type]
    assert again == rest.text
    found = [free.index(stop) for stop in stops if stop in free]
    assert rest.text == (free[: min(found)] if found else free)
    assert rest.finish_reason == ("stop" if found else rest.finish_reason)
