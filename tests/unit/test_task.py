"""Tasks as they travel: what is written is what is read, and nothing unknown gets in."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import Refused
from labkit.task import SCHEMA, Claim, Work, decode, digest, encode, schema_of

names = st.text(max_size=10)
values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10)
works = st.builds(
    Work,
    name=names,
    filters=st.lists(names, max_size=3).map(tuple),
    filter_params=st.dictionaries(names, st.dictionaries(names, values, max_size=3), max_size=3),
    image=st.none() | names,
    output=names,
    args=st.dictionaries(names, values, max_size=3),
    timeout_s=st.floats(0, 1e6),
)


@given(works)
def test_what_is_written_is_what_is_read(work):
    assert decode(encode(work)) == work


def test_defaults_are_left_out_so_that_a_person_can_read_the_body():
    assert json.loads(encode(Work(name="noop"))) == {"name": "noop"}


BAD = {
    "an unknown field": b'{"name": "noop", "retries": 3}',
    "the task of the lesson": b'{"id": "t1", "image": "a.jpg", "filters": ["blur"]}',
    "filters that are no list": b'{"filters": "blur"}',
    "a number for a name": b'{"name": 7}',
    "no object": b"[]",
    "no JSON": b"{bad",
    "nothing": b"",
    "a deep hole": b'{"args": ' + b"[" * 200_000,
    "no UTF-8": b'{"name": "\xff"}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_what_is_no_work_is_refused(body):
    with pytest.raises(Refused, match="cannot be read") as caught:
        decode(body)
    assert caught.value.todo
    with pytest.raises(Refused):
        _ = Claim("b:0", 1, body).work


@given(st.binary(max_size=40))
def test_whatever_the_body_is_it_is_work_or_refused_and_nothing_else(body):
    with suppress(Refused):
        decode(body)
    assert isinstance(schema_of(body), int)


def test_the_schema_of_a_newer_body_can_be_read_whatever_else_is_in_it():
    assert schema_of(b'{"schema": 9, "name": ["new", "shape"], "new": 1}') == 9
    assert schema_of(b'{"name": "noop"}') == 0
    assert schema_of(b"{bad") == 0
    assert Work().schema == SCHEMA


def test_a_label_is_short_enough_for_a_plot():
    assert Work(filters=("sharpen", "edges")).label == "sharpen+edges"
    assert Work(name="noop").label == "noop"


def test_bytes_are_named_by_their_content():
    assert digest(b"a") == digest(b"a") != digest(b"b")
    assert len(digest(b"")) == 32
