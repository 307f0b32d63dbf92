"""examples/peer.rs in Python."""

import os
import sys

from pubsub_shared import Lagged, Ring


def say(line):
    os.write(1, f"{line}\n".encode())


def publish(ring, identity, count):
    first = identity << 32
    for number in range(first, first + count):
        ring.publish(f"{number} {'x' * (number % 50)}" if ring.kind == "str" else number)
        say(number)


def read(ring):
    sub = ring.subscribe(oldest=True, strict=True)
    say("ready")
    received = 0
    while True:
        try:
            message = sub.recv()
        except Lagged as lagged:
            say(f"L {lagged.args[0]}")
            continue
        if isinstance(message, bytes):
            message = message.decode()
        if str(message) == "-1":
            break
        received += 1
        say(f"P {sub.last_position} {message}")
    say(f"A {received} {sub.lost}")


if sys.argv[1] == "publish":
    publish(Ring(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
else:
    read(Ring(sys.argv[2]))
