"""A Perl process on the same rings."""

import os
import pathlib
import subprocess

import pytest

from pubsub_shared import Ring

ROOT = pathlib.Path(__file__).resolve().parents[2]
PERL = ["perl"] + ([f"-Mblib={ROOT}"] if (ROOT / "blib").is_dir() else [])


def perl(program, *arguments):
    return subprocess.Popen([*PERL, "-e", "use Data::PubSub::Shared; " + program, *arguments], stderr=subprocess.PIPE)


@pytest.fixture(autouse=True)
def needs_perl():
    try:
        there = subprocess.run([*PERL, "-MData::PubSub::Shared", "-e", "1"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no perl")
    if there.returncode:
        pytest.skip("Data::PubSub::Shared is neither built nor installed")


def answer(sub, process):
    """The next message, for as long as the other side lives."""
    while True:
        try:
            return sub.recv(timeout=1)
        except TimeoutError:
            assert process.poll() is None, process.stderr.read()


def content(process):
    assert process.wait() == 0, process.stderr.read()
    process.stderr.close()


@pytest.mark.parametrize("kind, package", [("int", "Int"), ("int32", "Int32"), ("int16", "Int16"), ("float", "Num")])
def test_numbers_there_and_back(tmp_path, kind, package):
    out, back = (tmp_path / name for name in ("out", "back"))
    asks, answers = Ring(out, kind, 64), Ring(back, kind, 64).subscribe()
    process = perl(
        f"my ($out, $back) = map {{ Data::PubSub::Shared::{package}->new($_, 0) }} @ARGV;"
        "my $sub = $out->subscribe_all; while (my $i = $sub->poll_wait) { $back->publish(-$i) }",
        os.fspath(out),
        os.fspath(back),
    )
    for i in range(1, 501):
        asks.publish(i)
        assert answer(answers, process) == -i
    asks.publish(0)
    content(process)
    assert answers.lost == 0


def test_strings_there_and_back_with_their_flag(tmp_path):
    out, back = (tmp_path / name for name in ("out", "back"))
    asks, answers = Ring(out, "str", 64), Ring(back, "str", 64).subscribe()
    process = perl(
        "my ($out, $back) = map { Data::PubSub::Shared::Str->new($_, 0) } @ARGV;"
        "my $sub = $out->subscribe_all; while (length(my $s = $sub->poll_wait)) { $back->publish($s . (utf8::is_utf8($s) ? 'u' : 'b')) }",
        os.fspath(out),
        os.fspath(back),
    )
    for message, expected in [("a", "au"), (b"a", b"ab"), ("\u2603", "\u2603u"), (b"\xff\x00", b"\xff\x00b"), ("\u00e9", "\u00e9u")]:
        asks.publish(message)
        assert answer(answers, process) == expected
    asks.publish("")
    content(process)


def test_what_perl_creates(tmp_path):
    path = tmp_path / "ring"
    process = perl(
        "my $ring = Data::PubSub::Shared::Str->new($ARGV[0], 100, 20); $ring->publish_multi('one', \"tw\\x{f6}\", \"\\x{2603}\")",
        os.fspath(path),
    )
    content(process)
    ring = Ring(path)
    assert (ring.kind, ring.capacity, ring.message_size) == ("str", 128, 20)
    assert ring.subscribe(oldest=True).poll_many() == [b"one", b"tw\xf6", "\u2603"]
