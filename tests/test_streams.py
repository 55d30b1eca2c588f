"""Streams that cannot fail: what is lost, and what is not."""

import errno
import io
import os

import pytest

from funcnn.streams import guard


class Failing(io.RawIOBase):
    """A file on a disk that is full after a number of writes."""

    def __init__(self, writes):
        self.left, self.content = writes, b""

    def writable(self):
        return True

    def write(self, content):
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= 1
        self.content += bytes(content)
        return len(content)


def text_file(raw):
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", line_buffering=True)


def test_a_stream_that_fails_drops_the_rest_and_leaves_nothing_to_fail_later():
    raw, errors = Failing(writes=1), []
    stream = text_file(raw)
    guarded = guard(stream, errors.append)
    for word in ("one", "two", "three"):
        print(word, file=guarded)
    guarded.close()
    stream.flush()
    assert raw.content == b"one\n" and [error.errno for error in errors] == [errno.ENOSPC]


def test_the_first_error_may_become_another_one():
    def lost(error):
        raise ValueError(f"lost: {error.strerror}")

    guarded = guard(text_file(Failing(writes=0)), lost)
    with pytest.raises(ValueError, match="lost: No space"):
        print("one", file=guarded)
    print("two", file=guarded)
    guarded.close()


def test_no_stream_and_a_closed_one_are_dropped():
    errors = []
    closed = text_file(Failing(writes=9))
    closed.close()
    for stream in (None, closed):
        guarded = guard(stream, errors.append)
        assert not guarded.isatty()
        print("é", file=guarded)
        guarded.flush()
    assert len(errors) == 2


def test_streams_of_others_and_guarded_ones_are_unchanged():
    class Tee(io.TextIOWrapper):
        pass

    for stream in (io.StringIO(), Tee(io.BytesIO()), guard(None)):
        assert guard(stream) is stream


def test_characters_that_the_encoding_lacks_are_escaped():
    chinese = "é ≠".encode("gb18030")
    for encoding, expected in (("ascii", rb"\xe9 \u2260"), ("cp1252", b"\xe9 \\u2260"), ("gb18030", chinese)):
        file = io.BytesIO()
        guarded = guard(io.TextIOWrapper(file, encoding))
        guarded.write("é ≠")
        guarded.flush()
        assert file.getvalue() == expected


def test_a_full_pipe_that_does_not_block_is_waited_for(monkeypatch):
    read, write = os.pipe()
    os.set_blocking(write, False)
    content = "x" * 100_000  # more than a pipe holds
    received = []
    # the reader reads each time someone waits for it
    monkeypatch.setattr("select.select", lambda *_: received.append(os.read(read, 50_000)))
    with open(write, "w") as stream, guard(stream) as guarded:
        print(content, file=guarded, end="")
    with open(read, "rb") as rest:
        assert (b"".join(received) + rest.read()).decode() == content
